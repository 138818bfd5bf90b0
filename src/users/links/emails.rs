//! The e-mails that the site sends.

use askama::Template;

use crate::{
    config::Site,
    identity::Username,
    mail::OutgoingEmail,
    users::{Email, links::Purpose, secret::Secret},
};

/// The content of an e-mail, before it is rendered as text and as HTML.
struct Content<'a> {
    subject: String,
    /// One string per paragraph.
    paragraphs: Vec<String>,
    /// Label and URL.
    link: Option<(&'static str, String)>,
    /// What to do if the reader did not ask for this.
    otherwise: &'a str,
}

#[derive(Template)]
#[template(path = "users/email.txt")]
struct Text<'a> {
    site: &'a Site,
    username: &'a Username,
    content: &'a Content<'a>,
}

#[derive(Template)]
#[template(path = "users/email.html")]
struct Html<'a> {
    site: &'a Site,
    username: &'a Username,
    content: &'a Content<'a>,
}

fn render(site: &Site, username: &Username, to: &str, content: &Content) -> OutgoingEmail {
    OutgoingEmail {
        to: Email::parse(to).map_or_else(|_| to.to_owned(), |email| email.deliverable()),
        subject: content.subject.clone(),
        text: Text { site, username, content }.render().unwrap_or_default(),
        html: Html { site, username, content }.render().unwrap_or_default(),
    }
}

/// A link to set a new password.
pub fn reset(site: &Site, username: &Username, to: &str, secret: &Secret) -> OutgoingEmail {
    let content = Content {
        subject: format!("A new password for {}", site.name),
        paragraphs: vec![format!("A new password was requested for your account {username}.")],
        link: Some(("Choose a new password", Purpose::Password.url(site, secret))),
        otherwise: "If it wasn't you, ignore this e-mail. Your password stays the same.",
    };
    render(site, username, to, &content)
}

/// A link to confirm the address.
pub fn confirm(site: &Site, username: &Username, to: &str, secret: &Secret) -> OutgoingEmail {
    let content = Content {
        subject: format!("Confirm your e-mail address for {}", site.name),
        paragraphs: vec![format!("This e-mail address was entered for the account {username}.")],
        link: Some(("Confirm this address", Purpose::Email.url(site, secret))),
        otherwise: "If it wasn't you, ignore this e-mail. The address won't be used unless you confirm it.",
    };
    render(site, username, to, &content)
}

/// To the owner of an address that somebody tried to use for another account.
pub fn taken(site: &Site, owner: &Username, to: &str) -> OutgoingEmail {
    let content = Content {
        subject: format!("Your e-mail address on {}", site.name),
        paragraphs: vec![format!(
            "Somebody tried to use this e-mail address for another account, but it belongs to your account {owner}. Nothing has changed."
        )],
        link: None,
        otherwise: "If it was you, use another address, or first change the address of your old account.",
    };
    render(site, owner, to, &content)
}

/// The password was changed.
pub fn password_changed(site: &Site, username: &Username, to: &str) -> OutgoingEmail {
    let content = Content {
        subject: format!("Your password for {} was changed", site.name),
        paragraphs: vec![format!(
            "The password of your account {username} was just changed, and all other devices were logged out."
        )],
        link: None,
        otherwise: "If it wasn't you, reset your password on the log-in page and tell the people who run the site.",
    };
    render(site, username, to, &content)
}

/// The e-mail address was changed; sent to the old one.
pub fn email_changed(site: &Site, username: &Username, to: &str) -> OutgoingEmail {
    let content = Content {
        subject: format!("Your e-mail address for {} was changed", site.name),
        paragraphs: vec![format!("The e-mail address of your account {username} was changed.")],
        link: None,
        otherwise: "If it wasn't you, tell the people who run the site.",
    };
    render(site, username, to, &content)
}
