//! The vote button.

use std::borrow::Cow;

use askama::Template;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::{
    config::Site,
    identity::{PostId, Viewer},
    live::Change,
    posts::pages::{address, anchor},
    score::Score,
    votes::{Ballot, db},
    web::{
        Error, Page, PageContext, Result,
        error::{describe, is_bare_failure},
        error_page::{Anchor, with_html},
        extract::{Form, Path},
        htmx::wants_fragment,
        page::{referring_page, see_other},
        personal::Mark,
        throttle::{RateLimit, Throttle},
    },
};

#[derive(Template)]
#[template(path = "votes/_vote.html")]
struct Control {
    context: PageContext,
    id: PostId,
    title: String,
    score: Score,
    voted: Mark,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pressed {
    value: String,
}

/// With htmx the control comes back with the new score; without it, the reader comes back to the
/// post on the page they were on.
pub async fn vote(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    State(throttle): State<Throttle>,
    Path(id): Path<PostId>,
    headers: HeaderMap,
    Form(Pressed { value }): Form<Pressed>,
) -> Result<Response> {
    let ballot = Ballot::parse(&value).ok_or(Error::Invalid("A vote is 1 or 0.".into()))?;
    throttle.check(RateLimit::Vote, viewer.id)?;
    let outcome = db::set(&db, viewer.id, id, ballot).await?.ok_or(Error::NotFound)?;
    if wants_fragment(&headers) {
        let db::Outcome { title, score } = outcome;
        let voted = Mark::from(ballot == Ballot::Cast);
        return Ok(
            Change::Post(id).on(Page(Control { context, id, title, score, voted }).into_response())
        );
    }
    Ok(Change::Post(id).on(see_other(&place(&headers, &context.site, id))))
}

fn place(headers: &HeaderMap, site: &Site, id: PostId) -> String {
    let page = referring_page(headers, site).unwrap_or_else(|| address(id));
    format!("{page}{}", anchor(&id))
}

#[derive(Template)]
#[template(path = "votes/_failed.html")]
struct Failed {
    message: Cow<'static, str>,
}

/// With htmx, a vote that could not be saved says so beside its button, which stays as it was. Who must
/// log in first comes back to the post.
pub async fn inline_vote_error(request: Request, next: Next) -> Response {
    let is_fragment = wants_fragment(request.headers());
    let id = request.uri().path().split('/').nth(2).map(str::to_owned).unwrap_or_default();
    let mut response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED {
        response.extensions_mut().insert(Anchor(format!("#post-{id}")));
        return response;
    }
    if !is_fragment || !is_bare_failure(&response) {
        return response;
    }
    let Ok(target) = HeaderValue::from_str(&format!("#vote-{id}")) else { return response };
    response.headers_mut().insert("hx-retarget", target);
    response.headers_mut().insert("hx-reswap", HeaderValue::from_static("beforeend"));
    let message = match response.status() {
        StatusCode::TOO_MANY_REQUESTS => describe(&response),
        _ => "Could not save your vote. Try again.".into(),
    };
    with_html(response, Failed { message }.render())
}
