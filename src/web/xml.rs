//! XML on its way out.

use askama::Template;
use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use crate::web::Error;

/// A view struct over a `.xml` template, and what kind of XML it is.
pub struct Xml<T>(pub &'static str, pub T);

impl<T: Template> IntoResponse for Xml<T> {
    fn into_response(self) -> Response {
        let Xml(kind, template) = self;
        match template.render() {
            Ok(text) => {
                let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(kind))];
                (kind, without_strangers(text)).into_response()
            }
            Err(err) => Error::internal(err).into_response(),
        }
    }
}

/// With U+FFFD for each character that XML 1.0 has no way to hold, escaped or not (section 2.2): one of
/// them, and no reader takes the document.
fn without_strangers(text: String) -> String {
    let is_stranger = |c: char| matches!(c, '\0'..='\u{8}' | '\u{B}' | '\u{C}' | '\u{E}'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}');
    if text.contains(is_stranger) { text.replace(is_stranger, "\u{FFFD}") } else { text }
}
