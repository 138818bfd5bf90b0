//! Every URL of the site. Read this file first.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef, Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::{Next, from_fn, from_fn_with_state, map_request, map_response},
    response::Response,
    routing::{delete, get, post, put},
};
use sqlx::PgPool;
use tower::util::option_layer;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{CompressionLayer, CompressionLevel},
    cors::{AllowOrigin, CorsLayer},
};

use crate::{
    config::Site,
    database::Replica,
    lists::{self, member_cache::MemberLists},
    live::{self, Live},
    mail::Mailer,
    openapi,
    ops::{self, health},
    posts, profiles, search,
    server::Shutdown,
    users::{
        self, Passwords,
        pages::{log_in, recovery, sessions, settings, sign_up},
        tokens::{Tokens, bearer},
    },
    votes,
    web::{
        error_page, etag, flash,
        middleware::{
            body, cookies, csrf, headers,
            page_cache::{self, PageCache},
            replica, request_log,
            timeout::{self, Limits},
            trailing_slash::without_trailing_slash,
        },
        problem,
        site::{assets, well_known},
        throttle::Throttle,
    },
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a handler may reach. Handlers ask for the one field they need.
#[derive(Clone, FromRef)]
pub struct App {
    pub db: PgPool,
    /// Where there is one.
    pub replica: Option<Replica>,
    pub site: Arc<Site>,
    pub passwords: Passwords,
    /// Where the API is on.
    pub tokens: Option<Tokens>,
    /// Whose pages may call the API.
    pub origins: Arc<[HeaderValue]>,
    pub mailer: Mailer,
    pub limits: Limits,
    pub throttle: Throttle,
    pub pages: PageCache,
    pub lists: MemberLists,
    pub live: Live,
    pub shutdown: Shutdown,
}

/// What `METRICS_LISTEN_ADDR` serves, to those who watch the site and to nobody else.
pub fn monitoring_router(app: App) -> Router {
    Router::new()
        .route("/metrics", get(ops::metrics::show))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .with_state(app)
}

/// The whole site: what is kept is answered at once, everything else by [`app_router`].
pub fn router(app: App) -> Router {
    let kept = (app.pages.clone(), app.site.clone());
    Router::new()
        .fallback_service(app_router(app))
        .layer(from_fn_with_state(kept, page_cache::page_cache))
}

fn app_router(app: App) -> Router {
    // Each request clones what its layers know: none knows the whole of it.
    let sources = (app.replica.clone(), app.site.clone());
    // Anyone may keep these for a moment, apart for each viewer.
    let reading = Router::new()
        .route("/", get(lists::pages::hot))
        .route("/new", get(lists::pages::newest))
        .route("/top", get(lists::pages::top))
        .route("/search", get(search::pages::index))
        .route("/posts/{id}", get(posts::pages::show))
        .route("/users", get(profiles::pages::index))
        .route("/users/{username}", get(profiles::pages::show))
        .layer(from_fn(etag::conditional_get))
        .layer(from_fn_with_state(app.live.clone(), live::pages::inject_stream_url))
        .layer(from_fn_with_state(sources.clone(), replica::read_replica));

    // Whatever fails here, what was typed comes back (`give_back`, below).
    let writing = Router::new()
        .route("/posts", post(posts::form::publish))
        .route("/posts/preview", post(posts::form::preview))
        .route("/posts/{id}/edit", get(posts::form::edit).post(posts::form::save))
        .layer(DefaultBodyLimit::max(body::POST_BODY));

    let acting = Router::new()
        .route("/posts/new", get(posts::form::new))
        .route("/posts/{id}/delete", get(posts::pages::confirm_delete).post(posts::pages::delete))
        .route(
            "/posts/{id}/vote",
            post(votes::pages::vote).route_layer(from_fn(votes::pages::inline_vote_error)),
        )
        .route("/signup", get(sign_up::form).post(sign_up::sign_up))
        .route("/login", get(log_in::form).post(log_in::log_in))
        .route("/logout", post(log_in::log_out))
        .route("/password/forgot", get(recovery::forgot_form).post(recovery::forgot))
        .route("/password/reset/{token}", get(recovery::reset_form).post(recovery::reset))
        .route("/email/confirm/{token}", get(recovery::confirm_form).post(recovery::confirm))
        .route("/settings", get(settings::index))
        .route("/settings/password", post(settings::change_password))
        .route("/settings/email", post(settings::change_email))
        .route("/settings/sessions", get(sessions::index))
        .route("/settings/sessions/revoke", post(sessions::revoke))
        .route("/settings/export", get(settings::export))
        .route("/settings/delete-account", get(settings::confirm_delete).post(settings::delete))
        .merge(writing)
        .layer(map_response(headers::no_store));

    let pages = reading
        .merge(acting)
        .fallback(error_page::no_such_page)
        .method_not_allowed_fallback(error_page::no_such_method)
        .layer(from_fn_with_state(
            (app.db.clone(), app.site.clone()),
            users::viewer::authenticate_session,
        ))
        .layer(users::sessions::layer(app.db.clone(), &app.site))
        .layer(from_fn_with_state(app.site.clone(), flash::flash_layer))
        .layer(from_fn_with_state(sources.clone(), replica::set_read_your_writes))
        .layer(from_fn_with_state(app.site.clone(), csrf::same_origin_only))
        .layer(from_fn_with_state(app.site.clone(), cookies::filter_cookies))
        .layer(DefaultBodyLimit::max(body::SMALL_BODY))
        .layer(from_fn(headers::caching));

    // The same for everybody: nobody is asked who they are.
    let documents = Router::new()
        .route("/feed.atom", get(lists::atom::hot))
        .route("/new/feed.atom", get(lists::atom::newest))
        .route("/users/{username}/feed.atom", get(profiles::pages::feed))
        .route("/search/feed.atom", get(search::pages::feed))
        .route("/sitemap.xml", get(lists::sitemap::show))
        .route("/robots.txt", get(well_known::robots))
        .route("/manifest.webmanifest", get(well_known::manifest))
        .route("/opensearch.xml", get(well_known::open_search))
        .route("/.well-known/security.txt", get(well_known::security))
        .route("/.well-known/change-password", get(well_known::change_password))
        .layer(from_fn(etag::conditional_get))
        .layer(from_fn_with_state(sources.clone(), replica::read_replica))
        .layer(from_fn(headers::caching));

    let files = Router::new()
        .route("/static/{name}", get(assets::serve))
        .route("/live", get(live::pages::stream))
        .route("/favicon.svg", get(assets::icon))
        .route("/favicon.ico", get(assets::old_icon))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready));

    let programs = match app.tokens {
        Some(_) => Router::new().nest("/v1", api(&app)),
        None => Router::new(),
    };
    pages
        .merge(documents)
        .merge(files)
        // Whatever else is under it is no page either: no session, no form, no way back.
        .nest("/api", programs.fallback(error_page::no_such_page))
        .layer(from_fn(without_trailing_slash))
        .layer(from_fn_with_state(app.live.clone(), live::publish_changes))
        .layer(CatchPanicLayer::custom(error_page::panicked))
        .layer(from_fn_with_state(app.limits.clone(), timeout::run_to_completion))
        .layer(from_fn_with_state(app.site.clone(), posts::form::preserve_form_on_error))
        .layer(from_fn(body::buffer_body))
        .layer(from_fn(body::limit_uri_length))
        .layer(from_fn_with_state(app.site.clone(), render_errors))
        // Not brotli, which takes twice the time for what is sent once; kept pages have it (`cache`).
        .layer(CompressionLayer::new().no_br().quality(CompressionLevel::Fastest))
        .layer(from_fn_with_state(app.site.clone(), headers::security))
        .layer(from_fn_with_state(app.site.clone(), request_log::log))
        .with_state(app)
}

/// The outermost layer: a bare failure in the words of the face that was asked.
async fn render_errors(site: State<Arc<Site>>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/api/") {
        return problem::render_problem(request, next).await;
    }
    error_page::render_error_page(site, request, next).await
}

/// The face for programs: never a cookie, always a bearer's token.
fn api(app: &App) -> Router<App> {
    let me = Router::new()
        .route("/users/me", get(users::api::account::me))
        .route("/users/me/password", put(users::api::account::change_password))
        .route("/users/me/email", put(users::api::account::change_email))
        .route("/users/me/export", get(users::api::account::export))
        .route("/users/me/deletion", post(users::api::account::delete_account))
        .route(
            "/users/me/sessions",
            get(users::api::sessions::index).delete(users::api::sessions::end_all),
        )
        .route("/users/me/sessions/{id}", delete(users::api::sessions::end))
        .route("/users/me/tokens", delete(users::api::sessions::end_tokens))
        .layer(DefaultBodyLimit::max(body::SMALL_BODY));

    let people = Router::new()
        .route("/users", get(profiles::api::index).post(users::api::sign_up::sign_up))
        .route("/users/{username}", get(profiles::api::show))
        .layer(DefaultBodyLimit::max(body::SMALL_BODY));

    // Nobody's token is looked at here: who comes for a new one may still show the one before.
    let entering = Router::new()
        .route("/login", post(users::api::log_in::log_in))
        .route("/password/forgot", post(users::api::recovery::forgot_password))
        .route("/password/reset", post(users::api::recovery::reset_password))
        .route("/email/confirm", post(users::api::recovery::confirm_email))
        .layer(DefaultBodyLimit::max(body::SMALL_BODY));

    let posts = Router::new()
        .route("/posts", get(search::api::index).post(posts::api::publish))
        .route("/posts/preview", post(posts::api::preview))
        .route(
            "/posts/{id}",
            get(posts::api::show)
                .put(posts::api::replace)
                .patch(posts::api::change)
                .delete(posts::api::delete),
        )
        .route("/posts/{id}/rank", get(posts::api::rank))
        .route("/posts/{id}/vote", put(votes::api::cast).delete(votes::api::take_back))
        .layer(DefaultBodyLimit::max(body::POST_BODY));

    let described = Router::new()
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::docs));

    let sources = (app.replica.clone(), app.site.clone());
    me.merge(people.merge(posts).layer(from_fn_with_state(sources.clone(), replica::read_replica)))
        .merge(described)
        .fallback(error_page::no_such_page)
        .method_not_allowed_fallback(error_page::no_such_method)
        .layer(from_fn_with_state(app.clone(), bearer::authenticate_bearer))
        .merge(entering)
        .layer(map_request(bearer::drop_cookies))
        .layer(option_layer(cors(&app.origins)))
        .layer(map_response(headers::no_store_by_default))
}

/// Nothing by default; otherwise exactly the listed origins, and never with credentials.
fn cors(origins: &[HeaderValue]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let headers = [header::AUTHORIZATION, header::CONTENT_TYPE, IDEMPOTENCY_KEY];
    let exposed = [header::LOCATION, header::RETRY_AFTER, header::WWW_AUTHENTICATE];
    Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.iter().cloned()))
            .allow_methods(methods)
            .allow_headers(headers)
            .expose_headers(exposed)
            .max_age(Duration::from_mins(10)),
    )
}
