//! The form in which a post is written and edited, and its preview.

use askama::Template;
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::{
    cpu,
    identity::{PostId, Viewer},
    live::Change,
    markdown::{self, Html},
    posts::{
        BadTitle, Body, Draft, Link, Post, Title, Version,
        access::own,
        db,
        pages::address,
        publish::{self, IdempotencyKey, Publication},
    },
    web::{
        Error, Page, PageContext, Result,
        error::Field,
        extract::{Form, Path, Query},
        flash::Flash,
        form::{Failure, FormErrors},
        htmx::wants_fragment,
        page::see_other,
        throttle::{RateLimit, Throttle},
    },
};

/// The fields as they were typed. `key` and `version` are hidden fields and optional: without them a
/// form sent twice makes two posts, and the last edit wins.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostForm {
    title: String,
    url: String,
    body: String,
    /// Of a new post.
    key: Option<IdempotencyKey>,
    /// Of the text from which an edit started.
    version: Option<Version>,
}

impl PostForm {
    fn is_empty(&self) -> bool {
        self.title.is_empty() && self.url.is_empty() && self.body.is_empty()
    }

    async fn parse(&self) -> Result<Draft, Vec<Field>> {
        Draft::read(self.title.clone(), self.url.clone(), self.body.clone()).await
    }
}

/// What the form publishes or changes.
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

/// The query of a preview: the post that is being edited.
#[derive(Deserialize)]
pub struct PreviewQuery {
    of: Option<PostId>,
}

impl PreviewQuery {
    /// A query that cannot be read is no reason to lose what was typed.
    fn target(query: Result<Query<PreviewQuery>>) -> Target {
        let of = query.ok().and_then(|Query(query)| query.of);
        of.map_or(Target::New, Target::Edit)
    }
}

/// Why the form is shown again although its fields are valid.
enum Notice {
    Request(Failure),
    /// The form has published this post already, and then another text was typed into it.
    AlreadyPublished(PostId),
    /// The post was changed while this edit was being written; this is its current version.
    ChangedMeanwhile(Post),
}

struct Preview {
    title: String,
    host: Option<String>,
    html: Html,
}

impl Preview {
    async fn new(form: &PostForm) -> Preview {
        let PostForm { title, url, body, .. } = form.clone();
        cpu::run(move || Preview {
            // A longer one is in the form, with what is wrong with it.
            title: crate::text::repair_line(&title).chars().take(Title::MAX).collect(),
            host: Link::parse(&url).ok().flatten().map(|link| link.host().to_owned()),
            html: markdown::to_html(Body::parse(&body).as_ref().map_or("", Body::as_str)),
        })
        .await
    }
}

#[derive(Template)]
#[template(path = "posts/form.html")]
struct FormPage {
    context: PageContext,
    target: Target,
    form: PostForm,
    errors: FormErrors<Notice>,
    preview: Option<Preview>,
}

impl FormPage {
    fn new(
        context: PageContext,
        target: Target,
        mut form: PostForm,
        errors: FormErrors<Notice>,
    ) -> FormPage {
        form.key.get_or_insert_with(IdempotencyKey::new);
        FormPage { context, target, form, errors, preview: None }
    }
}

#[derive(Template)]
#[template(path = "posts/_preview.html")]
struct PreviewPart {
    preview: Preview,
}

pub async fn new(_: Viewer, context: PageContext) -> Page<impl Template> {
    Page(FormPage::new(context, Target::New, PostForm::default(), FormErrors::default()))
}

pub async fn publish(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    State(throttle): State<Throttle>,
    Form(form): Form<PostForm>,
) -> Result<Response> {
    let draft = match form.parse().await {
        Ok(draft) => draft,
        Err(fields) => return Ok(invalid(context, Target::New, form, fields)),
    };
    throttle.check(RateLimit::Write, viewer.id)?;
    match publish::db::publish(&db, viewer.id, &draft, form.key).await? {
        Publication::Post(id) => {
            Ok(Change::New(id).on(Flash::Published.on(see_other(&address(id)))))
        }
        Publication::KeyTaken(id) => {
            let form = PostForm { key: None, ..form };
            Ok(conflict(context, Target::New, form, Notice::AlreadyPublished(id)))
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
    let form = PostForm { title: post.title, url, body: post.body, key: None, version };
    Ok(Page(FormPage::new(context, Target::Edit(id), form, FormErrors::default())))
}

pub async fn save(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    State(throttle): State<Throttle>,
    Path(id): Path<PostId>,
    Form(form): Form<PostForm>,
) -> Result<Response> {
    let draft = match form.parse().await {
        Ok(draft) => draft,
        Err(fields) => {
            own(&db, &viewer, id).await?;
            return Ok(invalid(context, Target::Edit(id), form, fields));
        }
    };
    throttle.check(RateLimit::Write, viewer.id)?;
    if db::edit(&db, id, viewer.id, &draft, form.version).await? {
        return Ok(Change::Removed(id).on(Flash::Edited.on(see_other(&address(id)))));
    }
    // The statement alone decides; this only finds out why it changed nothing.
    let post = own(&db, &viewer, id).await?;
    let form = PostForm { version: Some(post.version()), ..form };
    Ok(conflict(context, Target::Edit(id), form, Notice::ChangedMeanwhile(post)))
}

/// The form again with the text rendered below it; with htmx the rendered text alone. A text with
/// invalid fields is rendered as well, with a 422, after which our script requests the whole form.
pub async fn preview(
    viewer: Viewer,
    context: PageContext,
    State(throttle): State<Throttle>,
    query: Result<Query<PreviewQuery>>,
    headers: HeaderMap,
    Form(form): Form<PostForm>,
) -> Result<Response> {
    throttle.check(RateLimit::Preview, viewer.id)?;
    let is_untitled = Title::parse(&form.title) == Err(BadTitle::Empty);
    let errors = match form.parse().await {
        // A title that is still to come is no mistake yet.
        Err(fields) if !(is_untitled && fields.len() == 1) => FormErrors::invalid(fields),
        _ => FormErrors::default(),
    };
    let preview = Preview::new(&form).await;
    let response = if wants_fragment(&headers) {
        errors.show(|_| PreviewPart { preview })
    } else {
        let target = PreviewQuery::target(query);
        errors.show(|errors| FormPage {
            preview: Some(preview),
            ..FormPage::new(context, target, form, errors)
        })
    };
    Ok(Change::Nothing.on(response))
}

fn invalid(context: PageContext, target: Target, form: PostForm, fields: Vec<Field>) -> Response {
    FormErrors::invalid(fields).show(|errors| FormPage::new(context, target, form, errors))
}

fn conflict(context: PageContext, target: Target, form: PostForm, notice: Notice) -> Response {
    FormErrors::with_notice(StatusCode::CONFLICT, notice)
        .show(|errors| FormPage::new(context, target, form, errors))
}

/// The page of a [`publish`] that failed.
pub async fn publish_failed(
    context: PageContext,
    Extension(failure): Extension<Failure>,
    Form(form): Form<PostForm>,
) -> Page<impl Template> {
    Page(failed(context, Target::New, form, failure))
}

/// The page of a [`save`] that failed.
pub async fn save_failed(
    context: PageContext,
    Extension(failure): Extension<Failure>,
    Path(id): Path<PostId>,
    Form(form): Form<PostForm>,
) -> Page<impl Template> {
    Page(failed(context, Target::Edit(id), form, failure))
}

/// The page of a [`preview`] that failed.
pub async fn preview_failed(
    context: PageContext,
    Extension(failure): Extension<Failure>,
    query: Result<Query<PreviewQuery>>,
    Form(form): Form<PostForm>,
) -> Page<impl Template> {
    Page(failed(context, PreviewQuery::target(query), form, failure))
}

fn failed(context: PageContext, target: Target, form: PostForm, failure: Failure) -> FormPage {
    let errors = FormErrors::with_notice(StatusCode::OK, Notice::Request(failure));
    FormPage::new(context, target, form, errors)
}
