//! Where homes listen.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use super::HomesError;

/// Below lie the ports of services that this machine may run.
const LOWEST_BASE: u16 = 10_000;

/// Ranges looked at until one is free: on a machine where half of them are taken, one is found.
const BASES_TRIED: u32 = 50;

/// From one home's first port to the next one's.
const PORTS_A_HOME: u16 = 10;

/// What this process holds of the ports: until it ends, since its homes come and go on them.
static GUARDS: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());

/// The three ports of a home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// For clients.
    pub http: u16,
    /// For other homes, UDP and TCP.
    pub p2p: u16,
    /// For the operator.
    pub admin: u16,
}

impl Ports {
    /// Those of home number `index`: ten apart.
    pub fn from_base(base: u16, index: u16) -> Option<Self> {
        let http = base.checked_add(index.checked_mul(PORTS_A_HOME)?)?;
        Some(Self { http, p2p: http.checked_add(1)?, admin: http.checked_add(2)? })
    }

    /// Three that are free now and stay so, as [`Self::base_for`] has it.
    pub fn free() -> Result<Self, HomesError> {
        let base = Self::base_for(1, &mut rand::rng())?;
        Self::from_base(base, 0).ok_or_else(none_free)
    }

    /// A base for `count` homes that is free now and stays so while this process lives: below the ports that the
    /// kernel gives to whoever connects, so that no client sits on the port of a home that is down and wants to come
    /// back; and kept from other testnets of this machine by a guard on the last of each ten.
    pub fn base_for(count: u16, rng: &mut impl rand::Rng) -> Result<u16, HomesError> {
        let tens =
            LOWEST_BASE / PORTS_A_HOME..(ephemeral_from() / PORTS_A_HOME).saturating_sub(count);
        if tens.is_empty() {
            return Err(none_free());
        }
        let mut last = none_free();
        for _ in 0..BASES_TRIED {
            let base = rng.random_range(tens.clone()) * PORTS_A_HOME;
            let homes = (0..count).map(|index| Self::from_base(base, index).ok_or_else(none_free));
            match homes.map(|ports| ports?.guarded()).collect::<Result<Vec<_>, _>>() {
                Ok(guards) => {
                    GUARDS.lock().unwrap_or_else(PoisonError::into_inner).extend(guards);
                    return Ok(base);
                }
                Err(error @ HomesError::PortTaken(..)) => last = error,
                Err(other) => return Err(other),
            }
        }
        Err(last)
    }

    /// What keeps the ten to which these belong from others that ask the same way, where all of them are free.
    fn guarded(&self) -> Result<TcpListener, HomesError> {
        let last = self.http + (PORTS_A_HOME - 1);
        let guard = TcpListener::bind((Ipv4Addr::LOCALHOST, last))
            .map_err(|e| HomesError::PortTaken(last, e))?;
        self.check()?;
        Ok(guard)
    }

    /// Refuses by name what somebody else holds.
    pub fn check(&self) -> Result<(), HomesError> {
        for port in [self.http, self.p2p, self.admin] {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .map_err(|e| HomesError::PortTaken(port, e))?;
        }
        UdpSocket::bind((Ipv4Addr::LOCALHOST, self.p2p))
            .map_err(|e| HomesError::PortTaken(self.p2p, e))?;
        Ok(())
    }
}

fn none_free() -> HomesError {
    let why = io::Error::other("no range of ports below the ephemeral ones is free");
    HomesError::PortTaken(LOWEST_BASE, why)
}

/// The first port that the kernel gives out by itself.
fn ephemeral_from() -> u16 {
    // What Linux is delivered with, where it does not say.
    const USUAL: u16 = 32_768;
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or(USUAL)
}

/// The ports of a home that was made, where its configuration can be read.
pub fn ports_of(config: &Path) -> Option<Ports> {
    ports_in(config).ok()
}

/// The ports in a home's configuration.
pub(super) fn ports_in(config: &Path) -> Result<Ports, HomesError> {
    #[derive(Deserialize)]
    struct Listen<T> {
        listen: T,
    }
    #[derive(Deserialize)]
    struct Sections {
        bridge: Listen<String>,
        p2p: Listen<Vec<String>>,
        admin: Listen<String>,
    }
    let text = fs::read_to_string(config).map_err(|e| HomesError::Io(config.to_owned(), e))?;
    let bad = |why: &str| HomesError::Directory(config.to_owned(), why.to_owned());
    let sections: Sections = toml::from_str(&text).map_err(|e| bad(e.message()))?;
    let port = |address: &str| address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    // `/ip4/0.0.0.0/udp/7400/quic-v1`: the first number behind tcp or udp.
    let p2p_port = |address: &String| {
        let mut parts = address.split('/').skip_while(|part| !matches!(*part, "udp" | "tcp"));
        parts.nth(1).and_then(|port| port.parse().ok())
    };
    match (
        port(&sections.bridge.listen),
        sections.p2p.listen.iter().find_map(p2p_port),
        port(&sections.admin.listen),
    ) {
        (Some(http), Some(p2p), Some(admin)) => Ok(Ports { http, p2p, admin }),
        _ => Err(bad("names no ports under [bridge], [p2p] and [admin] listen")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("homing.toml");
        fs::write(
            &config,
            "[bridge]\nlisten = \"127.0.0.1:18080\"\n[p2p]\nlisten = [\"/ip4/0.0.0.0/udp/18081/quic-v1\", \
             \"/ip4/0.0.0.0/tcp/18081\"]\n[admin]\nlisten = \"127.0.0.1:18082\"\n",
        )
        .unwrap();
        assert_eq!(ports_in(&config).unwrap(), Ports::from_base(18080, 0).unwrap());
        fs::write(&config, "[bridge]\n").unwrap();
        assert!(matches!(ports_in(&config), Err(HomesError::Directory(..))));
    }

    #[test]
    fn a_taken_port_is_named() {
        let mine = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = mine.local_addr().unwrap().port();
        let free = Ports::free().unwrap();
        free.check().unwrap();
        let error = Ports { admin: port, ..free }.check().unwrap_err();
        assert!(error.to_string().contains(&port.to_string()), "{error}");
        assert_eq!(Ports::from_base(65_530, 1), None);
    }

    #[test]
    fn homes_that_come_back_have_ports_that_no_client_takes() {
        let base = Ports::base_for(3, &mut rand::rng()).unwrap();
        let last = Ports::from_base(base, 2).unwrap();
        assert!(last.admin < ephemeral_from());
        last.check().unwrap();
    }

    #[test]
    fn nobody_else_is_given_the_ports_of_a_home_that_is_down() {
        let first = Ports::free().unwrap();
        first.check().unwrap();
        assert!(matches!(first.guarded(), Err(HomesError::PortTaken(..))));
    }
}
