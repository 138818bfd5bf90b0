//! Every parameter of every route of the API, given what no client should send; and every rule of
//! `support::oracle`, checked on every response.

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
    hostile_api::endpoints::{Endpoint, Kind},
    support::{Caller, Reply},
};

/// A request as the endpoint accepts it, sent by `by`.
fn begin(by: &Caller, endpoint: &Endpoint, address: &str) -> Builder {
    let request = by.request(endpoint.method.clone(), address);
    match endpoint.kind {
        Kind::Nothing => request,
        Kind::Document => request.header(header::CONTENT_TYPE, "application/json"),
        Kind::Form => request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
    }
}

/// Besides the rules for all responses: a failure is a problem document and is never cached.
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

/// Ada, or an anonymous client where that is enough.
async fn who(at: &AttackedSite, endpoint: &Endpoint) -> Caller {
    if endpoint.who == Access::Anyone { at.site.caller() } else { at.site.caller_of("ada").await }
}
