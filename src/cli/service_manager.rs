//! The protocol of service managers such as systemd: a passed socket, and notifications.

use std::net::TcpListener;

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
use sd_notify::NotifyState;

use crate::cli::Failure;

/// The socket on which to serve (`LISTEN_FDS`), where one is passed. The service manager keeps it open, so
/// that clients wait in its queue while this program is replaced.
///
/// To be called once, before there are threads: it clears the variables, which are for this process
/// alone.
pub fn passed_socket() -> Result<Option<TcpListener>, Failure> {
    let mut passed = ListenFd::from_env();
    let wrong = || {
        Failure::Configuration(
            "LISTEN_FDS must pass one listening TCP socket: one ListenStream= with an address and a \
             port, and Accept=no"
                .to_owned(),
        )
    };
    match passed.len() {
        0 => Ok(None),
        1 => match passed.take_tcp_listener(0) {
            Ok(Some(socket)) if getsockopt(&socket, AcceptConn).unwrap_or(false) => {
                Ok(Some(socket))
            }
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// Announces that the site serves.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// Announces that the process is stopping.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

fn notify(state: NotifyState) {
    if let Err(err) = sd_notify::notify(&[state]) {
        tracing::warn!(%err, "cannot notify the service manager (NOTIFY_SOCKET)");
    }
}
