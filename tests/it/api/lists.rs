//! Lists and their pagination.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    api::{POST, members},
    support::TestSite,
};

/// Every way of asking, gone through to its end by either way of going on.
#[expect(clippy::too_many_lines, reason = "one list asked for in every way")]
#[tokio::test]
async fn pagination_shows_each_post_once_by_cursor_and_by_offset() {
    let site = TestSite::new().await;
    let mut voters = Vec::new();
    for n in 0..4 {
        voters.push(site.member(&format!("voter{n}")).await);
    }
    let mut posts = BTreeMap::new();
    for n in 0..37_usize {
        let author = if n % 3 == 0 { "bob" } else { "ada" };
        let title = format!("{} number {n}", if n % 2 == 0 { "Owl" } else { "Cat" });
        let id = site.post_by(author, &title).await;
        let score = n * 7 % 5;
        for voter in &voters[..score] {
            voter.post(&format!("/posts/{id}/vote"), &[("value", "1")]).await;
        }
        posts.insert(id, (author, title, score));
    }
    let caller = site.caller_of("voter0").await;
    let ask = async |query: &str| {
        let reply = caller.get(&format!("/posts?{query}")).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.body);
        let page = reply.json();
        assert_eq!(members(&page), ["next", "posts"].into());
        let posts = page["posts"].as_array().unwrap().clone();
        let next = page["next"].as_str().map(str::to_owned);
        assert!(next.is_some() || page["next"].is_null());
        (posts, next)
    };
    let ids = |posts: &[Value]| -> Vec<i64> {
        posts.iter().map(|post| post["id"].as_i64().unwrap()).collect()
    };

    for sort in ["", "sort=new&", "sort=hot&", "sort=top&"] {
        for author in ["", "author=ada&", "author=BOB&", "author=voter1&", "author=nobody&"] {
            for search in ["", "search=owl&", "search=number&", "search=nothing&"] {
                let list = format!("{sort}{author}{search}");
                let wanted: BTreeSet<i64> = posts
                    .iter()
                    .filter(|(_, (by, title, _))| {
                        let by = format!("author={by}&");
                        (author.is_empty() || author.eq_ignore_ascii_case(&by))
                            && (search != "search=owl&" || title.starts_with("Owl"))
                            && search != "search=nothing&"
                    })
                    .map(|(id, _)| *id)
                    .collect();
                let (all, next) = ask(&format!("{list}limit=100")).await;
                assert_eq!(next, None, "{list}");
                let all_ids = ids(&all);
                assert_eq!(all_ids.iter().copied().collect::<BTreeSet<_>>(), wanted, "{list}");
                assert_eq!(all_ids.len(), wanted.len(), "{list}: one is there twice");
                let mut ordered = all_ids.clone();
                match sort {
                    "" | "sort=new&" => ordered.sort_unstable_by_key(|id| -id),
                    "sort=top&" => {
                        ordered.sort_unstable_by_key(|id| (std::cmp::Reverse(posts[id].2), -id));
                    }
                    _ => {}
                }
                assert_eq!(all_ids, ordered, "{list}");
                for post in &all {
                    assert_eq!(members(post), POST.into());
                    let (author, title, score) = &posts[&post["id"].as_i64().unwrap()];
                    assert_eq!((&post["author"], &post["title"]), (&json!(author), &json!(title)));
                    assert_eq!(
                        (&post["score"], &post["voted"]),
                        (&json!(score), &json!(*score > 0))
                    );
                }

                for limit in [1, 10, 18] {
                    if limit == 1 && wanted.len() > 30 {
                        continue;
                    }
                    let (mut by_cursor, mut after) = (Vec::new(), String::new());
                    loop {
                        let (page, next) = ask(&format!("{list}limit={limit}{after}")).await;
                        assert!(page.len() <= limit);
                        by_cursor.extend(ids(&page));
                        match next {
                            Some(next) => after = format!("&after={next}"),
                            None => break,
                        }
                        assert_eq!(page.len(), limit, "{list}");
                    }
                    assert_eq!(by_cursor, all_ids, "{list}limit={limit}");
                    let mut by_skip = Vec::new();
                    for skip in (0..40).step_by(limit) {
                        let (page, next) = ask(&format!("{list}limit={limit}&skip={skip}")).await;
                        by_skip.extend(ids(&page));
                        assert_eq!(next.is_some(), skip + limit < all_ids.len(), "{list}{skip}");
                    }
                    assert_eq!(by_skip, all_ids, "{list}limit={limit}");
                }
                // Both ways at once: so many after that place.
                if let (_, Some(next)) = ask(&format!("{list}limit=5")).await {
                    let (page, _) = ask(&format!("{list}limit=3&skip=2&after={next}")).await;
                    let wanted: Vec<_> = all_ids.iter().skip(7).take(3).copied().collect();
                    assert_eq!(ids(&page), wanted, "{list}");
                    // A place in one list is none in another.
                    for other in ["sort=new&", "sort=hot&", "sort=top&"] {
                        if other == sort || sort.is_empty() && other == "sort=new&" {
                            continue;
                        }
                        let path = format!("/posts?{other}{author}{search}after={next}");
                        assert_eq!(caller.get(&path).await.status, 400, "{path}");
                    }
                }
            }
        }
    }
    let (default, _) = ask("").await;
    assert_eq!(default.len(), 10);
    for (query, page) in [
        ("sort=hot&limit=30", "/"),
        ("sort=new&limit=30", "/new"),
        ("sort=top&limit=30", "/top?t=all"),
        ("author=ada&limit=30", "/users/ada"),
        ("search=owl+number&sort=hot&limit=30", "/search?q=owl+number"),
        ("search=owl&sort=top&limit=30", "/search?q=owl&sort=top"),
    ] {
        let (posts, _) = ask(query).await;
        assert_eq!(ids(&posts), site.visitor().get(page).await.posts(), "{query} is not {page}");
    }
    let unseen = site.caller().get("/posts?limit=100").await.member("posts");
    assert!(unseen.as_array().unwrap().iter().all(|post| post["voted"].is_null()));

    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=010",
        "limit=%2B5",
        "limit=5.0",
        "limit=1e1",
        "limit=ten",
        "limit=99999999999999999999",
        "skip=-1",
        "skip=10001",
        "skip=00",
        "skip=x",
        "sort=best",
        "sort=NEW",
        "sort=new&sort=new",
        "limit=5&limit=5",
        "after=x",
        "after=AAAA",
    ] {
        assert_eq!(caller.get(&format!("/posts?{query}")).await.status, 400, "{query}");
    }
    for query in ["search=x", &format!("search={}", "x".repeat(201)), "search=%20x%20"] {
        let reply = caller.get(&format!("/posts?{query}")).await;
        assert_eq!(
            (reply.status.as_u16(), reply.fields()),
            (422, vec!["search".into()]),
            "{query}"
        );
    }
    for query in ["skip=10000", "limit=100&skip=100", "author=no%20name", "author=%F0%9F%A6%80"] {
        assert_eq!(ask(query).await, (vec![], None), "{query}");
    }
    for query in ["limit=", "skip=", "search=", "sort=", "author=", "after=", "utm_source=x"] {
        assert_eq!(ask(query).await.0, default, "{query}: empty is as good as none");
    }
}
