//! Ids, user names, roles and the viewer.

use serde::{Deserialize, Deserializer, de};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct UserId(pub i64);

/// The rights of a user beyond those of everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Role {
    Member,
    Admin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct PostId(pub i64);

impl std::fmt::Display for PostId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One spelling for each id, so that each post has one URL: digits, no sign, no leading zero.
impl<'de> Deserialize<'de> for PostId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<PostId, D::Error> {
        let text = String::deserialize(from)?;
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let id = if is_plain { text.parse().ok() } else { None };
        id.map(PostId).ok_or_else(|| de::Error::custom("not an id"))
    }
}

/// 2 to 30 of `A-Z a-z 0-9 _ -`, unique without regard to case. ASCII only, so that no name can
/// imitate another with letters that look alike.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct Username(String);

/// Names that would seem to speak for the site, or that collide with its paths.
const RESERVED: [&str; 35] = [
    "about",
    "abuse",
    "admin",
    "administrator",
    "anonymous",
    "api",
    "deleted",
    "everyone",
    "guest",
    "help",
    "hostmaster",
    "info",
    "login",
    "logout",
    "me",
    "mod",
    "moderator",
    "moderators",
    "new",
    "nobody",
    "noreply",
    "null",
    "official",
    "postmaster",
    "root",
    "search",
    "security",
    "settings",
    "signup",
    "social-post",
    "staff",
    "static",
    "support",
    "webmaster",
    "www",
];

impl Username {
    pub fn parse(text: &str) -> Result<Username, BadUsername> {
        let text = text.trim_matches(' ');
        let fits =
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        match text.len() {
            0 => Err(BadUsername::Empty),
            2..=30 if fits => Ok(Username(text.to_owned())),
            _ => Err(BadUsername::Form),
        }
    }

    /// For people who sign up themselves: rejects the reserved names.
    pub fn parse_unreserved(text: &str) -> Result<Username, BadUsername> {
        let username = Username::parse(text)?;
        let lower = username.0.to_ascii_lowercase();
        if RESERVED.contains(&lower.as_str()) { Err(BadUsername::Reserved) } else { Ok(username) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which names are compared, unique for each user.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// The name with a number after it, shortened if it would be too long: `ada-2`.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Username {
        let number = format!("-{number}");
        let room = 30 - number.len();
        Username(self.0.chars().take(room).collect::<String>() + &number)
    }

    /// The name of a generated user who only votes: `voter-7`.
    pub fn voter(number: u32) -> Username {
        Username(format!("voter-{number}"))
    }

    /// The letter in the avatar beside a name.
    pub fn initial(&self) -> char {
        self.0.chars().next().unwrap_or('?')
    }
}

impl std::fmt::Display for Username {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUsername {
    #[error("Choose a user name.")]
    Empty,
    #[error("A user name has 2 to 30 characters: letters a to z, digits, - and _.")]
    Form,
    #[error("This name is reserved. Choose another.")]
    Reserved,
}

#[derive(Debug, Clone)]
pub struct Viewer {
    pub id: UserId,
    pub username: Username,
    pub role: Role,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_username_is_plain_ascii() {
        for good in ["ab", "Ada_L", "a-b", &"x".repeat(30)] {
            assert!(Username::parse_unreserved(good).is_ok(), "{good}");
        }
        for bad in
            ["a", &"x".repeat(31), "аdmin", "a b", "a..", "admin\u{200B}", "Admin", "a\0b", ""]
        {
            assert!(Username::parse_unreserved(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_numbered_name_is_a_name() {
        let name = |text: &str| Username::parse(text).unwrap();
        assert_eq!(name("Ada").numbered(2), name("Ada-2"));
        assert_eq!(name(&"x".repeat(30)).numbered(17), name(&format!("{}-17", "x".repeat(27))));
        assert_eq!(Username::voter(u32::MAX), name("voter-4294967295"));
    }
}
