//! What clients may make a bridge hold, wait for or do; each limit with the reason for its value.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

use crate::bridge::BridgeError;

/// Where a bridge listens and what it allows.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BridgeConfig {
    /// Address and port for HTTP and WebSocket. Plain TCP: TLS is ended by whatever stands in front.
    pub listen: SocketAddr,
    /// How clients reach this bridge from outside, e.g. `https://chat.acme.example`. Shown to clients
    /// as `client` in `/.well-known/homing`.
    pub public_url: Option<String>,
    /// What clients may do.
    pub limits: BridgeLimits,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            public_url: None,
            limits: BridgeLimits::default(),
        }
    }
}

/// Limits of a bridge. Times in milliseconds, sizes in bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BridgeLimits {
    /// A client's frame, or message of several frames. A body of 64 KiB still fits when three of
    /// four of its characters are written as escapes; batches of ordinary calls fit easily.
    pub frame_bytes: usize,
    /// Calls in a batch: one round trip for a screen full of things, yet no way around
    /// `calls_waiting`.
    pub batch_calls: usize,
    /// Calls of one socket that may wait for their answer. Enough to keep a node's commit loop busy
    /// from one client; more are read later.
    pub calls_waiting: usize,
    /// A frame to the client. What common WebSocket libraries take by default.
    pub server_frame_bytes: usize,
    /// A client that takes nothing for so long while something waits for it is cut (4408).
    pub write_idle_ms: u64,
    /// A socket that nobody has signed in on is closed after this (4401).
    pub sign_in_ms: u64,
    /// Refused tokens on one socket until it is closed (4401): a typing error, not a search.
    pub sign_in_attempts: u32,
    /// How long a request's headers may take, and how long a kept-alive connection may be idle.
    pub header_ms: u64,
    /// Size of a request's headers. Browsers with many cookies of the same site stay below.
    pub header_bytes: usize,
    /// A request's body: the calls here carry a name, a password and an invite.
    pub http_body_bytes: usize,
    /// How long a request's body may take. A password over a bad mobile link arrives in time.
    pub http_body_ms: u64,
    /// How long one connection may speak HTTP, whatever it does; then it is asked to come again. A file that is on its way then still
    /// comes to its end, while its bytes flow.
    pub http_connection_ms: u64,
    /// Files on their way at once, up and down. Each holds some 100 KiB here, half a MiB in the kernel and a file descriptor or a stream
    /// at the node: 512 take 300 MiB at worst. More are told to come again.
    pub transfers: usize,
    /// Of those, so many of one token or one link: a browser asks for six at once, and plays a film in two.
    pub transfers_per_user: usize,
    /// A client that sends or takes nothing of a file for so long is cut; it goes on from where it was. The kernel takes
    /// `send_buffer_bytes` at once and more only when a third of it is free, so this asks for 3 KiB/s of those who download.
    pub media_idle_ms: u64,
    /// Over so long a time of waiting for the client...
    pub media_window_ms: u64,
    /// ...at least so many bytes of a file must flow: the slowest mobile link gives 1 KiB/s, and who drips to hold a place gives less.
    pub media_window_bytes: u64,
    /// Of an upload that is refused so much is still read, so that the connection can go on; what has more is answered and closed.
    pub refused_body_bytes: u64,
    /// Connections in all. About 12 KiB each at the node: 20,000 take 240 MiB.
    pub connections: usize,
    /// Connections of one address (IPv6: of one /64), so that one machine cannot take them all,
    /// though an office behind one address gets in. Loopback is free of it: a proxy lives there.
    pub connections_per_ip: usize,
    /// Calls a second of one socket in the long run. Above what a client with `calls_waiting` calls
    /// in flight needs at the speed a node stores; below what a loop gone wild does.
    pub calls_per_second: u32,
    /// Calls of one socket at once, after a pause.
    pub calls_burst: u32,
    /// What a refused call is told to wait: long enough that the next burst is worth it.
    pub busy_retry_ms: u64,
    /// Calls made in spite of that, until the socket is closed (4429). Twice what may be in flight
    /// when the first refusal arrives, and more.
    pub busy_ignored: u32,
    /// A socket that said nothing for so long is pinged. Below the 30 s for which its user is online
    /// after the last sign, and the 60 s after which common proxies forget an idle connection.
    pub ping_ms: u64,
    /// A socket that said nothing for so long, pings included, is gone.
    pub silence_ms: u64,
    /// How long a closing handshake may take, and the last words of a bridge that stops.
    pub close_ms: u64,
    /// The kernel's send buffer of a socket: what it may take for a client that does not read.
    pub send_buffer_bytes: usize,
}

impl Default for BridgeLimits {
    fn default() -> Self {
        Self {
            frame_bytes: 256 << 10,
            batch_calls: 32,
            calls_waiting: 128,
            server_frame_bytes: 1 << 20,
            write_idle_ms: 30_000,
            sign_in_ms: 10_000,
            sign_in_attempts: 3,
            header_ms: 5_000,
            header_bytes: 32 << 10,
            http_body_bytes: 64 << 10,
            http_body_ms: 10_000,
            http_connection_ms: 120_000,
            transfers: 512,
            transfers_per_user: 16,
            media_idle_ms: 60_000,
            media_window_ms: 60_000,
            media_window_bytes: 64 << 10,
            refused_body_bytes: 1 << 20,
            connections: 20_000,
            connections_per_ip: 4_096,
            calls_per_second: 10_000,
            calls_burst: 20_000,
            busy_retry_ms: 250,
            busy_ignored: 1_000,
            ping_ms: 20_000,
            silence_ms: 75_000,
            close_ms: 5_000,
            send_buffer_bytes: 256 << 10,
        }
    }
}

impl BridgeLimits {
    /// Refuses values with which the bridge could not do its work.
    pub(crate) fn check(&self) -> Result<(), BridgeError> {
        let wrong = |name, expected| Err(BridgeError::Limit { name, expected });
        if self.frame_bytes < 1024 {
            return wrong("frame_bytes", "at least 1024");
        }
        // A batch of refusals with the longest ids must fit.
        if self.server_frame_bytes < (64 << 10) + self.batch_calls.saturating_mul(2_560) {
            return wrong("server_frame_bytes", "at least 65536, and 2560 for each of batch_calls");
        }
        if !(1..=1024).contains(&self.batch_calls) {
            return wrong("batch_calls", "1 to 1024");
        }
        if self.calls_waiting == 0 {
            return wrong("calls_waiting", "at least 1");
        }
        if self.header_bytes < 8192 {
            return wrong("header_bytes", "at least 8192");
        }
        if self.connections == 0 || self.connections_per_ip == 0 {
            return wrong("connections", "at least 1, and connections_per_ip at least 1");
        }
        if self.transfers == 0 || self.transfers_per_user == 0 {
            return wrong("transfers", "at least 1, and transfers_per_user at least 1");
        }
        if self.media_idle_ms == 0 || self.media_window_ms == 0 {
            return wrong("media_idle_ms", "at least 1, and media_window_ms at least 1");
        }
        if self.calls_per_second == 0 || self.calls_burst == 0 {
            return wrong("calls_per_second", "at least 1, and calls_burst at least 1");
        }
        if self.silence_ms <= self.ping_ms {
            return wrong("silence_ms", "more than ping_ms");
        }
        Ok(())
    }
}

/// From milliseconds as configured.
pub(crate) fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// The bucket of calls of one socket, and whether its client minds when it is empty.
#[derive(Debug)]
pub(crate) struct CallRate {
    tokens: f64,
    filled_at: tokio::time::Instant,
    refused_until: Option<tokio::time::Instant>,
    ignored: u32,
}

/// Whether one more call may be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may.
    Run,
    /// Answer −32005.
    Busy,
    /// −32005 was ignored too often: close with 4429.
    Flooding,
}

impl CallRate {
    pub(crate) fn new(limits: &BridgeLimits, now: tokio::time::Instant) -> Self {
        Self {
            tokens: f64::from(limits.calls_burst),
            filled_at: now,
            refused_until: None,
            ignored: 0,
        }
    }

    /// Takes one call's worth.
    pub(crate) fn admit(&mut self, limits: &BridgeLimits, now: tokio::time::Instant) -> Admission {
        if let Some(until) = self.refused_until {
            if now < until {
                self.ignored += 1;
                return if self.ignored > limits.busy_ignored {
                    Admission::Flooding
                } else {
                    Admission::Busy
                };
            }
            self.refused_until = None;
            self.ignored = 0;
        }
        let gained = now.duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.tokens = (self.tokens + gained * f64::from(limits.calls_per_second))
            .min(f64::from(limits.calls_burst));
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Admission::Run;
        }
        self.refused_until = Some(now + ms(limits.busy_retry_ms));
        Admission::Busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_waits_as_told_is_never_flooding() {
        let limits = BridgeLimits {
            calls_per_second: 100,
            calls_burst: 10,
            busy_retry_ms: 100,
            busy_ignored: 5,
            ..BridgeLimits::default()
        };
        let mut now = tokio::time::Instant::now();
        let mut rate = CallRate::new(&limits, now);
        for _ in 0..50 {
            let mut ran = 0;
            while rate.admit(&limits, now) == Admission::Run {
                ran += 1;
            }
            assert_eq!(ran, 10);
            now += ms(100);
        }
    }

    #[test]
    fn a_client_that_goes_on_is() {
        let limits = BridgeLimits {
            calls_per_second: 1,
            calls_burst: 2,
            busy_ignored: 3,
            ..BridgeLimits::default()
        };
        let now = tokio::time::Instant::now();
        let mut rate = CallRate::new(&limits, now);
        let seen: Vec<_> = (0..7).map(|_| rate.admit(&limits, now)).collect();
        use Admission::{Busy, Flooding, Run};
        assert_eq!(seen, [Run, Run, Busy, Busy, Busy, Busy, Flooding]);
    }

    #[test]
    fn unknown_keys_and_useless_values_are_refused() {
        let parse = |text: &str| serde_json::from_str::<BridgeConfig>(text);
        assert!(parse(r#"{"listen":"127.0.0.1:0","limits":{"batch_calls":8}}"#).is_ok());
        assert!(parse(r#"{"lisen":"127.0.0.1:0"}"#).unwrap_err().to_string().contains("lisen"));
        let limits = BridgeLimits { batch_calls: 0, ..BridgeLimits::default() };
        assert!(limits.check().unwrap_err().to_string().contains("batch_calls"));
    }
}
