//! The vote button.

use askama::Template;
use axum::{
    extract::{Request, State},
    http::HeaderMap,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::{
    config::Site,
    identity::{PostId, Viewer},
    posts::pages::{address, anchor},
    score::Score,
    votes::{Ballot, Target, db},
    web::{
        Error, Page, PageContext, Result,
        extract::{Form, Path},
        htmx::wants_fragment,
        middleware::failed_form::{InlineForm, inline_error},
        page::{referring_page, see_other},
        personal::Mark,
        throttle::{RateLimit, Throttle},
    },
};

#[derive(Template)]
#[template(path = "votes/_vote.html")]
struct VoteButton {
    context: PageContext,
    id: PostId,
    title: String,
    score: Score,
    voted: Mark,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoteForm {
    value: String,
}

/// With htmx returns the button with the new score; without it, redirects to the post on the page
/// where the button is.
pub async fn vote(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    State(throttle): State<Throttle>,
    Path(id): Path<PostId>,
    headers: HeaderMap,
    Form(VoteForm { value }): Form<VoteForm>,
) -> Result<Response> {
    let ballot = Ballot::parse(&value).ok_or(Error::Invalid("A vote is 1 or 0.".into()))?;
    throttle.check(RateLimit::Vote, viewer.id)?;
    let target = Target::Post(id);
    let outcome = db::set(&db, viewer.id, target, ballot).await?.ok_or(Error::NotFound)?;
    let response = if wants_fragment(&headers) {
        let db::Outcome { title, score } = outcome;
        let voted = Mark::from(ballot == Ballot::Cast);
        Page(VoteButton { context, id, title, score, voted }).into_response()
    } else {
        see_other(&return_address(&headers, &context.site, id))
    };
    Ok(target.change().on(response))
}

fn return_address(headers: &HeaderMap, site: &Site, id: PostId) -> String {
    let page = referring_page(headers, site).unwrap_or_else(|| address(id));
    format!("{page}{}", anchor(&id))
}

/// With htmx, says beside the button that a vote could not be saved, and leaves the button as it
/// was. After logging in, a visitor returns to the post.
///
/// The id as text: a malformed one is a 404 beside the button as well.
pub async fn inline_vote_error(id: Result<Path<String>>, request: Request, next: Next) -> Response {
    let Ok(Path(id)) = id else { return next.run(request).await };
    let form = InlineForm {
        id: format!("vote-{id}"),
        anchor: format!("#post-{id}"),
        failed: "Could not save your vote. Try again.",
    };
    inline_error(form, request, next).await
}
