//! Every route of the site, one line each. Read this file first.
//!
//! A row says what tests, `robots.txt` and the page cache have to know of its route. What they find
//! missing they name in a sentence: add a row, run the tests, and follow them.

mod layers;
mod robots;
mod state;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::Method,
    middleware::from_fn,
    routing::{MethodRouter, delete, get, patch, post, put},
};

pub use state::App;

use crate::{
    lists, live,
    metrics::metrics,
    openapi,
    ops::{self, health},
    posts, profiles, search,
    users::{
        self,
        pages::{log_in, recovery, sessions, settings, sign_up},
    },
    votes,
    web::{
        error_page,
        middleware::{
            csrf,
            known_routes::{KnownRoute, KnownRoutes, Load, POST_BODY, RouteTraits, SMALL_BODY},
        },
        site::{assets, well_known},
    },
};

/// A route: one method at one path.
pub struct Route {
    /// `GET` answers `HEAD` as well.
    pub method: Method,
    /// As axum spells it, from the root of the site.
    pub path: &'static str,
    pub face: Face,
    pub access: Access,
    /// What a request changes when it succeeds; `None` where its method is safe.
    pub change: Option<Changes>,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// The parameters behind the `?`.
    pub query: &'static [&'static str],
    /// The fields of its form, or the members of its JSON document.
    pub fields: &'static [&'static str],
    /// Where the same is done through the API.
    pub counterpart: Counterpart,
    /// Whether its page may be the same for everyone, and so be in the page cache.
    pub is_cached: bool,
    /// Whether a request may take seconds without keeping the site busy: it waits for its turn to hash
    /// a password. Such requests have places of their own (`web::middleware::admission`).
    pub is_slow: bool,
    /// The page that shows its form again, with what was typed, when the request fails
    /// (`web::middleware::failed_form`).
    failed: Option<Handler>,
    handler: Handler,
}

/// Whom a route is for, and so which middleware is around it (`layers.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// A page that everyone may read.
    Public,
    /// A form, or a page that is one member's own.
    Private,
    /// Read by other programs: feeds, the sitemap, what conventions ask for.
    Document,
    /// Files, streams and probes.
    File,
    /// The API.
    Api,
    /// The API, where a client comes for a token: the one it may still send is not looked at.
    ApiLogIn,
}

/// Who may make the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Anyone,
    Member,
    /// The author of the post in the path.
    Author,
}

/// The kind of [`live::Change`] that a route's handler publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    Nothing,
    Lists,
    Post,
    Removed,
    NewPost,
    All,
}

/// Where the other face does the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counterpart {
    /// A page's routes of the API, as method and path. The API's rows are named by their pages.
    Api(&'static [&'static str]),
    /// There is none, and why.
    None(&'static str),
}

use Access::{Author, Member};

/// Where the API is.
pub const API: &str = "/api/v1";

const AFTER: &[&str] = &["after"];
const POST: &[&str] = &["title", "url", "body", "key"];
const EDIT: &[&str] = &["title", "url", "body", "version"];
const TYPED: &[&str] = &["title", "url", "body"];
const PREVIEW: &[&str] = &["title", "url", "body", "key", "version"];
const SIGN_UP: &[&str] = &["username", "email", "password"];
const PASSWORD: &[&str] = &["current_password", "new_password"];
const EMAIL: &[&str] = &["current_password", "email"];
const LIST: &[&str] = &["limit", "skip", "search", "sort", "author", "after"];

/// The manifest: every route of the site.
#[rustfmt::skip]
pub static ROUTES: &[Route] = &[
    // Pages that everyone may read.
    page("/", || get(lists::pages::hot)).query(AFTER).api(&["GET /api/v1/posts"]),
    page("/new", || get(lists::pages::newest)).query(AFTER).api(&["GET /api/v1/posts"]),
    page("/top", || get(lists::pages::top)).query(&["t", "after"]).api(&["GET /api/v1/posts"]),
    page("/search", || get(search::pages::index).route_layer(from_fn(csrf::refuse_embedding))).query(&["q", "sort", "after"]).api(&["GET /api/v1/posts"]),
    page("/posts/{id}", || get(posts::pages::show)).api(&["GET /api/v1/posts/{id}", "GET /api/v1/posts/{id}/rank"]),
    page("/users", || get(profiles::pages::index)).query(AFTER).api(&["GET /api/v1/users"]),
    page("/users/{username}", || get(profiles::pages::show)).query(AFTER).api(&["GET /api/v1/users/{username}"]),

    // Posts and votes.
    form("/posts/new", || get(posts::form::new)).by(Member).alone("a form"),
    action("/posts", Changes::NewPost, || post(posts::form::publish)).by(Member).takes(POST).body(POST_BODY).failed(|| post(posts::form::publish_failed)).api(&["POST /api/v1/posts"]),
    action("/posts/preview", Changes::Nothing, || post(posts::form::preview)).by(Member).takes(PREVIEW).body(POST_BODY).failed(|| post(posts::form::preview_failed)).api(&["POST /api/v1/posts/preview"]),
    form("/posts/{id}/edit", || get(posts::form::edit)).by(Author).alone("a form with the post in it, which GET /api/v1/posts/{id} returns"),
    action("/posts/{id}/edit", Changes::Removed, || post(posts::form::save)).by(Author).takes(EDIT).body(POST_BODY).failed(|| post(posts::form::save_failed)).api(&["PUT /api/v1/posts/{id}", "PATCH /api/v1/posts/{id}"]),
    form("/posts/{id}/delete", || get(posts::pages::confirm_delete)).by(Author).alone("a confirmation, which a program need not be asked for"),
    action("/posts/{id}/delete", Changes::Removed, || post(posts::pages::delete)).by(Author).api(&["DELETE /api/v1/posts/{id}"]),
    action("/posts/{id}/vote", Changes::Post, || post(votes::pages::vote).route_layer(from_fn(votes::pages::inline_vote_error))).by(Member).takes(&["value"]).api(&["PUT /api/v1/posts/{id}/vote", "DELETE /api/v1/posts/{id}/vote"]),

    // Accounts.
    form("/signup", || get(sign_up::form)).query(&["next"]).alone("a form"),
    action("/signup", Changes::Lists, || post(sign_up::sign_up)).slow().takes(SIGN_UP).api(&["POST /api/v1/users"]),
    form("/login", || get(log_in::form)).query(&["next"]).alone("a form"),
    action("/login", Changes::Nothing, || post(log_in::log_in)).slow().takes(&["login", "password", "next"]).api(&["POST /api/v1/login"]),
    action("/logout", Changes::Nothing, || post(log_in::log_out)).by(Member).api(&["DELETE /api/v1/users/me/tokens"]),
    form("/password/forgot", || get(recovery::forgot_form)).alone("a form"),
    action("/password/forgot", Changes::Nothing, || post(recovery::forgot)).takes(&["email"]).api(&["POST /api/v1/password/forgot"]),
    form("/password/reset/{token}", || get(recovery::reset_form)).alone("a form"),
    action("/password/reset/{token}", Changes::Nothing, || post(recovery::reset)).slow().takes(&["new_password"]).api(&["POST /api/v1/password/reset"]),
    form("/email/confirm/{token}", || get(recovery::confirm_form)).alone("a form"),
    action("/email/confirm/{token}", Changes::Nothing, || post(recovery::confirm)).api(&["POST /api/v1/email/confirm"]),
    form("/settings", || get(settings::index)).by(Member).api(&["GET /api/v1/users/me"]),
    action("/settings/password", Changes::Nothing, || post(settings::change_password)).slow().by(Member).takes(PASSWORD).api(&["PUT /api/v1/users/me/password"]),
    action("/settings/email", Changes::Nothing, || post(settings::change_email)).slow().by(Member).takes(EMAIL).api(&["PUT /api/v1/users/me/email"]),
    form("/settings/sessions", || get(sessions::index)).by(Member).api(&["GET /api/v1/users/me/sessions"]),
    action("/settings/sessions/revoke", Changes::Nothing, || post(sessions::revoke)).by(Member).takes(&["session"]).api(&["DELETE /api/v1/users/me/sessions/{id}", "DELETE /api/v1/users/me/sessions"]),
    form("/settings/export", || get(settings::export)).by(Member).api(&["GET /api/v1/users/me/export"]),
    form("/settings/delete-account", || get(settings::confirm_delete)).by(Member).alone("a confirmation, which a program need not be asked for"),
    action("/settings/delete-account", Changes::All, || post(settings::delete)).slow().by(Member).takes(&["current_password"]).api(&["POST /api/v1/users/me/deletion"]),

    // Read by other programs.
    document("/feed.atom", || get(lists::atom::hot)).cached(),
    document("/new/feed.atom", || get(lists::atom::newest)).cached(),
    document("/users/{username}/feed.atom", || get(profiles::pages::feed)).cached(),
    document("/search/feed.atom", || get(search::pages::feed).route_layer(from_fn(csrf::refuse_embedding))).query(&["q"]).cached(),
    document("/sitemap.xml", || get(lists::sitemap::show)).query(&["part"]),
    document("/robots.txt", || get(robots::show)),
    document("/manifest.webmanifest", || get(well_known::manifest)),
    document("/opensearch.xml", || get(well_known::open_search)),
    document("/.well-known/security.txt", || get(well_known::security)),
    document("/.well-known/change-password", || get(well_known::change_password)),

    // Files, streams and probes.
    file("/static/{name}", || get(assets::serve)),
    file("/live", || get(live::pages::stream).route_layer(from_fn(csrf::refuse_embedding))).query(AFTER),
    file("/favicon.svg", || get(assets::icon)),
    file("/favicon.ico", || get(assets::old_icon)),
    file("/healthz", || get(health::alive)),
    file("/readyz", || get(health::ready)),

    // The API. The counterpart of each row is in the row of its page.
    api(Method::GET, "/api/v1/posts", || get(search::api::index)).query(LIST),
    api(Method::POST, "/api/v1/posts", || post(posts::api::publish)).by(Member).changes(Changes::NewPost).takes(TYPED).body(POST_BODY),
    api(Method::POST, "/api/v1/posts/preview", || post(posts::api::preview)).by(Member).changes(Changes::Nothing).takes(&["body"]).body(POST_BODY),
    api(Method::GET, "/api/v1/posts/{id}", || get(posts::api::show)),
    api(Method::PUT, "/api/v1/posts/{id}", || put(posts::api::replace)).by(Author).changes(Changes::Removed).takes(TYPED).body(POST_BODY),
    api(Method::PATCH, "/api/v1/posts/{id}", || patch(posts::api::change)).by(Author).changes(Changes::Removed).takes(TYPED).body(POST_BODY),
    api(Method::DELETE, "/api/v1/posts/{id}", || delete(posts::api::delete)).by(Author).changes(Changes::Removed),
    api(Method::GET, "/api/v1/posts/{id}/rank", || get(posts::api::rank)),
    api(Method::PUT, "/api/v1/posts/{id}/vote", || put(votes::api::cast)).by(Member).changes(Changes::Post),
    api(Method::DELETE, "/api/v1/posts/{id}/vote", || delete(votes::api::take_back)).by(Member).changes(Changes::Post),
    api(Method::GET, "/api/v1/users", || get(profiles::api::index)).query(&["limit", "after"]),
    api(Method::POST, "/api/v1/users", || post(users::api::sign_up::sign_up)).slow().changes(Changes::Lists).takes(SIGN_UP),
    api(Method::GET, "/api/v1/users/{username}", || get(profiles::api::show)),
    api(Method::GET, "/api/v1/users/me", || get(users::api::account::me)).by(Member),
    api(Method::PUT, "/api/v1/users/me/password", || put(users::api::account::change_password)).slow().by(Member).changes(Changes::Nothing).takes(PASSWORD),
    api(Method::PUT, "/api/v1/users/me/email", || put(users::api::account::change_email)).slow().by(Member).changes(Changes::Nothing).takes(EMAIL),
    api(Method::GET, "/api/v1/users/me/export", || get(users::api::account::export)).by(Member),
    api(Method::POST, "/api/v1/users/me/deletion", || post(users::api::account::delete_account)).slow().by(Member).changes(Changes::All).takes(&["current_password"]),
    api(Method::GET, "/api/v1/users/me/sessions", || get(users::api::sessions::index)).by(Member),
    api(Method::DELETE, "/api/v1/users/me/sessions", || delete(users::api::sessions::end_all)).by(Member).changes(Changes::Nothing),
    api(Method::DELETE, "/api/v1/users/me/sessions/{id}", || delete(users::api::sessions::end)).by(Member).changes(Changes::Nothing),
    api(Method::DELETE, "/api/v1/users/me/tokens", || delete(users::api::sessions::end_tokens)).by(Member).changes(Changes::Nothing),
    api(Method::GET, "/api/v1/openapi.json", || get(openapi::document)).alone("describes the API"),
    api(Method::GET, "/api/v1/docs", || get(openapi::docs)).alone("describes the API"),
    api_log_in("/api/v1/login", || post(users::api::log_in::log_in)).slow().takes(&["username", "password"]),
    api_log_in("/api/v1/password/forgot", || post(users::api::recovery::forgot_password)).takes(&["email"]),
    api_log_in("/api/v1/password/reset", || post(users::api::recovery::reset_password)).slow().takes(&["token", "new_password"]),
    api_log_in("/api/v1/email/confirm", || post(users::api::recovery::confirm_email)).takes(&["token"]),
];

type Handler = fn() -> MethodRouter<App>;

const fn page(path: &'static str, handler: Handler) -> Route {
    Route::new(Method::GET, path, Face::Public, handler).cached()
}

const fn form(path: &'static str, handler: Handler) -> Route {
    Route::new(Method::GET, path, Face::Private, handler)
}

const fn action(path: &'static str, change: Changes, handler: Handler) -> Route {
    Route::new(Method::POST, path, Face::Private, handler).changes(change)
}

const fn document(path: &'static str, handler: Handler) -> Route {
    Route::new(Method::GET, path, Face::Document, handler).alone("made for other programs")
}

const fn file(path: &'static str, handler: Handler) -> Route {
    Route::new(Method::GET, path, Face::File, handler).alone("not a part of either face")
}

const fn api(method: Method, path: &'static str, handler: Handler) -> Route {
    Route::new(method, path, Face::Api, handler)
}

const fn api_log_in(path: &'static str, handler: Handler) -> Route {
    Route::new(Method::POST, path, Face::ApiLogIn, handler).changes(Changes::Nothing)
}

impl Route {
    const fn new(method: Method, path: &'static str, face: Face, handler: Handler) -> Route {
        Route {
            method,
            path,
            face,
            access: Access::Anyone,
            change: None,
            body_limit: SMALL_BODY,
            query: &[],
            fields: &[],
            counterpart: Counterpart::Api(&[]),
            is_cached: false,
            is_slow: false,
            failed: None,
            handler,
        }
    }

    const fn by(mut self, access: Access) -> Route {
        self.access = access;
        self
    }

    const fn changes(mut self, change: Changes) -> Route {
        self.change = Some(change);
        self
    }

    const fn body(mut self, limit: usize) -> Route {
        self.body_limit = limit;
        self
    }

    const fn query(mut self, names: &'static [&'static str]) -> Route {
        self.query = names;
        self
    }

    const fn takes(mut self, fields: &'static [&'static str]) -> Route {
        self.fields = fields;
        self
    }

    const fn api(mut self, routes: &'static [&'static str]) -> Route {
        self.counterpart = Counterpart::Api(routes);
        self
    }

    const fn alone(mut self, reason: &'static str) -> Route {
        self.counterpart = Counterpart::None(reason);
        self
    }

    const fn failed(mut self, page: Handler) -> Route {
        self.failed = Some(page);
        self
    }

    const fn slow(mut self) -> Route {
        self.is_slow = true;
        self
    }

    const fn cached(mut self) -> Route {
        self.is_cached = true;
        self
    }

    /// Whether it belongs to the API.
    pub fn is_api(&self) -> bool {
        matches!(self.face, Face::Api | Face::ApiLogIn)
    }
}

/// What `METRICS_LISTEN_ADDR` serves, to those who run the site and to nobody else.
pub fn monitoring_router(app: App) -> Router {
    Router::new()
        .route("/metrics", get(ops::metrics::show))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .with_state(app)
}

/// The whole site: cached pages and refusals at once, everything else from [`app_router`].
pub fn router(app: App) -> Router {
    let routes = known_routes();
    layers::entrance(app_router(app.clone()), app, routes)
}

fn app_router(app: App) -> Router {
    let public = layers::public_pages(routes_of(Face::Public, &app), &app);
    let pages =
        layers::pages(public.merge(layers::private_pages(routes_of(Face::Private, &app))), &app);
    let documents = layers::documents(routes_of(Face::Document, &app), &app);
    let api = match app.tokens {
        Some(_) => Router::new().nest("/v1", api_router(&app)),
        None => Router::new(),
    };
    let site = pages
        .merge(documents)
        .merge(routes_of(Face::File, &app))
        // Everything else below it is no page either: no session and no form.
        .nest("/api", api.fallback(error_page::no_such_page));
    layers::site(site, failed_forms(&app), app)
}

/// The pages that show a form again when its request fails.
fn failed_forms(app: &App) -> Router {
    let pages = ROUTES.iter().filter_map(|route| Some((route.path, route.failed?)));
    let pages = pages.fold(Router::new(), |router, (path, page)| router.route(path, page()));
    pages.layer(DefaultBodyLimit::disable()).with_state(app.clone())
}

fn api_router(app: &App) -> Router<App> {
    let with_token = layers::api(routes_of(Face::Api, app), app);
    layers::whole_api(with_token.merge(routes_of(Face::ApiLogIn, app)), app)
}

/// The routes of one face, each with its bound on the body.
fn routes_of(face: Face, app: &App) -> Router<App> {
    ROUTES.iter().filter(|route| route.face == face).fold(Router::new(), |router, route| {
        let path = route.path.strip_prefix(API).unwrap_or(route.path);
        let handler = (route.handler)().route_layer(DefaultBodyLimit::max(route.body_limit));
        let is_open_api = route.is_api() && route.access == Access::Anyone;
        router.route(path, if is_open_api { layers::open_api(handler, app) } else { handler })
    })
}

/// What the layers outside the router have to know of the routes.
fn known_routes() -> KnownRoutes {
    let routes = ROUTES.iter().map(|route| KnownRoute {
        method: route.method.clone(),
        path: route.path,
        traits: RouteTraits {
            is_api: route.is_api(),
            load: match route.face {
                Face::File => Load::Light,
                _ if route.is_slow => Load::Slow,
                _ => Load::Normal,
            },
            body: route.body_limit,
            keeps_form: route.failed.is_some(),
        },
        cached: route.is_cached.then(|| metrics().cached_route(route.path)),
    });
    KnownRoutes::new(routes.collect()).unwrap_or_else(|err| {
        tracing::error!(%err, "two routes contradict each other; no page is cached");
        KnownRoutes::default()
    })
}
