//! An account's data as one JSON document: profile, posts and votes, oldest first.

use axum::body::Body;
use futures_util::stream;
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    identity::{PostId, UserId, Viewer},
    users::db,
    web::Result,
};

/// The document; `None` once the account is gone.
///
/// It is read a part at a time while the client reads it, so a long one takes no more memory than a short
/// one, and no connection to the database while the client waits. If the database fails in between, the
/// response breaks off.
pub async fn export(db: &PgPool, viewer: &Viewer) -> Result<Option<Body>> {
    let Some(profile) = db::export_profile(db, viewer.id).await? else { return Ok(None) };
    tracing::info!(user = viewer.id.0, "exported the account's data");
    let export = Export { db: db.clone(), user: viewer.id, next: Part::Profile(profile) };
    Ok(Some(Body::from_stream(stream::try_unfold(export, Export::part))))
}

/// A document of which some parts are still to come.
struct Export {
    db: PgPool,
    user: UserId,
    next: Part,
}

enum Part {
    Profile(String),
    /// The posts after this one.
    Posts(Option<PostId>),
    /// The votes after this place.
    Votes(Option<(OffsetDateTime, PostId)>),
    End,
}

impl Export {
    /// The next part of the text, and the export after it.
    async fn part(mut self) -> sqlx::Result<Option<(String, Export)>> {
        let text = match self.next {
            Part::Profile(profile) => {
                self.next = Part::Posts(None);
                // An object that goes on.
                format!("{}, \"posts\" : [", profile.strip_suffix('}').unwrap_or(&profile))
            }
            Part::Posts(after) => {
                let posts =
                    db::export_posts(&self.db, self.user, after.unwrap_or(PostId(i64::MIN)));
                let posts = posts.await.inspect_err(broken)?;
                self.next = match posts.last() {
                    Some((id, _)) => Part::Posts(Some(*id)),
                    None => Part::Votes(None),
                };
                let text = items(after.is_some(), posts.into_iter().map(|(_, post)| post));
                text.unwrap_or_else(|| "], \"votes\" : [".to_owned())
            }
            Part::Votes(after) => {
                let votes = db::export_votes(&self.db, self.user, after);
                let votes = votes.await.inspect_err(broken)?;
                self.next = match votes.last() {
                    Some(last) => Part::Votes(Some((last.created_at, last.post))),
                    None => Part::End,
                };
                let text = items(after.is_some(), votes.into_iter().map(|vote| vote.vote));
                text.unwrap_or_else(|| "]}".to_owned())
            }
            Part::End => return Ok(None),
        };
        Ok(Some((text, self)))
    }
}

/// The items of an array, which may go on an earlier part; `None` without any.
fn items(goes_on: bool, items: impl Iterator<Item = String>) -> Option<String> {
    let items = items.collect::<Vec<_>>().join(", ");
    let comma = if goes_on { ", " } else { "" };
    (!items.is_empty()).then(|| format!("{comma}{items}"))
}

fn broken(err: &sqlx::Error) {
    tracing::warn!(%err, "an export broke off");
}
