//! Outgoing mail.

use std::{fmt, net::IpAddr};

use lettre::{AsyncSmtpTransport, Tokio1Executor, message::Mailbox};
use url::Url;

use crate::config::{BadSetting, source::bad};

/// The server for outgoing mail, and the sender.
#[derive(Clone)]
pub struct Outgoing {
    /// In the form that lettre parses; may hold a password.
    pub url: String,
    pub from: Mailbox,
}

pub(super) fn outgoing(
    url: Option<String>,
    from: Option<String>,
) -> Result<Option<Outgoing>, BadSetting> {
    let (url, from) = match (url, from) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(bad("MAIL_FROM", "is needed beside SMTP_URL")),
        (None, Some(_)) => return Err(bad("SMTP_URL", "is needed beside MAIL_FROM")),
        (Some(url), Some(from)) => (url, from),
    };
    // Never with the value: it may hold a password.
    let problem = "is not a URL such as smtps://user:password@host or smtp://host:25";
    let parsed = Url::parse(&url).map_err(|_| bad("SMTP_URL", problem))?;
    let is_smtp = matches!(parsed.scheme(), "smtp" | "smtps") && parsed.has_host();
    if !is_smtp || AsyncSmtpTransport::<Tokio1Executor>::from_url(&url).is_err() {
        return Err(bad("SMTP_URL", problem));
    }
    let is_encrypted = parsed.scheme() == "smtps"
        || parsed.query_pairs().any(|(name, value)| name == "tls" && value == "required");
    let is_here = parsed.host_str().is_some_and(|host| {
        host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    });
    if parsed.password().is_some() && !is_encrypted && !is_here {
        return Err(bad(
            "SMTP_URL",
            "would send its password in the clear: use smtps://, or add ?tls=required",
        ));
    }
    let from = from.parse().map_err(|_| {
        bad("MAIL_FROM", "is not an address such as Social Post <post@example.org>")
    })?;
    Ok(Some(Outgoing { url, from }))
}

/// The URL holds a password.
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("from", &self.from).finish_non_exhaustive()
    }
}
