//! How many people voted for something, and how that is written.

/// How many people voted for a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct Score(pub i64);

impl Score {
    /// Whether [`Score::short`] leaves something out.
    pub fn is_long(&self) -> bool {
        self.0 >= 10_000
    }

    /// `12.3k` from ten thousand on, where the exact number says no more.
    pub fn short(&self) -> String {
        match self.0 {
            score if score < 10_000 => score.to_string(),
            score if score < 1_000_000 => format!("{}.{}k", score / 1000, score % 1000 / 100),
            score => format!("{}.{}M", score / 1_000_000, score % 1_000_000 / 100_000),
        }
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
