//! Groups: typed calls.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::client::Client;
use crate::error::Error;
use crate::types::{AvatarFile, Channel};

/// Answer of calls that the group's home has to settle.
#[derive(Clone, Debug)]
pub enum GroupAnswer {
    /// Settled: the group as it is now.
    Channel(Box<Channel>),
    /// The group's home has not answered yet: a channel event follows.
    Pending {
        /// `pending`.
        state: String,
    },
}

/// By hand: an untagged enum buffers what it reads, and no message's body ([`RawValue`]) comes out of that buffer.
impl<'de> Deserialize<'de> for GroupAnswer {
    fn deserialize<D: Deserializer<'de>>(answer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Told {
            state: String,
        }
        let answer = Box::<RawValue>::deserialize(answer)?;
        let Told { state } = serde_json::from_str(answer.get()).map_err(D::Error::custom)?;
        // No channel is in that state.
        if state == "pending" {
            return Ok(Self::Pending { state });
        }
        serde_json::from_str(answer.get()).map(Self::Channel).map_err(D::Error::custom)
    }
}

/// Answer of `groups.invite` and `groups.remove`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupChanged {
    /// `pending` where the group's home has not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// One row for each user named.
    pub results: Vec<UserResult>,
    /// The version of the roster that shows it.
    #[serde(default)]
    pub roster: u64,
}

/// What came of one user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UserResult {
    /// An address.
    pub user: String,
    /// Whether it is done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Somebody in a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupMember {
    /// An address.
    pub user: String,
    /// `owner`, `admin`, `member` or `invited`.
    pub role: String,
    /// `active` or `invited`.
    pub state: String,
}

/// Answer of `groups.link`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupLink {
    /// `pending` where the group's home has not answered yet: it is good as soon as it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Whoever has it can come.
    pub link: String,
}

#[derive(Deserialize)]
struct Members {
    members: Vec<GroupMember>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Pending {
    state: Option<String>,
}

impl Client {
    /// Makes a group under an id of the caller's, a UUIDv7: the same again is the same group.
    pub async fn create_group(
        &self,
        id: Uuid,
        name: &str,
        members: &[String],
    ) -> Result<Channel, Error> {
        let params = json!({ "id": id, "name": name, "members": members });
        self.call("groups.create", &params).await
    }

    /// Goes on with a group whose home was not heard for long: a new one, whose people are asked.
    pub async fn fork_group(&self, group: Uuid) -> Result<Channel, Error> {
        self.call("groups.fork", &json!({ "channel": group })).await
    }

    /// Asks users in.
    pub async fn invite_to_group(
        &self,
        group: Uuid,
        users: &[String],
        op: Uuid,
    ) -> Result<GroupChanged, Error> {
        self.for_users("groups.invite", group, users, op).await
    }

    /// Takes users out.
    pub async fn remove_from_group(
        &self,
        group: Uuid,
        users: &[String],
        op: Uuid,
    ) -> Result<GroupChanged, Error> {
        self.for_users("groups.remove", group, users, op).await
    }

    /// Accepts an invitation.
    pub async fn join_group(&self, group: Uuid, op: Uuid) -> Result<GroupAnswer, Error> {
        self.settled("groups.join", json!({ "channel": group, "op": op })).await
    }

    /// Comes by a link.
    pub async fn join_by_link(&self, link: &str, op: Uuid) -> Result<GroupAnswer, Error> {
        self.settled("groups.join", json!({ "link": link, "op": op })).await
    }

    /// Leaves, or declines an invitation.
    pub async fn leave_group(&self, group: Uuid, op: Uuid) -> Result<(), Error> {
        let params = json!({ "channel": group, "op": op });
        let _empty: Pending = self.call("groups.leave", &params).await?;
        Ok(())
    }

    /// Calls a group something else.
    pub async fn rename_group(
        &self,
        group: Uuid,
        name: &str,
        op: Uuid,
    ) -> Result<GroupAnswer, Error> {
        self.settled("groups.update", json!({ "channel": group, "name": name, "op": op })).await
    }

    /// Gives a group another avatar, or none.
    pub async fn set_group_avatar(
        &self,
        group: Uuid,
        avatar: Option<AvatarFile>,
        op: Uuid,
    ) -> Result<GroupAnswer, Error> {
        self.settled("groups.update", json!({ "channel": group, "avatar": avatar, "op": op })).await
    }

    /// Makes a member `member`, `admin` or `owner`.
    pub async fn set_group_role(
        &self,
        group: Uuid,
        user: &str,
        role: &str,
        op: Uuid,
    ) -> Result<GroupAnswer, Error> {
        let params = json!({ "channel": group, "roles": { user: role }, "op": op });
        self.settled("groups.update", params).await
    }

    /// Everybody in a group, and who is asked.
    pub async fn group_members(&self, group: Uuid) -> Result<Vec<GroupMember>, Error> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let params = match &cursor {
                None => json!({ "channel": group }),
                Some(cursor) => json!({ "channel": group, "cursor": cursor }),
            };
            let page: Members = self.call("groups.members", &params).await?;
            all.extend(page.members);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Opens a link by which people can come: void from `expires` on (Unix milliseconds), for so many.
    pub async fn open_group_link(
        &self,
        group: Uuid,
        expires: Option<u64>,
        uses: Option<u32>,
        op: Uuid,
    ) -> Result<GroupLink, Error> {
        let params = json!({ "channel": group, "expires": expires, "uses": uses, "op": op });
        self.call("groups.link", &params).await
    }

    /// Withdraws a link. True: the group's home has not answered yet.
    pub async fn drop_group_link(&self, link: &str, op: Uuid) -> Result<bool, Error> {
        self.unlink(json!({ "link": link, "op": op })).await
    }

    /// Withdraws all links of a group; likewise.
    pub async fn drop_group_links(&self, group: Uuid, op: Uuid) -> Result<bool, Error> {
        self.unlink(json!({ "channel": group, "op": op })).await
    }

    async fn unlink(&self, params: serde_json::Value) -> Result<bool, Error> {
        let answer: Pending = self.call("groups.unlink", &params).await?;
        Ok(answer.state.is_some())
    }

    /// A call about several people, each of whom gets a row in the answer.
    async fn for_users(
        &self,
        method: &str,
        group: Uuid,
        users: &[String],
        op: Uuid,
    ) -> Result<GroupChanged, Error> {
        self.call(method, &json!({ "channel": group, "users": users, "op": op })).await
    }

    async fn settled(&self, method: &str, params: serde_json::Value) -> Result<GroupAnswer, Error> {
        self.call(method, &params).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_in_which_something_was_said_is_no_pending_one() {
        let id = Uuid::from_u128(7);
        let message = json!({"channel": id, "pos": 1, "order": "1", "id": id, "sender": "a@a.test",
            "sent_at": 1, "body": {"type": "text", "text": "x"}});
        let mut group = json!({"channel": id, "kind": "group", "name": "friends", "state": "active",
            "role": "owner", "member_count": 2, "head": 1, "last": message});
        let read =
            |answer: &serde_json::Value| serde_json::from_str::<GroupAnswer>(&answer.to_string());
        let GroupAnswer::Channel(read_back) = read(&group).unwrap() else { panic!("pending") };
        assert!(read_back.last.unwrap().body.get().contains(r#""text":"x""#));
        let pending = read(&json!({"state": "pending"})).unwrap();
        assert!(matches!(pending, GroupAnswer::Pending { state } if state == "pending"));
        // What is neither is an error that says what is wrong with the group.
        group["head"] = json!("x");
        assert!(read(&group).unwrap_err().to_string().contains("expected u64"));
    }
}
