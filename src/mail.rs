//! Outgoing e-mail.

use std::{sync::Arc, time::SystemTime};

use anyhow::Context as _;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, MultiPart},
};
use tokio::sync::Semaphore;

use crate::config::Outgoing;

/// E-mails that may be in progress at once. More are dropped with a warning in the log.
const MAX_IN_PROGRESS: usize = 64;

/// An e-mail to one person, as text and as HTML.
#[derive(Debug)]
pub struct OutgoingEmail {
    /// The address from the database, never from a request.
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// Sends e-mail through the SMTP server, if one is configured. Clones share the connection pool.
#[derive(Clone)]
pub struct Mailer(Option<Arc<Transport>>);

struct Transport {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    permits: Semaphore,
}

impl Mailer {
    pub fn new(outgoing: Option<&Outgoing>) -> anyhow::Result<Mailer> {
        let Some(Outgoing { url, from }) = outgoing else { return Ok(Mailer(None)) };
        let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .context("SMTP_URL cannot be used")?
            .build();
        let permits = Semaphore::new(MAX_IN_PROGRESS);
        Ok(Mailer(Some(Arc::new(Transport { server, from: from.clone(), permits }))))
    }

    /// Whether the site can send e-mail.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The sender's address, to which people reply.
    pub fn address(&self) -> Option<&Address> {
        self.0.as_ref().map(|transport| &transport.from.email)
    }

    /// Sends the e-mail or logs why it could not, without a name or an address. There is no retry: the
    /// recipient can ask again.
    pub async fn send(&self, email: OutgoingEmail) {
        let Some(transport) = &self.0 else { return };
        let sent = async {
            let _permit = transport.permits.try_acquire().context("too many are in progress")?;
            let message = Message::builder()
                .from(transport.from.clone())
                .to(Mailbox::new(None, email.to.parse().context("not an address")?))
                .subject(email.subject)
                // The library panics where the clock is before 1970.
                .date(SystemTime::now().max(SystemTime::UNIX_EPOCH))
                .multipart(MultiPart::alternative_plain_html(email.text, email.html))?;
            transport.server.send(message).await?;
            anyhow::Ok(())
        };
        match sent.await {
            Ok(()) => tracing::info!("sent an e-mail"),
            Err(err) => tracing::warn!("cannot send an e-mail: {err:#}"),
        }
    }
}
