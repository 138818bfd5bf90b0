//! Every URL of the site. Read this file first.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
    middleware::{from_fn, from_fn_with_state, map_response},
    routing::{get, post},
};
use sqlx::PgPool;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{CompressionLayer, CompressionLevel},
};

use crate::{
    config::Site,
    mail::Mailer,
    posts, search,
    users::{
        self, Passwords,
        pages::{entering, places, recovery, settings},
    },
    votes,
    web::{
        assets, cookies, csrf, error, flash, headers, health,
        limits::{self, Limits},
        page, request_log,
        throttle::Throttle,
    },
};

/// What a handler may reach. Handlers ask for the one field they need.
#[derive(Clone, FromRef)]
pub struct App {
    pub db: PgPool,
    pub site: Arc<Site>,
    pub passwords: Passwords,
    pub mailer: Mailer,
    pub limits: Limits,
    pub throttle: Throttle,
}

pub fn router(app: App) -> Router {
    // Anyone may keep these for a moment, apart for each viewer.
    let reading = Router::new()
        .route("/", get(posts::pages::hot))
        .route("/new", get(posts::pages::newest))
        .route("/top", get(posts::pages::top))
        .route("/search", get(search::pages::index))
        .route("/posts/{id}", get(posts::pages::show))
        .route("/users", get(users::pages::people::index))
        .route("/users/{username}", get(users::pages::people::show));

    // Whatever fails here, what was typed comes back (`give_back`, below).
    let writing = Router::new()
        .route("/posts", post(posts::writing::publish))
        .route("/posts/preview", post(posts::writing::preview))
        .route("/posts/{id}/edit", get(posts::writing::edit).post(posts::writing::save))
        .layer(DefaultBodyLimit::max(limits::POST_BODY));

    let acting = Router::new()
        .route("/posts/new", get(posts::writing::new))
        .route("/posts/{id}/delete", get(posts::pages::confirm_delete).post(posts::pages::delete))
        .route(
            "/posts/{id}/vote",
            post(votes::pages::press).route_layer(from_fn(votes::pages::say_failed)),
        )
        .route("/signup", get(entering::sign_up_form).post(entering::sign_up))
        .route("/login", get(entering::log_in_form).post(entering::log_in))
        .route("/logout", post(entering::log_out))
        .route("/password/forgot", get(recovery::forgot_form).post(recovery::forgot))
        .route("/password/reset/{token}", get(recovery::reset_form).post(recovery::reset))
        .route("/email/confirm/{token}", get(recovery::confirm_form).post(recovery::confirm))
        .route("/settings", get(settings::index))
        .route("/settings/password", post(settings::change_password))
        .route("/settings/email", post(settings::change_email))
        .route("/settings/sessions", get(places::index))
        .route("/settings/sessions/revoke", post(places::revoke))
        .route("/settings/export", get(settings::export))
        .route("/settings/delete-account", get(settings::confirm_delete).post(settings::delete))
        .merge(writing)
        .layer(map_response(page::not_stored));

    let pages = reading
        .merge(acting)
        .fallback(error::no_such_page)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(from_fn_with_state(app.clone(), users::viewer::by_cookie))
        .layer(users::sessions::layer(app.db.clone(), &app.site))
        .layer(from_fn_with_state(app.clone(), flash::carry))
        .layer(from_fn_with_state(app.clone(), csrf::same_origin_only))
        .layer(from_fn_with_state(app.clone(), cookies::strict))
        .layer(DefaultBodyLimit::max(limits::SMALL_BODY))
        .layer(from_fn(headers::caching));

    let files = Router::new()
        .route("/static/{name}", get(assets::serve))
        .route("/favicon.svg", get(assets::icon))
        .route("/favicon.ico", get(assets::old_icon))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready));

    pages
        .merge(files)
        .layer(from_fn(page::without_trailing_slash))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(app.clone(), limits::run_to_the_end))
        .layer(from_fn_with_state(app.clone(), posts::writing::give_back))
        .layer(from_fn(limits::arrive_first))
        .layer(from_fn(limits::short_address))
        .layer(from_fn_with_state(app.clone(), error::as_page))
        // Two, because their levels mean different things; what one has packed the other leaves alone.
        .layer(CompressionLayer::new().no_gzip().quality(CompressionLevel::Precise(4)))
        .layer(CompressionLayer::new().no_br().quality(CompressionLevel::Fastest))
        .layer(from_fn_with_state(app.clone(), headers::security))
        .layer(from_fn(request_log::log))
        .with_state(app)
}
