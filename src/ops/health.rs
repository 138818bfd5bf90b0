//! The health checks: is the process alive, and can it serve?

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use sqlx::PgPool;

use crate::{
    database::{local, migrations},
    server::Shutdown,
    web::error::PlainText,
};

/// Alive, without a query.
pub async fn alive() -> Response {
    answer(StatusCode::OK, "alive\n")
}

/// Ready: the database answers and has the schema this program was built for, and the process is not
/// stopping.
pub async fn ready(
    State(db): State<PgPool>,
    State(shutdown): State<Shutdown>,
    State(postgres): State<local::Status>,
) -> Response {
    if shutdown.is_requested() {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    if postgres.is_down() {
        let text = "the program's own Postgres is down: it is being started again\n";
        return answer(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    match migrations::mismatch(&db).await {
        Ok(None) => answer(StatusCode::OK, "ready\n"),
        Ok(Some(mismatch)) => {
            tracing::warn!(%mismatch, "not ready");
            answer(
                StatusCode::SERVICE_UNAVAILABLE,
                "the schema is not the one this program needs\n",
            )
        }
        Err(err) => {
            tracing::warn!(%err, "not ready");
            answer(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
        }
    }
}

fn answer(status: StatusCode, text: &'static str) -> Response {
    let mut response = (status, text).into_response();
    response.extensions_mut().insert(PlainText);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}
