//! The API: whether it is on, and the secret that signs its tokens.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, anyhow};
use axum::http::HeaderValue;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{RngCore as _, rngs::OsRng};

use crate::config::{
    BadSetting, BaseUrl,
    source::{Source, bad},
};

/// The API.
#[derive(Debug, Clone)]
pub struct Api {
    /// Switched off by the setting; otherwise it is on where there is a secret.
    pub is_off: bool,
    pub secret: Option<JwtSecret>,
    pub previous: Option<JwtSecret>,
    /// How long a token is valid.
    pub minutes: i32,
    /// The origins whose pages may call it from a browser.
    pub origins: Vec<HeaderValue>,
}

/// The key that signs tokens: at least 32 bytes that cannot be guessed.
#[derive(Clone)]
pub struct JwtSecret(String);

impl JwtSecret {
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Where the generated secret is stored, for sites with the local Postgres.
    pub fn file(data_dir: &Path) -> PathBuf {
        data_dir.join("jwt-secret")
    }

    /// The generated secret, which is created and stored on the first call.
    pub fn load_or_create(data_dir: &Path) -> anyhow::Result<JwtSecret> {
        let path = JwtSecret::file(data_dir);
        match fs::read_to_string(&path) {
            Ok(text) => {
                text.trim().parse().map_err(|problem: &str| anyhow!("{problem}")).with_context(
                    || format!("{}: remove it, and a new one is made", path.display()),
                )
            }
            Err(err) if err.kind() == ErrorKind::NotFound => JwtSecret::create(&path),
            Err(err) => Err(err).with_context(|| path.display().to_string()),
        }
    }

    fn create(path: &Path) -> anyhow::Result<JwtSecret> {
        let mut bytes = [0; 32];
        OsRng.fill_bytes(&mut bytes);
        let text = URL_SAFE_NO_PAD.encode(bytes);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        file.and_then(|mut file| writeln!(file, "{text}"))
            .with_context(|| path.display().to_string())?;
        Ok(JwtSecret(text))
    }
}

impl FromStr for JwtSecret {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<JwtSecret, &'static str> {
        // From FastAPI's tutorial and jwt.io, where people copy them.
        const EXAMPLES: [&str; 2] = [
            "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
            "a-string-secret-at-least-256-bits-long",
        ];
        let mut distinct: Vec<u8> = text.bytes().collect();
        distinct.sort_unstable();
        distinct.dedup();
        match text.len() {
            0..32 => Err("must be 32 bytes or more, such as from `openssl rand -hex 32`"),
            _ if EXAMPLES.contains(&text) || distinct.len() < 8 => {
                Err("is not secret: take one from `openssl rand -hex 32`")
            }
            _ => Ok(JwtSecret(text.to_owned())),
        }
    }
}

impl fmt::Debug for JwtSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtSecret(..)")
    }
}

pub(super) fn api(source: &Source, is_local: bool) -> Result<Api, BadSetting> {
    let secret = |name| {
        let text = source.secret(name)?;
        text.map(|text| text.parse().map_err(|problem: &str| bad(name, problem))).transpose()
    };
    let current: Option<JwtSecret> = secret("JWT_SECRET")?;
    let previous: Option<JwtSecret> = secret("JWT_SECRET_PREVIOUS")?;
    let enabled: Option<bool> = source.parse("API_ENABLED", "must be true or false")?;
    // With the local Postgres a secret is generated where none is set.
    if current.is_none() && !is_local {
        if enabled == Some(true) {
            return Err(bad("JWT_SECRET", "is needed beside API_ENABLED=true"));
        }
        if previous.is_some() {
            return Err(bad("JWT_SECRET", "is needed beside JWT_SECRET_PREVIOUS"));
        }
    }
    let problem = "must be origins such as https://app.example.org, with commas between them";
    let list = source.text("CORS_ALLOWED_ORIGINS")?.unwrap_or_default();
    let origins = list.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    let origins = origins.map(|origin| {
        // A pattern would be parsed as a host of that name, and match nothing.
        let origin: BaseUrl = origin.parse().ok().filter(|_| !origin.contains('*'))?;
        HeaderValue::from_str(origin.origin()).ok()
    });
    Ok(Api {
        is_off: enabled == Some(false),
        secret: current,
        previous,
        minutes: source.number("ACCESS_TOKEN_EXPIRE_MINUTES", 30, 1, 43_200)?,
        origins: origins
            .collect::<Option<_>>()
            .ok_or_else(|| bad("CORS_ALLOWED_ORIGINS", problem))?,
    })
}
