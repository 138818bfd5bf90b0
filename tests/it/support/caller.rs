//! One program talking to the API: it shows its token and speaks JSON.

use axum::{
    body::Body,
    http::{Method, header, request::Builder},
};
use serde_json::Value;

use super::{Reply, Visitor, encode, oracle};

/// Before every path of the API.
pub const API: &str = "/api/v1";

pub struct Caller {
    pub visitor: Visitor,
    pub token: Option<String>,
}

impl Caller {
    pub fn at_address(self, address: &str) -> Caller {
        Caller { visitor: self.visitor.at_address(address), ..self }
    }

    /// A request as it begins; `path` is what follows [`API`].
    pub fn request(&self, method: Method, path: &str) -> Builder {
        let request = self.visitor.request(method, &format!("{API}{path}"));
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    /// The same, with a document to follow.
    pub fn document(&self, method: Method, path: &str) -> Builder {
        self.request(method, path).header(header::CONTENT_TYPE, "application/json")
    }

    /// Every answer is held against the rules for all answers.
    pub async fn send(&self, request: Builder, body: impl Into<Body>) -> Reply {
        let asked = format!("{:?} {:?}", request.method_ref(), request.uri_ref());
        let reply = self.visitor.send(request, body).await;
        oracle::check(&reply, &asked, &[]);
        reply
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path), "").await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(self.request(Method::DELETE, path), "").await
    }

    pub async fn post(&self, path: &str, document: &Value) -> Reply {
        self.send(self.document(Method::POST, path), document.to_string()).await
    }

    pub async fn put(&self, path: &str, document: &Value) -> Reply {
        self.send(self.document(Method::PUT, path), document.to_string()).await
    }

    pub async fn patch(&self, path: &str, document: &Value) -> Reply {
        self.send(self.document(Method::PATCH, path), document.to_string()).await
    }

    /// The password form of OAuth 2.
    pub async fn log_in(&self, username: &str, password: &str) -> Reply {
        let request = self
            .request(Method::POST, "/login")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request, encode(&[("username", username), ("password", password)])).await
    }
}

impl Reply {
    /// The document that came.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|err| panic!("{err}: {} {}", self.status, self.body))
    }

    /// The member of that name.
    #[track_caller]
    pub fn member(&self, name: &str) -> Value {
        self.json()[name].clone()
    }

    /// The fields that do not hold.
    #[track_caller]
    pub fn fields(&self) -> Vec<String> {
        let document = self.json();
        let errors = document["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}
