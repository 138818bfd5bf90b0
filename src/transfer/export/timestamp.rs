//! A timestamp to the microsecond, as Postgres stores it: `2026-11-24T17:47:59.000120Z`.

use serde::{Deserialize as _, Deserializer, Serializer, de};
use time::{
    OffsetDateTime, UtcOffset,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::format_description,
};

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

pub fn serialize<S: Serializer>(at: &OffsetDateTime, to: S) -> Result<S::Ok, S::Error> {
    use serde::ser::Error as _;
    let text = at.to_offset(UtcOffset::UTC).format(FORMAT).map_err(S::Error::custom)?;
    to.serialize_str(&text)
}

/// Any spelling of RFC 3339 since 1970.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<OffsetDateTime, D::Error> {
    let text = String::deserialize(from)?;
    let at = OffsetDateTime::parse(&text, &Rfc3339).ok();
    at.filter(|at| *at >= OffsetDateTime::UNIX_EPOCH).ok_or_else(|| {
        de::Error::custom("a time is not a date since 1970 such as 2026-11-24T17:47:59.000120Z")
    })
}

/// The same, or `null`.
pub mod option {
    use serde::{Deserialize, Deserializer, Serializer};
    use time::OffsetDateTime;

    #[expect(clippy::ref_option, reason = "serde asks for this shape")]
    pub fn serialize<S: Serializer>(at: &Option<OffsetDateTime>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::serialize(at, to),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<OffsetDateTime>, D::Error> {
        #[derive(Deserialize)]
        struct Timestamp(#[serde(with = "super")] OffsetDateTime);
        Ok(Option::<Timestamp>::deserialize(from)?.map(|Timestamp(at)| at))
    }
}
