//! How far an import is.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

use crate::{cli::import::counted, transfer::import::Step};

/// How far the import is: a bar on a terminal, lines elsewhere.
#[derive(Default)]
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn show(&mut self, step: Step) {
        match step {
            Step::Waiting => eprintln!("another import is running; waiting for its end"),
            Step::Begun { votes, .. } if std::io::stderr().is_terminal() => {
                self.bar = Some(ProgressBar::new(votes).with_style(style()));
            }
            Step::Begun { posts, votes } => {
                let (posts, votes) =
                    (counted(posts, "post", "posts"), counted(votes, "vote", "votes"));
                eprintln!("bringing in {posts} with {votes}");
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
