//! Tokens: how programs say who they are. JSON Web Tokens (RFC 7519) as access tokens (RFC 9068), signed
//! with one algorithm (RFC 8725, 3.1), and not believed on their own: the account is looked up for
//! each request, so that a suspension, a deletion and a new password end them at once.

pub mod bearer;
pub mod db;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    config::{JwtSecret, Site},
    identity::UserId,
    users::credentials::Authenticated,
};

const KIND: &str = "at+jwt";
/// How far the clocks of two machines may be apart, in seconds.
const LEEWAY: i64 = 5;
const MAX_TOKEN: usize = 4096;
const MAX_HEADER: usize = 512;

/// Makes and reads tokens. A clone is the same.
#[derive(Clone)]
pub struct Tokens(Arc<Keys>);

struct Keys {
    current: Key,
    /// Tokens of the secret before still count: a new secret fails no request.
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

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
    /// `users.auth_epoch` when it was made.
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

    /// How long a token lives, in seconds.
    pub fn lifetime(&self) -> i64 {
        self.0.minutes * 60
    }

    pub fn make(&self, authenticated: Authenticated) -> jsonwebtoken::errors::Result<String> {
        let Keys { current, issuer, audience, .. } = &*self.0;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let claims = Claims {
            iss: issuer.clone(),
            aud: audience.clone(),
            sub: authenticated.user.0.to_string(),
            iat: now,
            nbf: now,
            exp: now + self.lifetime(),
            jti: Uuid::now_v7(),
            epoch: authenticated.epoch,
        };
        let header = Header {
            typ: Some(KIND.to_owned()),
            kid: Some(current.id.clone()),
            ..Header::new(Algorithm::HS256)
        };
        jsonwebtoken::encode(&header, &claims, &current.encoding)
    }

    /// What the token says, if it is one of ours and its time is now; nobody learns why it is not.
    pub fn read(&self, token: &str) -> Option<Authenticated> {
        let header = header(token)?;
        let keys = [Some(&self.0.current), self.0.previous.as_ref()];
        let key = keys.into_iter().flatten().find(|key| key.id == header.kid)?;

        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.0.issuer]);
        validation.set_audience(&[&self.0.audience]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY.unsigned_abs();
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation).ok()?.claims;

        // The library passes over a claim whose type is not the expected one; here all have one.
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let is_now = claims.iat <= now + LEEWAY && claims.nbf <= now + LEEWAY;
        let lives =
            claims.exp > now - LEEWAY && claims.exp.saturating_sub(claims.iat) <= self.lifetime();
        let is_ours = claims.iss == self.0.issuer && claims.aud == self.0.audience;
        let user = claims.sub.parse().ok().filter(|id: &i64| id.to_string() == claims.sub)?;
        (is_now && lives && is_ours)
            .then_some(Authenticated { user: UserId(user), epoch: claims.epoch })
    }
}

impl Key {
    fn new(secret: &JwtSecret) -> Key {
        let secret = secret.as_bytes();
        Key {
            // Tells the keys apart and says nothing of the secret.
            id: URL_SAFE_NO_PAD
                .encode(&Sha256::new().chain_update("kid").chain_update(secret).finalize()[..6]),
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
        }
    }
}

/// The parts of a token's header that ours has, and no others: no key of its own (`jwk`, `jku`,
/// `x5u`), no extension to obey (`crit`), nothing to unpack (`zip`).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OurHeader {
    alg: String,
    typ: String,
    kid: String,
}

/// Read before the library sees the token.
fn header(token: &str) -> Option<OurHeader> {
    if token.len() > MAX_TOKEN || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return None;
    }
    let (head, _) = token.split_once('.').filter(|(head, _)| head.len() <= MAX_HEADER)?;
    let header: OurHeader = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()?;
    (header.alg == "HS256" && header.typ == KIND).then_some(header)
}
