//! The site: its name, its public origin, its sessions and its proxies.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use url::Url;

use crate::{
    config::{
        BadSetting,
        source::{Source, bad},
    },
    text,
};

/// What pages and cookies need to know about the site.
#[derive(Debug, Clone)]
pub struct Site {
    pub name: String,
    pub base_url: BaseUrl,
    /// A session ends after this many days without a visit.
    pub session_idle_days: i32,
    /// The peers whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
}

impl Site {
    /// A session ends after this many days even with visits.
    pub fn session_absolute_days(&self) -> i32 {
        self.session_idle_days.max(90)
    }

    /// Over https a cookie's name begins with `__Host-`, so that no other host and no unencrypted
    /// connection can set it.
    pub fn cookie_name(&self, name: &str) -> String {
        if self.base_url.is_secure() { format!("__Host-{name}") } else { name.to_owned() }
    }
}

/// The site's public origin: scheme, host and port, as a browser writes them in `Origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    origin: String,
    is_secure: bool,
}

impl BaseUrl {
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The origin's host, without a port.
    pub fn host(&self) -> &str {
        let host = self.origin.split_once("://").map_or("", |(_, host)| host);
        let port = host.rsplit_once(':');
        let port = port.filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        port.map_or(host, |(host, _)| host)
    }
}

impl FromStr for BaseUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<BaseUrl, &'static str> {
        let url = Url::parse(text).map_err(|_| "is not a URL such as https://example.org")?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("must begin with http:// or https://");
        }
        let is_bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !is_bare {
            return Err("must be an origin alone, without a path, such as https://example.org");
        }
        Ok(BaseUrl {
            origin: url.origin().ascii_serialization(),
            is_secure: url.scheme() == "https",
        })
    }
}

/// The site, and whether `BASE_URL` is set.
pub(super) fn site(source: &Source, listen: SocketAddr) -> Result<(Site, bool), BadSetting> {
    let base_url = source.text("BASE_URL")?;
    let is_base_url_given = base_url.is_some();
    let base_url = match base_url {
        Some(url) => url.parse().map_err(|problem: &str| bad("BASE_URL", problem))?,
        None => BaseUrl { origin: local_origin(listen.port()), is_secure: false },
    };
    let name = source.text("SITE_NAME")?.unwrap_or_else(|| "Social Post".to_owned());
    let name = text::line(&name).map_err(|problem| bad("SITE_NAME", &problem.to_string()))?;
    if name.chars().count() > 60 {
        return Err(bad("SITE_NAME", "must be 60 characters or fewer"));
    }
    let trusted_proxies = networks(source.text("TRUSTED_PROXIES")?.as_deref())?;
    let session_idle_days = source.number("SESSION_LIFETIME_DAYS", 30, 1, 3650)?;
    Ok((Site { name, base_url, session_idle_days, trusted_proxies }, is_base_url_given))
}

/// The networks of a comma list, by default this machine's own; a single address is a network too.
fn networks(list: Option<&str>) -> Result<Vec<IpNet>, BadSetting> {
    let list = list.unwrap_or("127.0.0.0/8,::1/128").split(',').map(str::trim);
    list.filter(|item| !item.is_empty())
        .map(|item| item.parse().or_else(|_| item.parse().map(|address: IpAddr| address.into())))
        .collect::<Result<_, _>>()
        .map_err(|_| bad("TRUSTED_PROXIES", "must be networks such as 127.0.0.0/8,::1/128"))
}

/// This machine's origin as a browser writes it: without http's default port.
fn local_origin(port: u16) -> String {
    if port == 80 { "http://localhost".to_owned() } else { format!("http://localhost:{port}") }
}
