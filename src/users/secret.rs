//! Random texts that give a right to whoever shows them.

use std::str::FromStr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{RngCore as _, rngs::OsRng};
use sha2::{Digest as _, Sha256};

/// 128 random bits as 22 characters that need no encoding in addresses and cookies. The database
/// knows only [`Secret::key`], so who reads it holds none.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    #[allow(clippy::new_without_default, reason = "each one is another")]
    pub fn new() -> Secret {
        let mut bytes = [0; 16];
        OsRng.fill_bytes(&mut bytes);
        Secret(URL_SAFE_NO_PAD.encode(bytes))
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Half a SHA-256: what the database knows it by.
    pub fn key(&self) -> String {
        URL_SAFE_NO_PAD.encode(&Sha256::digest(&self.0)[..16])
    }
}

/// For what has another form nobody has to look in the database.
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
    fn a_secret_is_read_back_tells_nothing_and_is_never_the_same() {
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
