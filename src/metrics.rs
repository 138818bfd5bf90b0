//! The metrics of this process, for Prometheus. None of them names a person, an address or anything
//! that people wrote.
//!
//! A new metric is one more field here. Its labels come from the program, never from a request.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::http::{Method, StatusCode};
use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

/// Buckets from an answer out of memory to the timeout (`web::middleware::timeout`).
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;
type Counters<const N: usize> = Family<Labels<N>, Counter>;

pub struct Metrics {
    registry: Registry,
    requests: Counters<3>,
    durations: Family<Labels<1>, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    refused: Counters<1>,
    page_cache_hits: Counter,
    connections: Gauges<1>,
    connections_limit: Gauge,
    connection_timeouts: Counter,
    hashes: Gauges<1>,
    task_successes: Family<Labels<1>, Gauge<f64, AtomicU64>>,
    task_failures: Counters<1>,
    log_lines_dropped: Counter,
    connections_refused: Counter,
    rows: Gauges<1>,
    rows_inserted: Counters<1>,
    rows_deleted: Counters<1>,
}

/// The metrics of this process.
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

impl Metrics {
    fn new() -> Metrics {
        let mut all = Registry::with_prefix("social_post");
        let now = unix_now();
        add::<Gauge<f64, AtomicU64>>(&mut all, "start_time_seconds", "When the process started")
            .set(now);
        let build = add::<Gauges<1>>(&mut all, "build_info", "Which version runs");
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION").into())]).set(1);
        let durations: Family<_, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        let help = "From the complete head of a request to its response, by route";
        all.register("request_duration_seconds", help, durations.clone());
        Metrics {
            durations,
            requests: add(&mut all, "requests", "Responses, by method, route and status"),
            in_flight: add(&mut all, "requests_in_flight", "Requests that wait for their response"),
            refused: add(&mut all, "refused", "Requests over a rate limit, by action"),
            page_cache_hits: add(
                &mut all,
                "page_cache_hits",
                "Responses from the page cache, which the other metrics count as well",
            ),
            connections: add(&mut all, "database_connections", "Connections of the pool, by state"),
            connections_limit: add(
                &mut all,
                "database_connections_limit",
                "The most connections that the pool may have",
            ),
            connection_timeouts: add(
                &mut all,
                "database_connection_timeouts",
                "Work that got no connection within a second",
            ),
            hashes: add(&mut all, "password_hashes", "Passwords being hashed or checked, by state"),
            task_successes: add(
                &mut all,
                "task_last_success_timestamp_seconds",
                "When a background task last succeeded",
            ),
            task_failures: add(
                &mut all,
                "task_failures",
                "Rounds of a background task that failed",
            ),
            log_lines_dropped: add(
                &mut all,
                "log_lines_dropped",
                "Log lines that stderr did not take",
            ),
            connections_refused: add(
                &mut all,
                "connections_refused",
                "Connections answered with a ready-made 503, because the process had no room for them",
            ),
            rows: add(&mut all, "rows", "Rows of a table, as the database estimates them"),
            rows_inserted: add(
                &mut all,
                "rows_inserted",
                "Rows ever added to a table, by any program",
            ),
            rows_deleted: add(
                &mut all,
                "rows_deleted",
                "Rows ever removed from a table, by any program",
            ),
            registry: all,
        }
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn request_started(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// `route` is the pattern that matched, not the address.
    pub fn request_completed(
        &self,
        method: &Method,
        route: &str,
        status: StatusCode,
        took: Duration,
    ) {
        // A client may invent any number of methods.
        const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let method = KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other");
        let route = [("route", Cow::Owned(route.to_owned()))];
        self.durations.get_or_create(&route).observe(took.as_secs_f64());
        let [route] = route;
        let status = ("status", Cow::Owned(status.as_str().to_owned()));
        self.requests.get_or_create(&[("method", method.into()), route, status]).inc();
    }

    /// The counters of the responses to GET at a route from the page cache.
    pub fn cached_route(&self, route: &'static str) -> RouteCounters {
        let requests = |status: StatusCode| {
            let status = ("status", Cow::Owned(status.as_str().to_owned()));
            self.requests
                .get_or_create(&[("method", "GET".into()), ("route", route.into()), status])
                .clone()
        };
        RouteCounters {
            ok: requests(StatusCode::OK),
            not_modified: requests(StatusCode::NOT_MODIFIED),
            duration: self.durations.get_or_create(&[("route", route.into())]).clone(),
        }
    }

    /// A request was over the rate limit of `what`.
    pub fn refused(&self, what: &'static str) {
        self.refused.get_or_create(&[("what", what.into())]).inc();
    }

    /// A response came from the page cache.
    pub fn page_cache_hit(&self) {
        self.page_cache_hits.inc();
    }

    pub fn connection_timed_out(&self) {
        self.connection_timeouts.inc();
    }

    pub fn log_line_dropped(&self) {
        self.log_lines_dropped.inc();
    }

    pub fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    pub fn task_succeeded(&self, task: &'static str) {
        self.task_successes.get_or_create(&[("task", task.into())]).set(unix_now());
        // Present from the first round on, so that the first failure shows as an increase.
        let _ = self.task_failures.get_or_create(&[("task", task.into())]);
    }

    pub fn task_failed(&self, task: &'static str) {
        self.task_failures.get_or_create(&[("task", task.into())]).inc();
    }

    /// The connections of the pool: idle, busy, and the limit.
    pub fn set_connections(&self, idle: i64, busy: i64, limit: i64) {
        self.connections.get_or_create(&[("state", "idle".into())]).set(idle);
        self.connections.get_or_create(&[("state", "busy".into())]).set(busy);
        self.connections_limit.set(limit);
    }

    /// The password hashes being computed, and those that wait for a permit.
    pub fn set_password_hashes(&self, running: i64, waiting: i64) {
        self.hashes.get_or_create(&[("state", "running".into())]).set(running);
        self.hashes.get_or_create(&[("state", "waiting".into())]).set(waiting);
    }

    /// Postgres' statistics of a table.
    pub fn set_table(&self, name: String, rows: i64, inserted: i64, deleted: i64) {
        let label = [("table", Cow::Owned(name))];
        let set = |counter: &Counters<1>, to: i64| {
            counter.get_or_create(&label).inner().store(to.unsigned_abs(), Ordering::Relaxed);
        };
        self.rows.get_or_create(&label).set(rows);
        set(&self.rows_inserted, inserted);
        set(&self.rows_deleted, deleted);
    }

    /// All metrics, in the format that Prometheus reads.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Counts the responses of one route, without looking its metrics up each time.
#[derive(Debug, Clone)]
pub struct RouteCounters {
    ok: Counter,
    not_modified: Counter,
    duration: Histogram,
}

impl RouteCounters {
    pub fn completed(&self, status: StatusCode, took: Duration) {
        let counter = if status == StatusCode::OK { &self.ok } else { &self.not_modified };
        counter.inc();
        self.duration.observe(took.as_secs_f64());
    }
}

/// Counts a request until it is answered or dropped.
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn unix_now() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}
