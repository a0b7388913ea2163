//! The table of methods. A method is here, and then it is called, discovered and documented; or it
//! is not, and then it is none of these.

use homing_link::{
    Call, ChannelView, ChannelsPage, Code, Devices, Found, FoundMessages, GroupChanged, LinkMade,
    MediaAnswer, MediaUrl, MembersPage, MessageView, MessagesPage, Opened, PresencePage, Receipts,
    Refused, Sent, UserView, UsersPage,
};
use homing_wire::body;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::value::RawValue;

use super::params::{self, Params};

/// What a method asks.
#[derive(Debug)]
pub(crate) enum Asked {
    /// The node.
    Call(Call),
    /// The node, once the token is known.
    Open(Open),
    /// The OpenRPC document.
    Discover,
}

/// `session.open` as it came.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) token: Option<String>,
    pub(crate) since: Option<String>,
    pub(crate) cursor: Option<String>,
}

/// A method that is built.
pub(crate) struct Method {
    /// Its name on the wire.
    pub(crate) name: &'static str,
    /// For the documents.
    pub(crate) summary: &'static str,
    /// What its result is called in the documents.
    pub(crate) result_name: &'static str,
    /// Codes it may be refused with, beside those that every method shares.
    pub(crate) errors: &'static [Code],
    /// Schema of its parameters, an object.
    pub(crate) params: fn(&mut SchemaGenerator) -> Schema,
    /// Schema of its result.
    pub(crate) result: fn(&mut SchemaGenerator) -> Schema,
    ask: fn(&str) -> Result<Asked, Refused>,
}

impl Method {
    /// From raw parameters to what is asked.
    pub(crate) fn ask(&self, params: Option<&RawValue>) -> Result<Asked, Refused> {
        let text = params.map_or("{}", RawValue::get);
        body::check_json(text).map_err(params::body_refused)?;
        if !text.starts_with('{') {
            let message = "params are an object, by name; not an array";
            return Err(Refused::new(Code::InvalidParams, "params_by_name", message));
        }
        (self.ask)(text)
    }
}

/// The result of calls that only do something.
#[derive(Serialize, JsonSchema)]
struct Nothing {}

/// What every method may be refused with: `session.open` and `rpc.discover` too.
pub(crate) const SHARED_ERRORS: &[Code] =
    &[Code::InvalidParams, Code::Internal, Code::NotSignedIn, Code::Busy, Code::TooLarge];

/// The method that comes before all others on a socket.
pub(crate) const SESSION_OPEN: &str = "session.open";

/// All of them, in the order of the contract.
pub(crate) static METHODS: &[Method] = &[
    method::<params::SessionOpen, Opened>(
        SESSION_OPEN,
        "Signs the socket in and answers what changed since a stored sync; repeat with cursor for more pages",
        "opened",
        &[Code::Conflict],
    ),
    method::<params::ChannelsList, ChannelsPage>(
        "channels.list",
        "Every chat and group of the user, the latest first",
        "page",
        &[],
    ),
    method::<params::ChannelsGet, ChannelView>(
        "channels.get",
        "One channel as the user sees it",
        "channel",
        &[Code::NotFound],
    ),
    method::<params::ChannelsOpen, ChannelView>(
        "channels.open",
        "The chat with a user, made if new",
        "channel",
        &[Code::NotAllowed, Code::NotFound, Code::Unreachable, Code::LimitReached],
    ),
    method::<params::ChannelsUpdate, ChannelView>(
        "channels.update",
        "Changes the user's own view of a channel, on all devices; what is absent stays, null takes away",
        "channel",
        &[Code::NotAllowed, Code::NotFound, Code::Conflict, Code::LimitReached],
    ),
    method::<params::RequestsAccept, ChannelView>(
        "requests.accept",
        "Accepts a first contact from another home; writing does the same",
        "channel",
        &[Code::NotAllowed, Code::NotFound, Code::Conflict],
    ),
    method::<params::RequestsDecline, Nothing>(
        "requests.decline",
        "Declines a first contact: it leaves the list, and what comes of it is hidden until the user writes there",
        "nothing",
        &[Code::NotAllowed, Code::NotFound, Code::Conflict],
    ),
    method::<params::MessagesList, MessagesPage>(
        "messages.list",
        "A page of a channel, ascending by the place asked; the latest without a place",
        "page",
        &[Code::NotFound],
    ),
    method::<params::MessagesGet, MessageView>(
        "messages.get",
        "One message",
        "message",
        &[Code::NotFound],
    ),
    method::<params::MessagesSearch, FoundMessages>(
        "messages.search",
        "Messages of the user's own channels by their words, or by the names of their files, the newest first",
        "found",
        &[Code::NotAllowed, Code::NotFound],
    ),
    method::<params::MessagesSend, Sent>(
        "messages.send",
        "Stores a message and sends it; answered once it is on disk. The same id and body again answers the same",
        "sent",
        &[Code::NotAllowed, Code::NotFound, Code::Unreachable, Code::Conflict, Code::LimitReached],
    ),
    method::<params::MessagesHide, Nothing>(
        "messages.hide",
        "Hides a message from this user alone, for good; twice is once",
        "nothing",
        &[Code::NotFound],
    ),
    method::<params::ReceiptsDelivered, Nothing>(
        "receipts.delivered",
        "Everything at or below pos has reached a device of the user",
        "nothing",
        &[Code::NotFound],
    ),
    method::<params::ReceiptsRead, Nothing>(
        "receipts.read",
        "The user has read everything at or below pos",
        "nothing",
        &[Code::NotFound],
    ),
    method::<params::ReceiptsGet, Receipts>(
        "receipts.get",
        "Who has received and read a message of one's own home",
        "receipts",
        &[Code::NotAllowed, Code::NotFound],
    ),
    method::<params::GroupsCreate, ChannelView>(
        "groups.create",
        "Makes a group; people of one's own home and contacts are added directly, others are asked",
        "channel",
        &[Code::NotAllowed, Code::NotFound, Code::Conflict, Code::LimitReached],
    ),
    method::<params::GroupsInvite, GroupChanged>(
        "groups.invite",
        "Asks users into a group; one result for each",
        "changed",
        &[Code::NotAllowed, Code::NotFound, Code::LimitReached],
    ),
    method::<params::GroupsRemove, GroupChanged>(
        "groups.remove",
        "Takes users out of a group; one result for each",
        "changed",
        &[Code::NotAllowed, Code::NotFound, Code::LimitReached],
    ),
    method::<params::GroupsJoin, ChannelView>(
        "groups.join",
        "Accepts an invitation, or comes by a link; {state: \"pending\"} while the group's home does not answer",
        "channel",
        &[Code::NotAllowed, Code::NotFound, Code::LimitReached],
    ),
    method::<params::GroupsLink, LinkMade>(
        "groups.link",
        "Opens a link by which people can come into a group",
        "link",
        &[Code::NotAllowed, Code::NotFound, Code::LimitReached],
    ),
    method::<params::GroupsUnlink, Nothing>(
        "groups.unlink",
        "Makes a link void, or all of a group; {state: \"pending\"} while its home does not answer",
        "nothing",
        &[Code::NotAllowed, Code::NotFound, Code::LimitReached],
    ),
    method::<params::GroupsLeave, Nothing>(
        "groups.leave",
        "Leaves a group, or declines an invitation: at once, whatever the group's home does",
        "nothing",
        &[Code::NotAllowed, Code::NotFound, Code::LimitReached],
    ),
    method::<params::GroupsFork, ChannelView>(
        "groups.fork",
        "Goes on with a group whose home was not heard for days: a new one, whose people are asked",
        "channel",
        &[Code::NotAllowed, Code::NotFound, Code::Conflict, Code::LimitReached],
    ),
    method::<params::GroupsUpdate, ChannelView>(
        "groups.update",
        "Changes a group's name, avatar, policy or roles; {state: \"pending\"} while its home does not answer",
        "channel",
        &[Code::NotAllowed, Code::NotFound, Code::LimitReached],
    ),
    method::<params::GroupsMembers, MembersPage>(
        "groups.members",
        "Who is in a group, and who is asked",
        "page",
        &[Code::NotFound],
    ),
    method::<params::UsersGet, UserView>(
        "users.get",
        "A user, of this home or another",
        "user",
        &[Code::NotFound, Code::Unreachable],
    ),
    method::<params::UsersSearch, Found>(
        "users.search",
        "People of one's own home, by the beginnings of words of their names, or by address",
        "found",
        &[],
    ),
    method::<params::UsersUpdate, UserView>(
        "users.update",
        "What the user says of himself; what is absent stays",
        "user",
        &[Code::NotAllowed, Code::NotFound, Code::Conflict, Code::LimitReached],
    ),
    method::<params::PresenceWatch, PresencePage>(
        "presence.watch",
        "Watches users: how they are now, and from here on as notifications of this socket",
        "page",
        &[Code::NotFound, Code::LimitReached],
    ),
    method::<params::PresenceUnwatch, PresencePage>(
        "presence.unwatch",
        "Watches users no longer",
        "page",
        &[Code::NotFound, Code::LimitReached],
    ),
    method::<params::TypingSet, Nothing>(
        "typing.set",
        "The user types in a channel, or has stopped: told to whoever is there, and kept nowhere",
        "nothing",
        &[Code::NotFound],
    ),
    method::<params::MediaGet, MediaAnswer>(
        "media.get",
        "A file that the user has uploaded, as a body of type media names it",
        "media",
        &[Code::NotAllowed, Code::NotFound],
    ),
    method::<params::MediaCopy, MediaAnswer>(
        "media.copy",
        "The file of a message as one of the user's own, to send it on",
        "media",
        &[Code::NotAllowed, Code::NotFound, Code::Unreachable, Code::Conflict, Code::LimitReached],
    ),
    method::<params::MediaUrl, MediaUrl>(
        "media.url",
        "A link to the file of a message: whoever has it may read the file for a while, without a token",
        "link",
        &[Code::NotAllowed, Code::NotFound],
    ),
    method::<params::ContactsList, UsersPage>(
        "contacts.list",
        "Whom the user knows, in an order that stays",
        "page",
        &[],
    ),
    method::<params::ContactsAdd, Nothing>(
        "contacts.add",
        "Adds a user of this home or another to the contacts; twice is once",
        "nothing",
        &[Code::NotFound, Code::Conflict, Code::LimitReached],
    ),
    method::<params::ContactsRemove, Nothing>(
        "contacts.remove",
        "Removes a user from the contacts, if there",
        "nothing",
        &[Code::NotFound, Code::Conflict],
    ),
    method::<params::BlocksList, UsersPage>(
        "blocks.list",
        "Whom the user has blocked, in an order that stays",
        "page",
        &[],
    ),
    method::<params::BlocksAdd, Nothing>(
        "blocks.add",
        "Blocks a user, who is not told: what comes from now on is neither shown nor counted; twice is once",
        "nothing",
        &[Code::NotFound, Code::Conflict, Code::LimitReached],
    ),
    method::<params::BlocksRemove, Nothing>(
        "blocks.remove",
        "Blocks a user no longer; what came meanwhile stays hidden",
        "nothing",
        &[Code::NotFound, Code::Conflict],
    ),
    method::<params::DevicesList, Devices>(
        "devices.list",
        "Where the user is signed in",
        "devices",
        &[],
    ),
    method::<params::DevicesRename, Nothing>(
        "devices.rename",
        "Calls a device something else",
        "nothing",
        &[Code::NotFound, Code::Conflict],
    ),
    method::<params::DevicesRevoke, Nothing>(
        "devices.revoke",
        "Signs a device out: its token is dead and its sockets are closed (4403) at once",
        "nothing",
        &[Code::NotFound, Code::Conflict],
    ),
    method::<params::AccountPassword, Nothing>(
        "account.password",
        "Changes the password and signs all other devices out (4403)",
        "nothing",
        &[Code::NotAllowed, Code::Conflict],
    ),
    method::<params::AccountDelete, Nothing>(
        "account.delete",
        "Deletes the account for good and closes its sockets (4403); its name is never given again",
        "nothing",
        &[Code::NotAllowed],
    ),
    method::<params::RpcDiscover, serde_json::Map<String, serde_json::Value>>(
        "rpc.discover",
        "This document",
        "document",
        &[],
    ),
];

/// The method of this name, and its index in [`METHODS`].
pub(crate) fn find(name: &str) -> Option<(usize, &'static Method)> {
    METHODS.iter().enumerate().find(|(_, method)| method.name == name)
}

const fn method<P: Params, R: JsonSchema>(
    name: &'static str,
    summary: &'static str,
    result_name: &'static str,
    errors: &'static [Code],
) -> Method {
    Method {
        name,
        summary,
        result_name,
        errors,
        params: own_schema::<P>,
        result: SchemaGenerator::subschema_for::<R>,
        ask: ask::<P>,
    }
}

fn ask<P: Params>(text: &str) -> Result<Asked, Refused> {
    let params: P = serde_json::from_str(text)
        .map_err(|error| Refused::new(Code::InvalidParams, "invalid_params", error.to_string()))?;
    params.ask()
}

/// The schema itself, not a reference to it.
fn own_schema<P: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    P::json_schema(generator)
}
