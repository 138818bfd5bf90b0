//! Many who write at once, and a ledger of what was acknowledged and what may or may not have happened.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::Rng as _;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet, time::sleep};

use crate::{
    program::post,
    support::{Database, TestSite, database, oracle, wire::exchange},
};

#[derive(Default)]
pub struct Ledger {
    /// Titles whose post was answered with its address; those sent without an answer.
    pub published: Vec<String>,
    pub unknown: Vec<String>,
    /// The last acknowledged vote for each writer and post; none once one went unanswered.
    pub votes: BTreeMap<(usize, i64), Option<bool>>,
    pub refused: usize,
}

impl Ledger {
    pub fn acknowledged(&self) -> usize {
        self.published.len() + self.votes.values().flatten().count()
    }

    pub fn add(&mut self, other: Ledger) {
        self.published.extend(other.published);
        self.unknown.extend(other.unknown);
        self.votes.extend(other.votes);
        self.refused += other.refused;
    }
}

pub struct Crowd {
    pub site: TestSite,
    pub database: Database,
    /// The session of each writer; their names are `writer0` and so on.
    pub cookies: Vec<String>,
    pub posts: Vec<i64>,
}

impl Crowd {
    pub async fn of(writers: usize) -> Crowd {
        let database = database().await;
        let site = TestSite::over(database.options(), "http://site.test");
        let mut cookies = Vec::new();
        for n in 0..writers {
            cookies.push(site.member(&format!("writer{n}")).await.cookie_header());
        }
        let mut posts = Vec::new();
        for n in 0..6 {
            posts.push(site.post_by("writer0", &format!("Post {n}")).await);
        }
        Crowd { site, database, cookies, posts }
    }

    /// All writers post and vote at `address` until `stop` is set; of a hundred requests,
    /// `aborted` are hung up on at some moment.
    pub fn writes_at(
        &self,
        address: SocketAddr,
        aborted: u32,
        stop: &Arc<AtomicBool>,
    ) -> JoinSet<Ledger> {
        let mut writers = JoinSet::new();
        for (n, cookie) in self.cookies.iter().cloned().enumerate() {
            let (posts, stop) = (self.posts.clone(), stop.clone());
            writers.spawn(async move {
                let mut ledger = Ledger::default();
                while !stop.load(Ordering::Relaxed) {
                    write_once(&mut ledger, n, &cookie, &posts, address, aborted).await;
                }
                ledger
            });
        }
        writers
    }

    /// Nothing acknowledged is lost, nothing is there twice, every score is the number of its votes.
    pub async fn check(&self, ledger: &Ledger) {
        for (titles, least) in [(&ledger.published, 1), (&ledger.unknown, 0)] {
            let wrong: Vec<String> = sqlx::query_scalar(
                "select title from unnest($1::text[]) as sent (title) left join posts using (title) \
                 group by title having count(posts.id) > 1 or count(posts.id) < $2",
            )
            .bind(titles)
            .bind(least)
            .fetch_all(&self.site.db)
            .await
            .unwrap();
            assert!(wrong.is_empty(), "lost or doubled: {wrong:?}");
        }
        for ((writer, post), is_cast) in &ledger.votes {
            let Some(is_cast) = is_cast else { continue };
            let is_there: bool = sqlx::query_scalar(
                "select exists (select from votes join users on id = user_id \
                 where username = $1 and post_id = $2)",
            )
            .bind(format!("writer{writer}"))
            .bind(post)
            .fetch_one(&self.site.db)
            .await
            .unwrap();
            assert_eq!(is_there, *is_cast, "the vote of writer{writer} for {post}");
        }
        assert_eq!(self.site.wrong_scores().await, []);
        let stuck = "select count(*) from pg_stat_activity where datname = current_database() \
                     and state like 'idle in transaction%' \
                     and state_change < clock_timestamp() - interval '300 milliseconds'";
        sleep(Duration::from_millis(300)).await;
        assert_eq!(self.site.count(stuck).await, 0, "a transaction was left open");
    }
}

pub async fn write_once(
    ledger: &mut Ledger,
    writer: usize,
    cookie: &str,
    posts: &[i64],
    address: SocketAddr,
    aborted: u32,
) {
    let (is_post, is_cast, is_aborted, at, after) = {
        let mut random = rand::thread_rng();
        let is_aborted = random.gen_range(0..100) < aborted;
        let after = Duration::from_micros(random.gen_range(0..6000));
        (
            random.gen_ratio(1, 3),
            random.gen_bool(0.5),
            is_aborted,
            random.gen_range(0..posts.len()),
            after,
        )
    };
    let title = format!("Ledger {}", uuid::Uuid::new_v4());
    let post_id = posts[at];
    let request = if is_post {
        post("/posts", cookie, &[("title", &title), ("body", "A *text*")])
    } else {
        let value = if is_cast { "1" } else { "0" };
        post(&format!("/posts/{post_id}/vote"), cookie, &[("value", value)])
    };

    let reply = if is_aborted {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let _ = stream.write_all(request.as_bytes()).await;
            sleep(after).await;
        }
        None
    } else {
        exchange(address, &request).await.ok()
    };
    let is_done = match reply {
        None => None,
        Some(reply) if reply.status == 303 => Some(true),
        Some(reply) => {
            oracle::check(&reply, "a write", &[cookie.trim_start_matches("sid=")]);
            assert_eq!(reply.status, 503, "{}", reply.body);
            ledger.refused += 1;
            sleep(Duration::from_millis(20)).await;
            None
        }
    };
    match (is_post, is_done) {
        (true, Some(_)) => ledger.published.push(title),
        (true, None) => ledger.unknown.push(title),
        (false, Some(_)) => {
            // After an unanswered vote nobody knows which of the two came last.
            let vote = ledger.votes.entry((writer, post_id)).or_insert(Some(is_cast));
            if vote.is_some() {
                *vote = Some(is_cast);
            }
        }
        (false, None) => {
            ledger.votes.insert((writer, post_id), None);
        }
    }
}

pub async fn collect(mut writers: JoinSet<Ledger>, ledger: &mut Ledger) {
    while let Some(written) = writers.join_next().await {
        ledger.add(written.unwrap());
    }
}
