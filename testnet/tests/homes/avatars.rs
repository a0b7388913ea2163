//! Avatars: set here, seen there, replaced, and gone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use homing_client::{
    Avatar, AvatarFile, Client, Download, GroupAnswer, Media, Server, Upload, UserUpdate, Uuid,
};

use crate::party::{Party, WITHIN};

/// What nothing names goes soon, and it is looked for it all the time.
const QUICK: [(&str, &str); 2] =
    [("HOMING_MEDIA__UNNAMED_MS", "3000"), ("HOMING_MEDIA__SWEEP_MS", "50")];

/// A PNG of one pixel (RFC 2083), made another one by what follows its end.
fn picture(folder: &Path, name: &str) -> PathBuf {
    let png = "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de\
               0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082";
    let mut content = data_encoding::HEXLOWER.decode(png.as_bytes()).unwrap();
    content.extend_from_slice(name.as_bytes());
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

async fn upload(server: &Server, token: &str, path: &Path) -> AvatarFile {
    let uploaded = Upload::new(path).run(server, token, &mut |_| {}, &mut |_| {}).await.unwrap();
    AvatarFile { id: uploaded.id }
}

fn says(avatar: Option<AvatarFile>) -> UserUpdate {
    UserUpdate { avatar: Some(avatar), ..UserUpdate::default() }
}

/// The bytes, or the reason why not.
async fn read(server: &Server, token: &str, avatar: &Avatar) -> Result<Vec<u8>, String> {
    let Avatar { home, id, hash, size, .. } = avatar.clone();
    let (id, mime, name) = (id.to_string(), "image/png".to_owned(), "a".to_owned());
    let (width, height, duration_ms, preview) = (None, None, None, None);
    let media = Media { home, id, hash, size, mime, name, width, height, duration_ms, preview };
    let mut bytes = Vec::new();
    let download = Download { patience: Duration::ZERO, ..Download::new(media) };
    let read = download.to_writer(server, token, &mut bytes, &mut |_| {}).await;
    read.map(|_| bytes).map_err(|error| error.reason().to_owned())
}

async fn avatar_of(client: &Client, address: &str) -> Option<Avatar> {
    client.user(address).await.unwrap().avatar
}

/// The group's avatar, once it is that file.
async fn until_group_has(client: &Client, group: Uuid, file: AvatarFile) -> Avatar {
    let waiting = async {
        loop {
            let avatar = client.channel(group).await.unwrap().avatar;
            if let Some(avatar) = avatar.filter(|avatar| avatar.id == file.id) {
                return avatar;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, waiting).await.expect("the group has another avatar")
}

async fn until_gone(client: &Client, file: AvatarFile) {
    let waiting = async {
        while client.media_get(file.id).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, waiting).await.expect("a file that nothing names stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_avatar_is_seen_at_another_home_until_it_is_replaced() {
    let mut party = Party::with(&["acme.test", "globex.test"], &QUICK).await;
    let dir = tempfile::tempdir().unwrap();
    let alice_token = party.homes[0].user("alice").await.unwrap().token;
    let bob_token = party.homes[1].user("bob").await.unwrap().token;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, _) = party.client(1, "bob").await;
    let (acme, globex) = (party.homes[0].server().unwrap(), party.homes[1].server().unwrap());
    let (first, second) = (picture(dir.path(), "first.png"), picture(dir.path(), "second.png"));

    let one = upload(&acme, &alice_token, &first).await;
    let said = alice.update_user(&says(Some(one))).await.unwrap().avatar.unwrap();
    assert_eq!((said.home.as_str(), said.width, said.height), ("acme.test", Some(1), Some(1)));
    let seen = avatar_of(&bob, "alice@acme.test").await.unwrap();
    assert_eq!(seen, said);
    let bytes = std::fs::read(&first).unwrap();
    assert_eq!(read(&globex, &bob_token, &seen).await, Ok(bytes.clone()));
    assert_eq!(read(&acme, &alice_token, &seen).await, Ok(bytes));
    let unknown = Avatar { id: Uuid::now_v7(), ..seen.clone() };
    assert_eq!(read(&globex, &bob_token, &unknown).await, Err("media_not_found".into()));

    let two = upload(&acme, &alice_token, &second).await;
    alice.update_user(&says(Some(two))).await.unwrap();
    assert_eq!(read(&globex, &bob_token, &seen).await, Err("media_not_found".into()));
    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    until_gone(&alice, one).await;
    let seen = alice.opened().user.avatar.clone().unwrap();
    assert_eq!(seen.id, two.id);
    let acme = party.homes[0].server().unwrap();
    assert_eq!(read(&acme, &alice_token, &seen).await, Ok(std::fs::read(&second).unwrap()));
    alice.update_user(&says(None)).await.unwrap();
    assert_eq!(avatar_of(&alice, "alice@acme.test").await, None);
    until_gone(&alice, two).await;
    party.homes.stop_all().await.unwrap();
}

/// An admin of a home that is not the group's own sets it; it outlives a kill of the home that holds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_groups_avatar_is_seen_by_members_of_three_homes() {
    let names = ["acme.test", "globex.test", "initech.test"];
    let mut party = Party::with(&names, &QUICK).await;
    let dir = tempfile::tempdir().unwrap();
    let path = picture(dir.path(), "group.png");
    let tokens = [
        party.homes[0].user("alice").await.unwrap().token,
        party.homes[1].user("bob").await.unwrap().token,
        party.homes[2].user("carol").await.unwrap().token,
    ];
    let stranger = party.homes[2].user("dave").await.unwrap().token;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, _) = party.client(1, "bob").await;
    let (carol, _) = party.client(2, "carol").await;
    let others = ["bob@globex.test".to_owned(), "carol@initech.test".to_owned()];
    let group = alice.create_group(Uuid::now_v7(), "friends", &others).await.unwrap().channel;
    for member in [&bob, &carol] {
        let waiting = async {
            while member.channel(group).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(WITHIN, waiting).await.expect("no invitation came");
        member.join_group(group, Uuid::now_v7()).await.unwrap();
    }
    alice.set_group_role(group, &others[0], "admin", Uuid::now_v7()).await.unwrap();
    let waiting = async {
        while bob.channel(group).await.unwrap().role.as_deref() != Some("admin") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, waiting).await.expect("bob is no admin");

    let file = upload(&party.homes[1].server().unwrap(), &tokens[1], &path).await;
    let set = bob.set_group_avatar(group, Some(file), Uuid::now_v7()).await.unwrap();
    assert!(matches!(set, GroupAnswer::Channel(_) | GroupAnswer::Pending { .. }));
    let bytes = std::fs::read(&path).unwrap();
    for (home, client) in [&alice, &bob, &carol].into_iter().enumerate() {
        let avatar = until_group_has(client, group, file).await;
        let server = party.homes[home].server().unwrap();
        assert_eq!(read(&server, &tokens[home], &avatar).await, Ok(bytes.clone()), "{home}");
    }
    let avatar = until_group_has(&carol, group, file).await;
    let initech = party.homes[2].server().unwrap();
    assert_eq!(read(&initech, &stranger, &avatar).await, Err("media_not_found".into()));

    party.homes[1].kill().await.unwrap();
    party.homes[1].start().await.unwrap();
    let (bob, _) = party.client(1, "bob").await;
    // What nothing names goes, however it came later.
    let globex = party.homes[1].server().unwrap();
    let unnamed = upload(&globex, &tokens[1], &picture(dir.path(), "unnamed.png")).await;
    until_gone(&bob, unnamed).await;
    assert_eq!(read(&globex, &tokens[1], &avatar).await, Ok(bytes));
    bob.set_group_avatar(group, None, Uuid::now_v7()).await.unwrap();
    until_gone(&bob, file).await;
    party.homes.stop_all().await.unwrap();
}
