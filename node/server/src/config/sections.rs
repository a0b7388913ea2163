//! Every section but the limits. Their documentation is the sample's.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use homing_wire::{HomeName, HomeRef};

use super::settings::{choice, section};
use super::values::{Age, Hidden, PeerAddress, Pin, PublicUrl};

/// Port between homes where none is asked for.
pub const P2P_PORT: u16 = 7400;
/// Address for clients where none is asked for: this machine alone.
pub const HTTP_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Address for the operator where none is asked for: this machine alone.
pub const ADMIN_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// Both transports between homes on every IPv4 address: QUIC is better, TCP gets through more firewalls.
pub fn p2p_listen(port: u16) -> Vec<PeerAddress> {
    [format!("/ip4/0.0.0.0/udp/{port}/quic-v1"), format!("/ip4/0.0.0.0/tcp/{port}")]
        .iter()
        .map(|text| text.parse().expect("both are multiaddresses of a known form"))
        .collect()
}

section! {
    /// This home.
    Home = "home" {
        /// Its name, as in alice@acme.example. A DNS name that is yours; other homes check that it is.
        name: HomeName = "acme.example".parse().expect("a name");
        /// The directory of keys, admin token and store; relative to this file.
        data: PathBuf = PathBuf::from(".");
    }
}

section! {
    /// What clients connect to: HTTP and WebSocket.
    Bridge = "bridge" {
        /// IP address and port. This machine alone: TLS is ended by whatever stands in front.
        listen: SocketAddr = HTTP_ADDRESS;
        /// How clients reach it from outside, such as "https://chat.acme.example"; shown in /.well-known/homing.
        public_url: Option<PublicUrl> = None;
    }
}

section! {
    /// What other homes connect to: libp2p over QUIC and TCP.
    P2p = "p2p" {
        /// Multiaddresses to listen on. Other homes must be able to reach one of them.
        listen: Vec<PeerAddress> = p2p_listen(P2P_PORT);
        /// Multiaddresses under which other homes reach this one, written into the home record;
        /// such as "/dns/acme.example/udp/7400/quic-v1". Empty: what is listened on, where it is not 0.0.0.0.
        announce: Vec<PeerAddress> = Vec::new();
        /// Dial loopback and private addresses that other homes announce. For test networks alone: any
        /// home could make this node knock on doors of its own network.
        allow_private: bool = false;
    }
}

section! {
    /// The operator's door: commands of `homing` and /metrics. Asks for the token in admin.token.
    Admin = "admin" {
        /// IP address and port. Keep it on this machine.
        listen: SocketAddr = ADMIN_ADDRESS;
    }
}

section! {
    /// Bridges that run apart. Nothing to set yet.
    Link = "link" {}
}

choice! {
    /// What holds the data.
    Engine {
        /// An append-only journal with sled behind it.
        Journal = "journal",
    }
}

section! {
    /// Where messages are kept.
    Store = "store" {
        /// "journal": an append-only journal with an index behind it, in DIR/store.
        engine: Engine = Engine::Journal;
        /// Bytes of a journal file; a multiple of 4096. It can be changed: files that exist stay as they are.
        segment_bytes: u64 = 64 << 20, in 1_048_576..=1_073_741_824;
        /// The index catches up at least this often: what a start after a crash reads again.
        checkpoint_ms: u64 = 5_000, in 100..=3_600_000;
        /// And after so many bytes of journal. Memory may hold three times as much while the index cannot keep up.
        checkpoint_bytes: u64 = 128 << 20, in 1_048_576..=17_179_869_184;
        /// Memory for messages stored lately: most that are read were written just before.
        entry_cache_bytes: usize = 32 << 20, in 1_048_576..=17_179_869_184;
        /// Memory for parts of the index.
        chunk_cache_bytes: usize = 32 << 20, in 1_048_576..=17_179_869_184;
        /// Memory for the index itself, counted by its size on disk; memory holds about half as much again.
        index_cache_bytes: u64 = 64 << 20, in 1_048_576..=17_179_869_184;
        /// Journal files kept open for reading.
        open_segments: usize = 64, in 1..=65_536;
        /// What nobody can read any more is taken from the disk at most so fast, reading and writing together. A quarter of
        /// what a slow disk does, so that commits do not wait for it; 1.4 TB a day. 0: as fast as the disk.
        tidy_bytes_per_s: u64 = 16 << 20, in 0..=17_179_869_184;
        /// Held back on the disk and given up when it is full, so that the store can still be opened then.
        reserve_bytes: u64 = 64 << 20, in 0..=17_179_869_184;
    }
}

section! {
    /// Finding messages by their words. The index is beside the store, and is made again from it where it is missing.
    Search = "search" {
        /// Whether there is a search. Where not, messages.search is refused, and DIR/search may be removed.
        enabled: bool = true;
        /// Memory for messages that are being put into the index: what is full is written. More helps only while it is made.
        memory_mb: usize = 32, in 16..=4_096;
        /// A message is found so long after it was stored, at most, while there is not much to do; each time costs some
        /// flushes of the disk.
        commit_ms: u64 = 1_000, in 10..=60_000;
        /// Searches at once; more wait. They take processor time, some milliseconds each, which sending needs too.
        at_once: usize = 2, in 1..=1_024;
        /// Searches of one user at once, those that wait included; more are refused for a moment. People type one.
        of_user: usize = 4, in 1..=128;
    }
}

choice! {
    /// Who may make an account.
    RegistrationMode {
        /// Everybody who reaches the bridge.
        Open = "open",
        /// Whoever has an invite.
        Invite = "invite",
        /// Nobody: the operator makes accounts.
        Closed = "closed",
    }
}

section! {
    /// New accounts.
    Registration = "registration" {
        /// "open": everybody; "invite": whoever has a code of `homing invite create`; "closed": `homing user add` alone.
        mode: RegistrationMode = RegistrationMode::Invite;
    }
}

choice! {
    /// Which homes are talked to.
    FederationMode {
        /// Every home that is not denied.
        Open = "open",
        /// Pinned homes alone.
        Allow = "allow",
        /// None.
        Closed = "closed",
    }
}

choice! {
    /// What becomes of a first message from a user of another home.
    FirstContact {
        /// It waits for a yes.
        Request = "request",
        /// It is accepted at once.
        Accept = "accept",
    }
}

section! {
    /// Other homes.
    Federation = "federation" {
        /// "open": every home that is not denied; "allow": the homes pinned below alone; "closed": none.
        mode: FederationMode = FederationMode::Open;
        /// "request": a stranger's first messages, five at most, wait for a yes; "accept": taken at once.
        first_contact: FirstContact = FirstContact::Request;
        /// First contacts from users of one other home that one user has not answered. Of what comes beyond nothing is taken: it
        /// waits at that home until one is accepted, declined or blocked. More than a hundred nobody looks through.
        requests_of_user: usize = 100, in 1..=1_000_000;
        /// The same of all users of this home together. Each is a chat on the disk with five messages at most, until it is
        /// answered: a home that does not mean well fills some hundred MB, and a large one has room for what people do not answer.
        requests_of_home: usize = 100_000, in 1..=1_000_000_000;
        /// Homes never talked to: names or home ids.
        deny: Vec<HomeRef> = Vec::new();
        /// Homes whose names you vouch for; `homing home trust NAME IDENTITY ADDRESS` writes them.
        /// identity: what `homing home id` says there, or "identity" of https://NAME/.well-known/homing.
        pin: Vec<Pin> = Vec::new();
    }
}

section! {
    /// Groups.
    Groups = "groups" {
        /// Members of a group of this home, invited ones included. Every home of a group stores its messages once and
        /// sends its own people's to all of the others: what that takes grows with the homes, not with the members.
        max_members: u64 = 100, in 2..=100;
        /// A group of another home that was not heard for so long may be gone on with by its admins (`groups.fork`). A week:
        /// an outage is over by then, and people who cannot change their group have another one long since.
        fork_after_ms: u64 = 7 * 24 * 3_600_000, in 1_000..=31_536_000_000;
        /// Invitations into groups of one other home that one user has not answered. What comes beyond is declined at once, and
        /// not shown: fifty are more than anybody looks through, and each home has its own. Who comes in without being asked
        /// (by contacts, `groups_from`, a link) is not counted.
        invitations_of_user: usize = 50, in 1..=1_000_000;
        /// The same of all users of this home together. Each is kept with its group until it is answered: with the largest
        /// rosters, of almost a MiB, a home that does not mean well fills two GiB.
        invitations_of_home: usize = 2_000, in 1..=1_000_000_000;
        /// Homes that a group spans from which on this one tells its events by gossip, and follows with its streams to whoever
        /// has not got them. With 16 its line carries a third, with 100 a twelfth; below it gains little, and the other homes
        /// pay more. 0: by streams alone.
        gossip_from: usize = 16, in 0..=1_000_000;
        /// How long homes may take to say that they have what was told by gossip, before it goes by their streams. They gather
        /// what they say for 100 ms.
        gossip_wait_ms: u64 = 300, in 10..=60_000;
    }
}

choice! {
    /// Where files are kept.
    MediaStore {
        /// In a folder.
        Folder = "folder",
        /// At a server that speaks the protocol of S3.
        S3 = "s3",
    }
}

section! {
    /// Files: what people upload, and what is kept of other homes' files. Sizes in bytes, times in milliseconds.
    Media = "media" {
        /// Where the files of this home are kept: "folder" or "s3". What is on its way, and other homes' files, are in the
        /// folder in any case.
        store: MediaStore = MediaStore::Folder;
        /// The folder, relative to this file; DIR/media where it is not set. A backup does not have it.
        folder: Option<PathBuf> = None;
        /// How the S3 server is reached, such as "https://s3.acme.example"; not set: at Amazon, by region.
        s3_endpoint: Option<PublicUrl> = None;
        /// Its region.
        s3_region: String = "us-east-1".into();
        /// The bucket, which must be there.
        s3_bucket: String = "homing".into();
        /// What the names of all objects begin with.
        s3_prefix: String = String::new();
        /// The access key's id. Better as HOMING_MEDIA__S3_KEY_ID than in a file.
        s3_key_id: String = String::new();
        /// The access key. Better as HOMING_MEDIA__S3_KEY than in a file.
        s3_key: Hidden = Hidden::default();
        /// A file that is uploaded. What people send each other as files, films excepted.
        upload_bytes: u64 = 2 << 30, in 0..=1 << 50;
        /// An avatar, of a user or of a group; larger ones of other homes are not shown. Photographs made small take a tenth, and
        /// whoever shows a list of people fetches one for each.
        avatar_bytes: u64 = 1 << 20, in 0..=1 << 26;
        /// What one user may keep here, uploads under way included. So much fits nobody's phone.
        user_bytes: u64 = 20 << 30, in 0..=1 << 60;
        /// What all users together may keep here. Nothing is taken, either, while the disk is nearly full.
        home_bytes: u64 = 1 << 40, in 0..=1 << 60;
        /// Uploads of one user that are under way: a holiday's photographs at once, and no more.
        uploads_of_user: usize = 100, in 1..=100_000;
        /// An upload of which nothing has come for so long is forgotten: a night on a train, and the day after.
        upload_expires_ms: u64 = 86_400_000, in 1_000..=31_536_000_000;
        /// A piece of an upload of which nothing comes for so long is ended; what has come is kept.
        upload_idle_ms: u64 = 30_000, in 10..=3_600_000;
        /// A file that no message names any more, and that is nobody's avatar, is kept for so long: it may be sent again.
        unnamed_ms: u64 = 86_400_000, in 0..=31_536_000_000;
        /// How often it is looked for what may go.
        sweep_ms: u64 = 3_600_000, in 10..=86_400_000;
        /// What is kept of other homes' files; what was not read for longest goes first. 0: about nothing.
        cache_bytes: u64 = 10 << 30, in 0..=1 << 60;
        /// Files fetched from other homes at once; more are refused for a moment.
        fetches: usize = 64, in 1..=10_000;
        /// Images, films and recordings looked at at once. Each may take image_memory_mb and a processor core.
        image_workers: usize = 1, in 1..=64;
        /// What waits for that; of more images there are no thumbnails for the moment.
        images_waiting: usize = 64, in 1..=10_000;
        /// Pixels of an image that is made smaller: photographs of telephones have 12 to 50 million.
        image_pixels: u64 = 64_000_000, in 1..=1_000_000_000;
        /// Memory for one image.
        image_memory_mb: usize = 256, in 16..=65_536;
        /// What is read of a film or a recording, wherever it stands, to learn how long and how large it is. 0: nothing, and nothing is known.
        film_read_bytes: u64 = 8 << 20, in 0..=1 << 30;
        /// How long that may take.
        film_time_ms: u64 = 5_000, in 10..=60_000;
        /// How long a link lasts that needs no token: browsers' images cannot send one.
        link_ms: u64 = 600_000, in 1_000..=86_400_000;
    }
}

section! {
    /// Web Push. Nothing to set yet.
    Push = "push" {}
}

section! {
    /// How long things are kept.
    Retention = "retention" {
        /// Messages that arrived longer ago are removed, such as "365d" (also "h", "m", "s"); they do not come back.
        /// Not set: they are kept for good. Other homes keep theirs as they like.
        messages: Option<Age> = None;
        /// What a deleted message said leaves the disk within this time; "1s" at least. Half of it gathers deletions, so that many
        /// are done with one file, and one that a group turns out not to allow can be taken back; the other half is for writing
        /// files anew, at no more than store.tidy_bytes_per_s.
        erase_after: Age = Age::HOUR;
    }
}

choice! {
    /// How much is logged.
    Level {
        /// Somebody must act.
        Error = "error",
        /// And what healed or will.
        Warn = "warn",
        /// And the life of the node.
        Info = "info",
        /// For developers.
        Debug = "debug",
        /// For developers in despair.
        Trace = "trace",
    }
}

choice! {
    /// How log lines look.
    Format {
        /// For people.
        Text = "text",
        /// One object a line.
        Json = "json",
    }
}

section! {
    /// The log, on standard error.
    Log = "log" {
        /// "error": somebody must act; "warn": it healed or will; "info": the node's life; "debug", "trace": for developers.
        level: Level = Level::Info;
        /// "text" for people, "json" for machines: one object a line.
        format: Format = Format::Text;
    }
}

section! {
    /// For tests alone: refused unless the node is started with `homing serve --testing`.
    Testing = "testing" {
        /// The node's clock is wrong by so many milliseconds.
        clock_offset_ms: i64 = 0;
    }
}
