//! The client that a request comes from, directly or through proxies.

use std::{
    convert::Infallible,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{FromRef, FromRequestParts, Request},
    http::{Extensions, HeaderMap, HeaderName, request::Parts},
};
use ipnet::IpNet;

use crate::{config::Site, server::Peer};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether the peer of this request's connection is a trusted proxy (`TRUSTED_PROXIES`).
pub fn is_from_proxy(request: &Request, site: &Site) -> bool {
    let peer = request.extensions().get::<Peer>().map(|Peer(peer)| peer.ip().to_canonical());
    peer.is_some_and(|peer| site.trusted_proxies.iter().any(|net| net.contains(&peer)))
}

/// The network of a client, the unit of rate limits: one IPv4 address, or an IPv6 /64. A customer has at
/// least a /64, and its addresses cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientNet(IpAddr);

impl ClientNet {
    /// The network that a request comes from.
    pub fn of(request: &Request, site: &Site) -> ClientNet {
        ClientNet::new(request.headers(), request.extensions(), site)
    }

    fn new(headers: &HeaderMap, extensions: &Extensions, site: &Site) -> ClientNet {
        let peer = extensions.get::<Peer>();
        let peer = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |Peer(peer)| peer.ip());
        ClientNet::from_address(client(peer, headers, &site.trusted_proxies))
    }

    /// An IPv4 address mapped into IPv6 counts as the IPv4 address.
    pub fn from_address(address: IpAddr) -> ClientNet {
        ClientNet(match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = u128::from(address) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(prefix))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl fmt::Display for ClientNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A handler that takes a `ClientNet` treats requests differently by where they come from.
impl<S: Sync> FromRequestParts<S> for ClientNet
where
    Arc<Site>: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<ClientNet, Infallible> {
        let site = Arc::<Site>::from_ref(state);
        Ok(ClientNet::new(&parts.headers, &parts.extensions, &site))
    }
}

/// The last address on the way that is not a trusted proxy.
///
/// Each proxy appends the address of its own peer to `X-Forwarded-For`. Entries to the left of the first
/// untrusted address are not reliable, and if the peer itself is untrusted, none is.
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

    fn client_of(peer: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        let trusted = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap());
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_may_name_the_client_and_the_nearest_untrusted_address_counts() {
        assert_eq!(client_of("203.0.113.9", &[]), "203.0.113.9");
        assert_eq!(client_of("203.0.113.9", &["198.51.100.1"]), "203.0.113.9", "an untrusted peer");
        assert_eq!(client_of("127.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            client_of("127.0.0.1", &["1.1.1.1, 198.51.100.1"]),
            "198.51.100.1",
            "forged entry"
        );
        assert_eq!(
            client_of("127.0.0.1", &["1.1.1.1", "198.51.100.1"]),
            "198.51.100.1",
            "two lines"
        );
        assert_eq!(
            client_of("127.0.0.1", &["198.51.100.1, 127.0.0.2"]),
            "198.51.100.1",
            "two proxies"
        );
        assert_eq!(client_of("127.0.0.1", &["198.51.100.1, rubbish"]), "127.0.0.1");
        assert_eq!(client_of("127.0.0.1", &[""]), "127.0.0.1");
        assert_eq!(client_of("::ffff:127.0.0.1", &["2001:db8::7"]), "2001:db8::7");
    }

    #[test]
    fn a_network_is_one_ipv4_address_or_a_64() {
        let net = |text: &str| ClientNet::from_address(text.parse().unwrap());
        assert_eq!(net("2001:db8::1"), net("2001:db8::ffff:1"));
        assert_ne!(net("2001:db8::1"), net("2001:db8:0:1::1"));
        assert_ne!(net("192.0.2.1"), net("192.0.2.2"));
        assert_eq!(net("::ffff:192.0.2.1"), net("192.0.2.1"));
    }
}
