//! The upper bound: the site's own responses, repeated from memory over its own accept loop, and a
//! password hash with nothing around it.
//!
//! `memory ADDRESS FILE`: the file is a JSON list of responses, each with the `path` and the `encoding`
//! (`Accept-Encoding`, or empty) of its request. `POST /hash` hashes a password.

use std::{collections::HashMap, fs, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use social_post::{
    server::{Listener, Shutdown, Timeouts, serve},
    users::{NewPassword, Passwords, password::Subject},
};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Deserialize)]
struct Recorded {
    path: String,
    encoding: String,
    headers: Vec<(String, String)>,
    /// In base64.
    body: String,
}

struct Recording {
    encoding: String,
    headers: HeaderMap,
    body: Bytes,
}

type Recordings = HashMap<String, Vec<Recording>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(file)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: memory ADDRESS FILE");
    };
    let address: SocketAddr = address.parse().context("ADDRESS must be like 127.0.0.1:9000")?;
    let recordings = Arc::new(read(&fs::read_to_string(file)?)?);
    let passwords = Passwords::default();

    let router = Router::new()
        .route("/hash", post(move || hash(passwords.clone())))
        .fallback(move |request: Request| std::future::ready(repeat(&recordings, &request)));
    let listener = Listener::own(TcpListener::bind(address).await?);
    let shutdown = Shutdown::default();
    tokio::spawn({
        let shutdown = shutdown.clone();
        // If signals cannot be handled, it still ends when it is killed.
        async move { shutdown.request_on_signals().await }
    });
    serve(listener, router, TaskTracker::new(), Timeouts::default(), shutdown).await;
    Ok(())
}

fn read(json: &str) -> anyhow::Result<Recordings> {
    let mut recordings = Recordings::new();
    for recorded in serde_json::from_str::<Vec<Recorded>>(json)? {
        let mut headers = HeaderMap::new();
        for (name, value) in recorded.headers {
            headers.append(name.parse::<HeaderName>()?, HeaderValue::from_str(&value)?);
        }
        let recording = Recording {
            encoding: recorded.encoding,
            headers,
            body: STANDARD.decode(recorded.body)?.into(),
        };
        recordings.entry(recorded.path).or_default().push(recording);
    }
    Ok(recordings)
}

fn repeat(recordings: &Recordings, request: &Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let encoding = request.headers().get(header::ACCEPT_ENCODING);
    let encoding = encoding.map_or(&b""[..], HeaderValue::as_bytes);
    let recording = recordings
        .get(path)
        .and_then(|forms| forms.iter().find(|form| form.encoding.as_bytes() == encoding));
    let Some(recording) = recording else { return StatusCode::NOT_FOUND.into_response() };
    let mut response = Response::new(Body::from(recording.body.clone()));
    *response.headers_mut() = recording.headers.clone();
    response
}

async fn hash(passwords: Passwords) -> Response {
    let Ok(password) = NewPassword::parse("violet kettle 9 harbour") else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    match passwords.hash(Subject::Operator, password).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(busy) => busy.into_response(),
    }
}
