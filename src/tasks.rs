//! Background tasks. An error or a panic only delays them: they are retried.

use std::{future::Future, time::Duration};

use tokio::time::sleep;

use crate::metrics::metrics;

/// The delay before a failed round is retried; doubled each time, up to [`MAX_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_mins(1);

/// Runs `round` repeatedly, each time after the pause that the last one returned, until one returns
/// `None`. `/metrics` reports when `task` last succeeded and how often it failed.
pub async fn supervise<F>(task: &'static str, mut round: impl FnMut() -> F)
where
    F: Future<Output = anyhow::Result<Option<Duration>>> + Send + 'static,
{
    let mut retry = FIRST_RETRY;
    loop {
        // In a task of its own, so that a panic ends this round only.
        let pause = match tokio::spawn(round()).await {
            Ok(Ok(pause)) => {
                metrics().task_succeeded(task);
                retry = FIRST_RETRY;
                match pause {
                    Some(pause) => pause,
                    None => return,
                }
            }
            failed => {
                // The panic itself is in the log already.
                let cause = match failed {
                    Ok(Err(err)) => format!("{err:#}"),
                    _ => "panicked".to_owned(),
                };
                tracing::warn!(task, cause, "a background task failed and is tried again");
                metrics().task_failed(task);
                let pause = retry;
                retry = (retry * 2).min(MAX_RETRY);
                pause
            }
        };
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn a_round_that_fails_or_panics_is_retried_until_one_returns_none() {
        let rounds = Arc::new(AtomicU32::new(0));
        supervise("test", || {
            let rounds = rounds.clone();
            async move {
                match rounds.fetch_add(1, Ordering::Relaxed) {
                    0 => anyhow::bail!("not yet"),
                    1 => panic!("not yet either"),
                    2 => Ok(Some(Duration::from_millis(1))),
                    _ => Ok(None),
                }
            }
        })
        .await;
        assert_eq!(rounds.load(Ordering::Relaxed), 4);
    }
}
