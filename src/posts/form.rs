//! The form in which a post is written and edited, and how nothing typed into it gets lost.

use std::sync::Arc;

use askama::Template;
use axum::{
    body::{Body as HttpBody, to_bytes},
    extract::{FromRequest as _, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::live::Change;
use crate::{
    config::Site,
    identity::{PostId, Viewer},
    markdown::{self, Html},
    posts::{
        BadBody, BadLink, BadTitle, Body, Draft, Link, Post, Title, Version,
        access::own,
        db,
        pages::{address, with_status},
        publish::{self, IdempotencyKey, Publication},
    },
    web::{
        Error, Page, PageContext, Result,
        error::{describe, is_bare_failure},
        extract::{Form, Path},
        flash::Flash,
        htmx::wants_fragment,
        middleware::{body::POST_BODY, headers::no_store_by_default},
        page::see_other,
        request_id::RequestId,
        throttle::{RateLimit, Throttle},
    },
};

/// The fields as they were typed, and what the form itself carries along: both are optional, and
/// without them a form sent twice makes two posts, and the last edit wins.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Typed {
    title: String,
    url: String,
    body: String,
    /// Of a new post.
    key: Option<IdempotencyKey>,
    /// Of the text from which an edit started.
    version: Option<Version>,
}

impl Typed {
    fn is_empty(&self) -> bool {
        self.title.is_empty() && self.url.is_empty() && self.body.is_empty()
    }

    fn check(&self) -> Result<Draft, Problems> {
        match (Title::parse(&self.title), Link::parse(&self.url), Body::parse(&self.body)) {
            (Ok(title), Ok(link), Ok(body)) => Ok(Draft { title, link, body }),
            (title, url, body) => {
                Err(Problems { title: title.err(), url: url.err(), body: body.err() })
            }
        }
    }
}

/// What is wrong with each field.
#[derive(Debug, Default)]
struct Problems {
    title: Option<BadTitle>,
    url: Option<BadLink>,
    body: Option<BadBody>,
}

impl Problems {
    fn is_empty(&self) -> bool {
        self.title.is_none() && self.url.is_none() && self.body.is_none()
    }
}

/// What the form makes or changes.
#[derive(Debug, Clone, Copy)]
enum Target {
    New,
    Edit(PostId),
}

impl Target {
    fn heading(self) -> &'static str {
        match self {
            Target::New => "New post",
            Target::Edit(_) => "Edit your post",
        }
    }

    fn button(self) -> &'static str {
        match self {
            Target::New => "Publish",
            Target::Edit(_) => "Save",
        }
    }

    fn action(self) -> String {
        match self {
            Target::New => "/posts".to_owned(),
            Target::Edit(id) => format!("/posts/{id}/edit"),
        }
    }

    fn preview(self) -> String {
        match self {
            Target::New => "/posts/preview".to_owned(),
            Target::Edit(id) => format!("/posts/preview?of={id}"),
        }
    }

    fn cancel(self) -> String {
        match self {
            Target::New => "/".to_owned(),
            Target::Edit(id) => address(id),
        }
    }
}

/// Why the form is back although its fields are fine.
enum Notice {
    LoggedOut,
    Failed(String),
    /// The form has made this post already, and then another text was typed into it.
    AlreadyPublished(PostId),
    /// The post was changed while this edit was being written; as it stands now.
    ChangedMeanwhile(Post),
}

struct Preview {
    title: String,
    host: Option<String>,
    html: Html,
}

#[derive(Template)]
#[template(path = "posts/form.html")]
struct PostForm {
    context: PageContext,
    target: Target,
    typed: Typed,
    problems: Problems,
    notice: Option<Notice>,
    preview: Option<Preview>,
}

impl PostForm {
    fn new(context: PageContext, target: Target, mut typed: Typed) -> PostForm {
        typed.key.get_or_insert_with(IdempotencyKey::new);
        PostForm {
            context,
            target,
            typed,
            problems: Problems::default(),
            notice: None,
            preview: None,
        }
    }
}

#[derive(Template)]
#[template(path = "posts/_preview.html")]
struct Previewed {
    preview: Preview,
}

pub async fn new(_: Viewer, context: PageContext) -> Page<impl Template> {
    Page(PostForm::new(context, Target::New, Typed::default()))
}

pub async fn publish(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    State(throttle): State<Throttle>,
    Form(typed): Form<Typed>,
) -> Result<Response> {
    let draft = match typed.check() {
        Ok(draft) => draft,
        Err(problems) => return Ok(refuse(context, Target::New, typed, problems)),
    };
    throttle.check(RateLimit::Write, viewer.id)?;
    match publish::db::publish(&db, viewer.id, &draft, typed.key).await? {
        Publication::Post(id) => {
            Ok(Change::New(id).on(Flash::Published.on(see_other(&address(id)))))
        }
        Publication::KeyTaken(id) => {
            let typed = Typed { key: None, ..typed };
            Ok(conflict(context, Target::New, typed, Notice::AlreadyPublished(id)))
        }
        Publication::NoAuthor => Err(Error::Unauthenticated),
    }
}

pub async fn edit(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    Path(id): Path<PostId>,
) -> Result<Page<impl Template>> {
    let post = own(&db, &viewer, id).await?;
    let version = Some(post.version());
    let url = post.link.map_or_else(String::new, |link| link.as_str().to_owned());
    let typed = Typed { title: post.title, url, body: post.body, key: None, version };
    Ok(Page(PostForm::new(context, Target::Edit(id), typed)))
}

pub async fn save(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    State(throttle): State<Throttle>,
    Path(id): Path<PostId>,
    Form(typed): Form<Typed>,
) -> Result<Response> {
    let draft = match typed.check() {
        Ok(draft) => draft,
        Err(problems) => {
            own(&db, &viewer, id).await?;
            return Ok(refuse(context, Target::Edit(id), typed, problems));
        }
    };
    throttle.check(RateLimit::Write, viewer.id)?;
    if db::edit(&db, id, viewer.id, &draft, typed.version).await? {
        return Ok(Change::Post(id).on(Flash::Edited.on(see_other(&address(id)))));
    }
    // The statement alone decides; this only tells why it did nothing.
    let post = own(&db, &viewer, id).await?;
    let typed = Typed { version: Some(post.version()), ..typed };
    Ok(conflict(context, Target::Edit(id), typed, Notice::ChangedMeanwhile(post)))
}

/// The form again with the text rendered under it; with htmx the rendered text alone. Fields that
/// do not hold yet are no obstacle to a look, so they are told, not refused: our script then asks for
/// the whole form.
pub async fn preview(
    viewer: Viewer,
    context: PageContext,
    State(throttle): State<Throttle>,
    uri: Uri,
    headers: HeaderMap,
    Form(typed): Form<Typed>,
) -> Result<Response> {
    throttle.check(RateLimit::Preview, viewer.id)?;
    let problems = match typed.check() {
        Err(problems)
            if problems.title != Some(BadTitle::Empty)
                || problems.url.is_some()
                || problems.body.is_some() =>
        {
            problems
        }
        _ => Problems::default(),
    };
    let preview = Preview {
        title: crate::text::repair_line(&typed.title),
        host: Link::parse(&typed.url).ok().flatten().map(|link| link.host().to_owned()),
        html: markdown::to_html(Body::parse(&typed.body).as_ref().map_or("", Body::as_str)),
    };
    let status =
        if problems.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    if wants_fragment(&headers) {
        return Ok(Change::Nothing.on(with_status(status, Previewed { preview })));
    }
    let preview = Some(preview);
    let target = target(&uri).unwrap_or(Target::New);
    let page = PostForm { problems, preview, ..PostForm::new(context, target, typed) };
    Ok(Change::Nothing.on(with_status(status, page)))
}

fn refuse(context: PageContext, target: Target, typed: Typed, problems: Problems) -> Response {
    let page = PostForm { problems, ..PostForm::new(context, target, typed) };
    with_status(StatusCode::UNPROCESSABLE_ENTITY, page)
}

fn conflict(context: PageContext, target: Target, typed: Typed, notice: Notice) -> Response {
    let page = PostForm { notice: Some(notice), ..PostForm::new(context, target, typed) };
    with_status(StatusCode::CONFLICT, page)
}

/// Gives the form back with all that was typed when the request fails for a reason that is not in
/// the form: the session has ended, it came too often, the database is away or hangs, the site is
/// busy or broken.
///
/// It stands around everything that can fail so, the deadline and the bound on requests included.
pub async fn preserve_form_on_error(
    State(site): State<Arc<Site>>,
    request: Request,
    next: Next,
) -> Response {
    let is_form = request.method() == Method::POST && !wants_fragment(request.headers());
    let Some(target) = target(request.uri()).filter(|_| is_form) else {
        return next.run(request).await;
    };
    let (head, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, POST_BODY).await else {
        return Error::TooLarge.into_response();
    };
    let mut copy = Request::builder().body(HttpBody::from(bytes.clone())).unwrap_or_default();
    *copy.headers_mut() = head.headers.clone();
    let mut context = PageContext::bare(&site, &head.uri);
    let reference = head.extensions.get::<RequestId>().cloned();

    let response = next.run(Request::from_parts(head, HttpBody::from(bytes))).await;

    let status = response.status();
    let notice = match (status, reference) {
        (StatusCode::UNAUTHORIZED, _) => Notice::LoggedOut,
        (StatusCode::INTERNAL_SERVER_ERROR, Some(reference)) => {
            Notice::Failed(format!("{} (Reference: {reference}.)", describe(&response)))
        }
        (
            StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::TOO_MANY_REQUESTS,
            _,
        ) => Notice::Failed(describe(&response).into_owned()),
        _ => return response,
    };
    if !is_bare_failure(&response) {
        return response;
    }
    let Ok(Form(typed)) = Form::<Typed>::from_request(copy, &()).await else { return response };
    // The account of one who is told to log in may have been deleted in this moment.
    let viewer = response.extensions().get().cloned();
    context.viewer = viewer.filter(|_| status != StatusCode::UNAUTHORIZED);
    let page = PostForm { notice: Some(notice), ..PostForm::new(context, target, typed) };
    let mut page = no_store_by_default(with_status(status, page)).await;
    for (name, value) in response.headers() {
        page.headers_mut().entry(name).or_insert(value.clone());
    }
    page
}

/// What a request to this address is about, if it is one of those that take the form.
fn target(uri: &Uri) -> Option<Target> {
    let id = match uri.path() {
        "/posts" => return Some(Target::New),
        "/posts/preview" => match uri.query().and_then(|query| query.strip_prefix("of=")) {
            None => return Some(Target::New),
            id => id,
        },
        path => path.strip_prefix("/posts/")?.strip_suffix("/edit"),
    };
    id?.parse().ok().map(|id| Target::Edit(PostId(id)))
}
