//! What handlers and middleware may reach.

use std::sync::Arc;

use axum::{extract::FromRef, http::HeaderValue};
use sqlx::PgPool;

use crate::{
    config::{self, AccessLog, Api, JwtSecret, Settings, Site},
    database::{Replica, local},
    lists::member_cache::MemberLists,
    live::Live,
    mail::Mailer,
    server::Shutdown,
    users::{Passwords, tokens::Tokens},
    web::{
        cache::{self, Versions},
        middleware::{body::Bodies, page_cache::PageCache, timeout::Limits, unread::Unread},
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
    pub access_log: AccessLog,
    pub limits: Limits,
    pub bodies: Bodies,
    pub unread: Unread,
    pub throttle: Throttle,
    pub pages: PageCache,
    pub lists: MemberLists,
    pub live: Live,
    pub shutdown: Shutdown,
    /// Of the program's own Postgres, if it has one.
    pub postgres: local::Status,
}

impl App {
    /// The state of a process that serves from `db`. `secret` signs the tokens of the API.
    pub fn new(
        settings: &Settings,
        db: PgPool,
        secret: Option<&JwtSecret>,
        shutdown: Shutdown,
    ) -> anyhow::Result<App> {
        let changes = Versions::new(cache::LIFETIME);
        let Api { is_off, previous, minutes, origins, .. } = &settings.api;
        Ok(App {
            db,
            replica: settings
                .replica
                .as_ref()
                .map(|config::Replica(options)| Replica::new(options, settings.max_connections)),
            site: settings.site.clone(),
            passwords: Passwords::default(),
            tokens: secret
                .filter(|_| !is_off)
                .map(|secret| Tokens::new(secret, previous.as_ref(), *minutes, &settings.site)),
            origins: origins.clone().into(),
            mailer: Mailer::new(settings.mail.as_ref())?,
            access_log: settings.access_log,
            limits: Limits::default(),
            bodies: Bodies::default(),
            unread: Unread::default(),
            throttle: Throttle::new(settings.rate_limits),
            live: Live::new(changes.clone(), shutdown.clone(), settings.rate_limits),
            pages: PageCache::new(&changes),
            lists: MemberLists::new(&changes),
            shutdown,
            postgres: local::Status::default(),
        })
    }
}
