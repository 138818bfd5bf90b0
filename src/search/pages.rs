//! The search page.

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;

use super::{BOUND, BadWords, Found, Sort, Words, db};
use crate::{
    posts::{
        Listed,
        pages::{List, Older},
        ranking::{After, Hot},
    },
    web::{Page, Result, Shell, extract::Query, filters, htmx::wants_fragment},
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
    /// None where nothing was asked for yet.
    found: Option<Summary>,
    list: List,
    is_continued: bool,
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
    State(db): State<PgPool>,
    Query(query): Query<SearchQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let SearchQuery { q, sort, after } = query;
    let is_continued = after.is_some();
    let list = List { rows: Vec::new(), older: None };
    let words = match Words::parse(&q) {
        Ok(words) => words,
        Err(problem) => {
            let problem = Some(problem).filter(|_| !q.trim().is_empty());
            let status =
                problem.as_ref().map_or(StatusCode::OK, |_| StatusCode::UNPROCESSABLE_ENTITY);
            let page = Results { shell, words: &q, sort, problem, found: None, list, is_continued };
            return Ok((status, Page(page)).into_response());
        }
    };

    // A cursor belongs to these words in this order.
    let name = format!("search {} {}", sort.word(), words.as_str());
    let after = After::<Hot>::decode(&name, after.as_deref())?;
    let Found { hits, total, is_similar } =
        db::find(&db, shell.viewer_id(), &words, sort, after).await?;
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
    let mut list = List::new::<Hot>(posts, &name, address);
    for (row, marks) in list.rows.iter_mut().zip(marks) {
        row.marks = Some(marks);
    }
    if wants_fragment(&headers) {
        return Ok(Page(Older { shell, list }).into_response());
    }
    let found = Some(Summary { total, is_similar });
    let words = words.as_str();
    let page = Results { shell, words, sort, problem: None, found, list, is_continued };
    Ok(Page(page).into_response())
}
