//! The search page.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use crate::web::cache::{CachePolicy, Topic};
use crate::{
    config::Site,
    lists::{
        PostSummary, atom,
        ranking::{Hot, PageCursor},
        view::{List, NextPage, Row},
    },
    search::{BadWords, Found, MAX_RANKED, Sort, Words, db, feed_href},
    web::{
        Error, Page, PageContext, Result, Xml,
        client::ClientNet,
        error_page::with_html,
        extract::Query,
        filters,
        htmx::wants_fragment,
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
    problem: Option<BadWords>,
    /// Why there is no answer although the words are fine.
    notice: Option<String>,
    /// None where nothing was asked for yet.
    found: Option<Summary>,
    list: List,
    is_continued: bool,
}

impl<'a> Results<'a> {
    /// The page as it is before anything was looked for.
    fn none(context: PageContext, query: &'a SearchQuery) -> Results<'a> {
        Results {
            context,
            words: &query.q,
            sort: query.sort,
            problem: None,
            notice: None,
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
    /// What stands before the words.
    fn count(&self, is_continued: bool) -> String {
        match self.total {
            _ if is_continued => "More results".to_owned(),
            1 => "1 result".to_owned(),
            total if total <= MAX_RANKED => format!("{total} results"),
            _ => format!("More than {MAX_RANKED} results"),
        }
    }

    /// What stands behind them.
    fn order(&self, sort: Sort, is_continued: bool) -> String {
        let best = match sort {
            Sort::Relevance => "best",
            Sort::Top => "most liked",
            Sort::New => return String::new(),
        };
        if is_continued || self.total <= MAX_RANKED {
            return String::new();
        }
        format!(", the {best} of the newest {MAX_RANKED} first")
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
            let page = Results { problem: Some(problem), ..Results::none(context, &query) };
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response());
        }
    };
    let taken = match context.viewer_id() {
        Some(viewer) => throttle.check(RateLimit::Search, viewer),
        None => throttle.check(RateLimit::Search, client),
    };
    match taken {
        Err(err) if !wants_fragment(&headers) => {
            let page = Results { notice: Some(err.to_string()), ..Results::none(context, &query) };
            return Ok(with_html(err.into_response(), page.render()));
        }
        taken => taken?,
    }

    // A cursor belongs to these words in this order.
    let sort = query.sort;
    let name = format!("search {} {}", sort.word(), words.as_str());
    let after = PageCursor::<Hot>::decode(&name, query.after.as_deref())?;
    let Found { hits, total, is_similar } =
        db::find(&db, context.viewer_id(), &words, sort, after.as_ref()).await?;
    let (mut posts, mut marks) = (Vec::new(), Vec::new());
    for hit in hits {
        // The cursor goes by what the results are ordered by.
        posts.push(PostSummary { hot: hit.rank, ..hit.post });
        marks.push(hit.marks);
    }
    let address = |cursor| {
        let first = sort.href(words.as_str());
        format!("{first}&after={cursor}")
    };
    let mut list = List::new(posts, &name, after.as_ref(), address);
    for (row, marks) in list.rows.iter_mut().zip(marks) {
        if let Row::Read(row) = row {
            row.marks = Some(marks);
        }
    }
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

/// The newest posts with all the words: who has read them waits for the next, not for a better one. What
/// merely looks alike is no news either.
pub async fn feed(
    client: ClientNet,
    State(site): State<Arc<Site>>,
    ReadPool(db): ReadPool,
    State(throttle): State<Throttle>,
    Query(query): Query<FeedQuery>,
) -> Result<(CachePolicy, Xml<atom::Feed>)> {
    let words =
        Words::parse(&query.q).map_err(|problem| Error::Invalid(problem.to_string().into()))?;
    throttle.check(RateLimit::Search, client)?;
    let found = db::matches(&db, &words, Sort::New, None, None, atom::WINDOW).await?;
    let path = feed_href(words.as_str());
    let list = atom::List {
        name: path.trim_start_matches('/').to_owned(),
        title: format!("{} · {}", words.as_str(), site.name),
        path,
        page: Sort::New.href(words.as_str()),
    };
    atom::of(&db, site, list, found.into_iter().map(|found| found.id)).await
}
