//! The middleware stack. In each function the layers are in the order of `Router::layer`: the last
//! one is the outermost.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::{Next, from_fn, from_fn_with_state, map_request, map_response},
    response::Response,
    routing::MethodRouter,
};
use tower::util::option_layer;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
};

use super::App;
use crate::{
    config::Site,
    live,
    users::{self, tokens::bearer},
    web::{
        error_page, etag, flash,
        middleware::{
            admission::Door, body, compression::compress, cookies, csrf, failed_form, headers,
            known_routes::KnownRoutes, page_cache, replica, request_log, timeout,
            trailing_slash::without_trailing_slash, unread,
        },
        problem,
    },
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Pages that everyone may read, each as its viewer sees it.
pub fn public_pages(routes: Router<App>, app: &App) -> Router<App> {
    routes
        // 304 where the client has the page already.
        .layer(from_fn(etag::conditional_get))
        // Tells the page where its stream of live changes is.
        .layer(from_fn_with_state(app.live.clone(), live::pages::inject_stream_url))
        // Reads come from the replica, where there is one and it is fresh enough.
        .layer(from_fn_with_state(sources(app), replica::read_replica))
}

/// Forms and pages that are one member's own.
pub fn private_pages(routes: Router<App>) -> Router<App> {
    // Whatever the response, an error included: it may hold what only this client may see.
    routes.layer(map_response(headers::no_store_by_default))
}

/// All pages with a session: the public ones, and forms.
pub fn pages(routes: Router<App>, app: &App) -> Router<App> {
    routes
        .fallback(error_page::no_such_page)
        .method_not_allowed_fallback(error_page::no_such_method)
        // Finds out who the viewer is, from the session.
        .layer(from_fn_with_state(
            (app.db.clone(), app.site.clone()),
            users::viewer::authenticate_session,
        ))
        // Loads the session lazily, and saves it.
        .layer(users::sessions::layer(app.db.clone(), &app.site))
        // A 503 where it could not.
        .layer(map_response(users::sessions::unavailable_if_not_saved))
        // Shows the flash message of the request before, and keeps the one for the next.
        .layer(from_fn_with_state(app.site.clone(), flash::flash_layer))
        // Sends a client that has just written to the primary for a while.
        .layer(from_fn_with_state(sources(app), replica::set_read_your_writes))
        // Refuses forms that another site sent (CSRF).
        .layer(from_fn_with_state(app.site.clone(), csrf::same_origin_only))
        // Removes all cookies but our own.
        .layer(from_fn_with_state(app.site.clone(), cookies::filter_cookies))
        // `Cache-Control` from the handler's policy.
        .layer(from_fn(headers::cache_control))
}

/// What other programs read: the same for everyone, so no session and no cookies.
pub fn documents(routes: Router<App>, app: &App) -> Router<App> {
    routes
        // 304 where the client has the document already.
        .layer(from_fn(etag::conditional_get))
        // Reads come from the replica, where there is one and it is fresh enough.
        .layer(from_fn_with_state(sources(app), replica::read_replica))
        // `Cache-Control` from the handler's policy.
        .layer(from_fn(headers::cache_control))
}

/// The API's routes that read the bearer's token.
pub fn api(routes: Router<App>, app: &App) -> Router<App> {
    routes
        // Reads without a token come from the replica.
        .layer(from_fn_with_state(sources(app), replica::read_replica))
        .fallback(error_page::no_such_page)
        .method_not_allowed_fallback(error_page::no_such_method)
        // Finds out who the viewer is, from the token.
        .layer(from_fn_with_state(app.clone(), bearer::authenticate_bearer))
}

/// A route of the API that needs no token.
pub fn open_api(route: MethodRouter<App>, app: &App) -> MethodRouter<App> {
    let site_and_listed = (app.site.clone(), app.origins.clone());
    // Refuses what pages of other sites make their visitors' browsers send.
    route.route_layer(from_fn_with_state(site_and_listed, csrf::refuse_foreign_pages))
}

/// The whole API.
pub fn whole_api(routes: Router<App>, app: &App) -> Router<App> {
    routes
        // A session gives no rights in the API.
        .layer(map_request(bearer::drop_cookies))
        // Lets pages of the configured origins call the API.
        .layer(option_layer(cors(&app.origins)))
        // Answers are not stored.
        .layer(map_response(headers::no_store_by_default))
}

/// Every request but those answered from the page cache. `failed_forms` has the pages of forms whose
/// request fails.
pub fn site(routes: Router<App>, failed_forms: Router, app: App) -> Router {
    routes
        // Publishes what a handler changed, after success only.
        .layer(from_fn_with_state(app.live.clone(), live::publish_changes))
        // Redirects `/new/` to `/new`.
        .layer(from_fn(without_trailing_slash))
        // A panic becomes a 500.
        .layer(CatchPanicLayer::custom(error_page::panicked))
        // A bound on time and on requests at once; a request runs to its end once begun.
        .layer(from_fn_with_state(app.limits.clone(), timeout::run_to_completion))
        // Shows a form again with what was typed when the request fails.
        .layer(from_fn_with_state(failed_forms, failed_form::preserve_form_on_error))
        // Reads the whole body first, within bounds of bytes and time.
        .layer(from_fn_with_state((app.bodies.clone(), app.site.clone()), body::buffer_body))
        // Refuses addresses that are longer than any of ours.
        .layer(from_fn(body::limit_uri_length))
        // Compresses it, so that less has to be kept until the client has read it.
        .layer(from_fn(compress))
        // A bound on the bytes that clients have not read.
        .layer(from_fn_with_state(app.clone(), unread::bound_unread))
        // Turns every bare failure into a page, or for programs into a problem document.
        .layer(from_fn_with_state(app.site.clone(), render_errors))
        // These are not compressed yet.
        .layer(from_fn(compress))
        // Security headers on every response.
        .layer(from_fn_with_state(app.site.clone(), headers::security))
        // One line in the log, the metrics, and the request's id.
        .layer(from_fn_with_state((app.site.clone(), app.access_log), request_log::log))
        .with_state(app)
}

/// The outermost layers.
pub fn entrance(site: Router, app: App, routes: KnownRoutes) -> Router {
    let routes = Arc::new(routes);
    let shared = page_cache::Shared {
        cache: app.pages,
        routes: routes.clone(),
        site: app.site.clone(),
        log: app.access_log,
    };
    Router::new()
        .fallback_service(site)
        // Pages that are the same for everyone, from memory.
        .layer(from_fn_with_state(shared, page_cache::page_cache))
        // Refuses what could not be answered in time.
        .layer(Door::new(app.limits.admission, routes, app.site))
}

fn sources(app: &App) -> (Option<crate::database::Replica>, Arc<Site>) {
    (app.replica.clone(), app.site.clone())
}

async fn render_errors(site: State<Arc<Site>>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/api/") {
        return problem::render_problem(request, next).await;
    }
    error_page::render_error_page(site, request, next).await
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
