//! One state of the database: which transactions had ended when somebody read it.

/// How many transactions under way a reader carries along. Where there are more, what the later
/// ones do counts as done after the reading.
const UNDER_WAY: usize = 32;

/// As Postgres writes a `pg_snapshot`: the first transaction under way, the first not yet begun, and
/// those under way between them (`12:17:12,15`).
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct Snapshot(String);

impl Snapshot {
    /// One that comes from outside; `None` for what [`Snapshot::portable`] does not write.
    pub fn parse(text: &str) -> Option<Snapshot> {
        let mut parts = text.split(':');
        let (first, next) = (number(parts.next()?)?, number(parts.next()?)?);
        let under_way = match parts.next()? {
            "" => Vec::new(),
            list => list.split(',').map(number).collect::<Option<_>>()?,
        };
        let is_whole = parts.next().is_none()
            && (1..=next).contains(&first)
            && under_way.len() <= UNDER_WAY
            && under_way.iter().all(|id| (first..next).contains(id))
            && under_way.is_sorted_by(|one, other| one < other);
        is_whole.then(|| Snapshot(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, of a bounded length.
    #[must_use]
    pub fn portable(self) -> Snapshot {
        let Some((bounds, list)) = self.0.rsplit_once(':') else { return self };
        let under_way: Vec<_> = list.split(',').collect();
        let (Some(next), Some((first, _))) = (under_way.get(UNDER_WAY), bounds.split_once(':'))
        else {
            return self;
        };
        Snapshot(format!("{first}:{next}:{}", under_way[..UNDER_WAY].join(",")))
    }
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_postgres_writes_is_read() {
        for text in ["12:12:", "12:17:12,15", "12:17:", "1:18446744073709551615:7"] {
            assert!(Snapshot::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "12",
            "12:17",
            "12:17:x",
            "12:17:1:",
            "0:1:",
            "13:12:",
            "12:17:17",
            "12:17:11",
            "12:17:15,12",
            "12:17:15,15",
            "12:17:,",
            "+12:17:",
            "12:18446744073709551616:",
            "12::",
        ] {
            assert!(Snapshot::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn however_much_is_under_way_what_a_reader_carries_is_bounded() {
        let ids: Vec<_> = (12..500).map(|id: u64| id.to_string()).collect();
        let busy = Snapshot(format!("12:501:{}", ids.join(",")));
        let kept = busy.portable();
        assert!(kept.as_str().starts_with("12:44:12,13,") && kept.as_str().ends_with(",43"));
        assert_eq!(Snapshot::parse(kept.as_str()), Some(kept.clone()));
        assert_eq!(kept.clone().portable(), kept);
    }
}
