//! What the site writes to people.

use askama::Template;

use crate::{
    config::Site,
    identity::Username,
    mail::OutgoingEmail,
    users::{Email, links::Purpose, secret::Secret},
};

/// A letter before it is put into both of its forms.
struct Words<'a> {
    subject: String,
    /// What it is about, a paragraph each.
    about: Vec<String>,
    link: Option<(&'static str, String)>,
    /// What to do for who did not ask for it.
    otherwise: &'a str,
}

#[derive(Template)]
#[template(path = "users/email.txt")]
struct Text<'a> {
    site: &'a Site,
    username: &'a Username,
    words: &'a Words<'a>,
}

#[derive(Template)]
#[template(path = "users/email.html")]
struct Html<'a> {
    site: &'a Site,
    username: &'a Username,
    words: &'a Words<'a>,
}

fn write(site: &Site, username: &Username, to: &str, words: &Words) -> OutgoingEmail {
    OutgoingEmail {
        to: Email::parse(to).map_or_else(|_| to.to_owned(), |email| email.deliverable()),
        subject: words.subject.clone(),
        text: Text { site, username, words }.render().unwrap_or_default(),
        html: Html { site, username, words }.render().unwrap_or_default(),
    }
}

/// How to choose a new password.
pub fn reset(site: &Site, username: &Username, to: &str, secret: &Secret) -> OutgoingEmail {
    let words = Words {
        subject: format!("A new password for {}", site.name),
        about: vec![format!(
            "Somebody, most likely you, asked for a new password for your account {username}."
        )],
        link: Some(("Choose a new password", Purpose::Password.url(site, secret))),
        otherwise: "If it was not you, do nothing: your password stays as it is.",
    };
    write(site, username, to, &words)
}

/// How to prove that the address is yours.
pub fn confirm(site: &Site, username: &Username, to: &str, secret: &Secret) -> OutgoingEmail {
    let words = Words {
        subject: format!("Confirm your address for {}", site.name),
        about: vec![format!("This address was given for the account {username}.")],
        link: Some(("Confirm the address", Purpose::Email.url(site, secret))),
        otherwise: "If it was not you, do nothing: without you the address does not count.",
    };
    write(site, username, to, &words)
}

/// For the owner of an address that somebody else wants for their account.
pub fn taken(site: &Site, owner: &Username, to: &str) -> OutgoingEmail {
    let words = Words {
        subject: format!("Your address on {}", site.name),
        about: vec![format!(
            "Somebody asked to use this address for another account, but it belongs to yours, {owner}. Nothing has changed."
        )],
        link: None,
        otherwise: "If it was you, give another address, or change that of your old account first.",
    };
    write(site, owner, to, &words)
}

/// That the password is another one now.
pub fn password_changed(site: &Site, username: &Username, to: &str) -> OutgoingEmail {
    let words = Words {
        subject: format!("Your password for {} was changed", site.name),
        about: vec![format!(
            "The password of your account {username} was changed just now, and it was logged out everywhere else."
        )],
        link: None,
        otherwise: "If it was not you, ask for a new password on the log-in page, and tell whoever runs the site.",
    };
    write(site, username, to, &words)
}

/// That the account has another address now; goes to the old one.
pub fn email_changed(site: &Site, username: &Username, to: &str) -> OutgoingEmail {
    let words = Words {
        subject: format!("Your address for {} was changed", site.name),
        about: vec![format!("Your account {username} has another e-mail address from now on.")],
        link: None,
        otherwise: "If it was not you, tell whoever runs the site.",
    };
    write(site, username, to, &words)
}
