//! The search page.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use super::{BOUND, BadWords, Found, Sort, Words, db, feed_href};
use crate::{
    config::Site,
    posts::{
        Listed, feeds,
        pages::{List, Older, Row},
        ranking::{After, Hot},
    },
    web::{
        Error, Page, Result, Shell, Xml,
        client::ClientNet,
        error::with_html,
        extract::Query,
        filters,
        htmx::wants_fragment,
        reader::Reader,
        throttle::{Act, Throttle},
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
    shell: Shell,
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
    fn none(shell: Shell, query: &'a SearchQuery) -> Results<'a> {
        Results {
            shell,
            words: &query.q,
            sort: query.sort,
            problem: None,
            notice: None,
            found: None,
            list: List { rows: Vec::new(), older: None },
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
            total if total <= BOUND => format!("{total} results"),
            _ => format!("More than {BOUND} results"),
        }
    }

    /// What stands behind them.
    fn order(&self, sort: Sort, is_continued: bool) -> String {
        let best = match sort {
            Sort::Relevance => "best",
            Sort::Top => "most liked",
            Sort::New => return String::new(),
        };
        if is_continued || self.total <= BOUND {
            return String::new();
        }
        format!(", the {best} of the newest {BOUND} first")
    }
}

pub async fn index(
    shell: Shell,
    client: ClientNet,
    Reader(db): Reader,
    State(throttle): State<Throttle>,
    Query(query): Query<SearchQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let words = match Words::parse(&query.q) {
        Ok(words) => words,
        Err(_) if query.q.trim().is_empty() => {
            return Ok(Page(Results::none(shell, &query)).into_response());
        }
        Err(problem) => {
            let page = Results { problem: Some(problem), ..Results::none(shell, &query) };
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response());
        }
    };
    let taken = match shell.viewer_id() {
        Some(viewer) => throttle.take(Act::Search, viewer),
        None => throttle.take(Act::Search, client),
    };
    match taken {
        Err(err) if !wants_fragment(&headers) => {
            let page = Results { notice: Some(err.to_string()), ..Results::none(shell, &query) };
            return Ok(with_html(err.into_response(), page.render()));
        }
        taken => taken?,
    }

    // A cursor belongs to these words in this order.
    let sort = query.sort;
    let name = format!("search {} {}", sort.word(), words.as_str());
    let after = After::<Hot>::decode(&name, query.after.as_deref())?;
    let Found { hits, total, is_similar } =
        db::find(&db, shell.viewer_id(), &words, sort, after.as_ref()).await?;
    let (mut posts, mut marks) = (Vec::new(), Vec::new());
    for hit in hits {
        // The cursor goes by what the results are ordered by.
        posts.push(Listed { hot: hit.rank, ..hit.post });
        marks.push(hit.marks);
    }
    let address = |cursor| {
        let first = sort.href(words.as_str());
        format!("{first}&after={cursor}")
    };
    let mut list = List::new(posts, &name, after.as_ref(), address);
    for (row, marks) in list.rows.iter_mut().zip(marks) {
        if let Row::Found(row) = row {
            row.marks = Some(marks);
        }
    }
    if wants_fragment(&headers) {
        return Ok(Page(Older { shell, list }).into_response());
    }
    let found = Some(Summary { total, is_similar });
    let page = Results { words: words.as_str(), found, list, ..Results::none(shell, &query) };
    Ok(Page(page).into_response())
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
    Reader(db): Reader,
    State(throttle): State<Throttle>,
    Query(query): Query<FeedQuery>,
) -> Result<Xml<feeds::Feed>> {
    let words =
        Words::parse(&query.q).map_err(|problem| Error::Invalid(problem.to_string().into()))?;
    throttle.take(Act::Search, client)?;
    let found = db::matches(&db, &words, Sort::New, None, None, feeds::WHOLE).await?;
    let path = feed_href(words.as_str());
    let list = feeds::List {
        name: path.trim_start_matches('/').to_owned(),
        title: format!("{} · {}", words.as_str(), site.name),
        path,
        page: Sort::New.href(words.as_str()),
    };
    feeds::of(&db, site, list, found.into_iter().map(|found| found.id)).await
}
