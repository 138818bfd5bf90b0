//! What a test's requests say to the database.

use std::{cell::RefCell, fmt::Debug, sync::Once};

use tracing::{Event, Subscriber, field::Field};
use tracing_subscriber::{
    filter::filter_fn,
    layer::{Context, Layer, SubscriberExt as _},
};

thread_local! {
    /// The statements that were run on this thread, which is all of the test's.
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Hears every statement of the process: a listener of one thread alone may miss what another
/// thread was the first to log.
struct Statements;

/// From now on every statement is heard.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let listener = tracing_subscriber::registry()
            .with(Statements)
            .with(filter_fn(|line| line.target() == "sqlx::query"));
        tracing::subscriber::set_global_default(listener).unwrap();
    });
}

/// The beginnings of those of this test since it last asked.
pub fn heard() -> Vec<String> {
    HEARD.with(RefCell::take)
}

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            let mut words = String::new();
            event.record(&mut |field: &Field, value: &dyn Debug| {
                if field.name() == "summary" {
                    words = format!("{value:?}");
                }
            });
            // The pool asks this of a connection that has rested.
            if !words.contains("select now() =") {
                HEARD.with_borrow_mut(|heard| heard.push(words));
            }
        }
    }
}
