//! Access tokens: forgery, where they are read from, revocation, and the secret.

mod forgery;
mod presentation;
mod revocation;
mod secret;

use crate::support::{Caller, Reply, TestSite};

const BETTER: &str = "marble otter 7 lantern";

async fn show(site: &TestSite, token: &str, path: &str) -> Reply {
    let caller = Caller { token: Some(token.to_owned()), ..site.caller() };
    caller.get(path).await
}
