//! Letters on their way out.

use std::sync::Arc;

use anyhow::Context as _;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, MultiPart},
};
use tokio::sync::Semaphore;

use crate::config::Outgoing;

/// How many emails wait or are on their way at most; beyond it they are not sent, and the log says so.
const AT_ONCE: usize = 64;

/// A email to one person, in both of the forms that mail programs show.
#[derive(Debug)]
pub struct OutgoingEmail {
    /// The address as the database has it, never as somebody typed it.
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// The way to the mail server, where the settings name one.
#[derive(Clone)]
pub struct Mailer(Option<Arc<Transport>>);

struct Transport {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    places: Semaphore,
}

impl Mailer {
    pub fn new(outgoing: Option<&Outgoing>) -> anyhow::Result<Mailer> {
        let Some(Outgoing { url, from }) = outgoing else { return Ok(Mailer(None)) };
        let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .context("SMTP_URL cannot be used")?
            .build();
        let places = Semaphore::new(AT_ONCE);
        Ok(Mailer(Some(Arc::new(Transport { server, from: from.clone(), places }))))
    }

    /// Whether the site can write to people at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The address that emails come from, and to which people answer.
    pub fn address(&self) -> Option<&Address> {
        self.0.as_ref().map(|transport| &transport.from.email)
    }

    /// Sends the email, or says in the log why it could not, without naming anybody: who waits for it
    /// can only ask again.
    pub async fn send(&self, email: OutgoingEmail) {
        let Some(transport) = &self.0 else { return };
        let sent = async {
            let _place = transport.places.try_acquire().context("too many emails wait already")?;
            let message = Message::builder()
                .from(transport.from.clone())
                .to(Mailbox::new(None, email.to.parse().context("not an address")?))
                .subject(email.subject)
                .multipart(MultiPart::alternative_plain_html(email.text, email.html))?;
            transport.server.send(message).await?;
            anyhow::Ok(())
        };
        match sent.await {
            Ok(()) => tracing::info!("sent a email"),
            Err(err) => tracing::warn!("cannot send a email: {err:#}"),
        }
    }
}
