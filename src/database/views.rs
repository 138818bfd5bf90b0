//! Views over tables: conditions that every statement must share, each written once.
//!
//! They are text that the program puts before its statements, not objects of the schema. So there is
//! nothing that `migrate down` could take from a running program, the planner inlines them, and the
//! checked queries still know which columns can be null.

/// Runs a checked macro of sqlx over a statement that reads posts through the view `visible_posts`: the
/// posts that may be shown. A statement with further common table expressions begins with a comma.
///
/// Every read that shows posts to somebody goes through it (`tests/it/access.rs`).
macro_rules! visible_posts {
    ($query:ident!(
        $($row:ident,)? $statement:literal $(+ $more:literal)* $(, $argument:expr)* $(,)?
    )) => {
        sqlx::$query!(
            $($row,)?
            "with visible_posts as not materialized (select * from posts)"
            + $statement $(+ $more)*
            $(, $argument)*
        )
    };
}

pub(crate) use visible_posts;
