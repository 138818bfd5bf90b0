//! Users: accounts, authentication, sessions and tokens.

pub mod account;
pub mod api;
pub mod credentials;
pub mod db;
pub mod export;
pub mod fair_queue;
pub mod links;
pub mod log_in;
pub mod pages;
pub mod password;
pub mod secret;
pub mod sessions;
pub mod tokens;
pub mod viewer;

use time::OffsetDateTime;
use unicode_normalization::UnicodeNormalization as _;

use crate::{
    identity::{UserId, Username},
    web::error::Field,
};

pub use password::{NewPassword, Password, Passwords};

/// A user as everyone may see them.
#[derive(Debug, Clone)]
pub struct Person {
    pub id: UserId,
    pub username: Username,
    pub post_count: i64,
    pub created_at: OffsetDateTime,
}

/// An e-mail address, as written and in its canonical form.
///
/// Canonical: trimmed, NFC, the domain in IDNA's ASCII form (`xn--…`, lower case), the local part in
/// lower case. Different spellings of one mailbox have the same canonical form; different mailboxes
/// never do, because no letter is folded into one of another script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    address: String,
    canonical: String,
}

impl Email {
    pub fn parse(text: &str) -> Result<Email, BadEmail> {
        let address: String = text.trim_matches(' ').nfc().collect();
        if address.is_empty() {
            return Err(BadEmail::Empty);
        }
        let (local, domain) = address.rsplit_once('@').ok_or(BadEmail::Form)?;
        let has_odd = |text: &str| {
            text.chars().any(|c| {
                c.is_control()
                    || c.is_whitespace()
                    || "()<>[]:;,\\\"@".contains(c)
                    || !c.is_alphanumeric() && !c.is_ascii()
            })
        };
        let dots_fit =
            |text: &str| !text.is_empty() && text.split('.').all(|part| !part.is_empty());
        if has_odd(local) || has_odd(domain) || !dots_fit(local) || !dots_fit(domain) {
            return Err(BadEmail::Form);
        }
        if local.len() > 64 || address.len() > 254 {
            return Err(BadEmail::TooLong);
        }
        // The URL standard would decode it, and mail would go to a host other than the canonical form's.
        if domain.contains('%') {
            return Err(BadEmail::Form);
        }
        let Ok(url::Host::Domain(host)) = url::Host::parse(domain) else {
            return Err(BadEmail::Form);
        };
        if !host.contains('.') && host != "localhost" {
            return Err(BadEmail::Form);
        }
        // Lower case may break NFC, so normalize again.
        let local: String = local.chars().flat_map(char::to_lowercase).nfc().collect();
        // Some letters get longer, or become two characters: the canonical form must be valid as well.
        if local.len() > 64 || has_odd(&local) {
            return Err(BadEmail::Form);
        }
        Ok(Email { canonical: format!("{local}@{host}"), address })
    }

    pub fn as_written(&self) -> &str {
        &self.address
    }

    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The mailbox that letters to this address probably reach: many servers ignore dots, and what
    /// follows a `+` (RFC 5233). Only for counting letters; two people may share it.
    pub fn mailbox(&self) -> String {
        let (local, host) = self.canonical.rsplit_once('@').unwrap_or((&self.canonical, ""));
        let name = local.split('+').next().unwrap_or(local).replace('.', "");
        format!("{}@{host}", if name.is_empty() { local } else { &name })
    }

    /// The form for sending: the local part as written, because only its own server may interpret it,
    /// and the host in ASCII.
    pub fn deliverable(&self) -> String {
        let local = self.address.rsplit_once('@').map_or("", |(local, _)| local);
        let host = self.canonical.rsplit_once('@').map_or("", |(_, host)| host);
        format!("{local}@{host}")
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEmail {
    #[error("Enter your e-mail address.")]
    Empty,
    #[error("This is not an e-mail address such as ada@example.org.")]
    Form,
    #[error("This e-mail address is too long.")]
    TooLong,
}

/// What a person types to log in: a user name or an e-mail address.
#[derive(Debug, Clone)]
pub enum Login {
    Name(Username),
    Email(Email),
}

impl Login {
    /// `None` for text that is neither, which no account can have.
    pub fn parse(text: &str) -> Option<Login> {
        if text.contains('@') {
            Email::parse(text).ok().map(Login::Email)
        } else {
            Username::parse(text).ok().map(Login::Name)
        }
    }
}

/// A field whose value belongs to another account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Taken {
    #[error("This user name is already taken. Choose another.")]
    Username,
    #[error("There is already an account with this e-mail address.")]
    Email,
}

impl From<Taken> for Field {
    fn from(taken: Taken) -> Field {
        match taken {
            Taken::Username => Field::new("username", &taken),
            Taken::Email => Field::new("email", &taken),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_mailbox_has_one_canonical_form_and_lookalikes_another() {
        let canonical = |text: &str| Email::parse(text).unwrap().canonical;
        assert_eq!(canonical(" Mike@X.org "), "mike@x.org");
        assert_eq!(canonical("e\u{301}@x.org"), canonical("é@x.org"));
        assert_eq!(canonical("a@bücher.example"), "a@xn--bcher-kva.example");
        assert_ne!(canonical("mıke@x.org"), "mike@x.org");
        assert_ne!(canonical("ﬁle@x.org"), "file@x.org");
        for bad in [
            "",
            "a",
            "a@",
            "@b.c",
            "a@b@c.d",
            "a b@c.d",
            "a@b",
            "a\r\nBcc:x@c.d",
            "a\0@c.d",
            "a@c..d",
            "a@[1.2.3.4]",
            "a@ex%61mple.org",
            "İ@x.org",
            &format!("{}@x.org", "Ⱥ".repeat(32)),
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_with_tags_and_dots_are_one_mailbox_for_counting_letters() {
        let mailbox = |text: &str| Email::parse(text).unwrap().mailbox();
        for same in
            ["ab@example.org", "a.b+x@example.org", "A.B@EXAMPLE.org", "ab+x+y.z@example.org"]
        {
            assert_eq!(mailbox(same), "ab@example.org");
        }
        assert_eq!(mailbox("+x@example.org"), "+x@example.org");
        assert_ne!(mailbox("ab@example.com"), mailbox("ab@example.org"));
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own(
            local in prop_oneof!["\\PC{1,12}", "[\\p{Lu}\\p{Ll}\\p{M}._+-]{1,30}"],
            domain in "[a-zA-Zéßſ%0-9ｅ-]{1,8}\\.[a-zA-Z]{2,3}",
            name in "[ A-Za-z0-9_-]{0,32}",
        ) {
            if let Ok(email) = Email::parse(&format!(" {local}@{domain} ")) {
                let again = Email::parse(email.as_written());
                prop_assert_eq!(again.as_ref(), Ok(&email));
                let again = Email::parse(email.canonical());
                prop_assert_eq!(again.as_ref().map(Email::canonical), Ok(email.canonical()));
                prop_assert!(!email.as_written().contains(char::is_control));
            }
            if let Ok(username) = Username::parse(&name) {
                prop_assert_eq!(Username::parse(username.as_str()), Ok(username.clone()));
                prop_assert_eq!(Username::parse(&username.key()).map(|name| name.key()), Ok(username.key()));
            }
        }
    }
}
