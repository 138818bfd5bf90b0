//! CPU-bound work, off the threads of the async runtime.
//!
//! A runtime thread serves every connection that is on it, so whatever takes it for longer than about a
//! millisecond delays all of them. Such work runs here: on a blocking thread, and at most as much of it at
//! once as there are cores.

use std::{panic::resume_unwind, sync::LazyLock, thread::available_parallelism};

use tokio::{sync::Semaphore, task::spawn_blocking};

/// In the order of arrival.
static PERMITS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, usize::from)));

/// Runs `work` on a blocking thread when it is its turn. A panic in it continues in the caller.
///
/// The caller takes what the work costs from the client's rate limit first.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // It is never closed, so there is always a permit in the end.
    let permit = PERMITS.acquire().await.ok();
    let done = spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    match done.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime is shutting down, and the caller with it.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// As [`run`] if the work is long; short work is done at once, because the way to another thread would take
/// longer.
pub async fn run_if<T: Send + 'static>(
    is_long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if is_long { run(work).await } else { work() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_runs_on_another_thread_and_its_panic_reaches_the_caller() {
        let here = std::thread::current().id();
        assert_ne!(run(|| std::thread::current().id()).await, here);
        let failed = tokio::spawn(run(|| panic!("in the work"))).await.unwrap_err();
        assert_eq!(failed.into_panic().downcast_ref(), Some(&"in the work"));
    }
}
