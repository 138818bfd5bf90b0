//! Bringing in a whole site, all of it or nothing.
//!
//! Like [`crate::transfer::import::db`] it writes the tables of every feature, for the same reason.

use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::{
    identity::{PostId, Role},
    markdown,
    posts::{Link, db::EXCERPT},
    transfer::{
        import::{
            SourceId, Step, Tally,
            copy::{Field, Rows},
            db::{begin_alone, try_vacuum},
            whole::{Last, Person, Post, Vote},
        },
        tables::{Import, TABLES},
    },
    users::Email,
};

/// The import of a site. Dropped before [`SiteImport::finish`], it leaves nothing behind.
///
/// People have to come before their posts, and these before their votes.
pub struct SiteImport<'p> {
    tx: Transaction<'static, Postgres>,
    /// One for each table that is copied: a table stands after those that its rows refer to.
    copies: Vec<Rows>,
    progress: &'p mut dyn FnMut(Step),
}

impl<'p> SiteImport<'p> {
    /// `None` if the site has anybody or anything already. Until the end nobody can sign up or post;
    /// reading goes on.
    pub async fn begin(
        db: &PgPool,
        progress: &'p mut dyn FnMut(Step),
    ) -> sqlx::Result<Option<SiteImport<'p>>> {
        let mut tx = begin_alone(db, progress).await?;
        // A sign-up during the import would take an id or a name of the imported people.
        sqlx::raw_sql("lock table users, posts in share row exclusive mode")
            .execute(&mut *tx)
            .await?;
        let copies: Vec<Rows> = (TABLES.iter())
            .filter_map(|table| match table.import {
                Import::Copied(columns) => Some(Rows::new(table.name, columns)),
                Import::Derived(_) | Import::Not(_) => None,
            })
            .collect();
        let is_empty = are_empty(&mut tx, copies.iter().map(Rows::table)).await?;
        Ok(is_empty.then(|| SiteImport { tx, copies, progress }))
    }

    /// Reports how many posts and votes there will be, where that is known.
    pub fn expect(&mut self, posts: u64, votes: u64) {
        (self.progress)(Step::Started { posts, votes });
    }

    pub async fn person(&mut self, person: &Person) -> sqlx::Result<()> {
        let role = match person.role {
            Role::Member => "member",
            Role::Admin => "admin",
        };
        let fields = [
            Field::Number(person.id.0),
            Field::Text(person.username.as_str()),
            Field::text_or_null(person.email.as_ref().map(Email::as_written)),
            Field::text_or_null(person.email.as_ref().map(Email::canonical)),
            Field::text_or_null(person.password_hash.as_deref()),
            Field::Text(role),
            Field::date_or_null(person.suspended_at),
            Field::date_or_null(person.email_confirmed_at),
            Field::Number(person.auth_epoch.into()),
            Field::Date(person.created_at),
        ];
        self.add("users", &fields).await
    }

    /// The text is rendered here: no HTML is imported.
    pub async fn post(&mut self, post: &Post) -> sqlx::Result<()> {
        let body = post.draft.body.as_str();
        let fields = [
            Field::Number(post.id.0),
            Field::Number(post.author.0),
            Field::Text(post.draft.title.as_str()),
            Field::text_or_null(post.draft.link.as_ref().map(Link::as_str)),
            Field::Text(body),
            Field::Text(&markdown::to_html(body).to_string()),
            Field::Text(&markdown::excerpt(body, EXCERPT)),
            Field::Date(post.created_at),
            Field::date_or_null(post.edited_at),
        ];
        self.add("posts", &fields).await
    }

    pub async fn vote(&mut self, vote: Vote) -> sqlx::Result<()> {
        let before = self.sent("votes");
        let fields =
            [Field::Number(vote.post.0), Field::Number(vote.voter.0), Field::Date(vote.created_at)];
        self.add("votes", &fields).await?;
        let sent = self.sent("votes");
        if sent > before {
            (self.progress)(Step::Votes(sent));
        }
        Ok(())
    }

    /// Records the id of a post in a file that it was imported from, so that it is not imported from
    /// there again; without a post where that was deleted since.
    pub async fn source(&mut self, id: SourceId, post: Option<PostId>) -> sqlx::Result<()> {
        let post = post.map_or(Field::Null, |post| Field::Number(post.0));
        self.add("imported_posts", &[Field::Number(id.0), post]).await
    }

    /// Adds a row, after sending the rows of earlier tables that it may refer to.
    async fn add(&mut self, table: &str, fields: &[Field<'_>]) -> sqlx::Result<()> {
        for rows in &mut self.copies {
            if rows.table() == table {
                return rows.add(&mut self.tx, fields).await;
            }
            rows.send(&mut self.tx).await?;
        }
        Err(sqlx::Error::Protocol(format!(
            "transfer/tables.rs does not say that {table} is copied"
        )))
    }

    /// How many rows of a table were sent so far.
    fn sent(&self, table: &str) -> u64 {
        self.copies.iter().find(|rows| rows.table() == table).map_or(0, Rows::sent)
    }

    /// Fills the tables that are derived from the others, sets the sequences to `last`, and commits.
    pub async fn finish(mut self, db: &PgPool, last: Last) -> sqlx::Result<Tally> {
        for rows in &mut self.copies {
            rows.send(&mut self.tx).await?;
        }
        (self.progress)(Step::Finishing);
        for table in TABLES {
            if let Import::Derived(fill) = table.import {
                fill(&mut self.tx).await?;
            }
        }
        set_sequences(&mut self.tx, last).await?;
        let (people, posts, votes) = (self.sent("users"), self.sent("posts"), self.sent("votes"));
        self.tx.commit().await?;
        try_vacuum(db).await;
        Ok(Tally { posts, people, votes })
    }
}

async fn are_empty(
    db: &mut PgConnection,
    tables: impl Iterator<Item = &'static str>,
) -> sqlx::Result<bool> {
    let conditions = tables.map(|table| format!("not exists (select from {table})"));
    let sql = format!("select {}", conditions.collect::<Vec<_>>().join(" and "));
    sqlx::query_scalar(&sql).fetch_one(db).await
}

/// Gives every post its rank, counted from the votes themselves so that the two agree.
pub async fn rank_all(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into post_ranks (post_id, score, hot, created_at)
            select p.id, coalesce(v.score, 0), hot_rank(coalesce(v.score, 0), p.created_at), p.created_at
            from posts p
            left join (select post_id, count(*) as score from votes group by post_id) v on v.post_id = p.id"
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Gives every post its search entry.
pub async fn index_all(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into post_search (post_id, created_at, document)
            select id, created_at, search_document(title, body) from posts"
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn set_sequences(db: &mut PgConnection, last: Last) -> sqlx::Result<()> {
    sqlx::query!(
        "select setval('users_id_seq', greatest($1, (select last_value from users_id_seq)))
        where $1 > 0",
        last.person,
    )
    .fetch_optional(&mut *db)
    .await?;
    sqlx::query!(
        "select setval('posts_id_seq', greatest($1, (select last_value from posts_id_seq)))
        where $1 > 0",
        last.post,
    )
    .fetch_optional(&mut *db)
    .await?;
    Ok(())
}
