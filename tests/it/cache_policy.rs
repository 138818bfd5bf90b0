//! What each route says of how its response may be cached, beside what the manifest of routes says.

use social_post::{
    routes::{Face, ROUTES},
    web::cache::{CachePolicy, Topic},
};
use tower::ServiceExt as _;

use crate::support::TestSite;

/// A page that does not say what it shows would never be cached, and one that is a member's own must
/// never be.
#[tokio::test]
async fn the_cache_policy_of_every_get_route_is_what_its_row_in_the_manifest_says() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let post = site.post_by("ada", "A title").await;
    for route in ROUTES.iter().filter(|route| route.method.is_safe()) {
        let path = route
            .path
            .replace("{id}", &post.to_string())
            .replace("{username}", "ada")
            .replace("{token}", "AAAAAAAAAAAAAAAAAAAAAA");
        let query = if route.query.contains(&"q") { "?q=title" } else { "" };
        let request = ada.request(route.method.clone(), &format!("{path}{query}"));
        let response = site
            .router
            .clone()
            .oneshot(request.body(axum::body::Body::empty()).unwrap())
            .await
            .unwrap();
        let policy = response.extensions().get::<CachePolicy>().copied();
        let what = format!("{} answers {} with {policy:?}", route.path, response.status());
        let is_shared = match policy {
            Some(CachePolicy::Shared(Topic::Post(id))) => id == post,
            Some(CachePolicy::Shared(Topic::Lists)) => true,
            _ => false,
        };
        assert_eq!(is_shared, route.is_cached, "{what}");
        let cache_control = response.headers().get("cache-control");
        let cache_control = cache_control.map_or("", |value| value.to_str().unwrap());
        match route.face {
            Face::Public => assert_eq!(cache_control, "private, no-cache", "{what}"),
            Face::Document => assert_eq!(cache_control, "no-cache", "{what}"),
            Face::Private | Face::Api | Face::ApiLogIn => {
                assert_eq!(cache_control, "no-store", "{what}");
            }
            Face::File => {}
        }
    }
}
