//! Reading settings from the environment and from a `.env` file.

use std::{collections::HashMap, ffi::OsString, fs, path::Path, str::FromStr};

use crate::config::{KNOWN, SECRETS};

/// One line that says which setting is wrong, and why. Never the value of a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}")]
pub struct BadSetting {
    name: String,
    problem: String,
}

/// Where values come from: the environment, then the file. An empty value counts as unset.
pub(super) struct Source<'a> {
    pub environment: &'a dyn Fn(&str) -> Option<Result<String, BadSetting>>,
    pub file: &'a HashMap<String, String>,
}

impl Source<'_> {
    pub fn text(&self, name: &str) -> Result<Option<String>, BadSetting> {
        let value = match (self.environment)(name).transpose()? {
            Some(value) if !value.is_empty() => Some(value),
            _ => self.file.get(name).filter(|value| !value.is_empty()).cloned(),
        };
        match value {
            Some(value) if value.contains('\0') => Err(bad(name, "has a U+0000 in it")),
            value => Ok(value),
        }
    }

    pub fn secret(&self, name: &str) -> Result<Option<String>, BadSetting> {
        let file_name = format!("{name}_FILE");
        match (self.text(name)?, self.text(&file_name)?) {
            (Some(_), Some(_)) => {
                Err(bad(name, &format!("and {file_name} are both set; keep one")))
            }
            (Some(value), None) => Ok(Some(value)),
            (None, None) => Ok(None),
            (None, Some(path)) => match fs::read_to_string(&path) {
                Ok(value) if !value.trim().is_empty() => Ok(Some(value.trim().to_owned())),
                Ok(_) => Err(bad(&file_name, &format!("names {path}, which is empty"))),
                Err(err) => {
                    Err(bad(&file_name, &format!("names {path}, which cannot be read: {err}")))
                }
            },
        }
    }

    pub fn parse<T: FromStr>(&self, name: &str, problem: &str) -> Result<Option<T>, BadSetting> {
        let value = self.text(name)?;
        value.map(|value| value.parse().map_err(|_| bad(name, problem))).transpose()
    }

    pub fn number(
        &self,
        name: &str,
        default: i32,
        least: i32,
        most: i32,
    ) -> Result<i32, BadSetting> {
        let problem = format!("must be a whole number from {least} to {most}");
        let number = self.parse(name, &problem)?.unwrap_or(default);
        if (least..=most).contains(&number) { Ok(number) } else { Err(bad(name, &problem)) }
    }
}

/// The settings of a `.env` file; none where there is no such file.
pub(super) fn read_dotenv(path: &Path) -> Result<HashMap<String, String>, BadSetting> {
    let entries = match dotenvy::from_path_iter(path) {
        Err(err) if err.not_found() => return Ok(HashMap::new()),
        Err(err) => return Err(bad(".env", &format!("cannot be read: {err}"))),
        Ok(entries) => entries,
    };
    let mut file = HashMap::new();
    for entry in entries {
        // The library's own message quotes the line, and the line may hold a password.
        let (name, value) = entry.map_err(|_| bad(".env", "has a line that is not NAME=value"))?;
        let is_file = name.strip_suffix("_FILE").is_some_and(|name| SECRETS.contains(&name));
        if !is_file && !KNOWN.contains(&name.as_str()) {
            return Err(bad(&name, "in .env is not a setting of this program"));
        }
        if file.insert(name.clone(), value).is_some() {
            return Err(bad(&name, "is twice in .env"));
        }
    }
    Ok(file)
}

pub(super) fn into_text(name: &str) -> impl Fn(OsString) -> Result<String, BadSetting> + '_ {
    move |value| value.into_string().map_err(|_| bad(name, "is not valid UTF-8"))
}

pub(super) fn bad(name: &str, problem: &str) -> BadSetting {
    BadSetting { name: name.to_owned(), problem: problem.to_owned() }
}
