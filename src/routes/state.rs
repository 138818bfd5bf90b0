//! What handlers and middleware may reach.

use std::sync::Arc;

use axum::{extract::FromRef, http::HeaderValue};
use sqlx::PgPool;

use crate::{
    config::Site,
    database::Replica,
    lists::member_cache::MemberLists,
    live::Live,
    mail::Mailer,
    server::Shutdown,
    users::{Passwords, tokens::Tokens},
    web::{
        middleware::{page_cache::PageCache, timeout::Limits},
        throttle::Throttle,
    },
};

/// The state of a process. Handlers ask for the one field they need.
#[derive(Clone, FromRef)]
pub struct App {
    pub db: PgPool,
    /// `None` without `DATABASE_REPLICA_URL`.
    pub replica: Option<Replica>,
    pub site: Arc<Site>,
    pub passwords: Passwords,
    /// `None` where the API is off.
    pub tokens: Option<Tokens>,
    /// The origins whose pages may call the API.
    pub origins: Arc<[HeaderValue]>,
    pub mailer: Mailer,
    pub limits: Limits,
    pub throttle: Throttle,
    pub pages: PageCache,
    pub lists: MemberLists,
    pub live: Live,
    pub shutdown: Shutdown,
}
