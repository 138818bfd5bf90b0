//! The documents that browsers, search engines and other programs request from every site, each in the
//! format of its standard.

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

use crate::{
    config::Site,
    mail::Mailer,
    web::{PageContext, Xml, cache::CachePolicy, filters, site::assets},
};

/// The Web Application Manifest, for members who install the site on their home screen. `minimal-ui`,
/// because the site has no back button of its own.
pub async fn manifest(State(site): State<Arc<Site>>) -> Response {
    let icon = |asset: &assets::Asset, sizes, purpose| {
        let kind = asset.content_type();
        json!({ "src": asset.path, "type": kind, "sizes": sizes, "purpose": purpose })
    };
    let manifest = json!({
        "id": "/",
        "name": site.name,
        "short_name": truncate(&site.name, 12),
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
    with_content_type("application/manifest+json", manifest.to_string())
}

#[derive(Template)]
#[template(path = "opensearch.xml")]
struct OpenSearch {
    short_name: String,
    description: String,
    origin: String,
}

/// An `OpenSearch` 1.1 description: browsers can add the site as a search engine.
pub async fn open_search(State(site): State<Arc<Site>>) -> (CachePolicy, Xml<impl Template>) {
    let description = OpenSearch {
        short_name: truncate(&site.name, 16),
        description: format!("Search {}", site.name),
        origin: site.base_url.origin().to_owned(),
    };
    (
        CachePolicy::Revalidate,
        Xml("application/opensearchdescription+xml; charset=utf-8", description),
    )
}

/// `/.well-known/change-password` (W3C): password managers send people here to change a password.
pub async fn change_password() -> (CachePolicy, Redirect) {
    (CachePolicy::Revalidate, Redirect::to("/settings"))
}

/// How long [`security`] is valid, as its `Expires` says.
const VALIDITY: Duration = Duration::days(180);

/// `security.txt` (RFC 9116). Its contact is the sender of the site's e-mail. A site without e-mail names
/// `security@`, which RFC 2142 asks every site to have.
pub async fn security(
    State(site): State<Arc<Site>>,
    State(mailer): State<Mailer>,
) -> (CachePolicy, String) {
    const UNSAFE: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'@').remove(b'.').remove(b'-').remove(b'_').remove(b'+');
    let fallback = format!("security@{}", site.base_url.host());
    let address = mailer.address().map_or(fallback.as_str(), AsRef::as_ref);
    // The same for a whole day, so that the `ETag` stays the same and clients get 304.
    let today = OffsetDateTime::now_utc().to_offset(UtcOffset::UTC).replace_time(Time::MIDNIGHT);
    // The RFC allows only https.
    let canonical = if site.base_url.is_secure() {
        format!("Canonical: {}/.well-known/security.txt\n", site.base_url.origin())
    } else {
        String::new()
    };
    let text = format!(
        "Contact: mailto:{}\nExpires: {}\nPreferred-Languages: en\n{canonical}",
        utf8_percent_encode(address, UNSAFE),
        filters::machine_text(today + VALIDITY),
    );
    (CachePolicy::Revalidate, text)
}

fn with_content_type(kind: &'static str, text: String) -> Response {
    (CachePolicy::Revalidate, [(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text)
        .into_response()
}

/// The first `length` characters of a name.
fn truncate(name: &str, length: usize) -> String {
    name.chars().take(length).collect::<String>().trim_end().to_owned()
}
