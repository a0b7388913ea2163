//! Host names in addresses, turned into IP addresses before anything is dialled.
//!
//! Done here and not by libp2p's own resolver, because an announced name may point into our own network,
//! and only what a name resolves to can be checked.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::dial::{Announced, Target, is_global};

/// A resolver that does not answer must not hold a round up.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of one name that are used: round-robin names may have hundreds.
const ADDRESSES_PER_NAME: usize = 4;

/// Whether there is anything to resolve.
pub(crate) fn is_needed(targets: &[(Target, Announced)]) -> bool {
    targets.iter().flat_map(|(target, _)| target.addresses()).any(|a| host_name(a).is_some())
}

/// The same targets with every name resolved by the system's resolver. Names that do not resolve are
/// left out, as are addresses of announced names that are not global unless `allow_private`.
pub(crate) async fn resolve(
    targets: Vec<(Target, Announced)>,
    allow_private: bool,
) -> Vec<(Target, Announced)> {
    let mut resolved = Vec::with_capacity(targets.len());
    for (target, announced) in targets {
        let any_ip = allow_private || announced == Announced::No;
        let mut addresses = Vec::new();
        for address in target.addresses() {
            match host_name(address) {
                None => addresses.push(address.clone()),
                Some((name, family)) => {
                    addresses.extend(look_up(address, &name, family, any_ip).await);
                }
            }
        }
        match target {
            Target::Peer(peer, _) if !addresses.is_empty() => {
                resolved.push((Target::Peer(peer, addresses), announced));
            }
            Target::Peer(..) => {}
            Target::Address(_) => {
                resolved.extend(addresses.into_iter().map(|a| (Target::Address(a), announced)));
            }
        }
    }
    resolved
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Any,
    V4,
    V6,
}

fn host_name(address: &Multiaddr) -> Option<(String, Family)> {
    let host = address.iter().next();
    if let Some(Protocol::Dns(name)) = host {
        Some((name.into_owned(), Family::Any))
    } else if let Some(Protocol::Dns4(name)) = host {
        Some((name.into_owned(), Family::V4))
    } else if let Some(Protocol::Dns6(name)) = host {
        Some((name.into_owned(), Family::V6))
    } else {
        None
    }
}

async fn look_up(address: &Multiaddr, name: &str, family: Family, any_ip: bool) -> Vec<Multiaddr> {
    // The port does not matter to the look-up; the multiaddress keeps its own.
    let found = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((name, 0))).await;
    let Ok(Ok(found)) = found else {
        tracing::debug!(name, "host name did not resolve");
        return Vec::new();
    };
    found
        .map(|socket: SocketAddr| socket.ip())
        .filter(|ip| match family {
            Family::Any => true,
            Family::V4 => ip.is_ipv4(),
            Family::V6 => ip.is_ipv6(),
        })
        .filter(|ip| any_ip || is_global(*ip))
        .take(ADDRESSES_PER_NAME)
        .filter_map(|ip| address.replace(0, |_| Some(host_part(ip))))
        .collect()
}

fn host_part(ip: IpAddr) -> Protocol<'static> {
    match ip {
        IpAddr::V4(ip) => Protocol::Ip4(ip),
        IpAddr::V6(ip) => Protocol::Ip6(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn localhost(announced: Announced) -> Vec<(Target, Announced)> {
        let address: Multiaddr = "/dns4/localhost/udp/7/quic-v1".parse().unwrap();
        vec![(Target::Address(address), announced)]
    }

    #[tokio::test]
    async fn the_operators_names_may_be_local_and_announced_ones_may_not() {
        assert!(is_needed(&localhost(Announced::No)));
        let own = resolve(localhost(Announced::No), false).await;
        let expected: Multiaddr = "/ip4/127.0.0.1/udp/7/quic-v1".parse().unwrap();
        assert_eq!(own, [(Target::Address(expected.clone()), Announced::No)]);
        assert!(!is_needed(&own));
        assert!(resolve(localhost(Announced::Yes), false).await.is_empty());
        let testnet = resolve(localhost(Announced::Yes), true).await;
        assert_eq!(testnet, [(Target::Address(expected), Announced::Yes)]);
    }
}
