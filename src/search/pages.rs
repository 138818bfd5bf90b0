//! The search page.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use crate::{
    config::Site,
    lists::{
        PAGE, atom,
        view::{List, NextPage, Row},
    },
    search::{Found, MAX_RANKED, Sort, Words, db, feed_href},
    web::{
        Error, Page, PageContext, Result,
        cache::{CachePolicy, Topic},
        client::ClientNet,
        extract::Query,
        filters,
        form::FormErrors,
        htmx::wants_fragment,
        list::ListPage,
        middleware::replica::ReadPool,
        throttle::{RateLimit, Throttle},
    },
};

#[derive(Deserialize)]
pub struct SearchQuery {
    #[serde(default)]
    q: String,
    #[serde(default)]
    sort: Sort,
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "search/index.html")]
struct Results<'a> {
    context: PageContext,
    words: &'a str,
    sort: Sort,
    errors: FormErrors,
    /// `None` if there was no search.
    found: Option<Summary>,
    list: List,
    is_continued: bool,
}

impl<'a> Results<'a> {
    /// The page without results.
    fn none(context: PageContext, query: &'a SearchQuery) -> Results<'a> {
        Results {
            context,
            words: &query.q,
            sort: query.sort,
            errors: FormErrors::default(),
            found: None,
            list: List { rows: Vec::new(), next: None },
            is_continued: query.after.is_some(),
        }
    }
}

struct Summary {
    total: i64,
    is_similar: bool,
}

impl Summary {
    /// The text before the query.
    fn count(&self, is_continued: bool) -> String {
        match self.total {
            _ if is_continued => "More results".to_owned(),
            1 => "1 result".to_owned(),
            total if total <= MAX_RANKED => format!("{total} results"),
            _ => format!("More than {MAX_RANKED} results"),
        }
    }

    /// The text after it.
    fn order(&self, sort: Sort, is_continued: bool) -> String {
        let first = match sort {
            Sort::Relevance => "best matches",
            Sort::Top => "most votes",
            Sort::New => return String::new(),
        };
        if is_continued || self.total <= MAX_RANKED {
            return String::new();
        }
        format!(", {first} among the newest {MAX_RANKED}")
    }
}

pub async fn index(
    context: PageContext,
    client: ClientNet,
    ReadPool(db): ReadPool,
    State(throttle): State<Throttle>,
    Query(query): Query<SearchQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let words = match Words::parse(&query.q) {
        Ok(words) => words,
        Err(_) if query.q.trim().is_empty() => {
            return Ok((CachePolicy::Shared(Topic::Lists), Page(Results::none(context, &query)))
                .into_response());
        }
        Err(problem) => {
            let errors = FormErrors::field("q", &problem);
            return Ok(errors.show(|errors| Results { errors, ..Results::none(context, &query) }));
        }
    };
    let taken = match context.viewer_id() {
        Some(viewer) => throttle.check(RateLimit::Search, viewer),
        None => throttle.check(RateLimit::Search, client),
    };
    match taken {
        Err(err) if !wants_fragment(&headers) => {
            let errors = FormErrors::from_error(err)?;
            return Ok(errors.show(|errors| Results { errors, ..Results::none(context, &query) }));
        }
        taken => taken?,
    }

    // A cursor belongs to these words in this order.
    let sort = query.sort;
    let name = format!("search {} {}", sort.as_str(), words.as_str());
    let after = sort.cursor(&name, query.after.as_deref())?;
    let Found { hits, total, is_similar } =
        db::find(&db, context.viewer_id(), &words, sort, after.as_ref()).await?;
    let hits = ListPage::new(hits, PAGE, |last| last.cursor().encode(&name, after.as_ref()));
    let rows = hits.rows.into_iter().map(|hit| Row::new(hit.post, Some(hit.highlights)));
    let next = hits.next.map(|cursor| format!("{}&after={cursor}", sort.href(words.as_str())));
    let list = List { rows: rows.collect(), next };
    if wants_fragment(&headers) {
        return Ok(
            (CachePolicy::Shared(Topic::Lists), Page(NextPage { context, list })).into_response()
        );
    }
    let found = Some(Summary { total, is_similar });
    let page = Results { words: words.as_str(), found, list, ..Results::none(context, &query) };
    Ok((CachePolicy::Shared(Topic::Lists), Page(page)).into_response())
}

#[derive(Deserialize)]
pub struct FeedQuery {
    #[serde(default)]
    q: String,
}

/// The newest posts with all the words. Not by relevance, because a feed is read for what is new, and
/// without titles that are only similar.
pub async fn feed(
    client: ClientNet,
    State(site): State<Arc<Site>>,
    ReadPool(db): ReadPool,
    State(throttle): State<Throttle>,
    Query(query): Query<FeedQuery>,
) -> Result<(CachePolicy, Response)> {
    let words =
        Words::parse(&query.q).map_err(|problem| Error::Invalid(problem.to_string().into()))?;
    throttle.check(RateLimit::Search, client)?;
    let found = db::matches(&db, &words, Sort::New, None, None, PAGE).await?;
    let found = ListPage::new(found, PAGE, |_| String::new()).rows;
    let path = feed_href(words.as_str());
    let info = atom::FeedInfo {
        name: path.trim_start_matches('/').to_owned(),
        title: format!("{} · {}", words.as_str(), site.name),
        path,
        page: Sort::New.href(words.as_str()),
    };
    atom::from_posts(&db, site, info, found.into_iter().map(|found| found.post)).await
}
