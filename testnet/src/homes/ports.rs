//! Where homes listen.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;

use serde::Deserialize;

use super::HomesError;

/// Below lie the ports of services that this machine may run.
const LOWEST_BASE: u16 = 10_000;

/// Ranges looked at until one is free: on a machine where half of them are taken, one is found.
const BASES_TRIED: u32 = 50;

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
        let http = base.checked_add(index.checked_mul(10)?)?;
        Some(Self { http, p2p: http.checked_add(1)?, admin: http.checked_add(2)? })
    }

    /// Three that are free now.
    pub fn free() -> Result<Self, HomesError> {
        let taken = |e| HomesError::PortTaken(0, e);
        let listener = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(taken);
        let (http, admin) = (listener()?, listener()?);
        let port = |l: &TcpListener| l.local_addr().map(|a| a.port()).map_err(taken);
        loop {
            let tcp = listener()?;
            let p2p = port(&tcp)?;
            if UdpSocket::bind((Ipv4Addr::LOCALHOST, p2p)).is_ok() {
                return Ok(Self { http: port(&http)?, p2p, admin: port(&admin)? });
            }
        }
    }

    /// A base for `count` homes that is free now and stays so: below the ports that the kernel gives to whoever
    /// connects, so that no client sits on the port of a home that is down and wants to come back.
    pub fn base_for(count: u16, rng: &mut impl rand::Rng) -> Result<u16, HomesError> {
        let lowest = ephemeral_from();
        let mut last = io::Error::other("no range of ports below the ephemeral ones is free");
        if let Some(highest) = lowest.checked_sub(count.saturating_mul(10).saturating_add(1))
            && highest > LOWEST_BASE
        {
            for _ in 0..BASES_TRIED {
                let base = rng.random_range(LOWEST_BASE..highest);
                let homes = (0..count).map(|index| Self::from_base(base, index));
                match homes.flatten().try_for_each(|ports| ports.check()) {
                    Ok(()) => return Ok(base),
                    Err(HomesError::PortTaken(_, error)) => last = error,
                    Err(other) => return Err(other),
                }
            }
        }
        Err(HomesError::PortTaken(LOWEST_BASE, last))
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
}
