//! Every parameter of every route of the API, given what no program should send; and every rule of
//! `support::oracle`, asked of every answer.

mod documents;
mod endpoints;
mod markup;
mod methods;
mod roles;
mod values;

use axum::http::{Method, header, request::Builder};

use social_post::routes::Access;

use crate::{
    hostile::AttackedSite,
    hostile_api::endpoints::{Door, Kind},
    support::{Caller, Reply},
};

/// A request as the door takes it, and `by` whom it may come.
fn begin(by: &Caller, door: &Door, address: &str) -> Builder {
    let request = by.request(door.method.clone(), address);
    match door.kind {
        Kind::Nothing => request,
        Kind::Document => request.header(header::CONTENT_TYPE, "application/json"),
        Kind::Form => request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
    }
}

/// Besides the rules for all answers: what fails is a problem, and nothing of it is kept.
async fn send(
    at: &mut AttackedSite,
    by: &Caller,
    request: Builder,
    body: impl Into<Vec<u8>>,
) -> Reply {
    let asked = format!("{:?} {:?}", request.method_ref(), request.uri_ref());
    let is_head = request.method_ref() == Some(&Method::HEAD);
    let reply = at.send(&by.visitor, request, body.into()).await;
    let status = reply.status.as_u16();
    if status >= 400 {
        assert_eq!(reply.header("content-type"), "application/problem+json", "{asked}: {status}");
        assert_eq!(reply.body.is_empty(), is_head, "{asked}: {status}");
        assert_eq!(reply.header("cache-control"), "no-store", "{asked}: {status}");
    } else {
        assert!([200, 201, 202, 204].contains(&status), "{asked}: {status}");
        assert_eq!(reply.body.is_empty(), status == 204 || status == 202 || is_head, "{asked}");
    }
    assert_eq!(reply.cookies(), [""; 0], "{asked}");
    reply
}

/// Ada, or nobody where anyone will do.
async fn who(at: &AttackedSite, door: &Door) -> Caller {
    if door.who == Access::Anyone { at.site.caller() } else { at.site.caller_of("ada").await }
}
