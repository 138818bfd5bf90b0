//! Random tokens that grant access: link tokens and device cookies.

use std::str::FromStr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{RngCore as _, rngs::OsRng};
use sha2::{Digest as _, Sha256};

/// 128 random bits as 22 characters that need no encoding in URLs and cookies. The database stores
/// only [`Secret::key`], so reading it reveals no secret.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    #[allow(clippy::new_without_default, reason = "each one is different")]
    pub fn new() -> Secret {
        let mut bytes = [0; 16];
        OsRng.fill_bytes(&mut bytes);
        Secret(URL_SAFE_NO_PAD.encode(bytes))
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Half a SHA-256: what the database stores.
    pub fn key(&self) -> String {
        URL_SAFE_NO_PAD.encode(&Sha256::digest(&self.0)[..16])
    }
}

/// Rejects text of any other form, so that it needs no database lookup.
impl FromStr for Secret {
    type Err = NotASecret;

    fn from_str(text: &str) -> Result<Secret, NotASecret> {
        match URL_SAFE_NO_PAD.decode(text) {
            Ok(bytes) if bytes.len() == 16 => Ok(Secret(text.to_owned())),
            _ => Err(NotASecret),
        }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a link or cookie of this site")]
pub struct NotASecret;

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_round_trips_reveals_nothing_and_is_unique() {
        let secret = Secret::new();
        let again: Secret = secret.reveal().parse().unwrap();
        assert_eq!(again.key(), secret.key());
        assert_ne!(Secret::new().key(), secret.key());
        assert!(!format!("{secret:?}{}", secret.key()).contains(secret.reveal()));
        for text in ["", "short", "!!!!!!!!!!!!!!!!!!!!!!", &"a".repeat(23), "../../etc/passwd"] {
            assert_eq!(text.parse::<Secret>().err(), Some(NotASecret), "{text}");
        }
    }
}
