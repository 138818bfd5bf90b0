//! Reading a whole site at one moment, while it serves.

use std::io::{self, Write};

use sqlx::{PgConnection, PgPool};

use crate::{
    identity,
    transfer::{
        export::{
            Counts, FORMAT, Header, Import, Line, Person, Post, Role, VERSION, Vote, writer::Writer,
        },
        tables::{Export, TABLES},
    },
};

/// How many rows are read at once. A post may be long.
const ROWS: i64 = 5000;
const POSTS: i64 = 100;

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("cannot read the site: {0}")]
    Read(#[from] sqlx::Error),
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Writes the whole site. The same site gives the same bytes, whenever it is written.
pub async fn write(db: &PgPool, out: &mut (dyn Write + Send)) -> Result<Counts, Problem> {
    let mut out = Writer::new(out);
    let mut tx = db.begin_with("begin isolation level repeatable read, read only").await?;
    header(&mut tx, &mut out).await?;
    for table in TABLES {
        if let Export::Lines(write) = table.export {
            write(&mut tx, &mut out).await?;
        }
    }
    Ok(out.finish()?)
}

/// The first statement, which fixes the moment. Sequences do not belong to a moment: at worst one is
/// ahead of it.
async fn header(db: &mut PgConnection, out: &mut Writer<'_>) -> Result<(), Problem> {
    let last = sqlx::query!(
        r#"
        select
            greatest((select max(id) from users), (select last_value from users_id_seq where is_called), 0) as "person!",
            greatest((select max(id) from posts), (select last_value from posts_id_seq where is_called), 0) as "post!"
        "#
    )
    .fetch_one(db)
    .await?;
    let (last_person, last_post) = (last.person, last.post);
    let header = Header { format: FORMAT.to_owned(), version: VERSION, last_person, last_post };
    Ok(out.write(&Line::Header(header))?)
}

pub async fn people(db: &mut PgConnection, out: &mut Writer<'_>) -> Result<(), Problem> {
    let mut last = 0;
    loop {
        let rows = sqlx::query!(
            r#"
            select id, username, email, email_confirmed_at, password_hash, auth_epoch,
                role as "role: identity::Role", suspended_at, created_at
            from users where id > $1 order by id limit $2
            "#,
            last,
            ROWS,
        )
        .fetch_all(&mut *db)
        .await?;
        let Some(end) = rows.last() else { return Ok(()) };
        last = end.id;
        for row in rows {
            out.write(&Line::Person(Person {
                id: row.id,
                username: row.username,
                email: row.email,
                email_confirmed_at: row.email_confirmed_at,
                password_hash: row.password_hash,
                auth_epoch: row.auth_epoch,
                role: match row.role {
                    identity::Role::Member => Role::Member,
                    identity::Role::Admin => Role::Admin,
                },
                suspended_at: row.suspended_at,
                created_at: row.created_at,
            }))?;
        }
    }
}

pub async fn posts(db: &mut PgConnection, out: &mut Writer<'_>) -> Result<(), Problem> {
    let mut last = 0;
    loop {
        let rows = sqlx::query_as!(
            Post,
            "select id, author_id as author, title, url, body, created_at, edited_at
            from posts where id > $1 order by id limit $2",
            last,
            POSTS,
        )
        .fetch_all(&mut *db)
        .await?;
        let Some(end) = rows.last() else { return Ok(()) };
        last = end.id;
        for post in rows {
            out.write(&Line::Post(post))?;
        }
    }
}

pub async fn votes(db: &mut PgConnection, out: &mut Writer<'_>) -> Result<(), Problem> {
    let mut last = (0, 0);
    loop {
        let rows = sqlx::query_as!(
            Vote,
            "select post_id as post, user_id as voter, created_at
            from votes where (post_id, user_id) > ($1, $2) order by post_id, user_id limit $3",
            last.0,
            last.1,
            ROWS,
        )
        .fetch_all(&mut *db)
        .await?;
        let Some(end) = rows.last() else { return Ok(()) };
        last = (end.post, end.voter);
        for vote in rows {
            out.write(&Line::Vote(vote))?;
        }
    }
}

pub async fn imports(db: &mut PgConnection, out: &mut Writer<'_>) -> Result<(), Problem> {
    let mut last = 0;
    loop {
        let rows = sqlx::query_as!(
            Import,
            "select source_id, post_id as post
            from imported_posts where source_id > $1 order by source_id limit $2",
            last,
            ROWS,
        )
        .fetch_all(&mut *db)
        .await?;
        let Some(end) = rows.last() else { return Ok(()) };
        last = end.source_id;
        for import in rows {
            out.write(&Line::Import(import))?;
        }
    }
}
