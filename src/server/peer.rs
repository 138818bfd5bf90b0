//! The peer address of a connection.

use std::net::SocketAddr;

/// The peer address of a request's connection. The accept loop puts it into each request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);
