//! JSON requests and responses: strict about requests, and failing with our [`Error`].

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::error::Category;

use crate::{
    cpu,
    web::{
        Error,
        extract::{LONG, is_of_type},
    },
};

/// A JSON document (RFC 8259). A request must be `application/json` in UTF-8, with each member at most
/// once; the type refuses unknown ones (`deny_unknown_fields`). serde's messages, which name our types,
/// are not passed on.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + Send + 'static, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Json<T>, Error> {
        if !is_of_type(request.headers(), "application/json") {
            return Err(Error::NotJson);
        }
        let body = Bytes::from_request(request, state).await.map_err(|err| {
            if err.status() == StatusCode::PAYLOAD_TOO_LARGE {
                Error::TooLarge
            } else {
                Error::BadRequest("The document did not arrive completely.".into())
            }
        })?;
        cpu::run_if(body.len() > LONG, move || read(&body)).await
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<Json<T>, Error> {
    let read = serde_json::from_slice(body).map_err(|err| match err.classify() {
        Category::Data => Error::Invalid(
            "The document has a member that is missing, unknown, repeated or of the wrong type."
                .into(),
        ),
        _ => Error::BadRequest("The body is not a JSON document in UTF-8.".into()),
    })?;
    // serde accepts an array as well, as the members in the order of the type's fields.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::Invalid("The document must be a JSON object.".into()));
    }
    Ok(Json(read))
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(document) => {
                let kind = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, kind)], document).into_response()
            }
            Err(err) => Error::internal(err).into_response(),
        }
    }
}
