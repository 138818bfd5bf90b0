//! Posts: their fields, who may see and change them, and where they rank.

pub mod access;
pub mod api;
pub mod db;
pub mod form;
pub mod pages;
pub mod publish;
pub mod rank;

use serde::{Deserialize, Deserializer, de};
use time::OffsetDateTime;
use url::Url;

use crate::{
    cpu,
    identity::{PostId, UserId, Username},
    markdown::{self, Html},
    score::Score,
    text::{self, BadText},
    web::{error::Field, extract::LONG},
};

/// A post as its own page shows it.
#[derive(Debug, Clone)]
pub struct Post {
    pub id: PostId,
    pub author_id: UserId,
    pub author: Username,
    pub title: String,
    pub link: Option<Link>,
    pub body: String,
    pub body_html: Html,
    pub score: Score,
    pub voted: bool,
    pub created_at: OffsetDateTime,
    pub edited_at: Option<OffsetDateTime>,
}

impl Post {
    pub fn version(&self) -> Version {
        Version::from_edited_at(self.edited_at)
    }
}

/// The version of a post's text: the microsecond of its last edit, 0 if it was never edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct Version(i64);

impl Version {
    fn from_edited_at(edited_at: Option<OffsetDateTime>) -> Version {
        let micros = edited_at.map_or(0, |at| at.unix_timestamp_nanos() / 1000);
        Version(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Version, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(Version).map_err(|_| de::Error::custom("not a version"))
    }
}

/// A valid title, link and text that are not published yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub title: Title,
    pub link: Option<Link>,
    pub body: Body,
}

impl Draft {
    /// As [`Draft::parse`], for the fields of a request: to normalize a long text takes milliseconds.
    pub async fn read(title: String, url: String, body: String) -> Result<Draft, Vec<Field>> {
        let length = title.len() + url.len() + body.len();
        cpu::run_if(length > LONG, move || Draft::parse(&title, &url, &body)).await
    }

    /// The fields as they were typed, or what is wrong with each, in the order of the form.
    pub fn parse(title: &str, url: &str, body: &str) -> Result<Draft, Vec<Field>> {
        match (Title::parse(title), Link::parse(url), Body::parse(body)) {
            (Ok(title), Ok(link), Ok(body)) => Ok(Draft { title, link, body }),
            (title, url, body) => {
                let problems = [
                    title.err().map(|bad| Field::new("title", &bad)),
                    url.err().map(|bad| Field::new("url", &bad)),
                    body.err().map(|bad| Field::new("body", &bad)),
                ];
                Err(problems.into_iter().flatten().collect())
            }
        }
    }
}

/// One line of 1 to 150 characters that shows something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title(String);

impl Title {
    pub const MAX: usize = 150;

    pub fn parse(text: &str) -> Result<Title, BadTitle> {
        // Before it is normalized, which could only make it shorter by so much.
        if text.len() > Title::MAX * 64 {
            return Err(BadTitle::TooLong);
        }
        let text = text::line(text)?;
        if !text::is_visible(&text) {
            return Err(BadTitle::Empty);
        }
        match text.chars().count() {
            0..=Title::MAX => Ok(Title(text)),
            _ => Err(BadTitle::TooLong),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTitle {
    #[error("Give your post a title.")]
    Empty,
    #[error("Keep the title to {} characters.", Title::MAX)]
    TooLong,
    #[error("The title {0}.")]
    Text(#[from] BadText),
}

/// An absolute http(s) address without a password in it, in the one form the URL standard gives it,
/// where what is not ASCII takes several characters (`%C3%A9`); up to 2,000 of them.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct Link(String);

impl Link {
    pub const MAX: usize = 2000;

    /// `None` for an empty field: a post need not have a link.
    pub fn parse(text: &str) -> Result<Option<Link>, BadLink> {
        let text = text::line(text)?;
        if text.is_empty() {
            return Ok(None);
        }
        // The standard mends `http:/a` and `https:a`; the author most likely meant another address.
        let has_slashes = text.split_once(':').is_some_and(|(_, rest)| rest.starts_with("//"));
        let url = Url::parse(&text).map_err(|_| BadLink::NotWeb)?;
        if !matches!(url.scheme(), "http" | "https") || !has_slashes || url.host().is_none() {
            return Err(BadLink::NotWeb);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadLink::Credentials);
        }
        // As it is kept, and as a form shows it to be edited, it has to fit as well.
        if url.as_str().len() > Link::MAX {
            return Err(BadLink::TooLong);
        }
        Ok(Some(Link(url.into())))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host a reader would be sent to, with other scripts as `xn--…`, so that none can pass for
    /// another; without the `www.` that says nothing.
    pub fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        host.strip_prefix("www.").filter(|rest| rest.contains('.')).unwrap_or(host)
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    #[error("Enter a full address, such as https://example.org/page.")]
    NotWeb,
    #[error("Keep the link to {} characters.", Link::MAX)]
    TooLong,
    #[error("Leave the user name and password out of the link.")]
    Credentials,
    #[error("The link {0}.")]
    Text(#[from] BadText),
}

/// Markdown of up to 40,000 characters; may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body(String);

impl Body {
    pub const MAX: usize = 40_000;

    pub fn parse(text: &str) -> Result<Body, BadBody> {
        let text = text::block(text)?;
        match text.chars().count() {
            0..=Body::MAX => Ok(Body(text)),
            _ => Err(BadBody::TooLong),
        }
    }

    /// Its HTML and its excerpt. A long text takes milliseconds, so the caller has taken the client's
    /// rate limit before.
    pub async fn render(&self) -> (Html, String) {
        let text = self.0.clone();
        cpu::run(move || (markdown::to_html(&text), markdown::excerpt(&text, db::EXCERPT))).await
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    #[error("Keep the text to 40,000 characters.")]
    TooLong,
    #[error("The text {0}.")]
    Text(#[from] BadText),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_title_is_trimmed_and_counted_in_characters() {
        assert_eq!(Title::parse("  Hello \n").unwrap().as_str(), "Hello");
        assert!(Title::parse(&"🦀".repeat(Title::MAX)).is_ok());
        assert_eq!(Title::parse(&"é".repeat(Title::MAX + 1)), Err(BadTitle::TooLong));
        assert_eq!(Title::parse("\u{200B}\u{3164}"), Err(BadTitle::Empty));
    }

    #[test]
    fn only_plain_web_addresses_are_links() {
        for text in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "java\tscript:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "blob:https://a.test/x",
            "//evil.test",
            "http:/evil.test",
            "https:evil.test",
            "http://a:b@c.test",
            "https://exa\0mple.test",
            "http://",
            "/posts/1",
            "mailto:a@b.test",
        ] {
            assert!(Link::parse(text).is_err(), "{text:?} passed");
        }
        assert_eq!(Link::parse("  "), Ok(None));
        let link = Link::parse("HTTPS://www.Example.test/a b?c#d").unwrap().unwrap();
        assert_eq!(link.as_str(), "https://www.example.test/a%20b?c#d");
        assert_eq!(link.host(), "example.test");
        assert_eq!(Link::parse("https://аpple.com").unwrap().unwrap().host(), "xn--pple-43d.com");
        assert_eq!(Link::parse("http://a.test:8080?x").unwrap().unwrap().host(), "a.test:8080");
        assert_eq!(Link::parse("http://www.").unwrap().unwrap().host(), "www.");
        assert_eq!(Link::parse("http://www.com").unwrap().unwrap().host(), "www.com");
    }

    #[test]
    fn a_link_may_have_two_thousand_characters() {
        let of = |length: usize| format!("https://a.test/{}", "x".repeat(length - 15));
        assert!(Link::parse(&of(Link::MAX)).is_ok());
        assert_eq!(Link::parse(&of(Link::MAX + 1)), Err(BadLink::TooLong));
    }

    proptest! {
        /// What is shown in a form to be edited can be sent back as it is.
        #[test]
        fn what_was_kept_once_is_kept_again(
            text in prop_oneof![any::<String>(), "[ \\r\\n\ta-e\u{301}\u{344}\u{FB2C}🦀]{0,170}"],
            rest in "[ -~\u{80}-\u{10FFFF}]{0,60}|[a-zà-é]{900,2000}",
            host in "(a|é|xn--e1afmkfd|www\\.|[a-z]\\.|\\[::1\\]|127\\.1|0x7f){1,4}",
        ) {
            if let Ok(title) = Title::parse(&text) {
                prop_assert_eq!(Title::parse(title.as_str()), Ok(title.clone()));
                prop_assert!((1..=Title::MAX).contains(&title.as_str().chars().count()));
            }
            if let Ok(body) = Body::parse(&text) {
                prop_assert_eq!(Body::parse(body.as_str()), Ok(body));
            }
            for link in [text, format!("http://{host}/{rest}"), format!("https://{host}?{rest}")] {
                if let Ok(Some(link)) = Link::parse(&link) {
                    prop_assert_eq!(Link::parse(link.as_str()), Ok(Some(link.clone())));
                    prop_assert!(link.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
                    prop_assert!(!link.host().is_empty());
                }
            }
        }
    }
}
