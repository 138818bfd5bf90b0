//! Access tokens for programs: JSON Web Tokens (RFC 7519, RFC 9068), signed with one algorithm
//! (RFC 8725, 3.1). The account is looked up for each request, so a suspension, a deletion and a new
//! password end its tokens at once.

pub mod bearer;
pub mod db;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    config::{JwtSecret, Site},
    identity::UserId,
    users::credentials::{Authenticated, DEVICE_SECONDS, EarlierLogIn},
};

const KIND: &str = "at+jwt";
const MAX_TOKEN: usize = 4096;
const MAX_HEADER: usize = 512;

/// Issues and verifies tokens. Clones share the keys.
#[derive(Clone)]
pub struct Tokens(Arc<Keys>);

struct Keys {
    current: Key,
    /// Tokens signed with the previous secret stay valid, so that a change of secret fails no request.
    previous: Option<Key>,
    issuer: String,
    audience: String,
    minutes: i64,
}

struct Key {
    id: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// The claims of a token.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
    /// `users.auth_epoch` when the token was issued.
    epoch: i32,
}

impl Tokens {
    pub fn new(
        secret: &JwtSecret,
        previous: Option<&JwtSecret>,
        minutes: i32,
        site: &Site,
    ) -> Tokens {
        let origin = site.base_url.origin();
        Tokens(Arc::new(Keys {
            current: Key::new(secret),
            previous: previous.map(Key::new),
            issuer: origin.to_owned(),
            audience: format!("{origin}/api"),
            minutes: minutes.into(),
        }))
    }

    /// The lifetime of a token, in seconds.
    pub fn lifetime(&self) -> i64 {
        self.0.minutes * 60
    }

    /// A token that is valid from `now` on, the database's time ([`db::now`]) in seconds since 1970.
    pub fn issue(
        &self,
        authenticated: Authenticated,
        now: i64,
    ) -> jsonwebtoken::errors::Result<String> {
        let Keys { current, issuer, audience, .. } = &*self.0;
        let claims = Claims {
            iss: issuer.clone(),
            aud: audience.clone(),
            sub: authenticated.user.0.to_string(),
            iat: now,
            nbf: now,
            exp: now + self.lifetime(),
            jti: Uuid::new_v4(),
            epoch: authenticated.epoch,
        };
        let header = Header {
            typ: Some(KIND.to_owned()),
            kid: Some(current.id.clone()),
            ..Header::new(Algorithm::HS256)
        };
        jsonwebtoken::encode(&header, &claims, &current.encoding)
    }

    /// What a genuine token states. `None` does not say why a token is not genuine. Whether it has
    /// begun and not expired is up to the database's clock ([`db::viewer`]).
    pub fn verify(&self, token: &str) -> Option<Verified> {
        let (claims, user) = self.claims(token)?;
        Some(Verified {
            authenticated: Authenticated { user, epoch: claims.epoch },
            begins: claims.iat.max(claims.nbf),
            ends: claims.exp,
        })
    }

    /// The log-in that a token was issued for. The token may have expired, within the time that a known
    /// device is remembered. `now` is the database's time.
    pub fn earlier_log_in(&self, token: &str, now: i64) -> Option<EarlierLogIn> {
        let (claims, user) = self.claims(token)?;
        let authenticated = Authenticated { user, epoch: claims.epoch };
        let is_recent =
            claims.iat <= now + i64::from(db::LEEWAY) && claims.iat > now - DEVICE_SECONDS;
        is_recent.then_some(EarlierLogIn::Token { authenticated, id: claims.jti })
    }

    /// The claims of a genuine token, and its user.
    fn claims(&self, token: &str) -> Option<(Claims, UserId)> {
        let header = header(token)?;
        let keys = [Some(&self.0.current), self.0.previous.as_ref()];
        let key = keys.into_iter().flatten().find(|key| key.id == header.kid)?;

        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.0.issuer]);
        validation.set_audience(&[&self.0.audience]);
        // By this machine's clock, and with a panic where that is before 1970.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation).ok()?.claims;

        // The library skips checks for a claim of an unexpected type; here every claim has its type.
        let is_short = claims.exp.saturating_sub(claims.iat) <= self.lifetime();
        let is_ours = claims.iss == self.0.issuer && claims.aud == self.0.audience;
        let user = claims.sub.parse().ok().filter(|id: &i64| id.to_string() == claims.sub)?;
        (is_short && is_ours).then_some((claims, UserId(user)))
    }
}

/// What a genuine token states. Times are in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Verified {
    pub authenticated: Authenticated,
    pub begins: i64,
    pub ends: i64,
}

impl Key {
    fn new(secret: &JwtSecret) -> Key {
        let secret = secret.as_bytes();
        Key {
            // Identifies the key without revealing the secret.
            id: URL_SAFE_NO_PAD
                .encode(&Sha256::new().chain_update("kid").chain_update(secret).finalize()[..6]),
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
        }
    }
}

/// The header of our tokens. Other members are rejected: keys (`jwk`, `jku`, `x5u`), extensions
/// (`crit`), compression (`zip`).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OurHeader {
    alg: String,
    typ: String,
    kid: String,
}

/// Parses the header before the library sees the token.
fn header(token: &str) -> Option<OurHeader> {
    if token.len() > MAX_TOKEN || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return None;
    }
    let (head, _) = token.split_once('.').filter(|(head, _)| head.len() <= MAX_HEADER)?;
    let header: OurHeader = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()?;
    (header.alg == "HS256" && header.typ == KIND).then_some(header)
}
