//! What browsers, search engines and other programs ask every site for, each in the words of its own
//! convention.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use time::{Duration, OffsetDateTime, Time, UtcOffset};

use crate::web::cache::CachePolicy;
use crate::{
    config::Site,
    mail::Mailer,
    web::{PageContext, Xml, filters, site::assets},
};

/// Web Application Manifest, for who puts the site on their screen. `minimal-ui`: there has to be a way
/// back.
pub async fn manifest(State(site): State<Arc<Site>>) -> Response {
    let icon = |asset: &assets::Asset, sizes, purpose| {
        let kind = asset.content_type();
        json!({ "src": asset.path, "type": kind, "sizes": sizes, "purpose": purpose })
    };
    let manifest = json!({
        "id": "/",
        "name": site.name,
        "short_name": start(&site.name, 12),
        "description": PageContext::DESCRIPTION,
        "lang": "en",
        "start_url": "/",
        "scope": "/",
        "display": "minimal-ui",
        "theme_color": "#faf8f5",
        "background_color": "#faf8f5",
        "icons": [
            icon(&assets::ICON, "any", "any"),
            icon(&assets::ICON_192, "192x192", "any"),
            icon(&assets::ICON_512, "512x512", "any"),
            icon(&assets::MASKABLE_ICON, "512x512", "maskable"),
        ],
    });
    of_type("application/manifest+json", manifest.to_string())
}

#[derive(Template)]
#[template(path = "opensearch.xml")]
struct OpenSearch {
    short_name: String,
    description: String,
    origin: String,
}

/// `OpenSearch` 1.1: browsers can search here from their own search field.
pub async fn open_search(State(site): State<Arc<Site>>) -> (CachePolicy, Xml<impl Template>) {
    let description = OpenSearch {
        short_name: start(&site.name, 16),
        description: format!("Search {}", site.name),
        origin: site.base_url.origin().to_owned(),
    };
    (
        CachePolicy::Revalidate,
        Xml("application/opensearchdescription+xml; charset=utf-8", description),
    )
}

/// Where password managers lead people who should take another password.
pub async fn change_password() -> (CachePolicy, Redirect) {
    (CachePolicy::Revalidate, Redirect::to("/settings"))
}

/// How long a researcher may trust what [`security`] says.
const GOOD_FOR: Duration = Duration::days(180);

/// RFC 9116. Whoever answers letters from the site is told; a site that sends none names the address
/// that RFC 2142 has every site keep for this.
pub async fn security(
    State(site): State<Arc<Site>>,
    State(mailer): State<Mailer>,
) -> (CachePolicy, String) {
    const UNSAFE: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'@').remove(b'.').remove(b'-').remove(b'_').remove(b'+');
    let conventional = format!("security@{}", site.base_url.host());
    let address = mailer.address().map_or(conventional.as_str(), AsRef::as_ref);
    // The same for a day, so that who has it need not be sent it again.
    let today = OffsetDateTime::now_utc().to_offset(UtcOffset::UTC).replace_time(Time::MIDNIGHT);
    // The RFC takes https alone.
    let canonical = if site.base_url.is_secure() {
        format!("Canonical: {}/.well-known/security.txt\n", site.base_url.origin())
    } else {
        String::new()
    };
    let text = format!(
        "Contact: mailto:{}\nExpires: {}\nPreferred-Languages: en\n{canonical}",
        utf8_percent_encode(address, UNSAFE),
        filters::machine_text(today + GOOD_FOR),
    );
    (CachePolicy::Revalidate, text)
}

fn of_type(kind: &'static str, text: String) -> Response {
    (CachePolicy::Revalidate, [(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text)
        .into_response()
}

/// The first characters of a name, where there is no room for more.
fn start(name: &str, length: usize) -> String {
    name.chars().take(length).collect::<String>().trim_end().to_owned()
}
