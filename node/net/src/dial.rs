//! When and where to dial. Pure: time and chance are passed in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::config::parse_address;
use homing_wire::HomeRecord;

/// Waits between attempts: doubling from `min` to `max`, each drawn from its upper half.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, attempts: 0 }
    }

    /// Another attempt has failed: how long to wait. `chance` is uniform in 0 to 1.
    pub(crate) fn failed(&mut self, chance: f64) -> Duration {
        // 2^32 times any sensible `min` is beyond any sensible `max`.
        let full = self.min.saturating_mul(1 << self.attempts.min(31)).min(self.max);
        self.attempts = self.attempts.saturating_add(1);
        full.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }

    /// Contact was made: the next failure waits as the first.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Failures since the last contact.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }
}

/// One thing to dial in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A peer that is known: its addresses are tried together and only it is accepted.
    Peer(PeerId, Vec<Multiaddr>),
    /// An address without a known peer: hello will show who is there.
    Address(Multiaddr),
}

impl Target {
    pub(crate) fn addresses(&self) -> &[Multiaddr] {
        match self {
            Self::Peer(_, addresses) => addresses,
            Self::Address(address) => std::slice::from_ref(address),
        }
    }
}

/// What a round dials: the operator's addresses first, then what the home's record announces as far as
/// it may be dialled; at most `limit` addresses.
///
/// Announced host names come out with [`Announced::Yes`], for whoever resolves them must filter the
/// result in the same way.
pub(crate) fn targets(
    pinned: &[Multiaddr],
    record: Option<&HomeRecord>,
    allow_private: bool,
    limit: usize,
) -> Vec<(Target, Announced)> {
    let mut seen = Vec::new();
    let mut targets = Vec::new();
    for address in pinned {
        let (bare, peer) = split_peer(address);
        if seen.len() >= limit || seen.contains(&bare) {
            continue;
        }
        seen.push(bare.clone());
        targets.push((
            match peer {
                Some(peer) => Target::Peer(peer, vec![bare]),
                None => Target::Address(bare),
            },
            Announced::No,
        ));
    }
    for node in record.iter().flat_map(|record| &record.nodes) {
        let Ok(peer) = PeerId::from_bytes(&node.peer_id) else {
            continue;
        };
        let mut addresses = Vec::new();
        for text in &node.addresses {
            let Ok(address) = parse_address(text) else {
                continue;
            };
            let (bare, _) = split_peer(&address);
            if seen.len() < limit && !seen.contains(&bare) && (allow_private || is_public(&bare)) {
                seen.push(bare.clone());
                addresses.push(bare);
            }
        }
        if !addresses.is_empty() {
            targets.push((Target::Peer(peer, addresses), Announced::Yes));
        }
    }
    targets
}

/// Whether an address was announced by a home rather than configured by the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    Yes,
    No,
}

/// The address without its `/p2p` part, and that part.
fn split_peer(address: &Multiaddr) -> (Multiaddr, Option<PeerId>) {
    let mut bare = address.clone();
    if let Some(Protocol::P2p(peer)) = address.iter().last() {
        bare.pop();
        return (bare, Some(peer));
    }
    (bare, None)
}

/// Whether a stranger's address may be dialled. A host name may, once its addresses have been checked.
pub(crate) fn is_public(address: &Multiaddr) -> bool {
    let host = address.iter().next();
    if let Some(Protocol::Ip4(ip)) = host {
        is_global(IpAddr::V4(ip))
    } else if let Some(Protocol::Ip6(ip)) = host {
        is_global(IpAddr::V6(ip))
    } else {
        matches!(host, Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)))
    }
}

/// Whether an IP address is reachable from anywhere (IANA special-purpose registries, RFC 6890).
pub(crate) fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_global_v4(ip),
        IpAddr::V6(ip) => is_global_v6(ip),
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(a == 0
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a >= 240
        // Shared address space (RFC 6598), protocol assignments, benchmarks (RFC 2544), 6to4 anycast.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
        || (a == 192 && b == 88 && c == 99))
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    // Only global unicast (2000::/3) is; within it not documentation, 6to4, Teredo and the other
    // protocol assignments, whose inner IPv4 address could be anything.
    s[0] & 0xe000 == 0x2000
        && !(s[0] == 0x2001 && s[1] < 0x0200)
        && !(s[0] == 0x2001 && s[1] == 0x0db8)
        && s[0] != 0x2002
        && s[0] & 0xfff0 != 0x3ff0
}

#[cfg(test)]
mod tests {
    use super::*;
    use homing_wire::{Epoch, Node};

    #[test]
    fn waits_double_up_to_the_most_and_start_again_after_contact() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
        let waits: Vec<_> = (0..9).map(|_| backoff.failed(1.0).as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff.attempts(), 9);
        backoff.reset();
        assert_eq!(backoff.failed(1.0), Duration::from_millis(500));
    }

    #[test]
    fn chance_moves_a_wait_within_its_upper_half_only() {
        let fresh = || Backoff::new(Duration::from_secs(1), Duration::from_secs(4));
        assert_eq!(fresh().failed(0.0), Duration::from_millis(500));
        assert_eq!(fresh().failed(0.5), Duration::from_millis(750));
        assert_eq!(fresh().failed(7.0), Duration::from_secs(1));
    }

    #[test]
    fn it_never_overflows() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::MAX);
        for _ in 0..200 {
            assert!(backoff.failed(0.5) > Duration::ZERO);
        }
    }

    fn record(nodes: Vec<Node>) -> HomeRecord {
        HomeRecord {
            name: "acme.example".parse().unwrap(),
            identity: [0; 32],
            signing_keys: vec![[0; 32]],
            nodes,
            epoch: Epoch(1),
            number: 1,
            protocols: Vec::new(),
            issued_at: 0,
        }
    }

    #[test]
    fn private_addresses_of_strangers_are_left_out_and_the_operators_are_not() {
        let peer = PeerId::random();
        let pinned: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let public: Multiaddr = "/ip4/8.8.8.8/tcp/2".parse().unwrap();
        let record = record(vec![Node {
            peer_id: peer.to_bytes().into(),
            addresses: vec![
                "/ip4/10.0.0.1/tcp/2".into(),
                "/ip6/fe80::1/tcp/2".into(),
                "nonsense".into(),
                public.to_string(),
                pinned.to_string(),
            ],
        }]);
        let strict = targets(std::slice::from_ref(&pinned), Some(&record), false, 16);
        assert_eq!(
            strict,
            [
                (Target::Address(pinned.clone()), Announced::No),
                (Target::Peer(peer, vec![public.clone()]), Announced::Yes)
            ]
        );
        let open = targets(&[], Some(&record), true, 16);
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].0.addresses().len(), 4);
        assert_eq!(targets(&[], Some(&record), true, 2)[0].0.addresses().len(), 2, "the limit");
    }

    #[test]
    fn a_pinned_peer_is_dialled_as_that_peer() {
        let peer = PeerId::random();
        let pinned: Multiaddr = format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}").parse().unwrap();
        let bare: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let all = targets(&[pinned], None, false, 16);
        assert_eq!(all, [(Target::Peer(peer, vec![bare]), Announced::No)]);
    }

    #[test]
    fn only_global_addresses_are_global() {
        for ip in ["8.8.8.8", "2606:4700::1111", "192.0.1.1", "100.128.0.1"] {
            assert!(is_global(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "::ffff:8.8.8.8",
            "64:ff9b::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "ff02::1",
        ] {
            assert!(!is_global(ip.parse().unwrap()), "{ip}");
        }
    }
}
