//! What no site can be faster than: the site's own answers, repeated from memory over its own server
//! loop, and a password's hash with nothing around it.
//!
//! `memory ADDRESS FILE`: the file is a JSON list of answers, each with the `path` and the `encoding`
//! (`Accept-Encoding`, or empty) it was given for. `POST /hash` hashes a password.

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
use social_post::server::Listener;
use social_post::server::Shutdown;
use social_post::server::Timeouts;
use social_post::server::serve;
use social_post::users::NewPassword;
use social_post::users::Passwords;
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

struct Answer {
    encoding: String,
    headers: HeaderMap,
    body: Bytes,
}

type Answers = HashMap<String, Vec<Answer>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(file)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: memory ADDRESS FILE");
    };
    let address: SocketAddr = address.parse().context("ADDRESS is such as 127.0.0.1:9000")?;
    let answers = Arc::new(read(&fs::read_to_string(file)?)?);
    let passwords = Passwords::new()?;

    let router = Router::new()
        .route("/hash", post(move || hash(passwords.clone())))
        .fallback(move |request: Request| std::future::ready(repeat(&answers, &request)));
    let listener = Listener::own(TcpListener::bind(address).await?);
    let stop = Stop::default();
    tokio::spawn({
        let stop = stop.clone();
        // Without signals only a kill ends it, which is as well.
        async move { stop.ask_at_signals().await }
    });
    serve(listener, router, TaskTracker::new(), Timeouts::default(), stop).await;
    Ok(())
}

fn read(json: &str) -> anyhow::Result<Answers> {
    let mut answers = Answers::new();
    for recorded in serde_json::from_str::<Vec<Recorded>>(json)? {
        let mut headers = HeaderMap::new();
        for (name, value) in recorded.headers {
            headers.append(name.parse::<HeaderName>()?, HeaderValue::from_str(&value)?);
        }
        let answer = Answer {
            encoding: recorded.encoding,
            headers,
            body: STANDARD.decode(recorded.body)?.into(),
        };
        answers.entry(recorded.path).or_default().push(answer);
    }
    Ok(answers)
}

fn repeat(answers: &Answers, request: &Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let encoding = request.headers().get(header::ACCEPT_ENCODING);
    let encoding = encoding.map_or(&b""[..], HeaderValue::as_bytes);
    let answer = answers
        .get(path)
        .and_then(|forms| forms.iter().find(|form| form.encoding.as_bytes() == encoding));
    let Some(answer) = answer else { return StatusCode::NOT_FOUND.into_response() };
    let mut response = Response::new(Body::from(answer.body.clone()));
    *response.headers_mut() = answer.headers.clone();
    response
}

async fn hash(passwords: Passwords) -> Response {
    let Ok(password) = NewPassword::parse("violet kettle 9 harbour", &[]) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    match passwords.hash(password).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(busy) => busy.into_response(),
    }
}
