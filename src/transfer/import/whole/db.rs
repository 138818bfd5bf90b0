//! Taking a whole site in, all of it or nothing.
//!
//! Like [`crate::transfer::import::db`] it writes to the tables of every feature, for the same reason.

use sqlx::{PgPool, Postgres, Transaction};

use crate::{
    identity::{PostId, Role},
    markdown,
    posts::{Link, db::EXCERPT},
    transfer::import::{
        SourceId, Step, Tally,
        copy::{Field, Rows},
        db::{alone, tidy},
        whole::{Last, Person, Post, Vote},
    },
    users::Email,
};

/// A site that is coming in. Dropped before [`SiteImport::finish`], it leaves nothing.
///
/// People have to come before their posts, and these before their votes.
pub struct SiteImport<'p> {
    tx: Transaction<'static, Postgres>,
    people: Rows,
    posts: Rows,
    votes: Rows,
    sources: Rows,
    progress: &'p mut dyn FnMut(Step),
}

impl<'p> SiteImport<'p> {
    /// `None` if there is anybody or anything here already. From now on nobody signs up or posts until
    /// the whole site is in; reading goes on.
    pub async fn begin(
        db: &PgPool,
        progress: &'p mut dyn FnMut(Step),
    ) -> sqlx::Result<Option<SiteImport<'p>>> {
        let mut tx = alone(db, progress).await?;
        // Whoever signed up meanwhile would take an id or a name of those who come.
        sqlx::raw_sql("lock table users, posts in share row exclusive mode")
            .execute(&mut *tx)
            .await?;
        let is_empty = sqlx::query_scalar!(
            r#"select not exists (select from users) and not exists (select from imported_posts) as "is_empty!""#
        )
        .fetch_one(&mut *tx)
        .await?;
        Ok(is_empty.then(|| SiteImport {
            tx,
            people: Rows::new(
                "copy users (id, username, email, email_key, password_hash, role, suspended_at, \
                 email_confirmed_at, auth_epoch, created_at) from stdin",
            ),
            posts: Rows::new(
                "copy posts (id, author_id, title, url, body, body_html, excerpt, created_at, \
                 edited_at) from stdin",
            ),
            votes: Rows::new("copy votes (post_id, user_id, created_at) from stdin"),
            sources: Rows::new("copy imported_posts (source_id, post_id) from stdin"),
            progress,
        }))
    }

    /// Tells what is about to come, where that is known.
    pub fn expect(&mut self, posts: u64, votes: u64) {
        (self.progress)(Step::Begun { posts, votes });
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
        self.people.add(&mut self.tx, &fields).await
    }

    /// The text is rendered here and now: nobody else's HTML comes in.
    pub async fn post(&mut self, post: &Post) -> sqlx::Result<()> {
        self.people.send(&mut self.tx).await?;
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
        self.posts.add(&mut self.tx, &fields).await
    }

    pub async fn vote(&mut self, vote: Vote) -> sqlx::Result<()> {
        self.posts.send(&mut self.tx).await?;
        let sent = self.votes.sent();
        let fields =
            [Field::Number(vote.post.0), Field::Number(vote.voter.0), Field::Date(vote.created_at)];
        self.votes.add(&mut self.tx, &fields).await?;
        if self.votes.sent() > sent {
            (self.progress)(Step::Votes(self.votes.sent()));
        }
        Ok(())
    }

    /// Remembers what a post was called in a file that it once came from, so that it does not come
    /// in from there again; no post where it was deleted since.
    pub async fn source(&mut self, id: SourceId, post: Option<PostId>) -> sqlx::Result<()> {
        self.posts.send(&mut self.tx).await?;
        let post = post.map_or(Field::Null, |post| Field::Number(post.0));
        self.sources.add(&mut self.tx, &[Field::Number(id.0), post]).await
    }

    /// Ranks the posts, makes them searchable, lets the ids go on after `last`, and commits.
    pub async fn finish(mut self, db: &PgPool, last: Last) -> sqlx::Result<Tally> {
        for rows in [&mut self.people, &mut self.posts, &mut self.votes, &mut self.sources] {
            rows.send(&mut self.tx).await?;
        }
        (self.progress)(Step::Finishing);
        let mut tx = self.tx;
        // The votes themselves are counted, so that the two agree.
        sqlx::query!(
            "insert into post_ranks (post_id, score, hot, created_at)
            select p.id, coalesce(v.score, 0), hot_rank(coalesce(v.score, 0), p.created_at), p.created_at
            from posts p
            left join (select post_id, count(*) as score from votes group by post_id) v on v.post_id = p.id"
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "insert into post_search (post_id, created_at, document)
            select id, created_at, search_document(title, body) from posts"
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "select setval('users_id_seq', greatest($1, (select last_value from users_id_seq)))
            where $1 > 0",
            last.person,
        )
        .fetch_optional(&mut *tx)
        .await?;
        sqlx::query!(
            "select setval('posts_id_seq', greatest($1, (select last_value from posts_id_seq)))
            where $1 > 0",
            last.post,
        )
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;

        tidy(db).await;
        let (people, posts, votes) = (self.people.sent(), self.posts.sent(), self.votes.sent());
        Ok(Tally { posts, people, votes })
    }
}
