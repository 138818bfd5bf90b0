//! XML responses.

use askama::Template;
use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use crate::{cpu, web::Error};

/// A response that renders a `.xml` template; the first field is its content type.
pub struct Xml<T>(pub &'static str, pub T);

impl<T: Template> IntoResponse for Xml<T> {
    fn into_response(self) -> Response {
        let Xml(kind, template) = self;
        match template.render() {
            Ok(text) => {
                let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(kind))];
                (kind, replace_forbidden(text)).into_response()
            }
            Err(err) => Error::internal(err).into_response(),
        }
    }
}

impl<T: Template + Send + 'static> Xml<T> {
    /// The response, rendered off the runtime's threads: a feed or a part of the sitemap takes milliseconds.
    pub async fn render(self) -> Response {
        cpu::run(|| self.into_response()).await
    }
}

/// Replaces with U+FFFD each character that XML 1.0 does not allow, escaped or not (section 2.2). With one
/// of them, parsers reject the whole document.
fn replace_forbidden(text: String) -> String {
    let is_forbidden = |c: char| matches!(c, '\0'..='\u{8}' | '\u{B}' | '\u{C}' | '\u{E}'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}');
    if text.contains(is_forbidden) { text.replace(is_forbidden, "\u{FFFD}") } else { text }
}
