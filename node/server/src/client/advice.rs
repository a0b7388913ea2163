//! What to do about a refusal. Homes speak to every client and know no commands of this one: it says the rest.

/// What to do when a home has refused something for this reason.
pub(super) fn on(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "channel_not_found" => {
            "`homing client channels` lists those you are in or invited to, with the ids of groups"
        }
        "user_not_found" => {
            "check the name; a group is named by its id, which `homing client channels` shows"
        }
        "not_allowed" => {
            "ask an owner or admin of the group: `homing client group members GROUP` lists them"
        }
        "not_an_image" | "avatar_too_large" => "make it smaller, or save it as JPEG, PNG or WebP",
        "device_not_found" => "`homing client device list` shows which there are",
        "not_a_request" => {
            "`homing client block add` keeps somebody out, `homing client group leave` leaves"
        }
        "first_contact" => "five messages at most until they accept",
        "unknown_home" => UNKNOWN_HOME,
        "link_not_found" => "ask whoever gave it to you for a new one",
        _ => return None,
    })
}

/// Why nothing came of one user among several.
pub(super) fn on_user(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "user_not_found" => "there is no such user",
        "unknown_home" => UNKNOWN_HOME,
        "not_a_member" => "not in this group",
        "not_allowed" => "an owner has to do that: their role is not below yours",
        "with_self" => "that is you: `homing client group leave GROUP`",
        "declined" => "they do not wish to be in it",
        _ => return None,
    })
}

/// Names are believed where operators pin them.
const UNKNOWN_HOME: &str =
    "check the home's name; if it is right, ask your own home's operator to `homing home trust` it";
