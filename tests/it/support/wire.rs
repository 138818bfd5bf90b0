//! HTTP as it goes over the wire, byte by byte: for what no well-behaved client would send.

use std::{
    io::{Error, Result},
    net::SocketAddr,
    str::FromStr as _,
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use social_post::server::{Listener, Timeouts, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{Reply, TestSite};

/// Serves the site on a port of its own for as long as the test runs.
pub async fn listen(site: &TestSite) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listen_on(listener, site, Timeouts::default())
}

pub fn listen_on(listener: TcpListener, site: &TestSite, timeouts: Timeouts) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    let (listener, running) = (Listener::own(listener), site.app.limits.running.clone());
    tokio::spawn(serve(
        listener,
        site.router.clone(),
        running,
        timeouts,
        site.app.shutdown.clone(),
    ));
    address
}

/// Sends the bytes and reads until the server ends the connection. Fails where the answer is not
/// whole, or does not come at all.
pub async fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> Result<Reply> {
    let mut stream = TcpStream::connect(address).await?;
    // A server may refuse and hang up before it has read everything.
    let _ = stream.write_all(request.as_ref()).await;
    read(&mut stream, request.as_ref().starts_with(b"HEAD ")).await
}

/// Reads one answer, the last on its connection.
pub async fn receive(stream: &mut TcpStream) -> Result<Reply> {
    read(stream, false).await
}

async fn read(stream: &mut TcpStream, is_head: bool) -> Result<Reply> {
    let mut bytes = Vec::new();
    match timeout(Duration::from_secs(30), stream.read_to_end(&mut bytes)).await {
        // Hung up upon while there was more to say: what arrived before counts.
        Ok(Err(_)) if !bytes.is_empty() => {}
        Ok(read) => drop(read?),
        Err(_) => return Err(Error::other("no answer, and the connection stays open")),
    }
    parse(&bytes, is_head).ok_or_else(|| {
        Error::other(format!("not a whole answer: {:?}", String::from_utf8_lossy(&bytes)))
    })
}

/// The answer, once it is whole.
pub fn parse(bytes: &[u8], is_head: bool) -> Option<Reply> {
    let ends = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..ends]).ok()?;
    let body = &bytes[ends + 4..];
    let mut lines = head.split("\r\n");
    let status = StatusCode::from_str(lines.next()?.split(' ').nth(1)?).ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        headers.append(HeaderName::from_str(name).ok()?, HeaderValue::from_str(value).ok()?);
    }
    let has_no_body = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    let is_whole = if is_head || has_no_body {
        body.is_empty()
    } else if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        body.ends_with(b"0\r\n\r\n")
    } else {
        body.len() == headers.get("content-length")?.to_str().ok()?.parse::<usize>().ok()?
    };
    let body = String::from_utf8_lossy(body).into_owned();
    is_whole.then_some(Reply { status, headers, body })
}
