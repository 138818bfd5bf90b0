//! The log: lines on stderr, as text or as JSON. A thread of its own writes them, so that no request, start
//! or shutdown ever waits for stderr.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Write},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    cli::Failure,
    config::{LogFormat, Settings},
    metrics::metrics,
    text::counted,
};

/// The most verbose level of these libraries, even where `RUST_LOG` asks for more: the rest holds
/// cookies, session ids, bound values or the text of posts, or is logged once for each bad cookie.
const LIMITED: [(&str, LevelFilter); 6] = [
    ("html5ever", LevelFilter::OFF),
    ("tower_sessions", LevelFilter::OFF),
    ("tower_cookies", LevelFilter::OFF),
    ("cookie", LevelFilter::OFF),
    ("hyper", LevelFilter::INFO),
    ("sqlx", LevelFilter::WARN),
];

/// How many lines may wait to be written: about a megabyte. Lines beyond it are dropped and counted.
const QUEUE: usize = 4096;
/// How long the end of the program waits for stderr to take the lines that are left.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

pub fn start(settings: &Settings, stderr: &Stderr) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&settings.log_filter).map_err(|_| {
        Failure::Configuration(
            "RUST_LOG is not a filter such as info or social_post=debug".to_owned(),
        )
    })?;
    let within_limits = filter_fn(|line| {
        let limited = LIMITED.iter().find(|(library, _)| line.target().starts_with(library));
        limited.is_none_or(|(_, most)| line.level() <= most)
    });
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let queue = stderr.0.clone();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || queue.clone())
        .with_ansi(!is_plain && io::stderr().is_terminal())
        .with_target(false);
    let lines = match settings.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(within_limits).with(lines).init();
    // One line in the log's format: the standard hook writes several lines of plain text.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, cause = panic.payload_as_str().unwrap_or_default(), "panicked");
    }));
    Ok(())
}

/// Standard error, behind a bounded queue: it may be a pipe that nobody reads, or a file on a full disk.
/// Dropping this waits up to a second until the queue is written.
pub struct Stderr(Queue);

impl Stderr {
    pub fn open() -> Stderr {
        let (sender, messages) = mpsc::sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = Queue { sender, dropped: dropped.clone() };
        // Where no thread can be started, every line is dropped.
        let _ = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_messages(&messages, &dropped));
        Stderr(queue)
    }

    /// Adds a line.
    pub fn say(&self, line: impl std::fmt::Display) {
        self.0.push(format!("{line}\n").into_bytes());
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let (done, flushed) = mpsc::channel();
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(unsent)) = self.0.sender.try_send(message) {
            if Instant::now() > deadline {
                return;
            }
            message = unsent;
            thread::sleep(Duration::from_millis(10));
        }
        let _ = flushed.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

enum Message {
    Line(Vec<u8>),
    /// Answered once everything before it is written.
    Flush(mpsc::Sender<()>),
}

/// The sending end of the queue. Writing to it never waits and never fails.
#[derive(Clone)]
struct Queue {
    sender: SyncSender<Message>,
    /// How many lines were dropped since the log said so.
    dropped: Arc<AtomicU64>,
}

impl Queue {
    fn push(&self, line: Vec<u8>) {
        if self.sender.try_send(Message::Line(line)).is_err() {
            count_dropped(&self.dropped);
        }
    }
}

impl Write for Queue {
    /// The subscriber writes each line with one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn count_dropped(dropped: &AtomicU64) {
    dropped.fetch_add(1, Relaxed);
    metrics().log_line_dropped();
}

/// Writes until the program ends. Once stderr takes lines again, one of them says how many were dropped.
fn write_messages(messages: &Receiver<Message>, dropped: &AtomicU64) {
    // Not `io::stderr()` itself: its lock would be held while a write waits.
    let mut stderr: Box<dyn Write> = match io::stderr().as_fd().try_clone_to_owned() {
        Ok(stderr) => Box::new(File::from(stderr)),
        Err(_) => Box::new(io::stderr()),
    };
    let mut works = true;
    loop {
        let message = match messages.try_recv() {
            Err(TryRecvError::Empty) => {
                // Now there is room for this line. While writing fails it would only be one more.
                let lost = if works { dropped.swap(0, Relaxed) } else { 0 };
                if lost > 0 {
                    let lines = counted(lost, "log line was", "log lines were");
                    tracing::warn!("{lines} dropped, because stderr did not take them");
                }
                messages.recv()
            }
            received => received.map_err(|_| mpsc::RecvError),
        };
        match message {
            Ok(Message::Line(line)) => {
                works = stderr.write_all(&line).is_ok();
                if !works {
                    count_dropped(dropped);
                }
            }
            Ok(Message::Flush(done)) => drop(done.send(())),
            Err(_) => return,
        }
    }
}
