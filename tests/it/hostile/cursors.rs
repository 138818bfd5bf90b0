//! Cursors of other lists, and damaged ones.

use axum::http::Method;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use social_post::web::cursor;

use crate::{hostile::AttackedSite, support::TestSite};

#[tokio::test]
async fn a_damaged_cursor_or_one_of_another_list_is_refused() {
    let mut at = AttackedSite::new().await;
    let stranger = at.site.visitor();
    let lists = [
        ("/?", "hot"),
        ("/new?", "new"),
        ("/top?", "top all"),
        ("/top?t=week&", "top week"),
        ("/search?q=title&", "search relevance title"),
        ("/search?q=title&sort=new&", "search new title"),
        ("/search?q=other&sort=new&", "search new other"),
        ("/users?", "people"),
        ("/users/ada?", "by 1"),
        ("/users/hidden?", "by 2"),
    ];
    for (address, list) in lists {
        for (_, of) in lists {
            let address = format!("{address}after={}", cursor::encode(of, 1 << 50, 9, ""));
            let reply = at.send(&stranger, stranger.request(Method::GET, &address), "").await;
            assert_eq!(reply.status, if of == list { 200 } else { 400 }, "{of} for {address}");
        }
        // Anyone who has read the source can build a valid cursor; it must do no harm.
        for rank in [i64::MIN, -1, 0, 1, i64::MAX, f64::NAN.to_bits().cast_signed()] {
            for id in [i64::MIN, -1, 0, i64::MAX] {
                let address = format!("{address}after={}", cursor::encode(list, rank, id, ""));
                let reply = at.send(&stranger, stranger.request(Method::GET, &address), "").await;
                assert!([200, 400].contains(&reply.status.as_u16()), "{rank} {id} for {address}");
            }
        }
        let whole = cursor::encode(list, 1 << 50, 9, "");
        let mut damaged: Vec<String> = (1..whole.len()).map(|end| whole[..end].into()).collect();
        damaged.extend([format!("{whole}="), format!("{whole}A"), format!("%20{whole}")]);
        damaged.extend([whole.to_lowercase(), whole.to_uppercase()]);
        for cursor in damaged {
            let address = format!("{address}after={cursor}");
            let reply = at.send(&stranger, stranger.request(Method::GET, &address), "").await;
            assert_eq!(reply.status, 400, "{address}");
        }
    }
    at.tell();
}

/// A forged place in a list: every field is random or as far out as it goes.
fn forged_place(random: &mut StdRng) -> (i64, i64, String) {
    (forged_rank(random), forged_number(random), forged_snapshot(random))
}

/// Bits of a rank, which a list takes as a number, a time in microseconds or a floating-point number.
fn forged_rank(random: &mut StdRng) -> i64 {
    let seconds = [-1e300, -2.2e11, -6.3e10, -0.0, 0.0, 1.7e9, 2.5e11, 9.3e12, 1e15, 1e300];
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, f64::from_bits(1)];
    let float = match random.gen_range(0..5) {
        0 => return forged_number(random),
        1 => *odd.choose(random).unwrap(),
        2 => *seconds.choose(random).unwrap() * random.gen_range(0.9..1.1),
        3 => random.gen_range(-1e13..1e13),
        _ => f64::from_bits(random.r#gen()),
    };
    float.to_bits().cast_signed()
}

fn forged_number(random: &mut StdRng) -> i64 {
    // The last two are the ends of what Postgres takes as a time, in microseconds since 1970.
    let ends =
        [0, 1, i32::MAX.into(), i64::MAX, -210_866_803_200_000_000, 9_223_371_331_200_000_000];
    let end: i64 = *ends.choose(random).unwrap();
    match random.gen_range(0..4) {
        0 => random.r#gen(),
        1 => random.gen_range(-3..3),
        2 => end.wrapping_add(random.gen_range(-2..=2)),
        _ => end.wrapping_neg().wrapping_add(random.gen_range(-2..=2)),
    }
}

fn forged_snapshot(random: &mut StdRng) -> String {
    let mut number = || match random.gen_range(0..5) {
        0 => random.gen_range(0..9),
        1 => u64::MAX - random.gen_range(0..3),
        // An id whose lower half is zero is none to Postgres.
        3 => u64::from(random.r#gen::<u32>()) << 32,
        2 => i64::MAX.cast_unsigned() + random.gen_range(0..2),
        _ => random.r#gen(),
    };
    let mut ids: Vec<u64> = (0..5).map(|_| number()).collect();
    if random.gen_ratio(3, 4) {
        ids.sort_unstable();
    }
    let running: Vec<String> = ids[1..4].iter().map(u64::to_string).collect();
    match random.gen_range(0..5) {
        0 => String::new(),
        1 => format!("{}:{}:", ids[0], ids[4]),
        2 => format!("{}:{}:{}", ids[0], ids[4], running[0]),
        3 => format!("{}:{}:{}", ids[0], ids[4], running.join(",")),
        _ => format!("00{}:{}:{}", ids[0], ids[4], running[1..].join(",")),
    }
}

/// A cursor gives no right, so it is not signed: anyone who has read the source can make one with a
/// valid checksum. Whatever is in it, the answer is a page or a 400.
#[tokio::test]
async fn a_forged_cursor_with_a_valid_checksum_is_a_page_or_a_400_on_both_faces() {
    let site = TestSite::new().await;
    for number in 0..3 {
        site.post_by("ada", &format!("A title {number}")).await;
    }
    let mut lists: Vec<(String, String)> = [
        ("/?", "hot"),
        ("/new?", "new"),
        ("/top?", "top all"),
        ("/top?t=day&", "top day"),
        ("/search?q=title&", "search relevance title"),
        ("/search?q=title&sort=new&", "search new title"),
        ("/search?q=title&sort=top&", "search top title"),
        ("/users?", "people"),
        ("/users/ada?", "by 1"),
        ("/api/v1/users?limit=2&", "people"),
    ]
    .map(|(address, list)| (address.to_owned(), list.to_owned()))
    .into();
    for (sort, search) in [("new", "new"), ("hot", "relevance"), ("top", "top")] {
        for (author, id) in [("", 0), ("&author=ada", 1), ("&author=nobody", -1)] {
            let address = format!("/api/v1/posts?sort={sort}{author}&");
            lists.push((address.clone(), format!("api {sort} {id}")));
            lists.push((
                format!("{address}search=title&"),
                format!("api search {search} {id} title"),
            ));
        }
    }
    // As other sites saw them fail: a time beyond what Postgres has, of a search by time.
    let seen =
        [(1e18_f64.to_bits().cast_signed(), 1, ""), ((-1e12_f64).to_bits().cast_signed(), 1, "")];
    let seen = seen.map(|(rank, id, rest)| (rank, id, rest.to_owned()));
    let mut random = StdRng::seed_from_u64(8);
    let stranger = site.visitor();
    let (mut pages, mut failed) = (0, Vec::new());
    for round in 0..200 {
        for (address, list) in &lists {
            let (rank, id, rest) =
                seen.get(round).cloned().unwrap_or_else(|| forged_place(&mut random));
            let cursor = cursor::encode(list, rank, id, &rest);
            let address = format!("{address}after={cursor}");
            match stranger.get(&address).await.status.as_u16() {
                200 => pages += 1,
                400 => {}
                status => failed.push(format!("{status} for {list} {rank:#x} {id} {rest}")),
            }
        }
    }
    assert!(failed.is_empty(), "{} of them: {:#?}", failed.len(), &failed[..failed.len().min(20)]);
    assert!(pages > 1000, "only {pages} of the cursors were read at all");
}

/// The other places in a request that say where to go on.
#[tokio::test]
async fn a_forged_number_that_says_where_a_list_goes_on_is_never_a_server_error() {
    let site = TestSite::new().await;
    site.post_by("ada", "A title").await;
    let mut random = StdRng::seed_from_u64(9);
    let stranger = site.visitor();
    for _ in 0..100 {
        let number = forged_number(&mut random);
        for address in [
            format!("/sitemap.xml?part={number}"),
            format!("/live?after={number}"),
            format!("/api/v1/posts?skip={number}"),
            format!("/api/v1/posts?limit={number}&skip={number}"),
            format!("/api/v1/users?limit={number}"),
            format!("/top?t={number}"),
            format!("/posts/{number}"),
            format!("/api/v1/posts/{number}/rank"),
        ] {
            let status = stranger.get(&address).await.status;
            assert!(status.is_success() || status.is_client_error(), "{status} for {address}");
        }
        let request = stranger.request(Method::GET, "/live").header("last-event-id", number);
        assert_eq!(stranger.send(request, "").await.status, 200, "Last-Event-ID: {number}");
    }
}
