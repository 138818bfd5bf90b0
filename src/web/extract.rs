//! Extractors like axum's, but strict about bytes, and failing with our [`Error`].
//!
//! axum's own replace bytes that are not UTF-8 with U+FFFD, take the last value of a repeated field,
//! and respond with serde's messages.

#![allow(clippy::disallowed_types, reason = "this is where they are wrapped")]

use std::{borrow::Cow, collections::HashSet};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, rejection::PathRejection},
    http::{HeaderMap, header, request::Parts},
};
use percent_encoding::percent_decode;
use serde::{
    Deserializer,
    de::{DeserializeOwned, IntoDeserializer, Visitor, value::MapDeserializer},
    forward_to_deserialize_any,
};

use crate::{cpu, web::Error};

/// More fields than any form of the site has.
const MAX_FIELDS: usize = 64;

/// A longer body takes more than a fraction of a millisecond to read, in bytes.
pub const LONG: usize = 32 * 1024;

/// The fields of a web form, each at most once. The type refuses fields that it does not have
/// (`deny_unknown_fields`): 422.
pub struct Form<T>(pub T);

impl<T: DeserializeOwned + Send + 'static, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Form<T>, Error> {
        if !is_of_type(request.headers(), "application/x-www-form-urlencoded") {
            return Err(Error::UnsupportedType);
        }
        let body = Bytes::from_request(request, state).await.map_err(|err| {
            if err.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
                Error::TooLarge
            } else {
                Error::BadRequest("The form did not arrive completely.".into())
            }
        })?;
        cpu::run_if(body.len() > LONG, move || {
            read(pairs(&body, MAX_FIELDS)?).map(Form).map_err(|Mismatch| {
                Error::Invalid(
                    "The form does not have the fields of this page. Reload the page and try again."
                        .into(),
                )
            })
        })
        .await
    }
}

/// The query parameters. Unknown ones are ignored, because other sites add theirs to links. An empty one
/// counts as absent.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query<T>, Error> {
        let mut fields = pairs(parts.uri.query().unwrap_or_default().as_bytes(), usize::MAX)?;
        if fields.iter().any(|(name, value)| name.contains('\0') || value.contains('\0')) {
            return Err(Error::Invalid(
                "The address has a character that cannot be stored.".into(),
            ));
        }
        fields.retain(|(_, value)| !value.is_empty());
        read(fields).map(Query).map_err(|Mismatch| {
            Error::BadRequest("The address has a parameter that is not valid.".into())
        })
    }
}

/// A query parameter that is a whole number from `least` to `most`, without leading zeros or a plus
/// sign; `default` if it is absent.
///
/// # Errors
///
/// [`Error::BadRequest`] for anything else.
pub fn number(
    name: &'static str,
    text: Option<&str>,
    default: i64,
    least: i64,
    most: i64,
) -> Result<i64, Error> {
    let Some(text) = text else { return Ok(default) };
    let number = text.parse().ok().filter(|number: &i64| number.to_string() == text);
    number.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        Error::BadRequest(format!("{name} must be a whole number from {least} to {most}.").into())
    })
}

/// The parameters of the path. One that does not parse names nothing: 404.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Error))]
pub struct Path<T>(pub T);

impl From<PathRejection> for Error {
    fn from(rejection: PathRejection) -> Error {
        use axum::extract::path::ErrorKind;
        match rejection {
            PathRejection::FailedToDeserializePathParams(err)
                if matches!(err.kind(), ErrorKind::InvalidUtf8InPathParam { .. }) =>
            {
                Error::BadRequest("The address is not valid UTF-8.".into())
            }
            _ => Error::NotFound,
        }
    }
}

/// Whether the headers say that the body has this content type, in UTF-8 and without a content coding.
pub fn is_of_type(headers: &HeaderMap, expected: &str) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else {
        return false;
    };
    let mut parts = kind.split(';').map(str::trim);
    let is_expected = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(expected));
    let is_utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    is_expected && is_utf8 && !headers.contains_key(header::CONTENT_ENCODING)
}

/// The name and value pairs of a form or a query, parsed as in the URL standard (a `%` without two hex
/// digits is literal), except that bytes that are not UTF-8 and repeated names are refused. Nothing is read
/// beyond `most` of them.
fn pairs(bytes: &[u8], most: usize) -> Result<Vec<(String, String)>, Error> {
    let mut names = HashSet::new();
    let mut pairs = Vec::new();
    for pair in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == most {
            return Err(Error::Invalid("The form has too many fields.".into()));
        }
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = (decode(&pair[..at])?, decode(pair.get(at + 1..).unwrap_or_default())?);
        if !names.insert(name.clone()) {
            return Err(Error::BadRequest("A field appears twice.".into()));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn decode(bytes: &[u8]) -> Result<String, Error> {
    let spaced: Vec<u8> =
        bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let decoded: Cow<[u8]> = percent_decode(&spaced).into();
    String::from_utf8(decoded.into_owned())
        .map_err(|_| Error::BadRequest("The text is not valid UTF-8.".into()))
}

fn read<T: DeserializeOwned>(fields: Vec<(String, String)>) -> Result<T, Mismatch> {
    let fields = fields.into_iter().map(|(name, value)| (name, Value(value)));
    T::deserialize(MapDeserializer::new(fields))
}

/// A field's text. Unlike serde's own deserializer of a `String`, this one is `Some` to an `Option`.
struct Value(String);

impl IntoDeserializer<'_, Mismatch> for Value {
    type Deserializer = Value;

    fn into_deserializer(self) -> Value {
        self
    }
}

impl<'de> Deserializer<'de> for Value {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_string(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.0.into_deserializer().deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// That fields do not match the type. Drops serde's message, which names our types.
#[derive(Debug)]
struct Mismatch;

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the fields do not match the type")
    }
}

impl std::error::Error for Mismatch {}

impl serde::de::Error for Mismatch {
    fn custom<T: std::fmt::Display>(_: T) -> Mismatch {
        Mismatch
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_form_is_read_as_it_was_typed_in_each_percent_encoding(
            typed in prop::collection::btree_map("\\PC{0,8}", any::<String>(), 0..8),
            is_lower: bool,
        ) {
            let encode = |text: &str| {
                let text = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                if is_lower { text.replace("%20", "+").replace("%C3", "%c3") } else { text }
            };
            let form: Vec<_> =
                typed.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
            let read = pairs(form.join("&").as_bytes(), usize::MAX).unwrap();
            prop_assert_eq!(read, typed.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn parsing_any_bytes_neither_panics_nor_changes_text(bytes: Vec<u8>) {
            let names_and_values = bytes.split(|byte| matches!(byte, b'&' | b'='));
            let is_utf8 = names_and_values.into_iter().all(|part| {
                std::str::from_utf8(&percent_decode(part).collect::<Vec<_>>()).is_ok()
            });
            match pairs(&bytes, usize::MAX) {
                Ok(pairs) => {
                    let names: HashSet<_> = pairs.iter().map(|(name, _)| name).collect();
                    prop_assert_eq!(names.len(), pairs.len(), "a name appears twice");
                    prop_assert!(is_utf8 || bytes.contains(&b'='), "{:?} became text", pairs);
                }
                Err(Error::BadRequest(_)) => {}
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
