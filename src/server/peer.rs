//! The other end of a connection.

use std::net::SocketAddr;

/// The other end of a request's connection; the accept loop puts it into each request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);
