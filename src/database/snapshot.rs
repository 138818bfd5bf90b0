//! A snapshot of the database: which transactions had ended at a read.

/// How many running transactions a cursor carries. Where there are more, the later ones count as begun
/// after the read.
const MAX_RUNNING: usize = 32;

/// As Postgres writes a `pg_snapshot`: the first running transaction, the first that has not begun, and
/// the running ones between them (`12:17:12,15`).
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct Snapshot(String);

impl Snapshot {
    /// Parses a snapshot from a cursor; `None` for text that [`Snapshot::portable`] does not write.
    pub fn parse(text: &str) -> Option<Snapshot> {
        let mut parts = text.split(':');
        let (first, next) = (number(parts.next()?)?, number(parts.next()?)?);
        let running = match parts.next()? {
            "" => Vec::new(),
            list => list.split(',').map(number).collect::<Option<_>>()?,
        };
        let is_whole = parts.next().is_none()
            && (1..=next).contains(&first)
            && running.len() <= MAX_RUNNING
            && running.iter().all(|id| (first..next).contains(id))
            && running.is_sorted_by(|one, other| one < other);
        is_whole.then(|| Snapshot(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same snapshot with a bounded length.
    #[must_use]
    pub fn portable(self) -> Snapshot {
        let Some((bounds, list)) = self.0.rsplit_once(':') else { return self };
        let running: Vec<_> = list.split(',').collect();
        let (Some(next), Some((first, _))) = (running.get(MAX_RUNNING), bounds.split_once(':'))
        else {
            return self;
        };
        Snapshot(format!("{first}:{next}:{}", running[..MAX_RUNNING].join(",")))
    }
}

/// The id of a transaction. None has 32 zeros at its end, and Postgres refuses a snapshot with such an id.
fn number(text: &str) -> Option<u64> {
    let id: Option<u64> =
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    id.filter(|id| id.trailing_zeros() < 32)
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
            "12:4294967296:",
            "9223372036854775808:9223372036854775809:",
        ] {
            assert!(Snapshot::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn with_any_number_of_running_transactions_the_length_is_bounded() {
        let ids: Vec<_> = (12..500).map(|id: u64| id.to_string()).collect();
        let busy = Snapshot(format!("12:501:{}", ids.join(",")));
        let kept = busy.portable();
        assert!(kept.as_str().starts_with("12:44:12,13,") && kept.as_str().ends_with(",43"));
        assert_eq!(Snapshot::parse(kept.as_str()), Some(kept.clone()));
        assert_eq!(kept.clone().portable(), kept);
    }
}
