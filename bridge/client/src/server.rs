//! A home as clients reach it, and what is asked of it over HTTP.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::error::Error;

/// A connection that takes longer is not coming.
pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Logging in costs the home an Argon2id round and may wait for its turn in a bounded pool.
const HTTP_DEADLINE: Duration = Duration::from_secs(60);

/// The base address of a home's bridge: `http://127.0.0.1:8080`, `https://chat.acme.example`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    base: Url,
}

/// Answer of a registration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Registered {
    /// The new address.
    pub address: String,
    /// The new id.
    pub user_id: Uuid,
}

/// Answer of a login. No `Debug`: the token is a secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct LoggedIn {
    /// The bearer token.
    pub token: String,
    /// The device it is bound to.
    pub device: String,
    /// The user's address.
    pub address: String,
    /// The user's id.
    pub user_id: Uuid,
}

#[derive(Serialize)]
struct RegisterBody<'a> {
    user: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    invite: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
}

#[derive(Serialize)]
struct LoginBody<'a> {
    user: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_name: Option<&'a str>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorWords,
}

#[derive(Deserialize)]
struct ErrorWords {
    code: String,
    #[serde(default)]
    message: String,
}

impl Server {
    /// Makes an account. Refusals: `registration_closed`, `bad_invite`, `user_exists`, `invalid_user`, `weak_password`.
    pub async fn register(
        &self,
        user: &str,
        password: &str,
        invite: Option<&str>,
        display_name: Option<&str>,
    ) -> Result<Registered, Error> {
        let body = RegisterBody { user, password, invite, display_name };
        self.answered(self.http()?.post(self.at("v1/register")).json(&body)).await
    }

    /// Signs a new device in. Refusals: `bad_credentials`, and after repeated failures one with
    /// [`Error::retry_after`].
    pub async fn login(
        &self,
        user: &str,
        password: &str,
        device_name: Option<&str>,
    ) -> Result<LoggedIn, Error> {
        let body = LoginBody { user, password, device_name };
        self.answered(self.http()?.post(self.at("v1/login")).json(&body)).await
    }

    /// Kills the token; its sockets are closed.
    pub async fn logout(&self, token: &str) -> Result<(), Error> {
        let response = self
            .http()?
            .post(self.at("v1/logout"))
            .bearer_auth(token)
            .send()
            .await
            .map_err(|e| self.unreachable(&e))?;
        if response.status().is_success() { Ok(()) } else { Err(refused(response).await) }
    }

    /// Where the WebSocket is, as an HTTP address.
    pub(crate) fn ws_over_http(&self) -> Url {
        self.at("v1/ws")
    }

    /// Whether the way there is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Host and port.
    pub(crate) fn host_port(&self) -> (String, u16) {
        // Both are checked by `from_str`.
        let host = self.base.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        (host, self.base.port_or_known_default().unwrap_or(80))
    }

    pub(crate) fn http(&self) -> Result<reqwest::Client, Error> {
        let builder = self.http_for_ever().timeout(HTTP_DEADLINE);
        builder.build().map_err(|e| self.unreachable(&e))
    }

    /// A client for what may take any time: whoever uses it watches that it moves.
    pub(crate) fn http_for_ever(&self) -> reqwest::ClientBuilder {
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_DEADLINE)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("homing-client/", env!("CARGO_PKG_VERSION")));
        // A plain address is a home nearby: no proxy, and no certificates of the system needed to start.
        if self.is_tls() { builder } else { builder.no_proxy().tls_certs_only(std::iter::empty()) }
    }

    /// What the home calls `path` (`/v1/…`), which does not know under which address it is reached.
    pub(crate) fn resolve(&self, path: &str) -> Result<Url, Error> {
        let strange = || Error::Garbled(format!("{path:?} is no address of this server"));
        let url = self.base.join(path).map_err(|_| strange())?;
        // A token is shown to no other server.
        if url.origin() != self.base.origin() {
            return Err(strange());
        }
        let prefix = self.base.path().trim_end_matches('/');
        if url.path().starts_with("/v1/") && !prefix.is_empty() {
            let mut below = url.clone();
            below.set_path(&format!("{prefix}{}", url.path()));
            return Ok(below);
        }
        Ok(url)
    }

    pub(crate) fn unreachable(&self, error: &dyn std::error::Error) -> Error {
        Error::Unreachable { server: self.to_string(), why: innermost(error) }
    }

    pub(crate) fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let prefix = self.base.path().trim_end_matches('/');
        url.set_path(&format!("{prefix}/{path}"));
        url
    }

    async fn answered<R: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<R, Error> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        let bytes = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::Garbled(e.to_string()))
    }
}

/// The last word of a chain of errors is the one that people can act on ("Connection refused").
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

pub(crate) async fn refused(response: reqwest::Response) -> Error {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(reqwest::header::RETRY_AFTER)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok())
        .map(Duration::from_secs);
    let words = match response.bytes().await {
        Ok(bytes) => serde_json::from_slice::<ErrorBody>(&bytes).ok(),
        Err(_) => None,
    };
    let (code, message) = match words {
        Some(ErrorBody { error }) => (error.code, error.message),
        None => (format!("http_{}", status.as_u16()), format!("the server answered {status}")),
    };
    Error::Http { status: status.as_u16(), code, message, retry_after }
}

impl FromStr for Server {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::BadServer { given: text.to_owned(), why: why.to_owned() };
        let base = Url::parse(text).map_err(|e| bad(&e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(bad("it must start with http:// or https://"));
        }
        if base.host_str().is_none_or(str::is_empty) {
            return Err(bad("it names no host"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(bad("a user or password has no place in it"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(bad("it ends at the path"));
        }
        Ok(Self { base })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (given, shown, ws) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/ws"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/ws"),
            (
                "https://acme.example/chat/",
                "https://acme.example/chat",
                "https://acme.example/chat/v1/ws",
            ),
        ] {
            let server: Server = given.parse().unwrap();
            assert_eq!(server.to_string(), shown);
            assert_eq!(server.ws_over_http().as_str(), ws);
        }
        let v6: Server = "http://[::1]:8080".parse().unwrap();
        assert_eq!(v6.host_port(), ("::1".to_owned(), 8080));
    }

    #[test]
    fn what_is_no_address_is_refused_with_words() {
        for given in
            ["", "acme.example", "ftp://acme.example", "http://a:b@acme.example", "http://a/?x=1"]
        {
            let error = given.parse::<Server>().unwrap_err();
            assert_eq!(error.reason(), "bad_server", "{given}");
            assert!(error.to_string().contains("expected"), "{error}");
        }
    }
}
