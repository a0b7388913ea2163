//! The HTTP calls that are built: their bodies, and the table the OpenAPI document is made from.

use homing_link::{LoggedIn, Registered, WellKnown};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Characters of a password at most: hashing it must not cost more than any other.
const PASSWORD_CHARS: usize = 1_024;
/// Characters of a display name or a device's name at most: it is shown in one line.
const NAME_CHARS: usize = 128;

/// A body, checked as its schema in the document says.
pub(crate) trait HttpBody: DeserializeOwned {
    /// What serde could not see. Says what was expected.
    fn check(&self) -> Result<(), &'static str>;
}

fn check_password(password: &str) -> Result<(), &'static str> {
    if password.chars().count() > PASSWORD_CHARS {
        return Err("a password has at most 1024 characters");
    }
    Ok(())
}

fn check_name(name: Option<&str>) -> Result<(), &'static str> {
    let name = name.unwrap_or_default();
    if name.contains('\0') || name.chars().count() > NAME_CHARS {
        return Err("a name has at most 128 characters, and no NUL");
    }
    Ok(())
}

/// Body of `POST /v1/register`.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Register")]
pub(crate) struct RegisterBody {
    /// The wished name: the local part of the address. Upper case is folded.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))]
    pub(crate) user: String,
    /// At least 8 characters.
    #[schemars(length(min = 8, max = PASSWORD_CHARS))]
    pub(crate) password: String,
    /// An invite, where registration asks for one.
    pub(crate) invite: Option<String>,
    /// How people shall see the user.
    #[schemars(length(max = NAME_CHARS), regex(pattern = r"^[^\u0000]*$"))]
    pub(crate) display_name: Option<String>,
}

/// Body of `POST /v1/login`.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Login")]
pub(crate) struct LoginBody {
    /// The local part or the address.
    pub(crate) user: String,
    /// The password.
    #[schemars(length(max = PASSWORD_CHARS))]
    pub(crate) password: String,
    /// What the device shall be called in lists.
    #[schemars(length(max = NAME_CHARS), regex(pattern = r"^[^\u0000]*$"))]
    pub(crate) device_name: Option<String>,
}

impl HttpBody for RegisterBody {
    fn check(&self) -> Result<(), &'static str> {
        check_password(&self.password)?;
        check_name(self.display_name.as_deref())
    }
}

impl HttpBody for LoginBody {
    fn check(&self) -> Result<(), &'static str> {
        check_password(&self.password)?;
        check_name(self.device_name.as_deref())
    }
}

/// Answer of `GET /.well-known/homing`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WellKnown")]
pub(crate) struct WellKnownAnswer {
    #[serde(flatten)]
    pub(crate) home: WellKnown,
    /// Where clients connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
}

/// Answer of `GET /healthz` and `GET /readyz`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Status {
    /// `ok`, `ready`, or why not.
    pub(crate) status: String,
}

/// Every refused HTTP call.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(crate) struct HttpError {
    /// What went wrong.
    pub(crate) error: HttpErrorObject,
}

/// What went wrong.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ErrorObject")]
pub(crate) struct HttpErrorObject {
    /// A stable snake_case word.
    pub(crate) code: String,
    /// For people.
    pub(crate) message: String,
}

mod media;

pub(crate) use self::media::MEDIA;

/// An HTTP call that is built.
pub(crate) struct HttpCall {
    /// `get`, `post`
    pub(crate) method: &'static str,
    /// From the root.
    pub(crate) path: &'static str,
    /// The operation's id in the document.
    pub(crate) name: &'static str,
    /// For the document.
    pub(crate) summary: &'static str,
    /// What the path, the query and headers of its own say.
    pub(crate) parameters: &'static [Parameter],
    /// The body it takes.
    pub(crate) body: Takes,
    /// Takes `Authorization: Bearer`.
    pub(crate) bearer: bool,
    /// Statuses with their answers.
    pub(crate) answers: &'static [HttpAnswer],
}

/// What a call is told beside its body.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    /// `path`, `query`, `header`
    pub(crate) place: &'static str,
    pub(crate) required: bool,
    /// `string`, `integer`
    pub(crate) kind: &'static str,
    /// What it says.
    pub(crate) about: &'static str,
}

/// The body of a call.
pub(crate) enum Takes {
    /// None.
    Nothing,
    /// JSON of this schema.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Bytes of this type, or none.
    Bytes(&'static str),
}

/// What a status comes with.
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    /// When it comes.
    pub(crate) when: &'static str,
    pub(crate) content: Content,
    /// A header `Retry-After` may be there.
    pub(crate) retry_after: bool,
    /// Headers of its own, and what they say.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

/// The content of an answer.
pub(crate) enum Content {
    /// None.
    Empty,
    /// JSON of this schema.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// A page for people.
    Html,
    /// A file, of whatever type.
    File,
}

const fn json<T: JsonSchema>(status: u16, when: &'static str) -> HttpAnswer {
    let content = Content::Json(SchemaGenerator::subschema_for::<T>);
    HttpAnswer { status, when, content, retry_after: false, headers: &[] }
}

const fn error(status: u16, when: &'static str) -> HttpAnswer {
    json::<HttpError>(status, when)
}

const fn wait(status: u16, when: &'static str) -> HttpAnswer {
    HttpAnswer { retry_after: true, ..error(status, when) }
}

const fn empty(
    status: u16,
    when: &'static str,
    headers: &'static [(&'static str, &'static str)],
) -> HttpAnswer {
    HttpAnswer { status, when, content: Content::Empty, retry_after: false, headers }
}

const NOT_JSON: HttpAnswer = error(400, "The body is not JSON, or a field is missing or wrong");
const TOO_SLOW: HttpAnswer = error(408, "The body did not arrive in time");
const TOO_LARGE: HttpAnswer = error(413, "The body is too large");
const NOT_TYPED: HttpAnswer = error(415, "The body is not application/json");
const FAULT: HttpAnswer = error(500, "A fault of the home");
const BUSY: HttpAnswer = wait(503, "The home cannot take the call now");

type AnyObject = serde_json::Map<String, serde_json::Value>;

/// All of them.
pub(crate) static HTTP: &[HttpCall] = &[
    HttpCall {
        method: "post",
        path: "/v1/register",
        name: "register",
        summary: "Makes an account",
        parameters: &[],
        body: Takes::Json(SchemaGenerator::subschema_for::<RegisterBody>),
        bearer: false,
        answers: &[
            json::<Registered>(201, "The account is made"),
            NOT_JSON,
            error(403, "registration_closed, or bad_invite"),
            TOO_SLOW,
            error(409, "user_exists: the name is taken, or was once"),
            TOO_LARGE,
            NOT_TYPED,
            error(422, "invalid_user, or weak_password"),
            wait(429, "too_many_attempts"),
            FAULT,
            BUSY,
        ],
    },
    HttpCall {
        method: "post",
        path: "/v1/login",
        name: "login",
        summary: "Signs a device in and answers its token",
        parameters: &[],
        body: Takes::Json(SchemaGenerator::subschema_for::<LoginBody>),
        bearer: false,
        answers: &[
            json::<LoggedIn>(200, "Signed in; the token is shown this once"),
            NOT_JSON,
            error(401, "bad_credentials"),
            error(403, "user_disabled"),
            TOO_SLOW,
            TOO_LARGE,
            NOT_TYPED,
            wait(429, "too_many_attempts"),
            FAULT,
            BUSY,
        ],
    },
    HttpCall {
        method: "post",
        path: "/v1/logout",
        name: "logout",
        summary: "Ends the token at once and closes its WebSockets",
        parameters: &[],
        body: Takes::Nothing,
        bearer: true,
        answers: &[empty(204, "The token is dead", &[]), error(401, "bad_token"), FAULT, BUSY],
    },
    HttpCall {
        method: "get",
        path: "/.well-known/homing",
        name: "well_known",
        summary: "Who this home is, signed, and where its clients connect",
        parameters: &[],
        body: Takes::Nothing,
        bearer: false,
        answers: &[json::<WellKnownAnswer>(200, "The home's record"), FAULT, BUSY],
    },
    HttpCall {
        method: "get",
        path: "/v1/openrpc.json",
        name: "openrpc",
        summary: "The methods of the WebSocket",
        parameters: &[],
        body: Takes::Nothing,
        bearer: false,
        answers: &[json::<AnyObject>(200, "An OpenRPC document")],
    },
    HttpCall {
        method: "get",
        path: "/v1/openapi.json",
        name: "openapi",
        summary: "This document",
        parameters: &[],
        body: Takes::Nothing,
        bearer: false,
        answers: &[json::<AnyObject>(200, "An OpenAPI document")],
    },
    HttpCall {
        method: "get",
        path: "/healthz",
        name: "healthz",
        summary: "Whether the process answers",
        parameters: &[],
        body: Takes::Nothing,
        bearer: false,
        answers: &[json::<Status>(200, "It does")],
    },
    HttpCall {
        method: "get",
        path: "/readyz",
        name: "readyz",
        summary: "Whether the home takes calls",
        parameters: &[],
        body: Takes::Nothing,
        bearer: false,
        answers: &[json::<Status>(200, "It does"), json::<Status>(503, "It does not, and why")],
    },
    HttpCall {
        method: "get",
        path: "/",
        name: "welcome",
        summary: "What this is, for people",
        parameters: &[],
        body: Takes::Nothing,
        bearer: false,
        answers: &[HttpAnswer {
            status: 200,
            when: "A page",
            content: Content::Html,
            retry_after: false,
            headers: &[],
        }],
    },
];
