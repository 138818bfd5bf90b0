//! The progress of an import.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

use crate::{text::counted, transfer::import::Step};

/// Shows the progress of an import: a bar on a terminal, lines elsewhere.
#[derive(Default)]
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn show(&mut self, step: Step) {
        match step {
            Step::Waiting => eprintln!("another import is running; waiting for it to end"),
            Step::Started { votes, .. } if std::io::stderr().is_terminal() => {
                self.bar = Some(ProgressBar::new(votes).with_style(style()));
            }
            Step::Started { posts, votes } => {
                let (posts, votes) =
                    (counted(posts, "post", "posts"), counted(votes, "vote", "votes"));
                eprintln!("importing {posts} with {votes}");
            }
            Step::Votes(count) => self.with(|bar| bar.set_position(count)),
            Step::Finishing => self.with(|bar| bar.set_message("ranking and indexing")),
        }
    }

    pub fn clear(&self) {
        self.with(ProgressBar::finish_and_clear);
    }

    fn with(&self, draw: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = &self.bar {
            draw(bar);
        }
    }
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} votes {eta} {msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}
