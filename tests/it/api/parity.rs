//! Every action of a page has its endpoint in the API, and the other way round.

use crate::support::routes;

/// What a page does, and how a program does the same.
pub const COUNTERPARTS: [(&str, &str, &str, &str); 35] = [
    ("GET", "/", "GET", "/posts"),
    ("GET", "/new", "GET", "/posts"),
    ("GET", "/top", "GET", "/posts"),
    ("GET", "/search", "GET", "/posts"),
    ("GET", "/posts/{id}", "GET", "/posts/{id}"),
    ("GET", "/posts/{id}", "GET", "/posts/{id}/rank"),
    ("GET", "/users", "GET", "/users"),
    ("GET", "/users/{username}", "GET", "/users/{username}"),
    ("POST", "/posts", "POST", "/posts"),
    ("POST", "/posts/preview", "POST", "/posts/preview"),
    ("POST", "/posts/{id}/edit", "PUT", "/posts/{id}"),
    ("POST", "/posts/{id}/edit", "PATCH", "/posts/{id}"),
    ("POST", "/posts/{id}/delete", "DELETE", "/posts/{id}"),
    ("POST", "/posts/{id}/vote", "PUT", "/posts/{id}/vote"),
    ("POST", "/posts/{id}/vote", "DELETE", "/posts/{id}/vote"),
    ("POST", "/signup", "POST", "/users"),
    ("POST", "/login", "POST", "/login"),
    ("POST", "/logout", "DELETE", "/users/me/tokens"),
    ("POST", "/password/forgot", "POST", "/password/forgot"),
    ("POST", "/password/reset/{token}", "POST", "/password/reset"),
    ("POST", "/email/confirm/{token}", "POST", "/email/confirm"),
    ("GET", "/settings", "GET", "/users/me"),
    ("POST", "/settings/password", "PUT", "/users/me/password"),
    ("POST", "/settings/email", "PUT", "/users/me/email"),
    ("GET", "/settings/sessions", "GET", "/users/me/sessions"),
    ("POST", "/settings/sessions/revoke", "DELETE", "/users/me/sessions/{id}"),
    ("POST", "/settings/sessions/revoke", "DELETE", "/users/me/sessions"),
    ("GET", "/settings/export", "GET", "/users/me/export"),
    ("POST", "/settings/delete-account", "POST", "/users/me/deletion"),
    // Of the pages alone: forms before they are filled in.
    ("GET", "/posts/new", "", "a form"),
    ("GET", "/posts/{id}/edit", "", "a form with the post in it, which GET /posts/{id} gives"),
    ("GET", "/posts/{id}/delete", "", "a question that a program need not be asked"),
    ("GET", "/settings/delete-account", "", "the same"),
    ("GET", "/signup", "", "a form"),
    ("GET", "/login", "", "a form"),
];
/// Also of the pages alone, and of no one's account: a link's own form, what other programs read, files, and how
/// the site is.
pub const OF_PAGES_ALONE: [(&str, &str); 19] = [
    ("GET", "/live"),
    ("GET", "/feed.atom"),
    ("GET", "/new/feed.atom"),
    ("GET", "/users/{username}/feed.atom"),
    ("GET", "/search/feed.atom"),
    ("GET", "/sitemap.xml"),
    ("GET", "/robots.txt"),
    ("GET", "/manifest.webmanifest"),
    ("GET", "/opensearch.xml"),
    ("GET", "/.well-known/security.txt"),
    ("GET", "/.well-known/change-password"),
    ("GET", "/password/forgot"),
    ("GET", "/password/reset/{token}"),
    ("GET", "/email/confirm/{token}"),
    ("GET", "/static/{name}"),
    ("GET", "/favicon.svg"),
    ("GET", "/favicon.ico"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
];
/// Of programs alone: the description of what they may do.
pub const OF_PROGRAMS_ALONE: [(&str, &str); 2] = [("GET", "/openapi.json"), ("GET", "/docs")];

pub fn pair((method, path): (&str, &str)) -> (String, String) {
    (path.to_owned(), method.to_owned())
}

#[test]
fn whatever_a_page_does_a_program_can_do_and_the_other_way_round() {
    let pages = COUNTERPARTS.map(|(method, path, _, _)| (method, path)).into_iter();
    let pages: routes::Routes = pages.chain(OF_PAGES_ALONE).map(pair).collect();
    assert_eq!(pages, routes::pages(), "left: this file, right: src/routes.rs");
    let programs = COUNTERPARTS.map(|(_, _, method, path)| (method, path)).into_iter();
    let programs = programs.filter(|(method, _)| !method.is_empty());
    let programs: routes::Routes = programs.chain(OF_PROGRAMS_ALONE).map(pair).collect();
    assert_eq!(programs, routes::api(), "left: this file, right: src/routes.rs");
}
