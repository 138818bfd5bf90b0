//! Which posts a viewer may see, and which they may change.
//!
//! Lists and searches apply the same rule in SQL, with [`crate::database::views::visible_posts`].

use sqlx::PgPool;

use crate::{
    identity::{PostId, Viewer},
    posts::{Post, db},
    web::{Error, Result},
};

/// The post, if the viewer may see it; otherwise a 404.
pub async fn visible(db: &PgPool, viewer: Option<&Viewer>, id: PostId) -> Result<Post> {
    db::find(db, id, viewer.map(|viewer| viewer.id)).await?.ok_or(Error::NotFound)
}

/// The post, if the viewer may change it. A 404 if they may not see it, a 403 if it is another's.
pub async fn own(db: &PgPool, viewer: &Viewer, id: PostId) -> Result<Post> {
    let post = visible(db, Some(viewer), id).await?;
    if may_change(viewer, &post) { Ok(post) } else { Err(not_yours()) }
}

/// Whether the viewer may edit and delete the post: only its author may.
pub fn may_change(viewer: &Viewer, post: &Post) -> bool {
    post.author_id == viewer.id
}

fn not_yours() -> Error {
    Error::Forbidden("Only its author can edit or delete this post.".into())
}
