//! Which client a request comes from, also behind a proxy.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{FromRef, FromRequestParts, Request},
    http::{HeaderMap, HeaderName, request::Parts},
};
use ipnet::IpNet;

use crate::{config::Site, server::Peer};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether the other end of this request's connection is one of our proxies.
pub fn is_from_proxy(request: &Request, site: &Site) -> bool {
    let peer = request.extensions().get::<Peer>().map(|Peer(peer)| peer.ip().to_canonical());
    peer.is_some_and(|peer| site.trusted_proxies.iter().any(|net| net.contains(&peer)))
}

/// The network a request comes from: one IPv4 address, or the /64 that an IPv6 customer has at least,
/// within which addresses cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientNet(IpAddr);

impl ClientNet {
    pub fn of(address: IpAddr) -> ClientNet {
        ClientNet(match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = u128::from(address) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(prefix))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// `client: ClientNet` in a handler means that it matters from where one asks.
impl<S: Sync> FromRequestParts<S> for ClientNet
where
    Arc<Site>: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<ClientNet, Infallible> {
        let peer = parts.extensions.get::<Peer>();
        let peer = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |Peer(peer)| peer.ip());
        let site = Arc::<Site>::from_ref(state);
        Ok(ClientNet::of(client(peer, &parts.headers, &site.trusted_proxies)))
    }
}

/// The last address on the way that is not one of our proxies.
///
/// Each proxy adds whom it heard from at the right end of `X-Forwarded-For`; what stands further left
/// than the first stranger is hearsay, and so is all of it when the peer itself is a stranger.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer.to_canonical();
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    for hop in hops {
        if !is_trusted(&client) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(address) => client = address.to_canonical(),
            Err(_) => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn seen(peer: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        let trusted = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap());
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_proxy_of_ours_may_say_who_asks_and_only_the_nearest_stranger_counts() {
        assert_eq!(seen("203.0.113.9", &[]), "203.0.113.9");
        assert_eq!(seen("203.0.113.9", &["198.51.100.1"]), "203.0.113.9", "a stranger's word");
        assert_eq!(seen("127.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(seen("127.0.0.1", &["1.1.1.1, 198.51.100.1"]), "198.51.100.1", "invented left");
        assert_eq!(seen("127.0.0.1", &["1.1.1.1", "198.51.100.1"]), "198.51.100.1", "two lines");
        assert_eq!(seen("127.0.0.1", &["198.51.100.1, 127.0.0.2"]), "198.51.100.1", "two proxies");
        assert_eq!(seen("127.0.0.1", &["198.51.100.1, rubbish"]), "127.0.0.1");
        assert_eq!(seen("127.0.0.1", &[""]), "127.0.0.1");
        assert_eq!(seen("::ffff:127.0.0.1", &["2001:db8::7"]), "2001:db8::7");
    }

    #[test]
    fn a_network_is_one_ipv4_address_or_a_64() {
        let of = |text: &str| ClientNet::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
