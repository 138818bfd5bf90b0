//! Which posts a viewer may see, and which they may change.

use sqlx::PgPool;

use crate::{
    identity::{PostId, Viewer},
    posts::{Post, db},
    web::{Error, Result},
};

/// The post, if it is the viewer's to change.
pub async fn own(db: &PgPool, viewer: &Viewer, id: PostId) -> Result<Post> {
    let post = db::find(db, id, None).await?.ok_or(Error::NotFound)?;
    if post.is_by(viewer) { Ok(post) } else { Err(not_yours()) }
}

fn not_yours() -> Error {
    Error::Forbidden("Only its author can change this post.".into())
}
