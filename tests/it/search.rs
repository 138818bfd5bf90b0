use crate::support::{TestSite, Visitor};

async fn publish(by: &Visitor, title: &str, body: &str) -> i64 {
    let reply = by.post("/posts", &[("title", title), ("url", ""), ("body", body)]).await;
    reply.location().rsplit_once('/').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn search_finds_and_highlights_words_in_any_form_in_title_and_text() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let text = publish(&ada, "About something else", "Here somebody runs marathons.").await;
    let title = publish(&ada, "Running a <small> server", "").await;
    publish(&ada, "Unrelated", "Nothing.").await;

    let found = ada.get("/search?q=run").await;
    assert_eq!(found.posts(), [title, text], "a title counts for more than a text");
    found
        .has("<mark>Running</mark> a &#60;small&#62; server")
        .has("<mark>runs</mark>")
        .has("2 results for “<bdi>run</bdi>”");
    assert_eq!(ada.get("/search?q=running+servers").await.posts(), [title]);
    assert_eq!(ada.get("/search?q=%22a+small+server%22").await.posts(), [title]);
    assert_eq!(ada.get("/search?q=run+-marathon").await.posts(), [title]);
    assert_eq!(ada.get("/search?q=run+or+nothing").await.posts().len(), 3);
}

#[tokio::test]
async fn a_search_excerpt_is_plain_text_around_the_words_and_shows_where_it_is_cut() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let filler = "Es war einmal ein kleines Dorf am Fluss. ".repeat(12);
    publish(
        &ada,
        "Seams",
        &format!("{filler}\n\n**Alle sieben** [Nähmaschinen](https://example.org/) auf dem `Dachboden`.\n\n{filler}"),
    )
    .await;
    publish(&ada, "Patterns", "| part | pieces | time |\n|---|---|---|\n| sleeve | 17 | 2 min |\n")
        .await;
    publish(&ada, "Code", "Before <b>\n\n```\nlet zipper = 1 < 2;\n```\n").await;
    publish(&ada, "Buttonhole", "Nothing of the *kind* in the text.").await;
    publish(&ada, "Long", &format!("{}thimble", "word ".repeat(1598))).await;

    let found = ada.get("/search?q=n%C3%A4hmaschinen").await;
    found.has("Alle sieben <mark>Nähmaschinen</mark> auf dem Dachboden.");
    found.has("<p class=\"gist\" dir=\"auto\">…").has("…</p>").lacks("**").lacks("example.org");
    ada.get("/search?q=sleeves").await.has("\">part pieces time <mark>sleeve</mark> 17 2 min</p>");
    ada.get("/search?q=zipper")
        .await
        .has("\">Before &#60;b&#62; let <mark>zipper</mark> = 1 &#60; 2;</p>");
    ada.get("/search?q=buttonhole").await.has("\">Nothing of the kind in the text.</p>");
    ada.get("/search?q=thimble").await.has("word <mark>thimble</mark></p>");
}

#[tokio::test]
async fn search_finds_names_stop_words_and_other_languages() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    for (title, query) in [
        ("The Who live at Leeds", "the+who"),
        ("Straßenbahnen in Köln", "K%C3%B6ln"),
        ("Статья о поездах", "%D0%BF%D0%BE%D0%B5%D0%B7%D0%B4%D0%B0%D1%85"),
        ("Gödel, Escher, Bach", "escher"),
    ] {
        let post = publish(&ada, title, "").await;
        assert_eq!(ada.get(&format!("/search?q={query}")).await.posts(), [post], "{title}");
    }
}

#[tokio::test]
async fn search_results_are_ordered_by_relevance_date_or_votes() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let liked = publish(&ada, "Unrelated title", "an owl in the text").await;
    let best = publish(&ada, "Owl", "owl owl").await;
    let newest = publish(&ada, "A long title that has only one owl among its many words", "").await;
    ada.post(&format!("/posts/{liked}/vote"), &[("value", "1")]).await;

    assert_eq!(ada.get("/search?q=owl").await.posts()[0], best);
    assert_eq!(ada.get("/search?q=owl&sort=relevance").await.posts().len(), 3);
    assert_eq!(ada.get("/search?q=owl&sort=new").await.posts(), [newest, best, liked]);
    assert_eq!(ada.get("/search?q=owl&sort=top").await.posts()[0], liked);
    assert_eq!(ada.get("/search?q=owl&sort=bad").await.status, 400);
    ada.get("/search?q=owl").await.has("aria-pressed=\"true\"");
}

#[tokio::test]
async fn pagination_shows_every_search_result_once_in_every_order() {
    let site = TestSite::new().await;
    for n in 0..75 {
        let title = if n % 3 == 0 { "owl owl".to_owned() } else { format!("owl number {n}") };
        site.post_by("ada", &title).await;
    }
    for sort in ["relevance", "new", "top"] {
        let visitor = site.visitor();
        let (mut next, mut seen) = (Some(format!("/search?q=owl&sort={sort}")), Vec::new());
        while let Some(path) = next {
            let (page, part) = (visitor.get(&path).await, visitor.get_part(&path).await);
            assert_eq!(page.posts(), part.posts());
            seen.extend(page.posts());
            next = page.next();
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((count, seen.len()), (75, 75), "{sort}");
    }
}

#[tokio::test]
async fn newest_first_continues_past_the_limit_of_ranked_results() {
    let site = TestSite::new().await;
    site.post_by("ada", "owl").await;
    for statement in [
        "insert into posts (author_id, title, body, body_html, excerpt, created_at)
            select 1, 'owl ' || n, '', '', '', now() - make_interval(mins => n) from generate_series(1, 600) n",
        "insert into post_ranks select id, 0, hot_rank(0, created_at), created_at from posts on conflict do nothing",
        "insert into post_search select id, created_at, search_document(title, body) from posts on conflict do nothing",
    ] {
        sqlx::query(statement).execute(&site.db).await.unwrap();
    }
    let visitor = site.visitor();
    visitor.get("/search?q=owl").await.has("More than 500 results");
    for (sort, expected) in [("new", 601), ("relevance", 501)] {
        let (mut next, mut count) = (Some(format!("/search?q=owl&sort={sort}")), 0);
        while let Some(path) = next {
            let page = visitor.get_part(&path).await;
            count += page.posts().len();
            next = page.next();
        }
        assert_eq!(count, expected, "{sort}");
    }
}

/// Posts of several years, some days with many and some with none, some at the very same moment.
async fn scatter(db: &sqlx::PgPool, posts: i32) {
    for statement in [
        format!(
            "insert into posts (author_id, title, body, body_html, excerpt, created_at)
            select 1, concat_ws(' ', 'all', case when random() < 0.3 then 'many' end,
                case when random() < 0.03 then 'some' end, case when age > 900 then 'once' end), '', '', '',
                timestamptz '2026-06-01 12:00:00Z' - make_interval(days => age, hours => (random() * 9)::int)
            from (select (power(random(), 3) * 1500)::int as age from generate_series(1, {posts})) thrown"
        ),
        "insert into post_ranks select id, 0, hot_rank(0, created_at), created_at from posts on conflict do nothing".to_owned(),
        "insert into post_search select id, created_at, search_document(title, body) from posts on conflict do nothing".to_owned(),
        "analyze".to_owned(),
    ] {
        sqlx::query(&statement).execute(db).await.unwrap();
    }
}

#[tokio::test]
async fn reading_the_newest_days_first_changes_no_search_result() {
    let site = TestSite::new().await;
    site.post_by("ada", "all").await;
    scatter(&site.db, 1500).await;
    let differences = "
        select asked, wanted, near, before.post_id, author
        from unnest(array['all', 'many', 'some', 'once', 'many some', 'some or once', 'all -many', 'nowhere']) asked,
            unnest(array[1, 30, 200, 5000]) wanted, unnest(array[0, 1, 7, 100, 4000]) near,
            (select created_at, post_id from post_search where post_id % 271 = 0
                union all select 'infinity', 9223372036854775807) before,
            unnest(array[null, 1, 2]) author,
            lateral (select extract(epoch from before.created_at)::float8) as place (epoch),
            lateral (select array_agg(post_id) from
                search_newest(search_query(asked), wanted, epoch, before.post_id, author, near)) as banded (found),
            lateral (select array_agg(post_id) from (
                select s.post_id from post_search s join posts p on p.id = s.post_id
                where document @@ search_query(asked) and p.author_id = coalesce(author, p.author_id)
                    and (extract(epoch from s.created_at)::float8, s.post_id) < (epoch, before.post_id)
                order by s.created_at desc, s.post_id desc limit wanted) s) as plain (found)
        where banded.found is distinct from plain.found";
    assert_eq!(site.count(&format!("select count(*) from ({differences}) d")).await, 0);
}

#[tokio::test]
async fn a_range_of_days_is_covered_once_and_by_few_bands() {
    let site = TestSite::new().await;
    let wrong = "
        select count(*) from generate_series(-1203, 12000, 401) oldest, unnest(array[0, 1, 9, 10, 99, 777, 4321]) more,
            lateral (select search_cover(oldest, oldest + more)) as cover (names)
        where cardinality(names) > 60 or exists (
            select from generate_series(oldest - 1001, oldest + more + 1001) day,
                lateral (select cardinality(array(select unnest(names) intersect all
                    select unnest(search_spans(timestamptz '2000-01-01 05:00:00Z' + day * interval '1 day'))))) as hits (count)
            where hits.count <> (day between oldest and oldest + more)::int)";
    assert_eq!(site.count(wrong).await, 0);
}

#[tokio::test]
async fn search_finds_words_that_only_the_oldest_posts_have_behind_thousands() {
    let site = TestSite::new().await;
    let filler = site.post_by("ada", "all").await;
    scatter(&site.db, 6000).await;
    let oldest: i64 = sqlx::query_scalar(
        "with old as (select id from posts order by created_at, id limit 1)
        update post_search set document = search_document('owl', '') where post_id = (select id from old)
        returning post_id",
    )
    .fetch_one(&site.db)
    .await
    .unwrap();
    sqlx::query("update post_search set document = search_document('owl', '') where post_id = $1")
        .bind(filler)
        .execute(&site.db)
        .await
        .unwrap();
    let visitor = site.visitor();
    for sort in ["relevance", "new", "top"] {
        let found = visitor.get(&format!("/search?q=owl&sort={sort}")).await;
        found.has("2 results");
        let mut posts = found.posts();
        if sort == "new" {
            assert_eq!(posts, [filler, oldest]);
        }
        posts.sort_unstable();
        assert_eq!(posts, [filler, oldest], "{sort}");
    }
    let found = visitor.get("/api/v1/posts?search=owl&sort=new").await;
    assert_eq!(found.member("posts")[1]["id"], oldest);
}

#[tokio::test]
async fn a_typo_finds_similar_titles() {
    let site = TestSite::new().await;
    let post = site.post_by("ada", "Introducing the Kubernetes gateway").await;
    let found = site.visitor().get("/search?q=kuberntes").await;
    assert_eq!(found.posts(), [post]);
    found.has("Similar titles");
}

#[tokio::test]
async fn a_typo_is_compared_with_the_newest_titles_only() {
    let site = TestSite::new().await;
    let post = site.post_by("ada", "Introducing the Kubernetes gateway").await;
    scatter(&site.db, 10_000).await;
    let visitor = site.visitor();
    visitor.get("/search?q=kuberntes").await.has("Similar titles");
    sqlx::query(
        "with old as (update posts set created_at = '2001-02-03' where id = $1 returning *)
        update post_ranks r set created_at = old.created_at from old where r.post_id = old.id",
    )
    .bind(post)
    .execute(&site.db)
    .await
    .unwrap();
    assert_eq!(visitor.get("/search?q=kuberntes").await.posts(), Vec::<i64>::new());
}

#[tokio::test]
async fn typos_with_swapped_missing_or_doubled_letters_find_what_was_meant_and_nonsense_finds_nothing()
 {
    let site = TestSite::new().await;
    let titles = [
        "A public library without walls",
        "Postgres full-text search in practice",
        "Why Python is slow",
        "JavaScript, the good parts",
        "Grinding mirrors for telescopes",
        "A compiler in a weekend",
    ];
    let mut posts = Vec::new();
    for title in titles {
        posts.push(site.post_by("ada", title).await);
    }

    for (query, post) in [
        ("libary", posts[0]),
        ("posgres", posts[1]),
        ("postgers", posts[1]),
        ("pytohn", posts[2]),
        ("javascirpt", posts[3]),
        ("telescpoes", posts[4]),
        ("commpiler", posts[5]),
    ] {
        let found = site.visitor().get(&format!("/search?q={query}")).await;
        assert_eq!(found.posts().first(), Some(&post), "{query}");
        found.has("Similar titles");
    }
    for query in ["xqzvkj", "qwxz+vbnmk", "%E9%9B%A8"] {
        let found = site.visitor().get(&format!("/search?q={query}")).await;
        assert_eq!((found.status.as_u16(), found.posts()), (200, vec![]), "{query}");
    }
}

#[tokio::test]
async fn search_finds_a_single_character_that_is_a_word() {
    let site = TestSite::new().await;
    let post = site.post_by("ada", "雨 が 降る").await;
    assert_eq!(site.visitor().get("/search?q=%E9%9B%A8").await.posts(), [post]);
}

#[tokio::test]
async fn a_search_without_results_suggests_what_to_do() {
    let site = TestSite::new().await;
    site.post_by("ada", "Hello").await;
    let visitor = site.visitor();
    let nothing = visitor.get("/search?q=%3Cxyzzy%3E").await;
    assert_eq!((nothing.status.as_u16(), nothing.posts()), (200, vec![]));
    nothing.has("Nothing found").has("fewer words").has("value=\"&#60;xyzzy&#62;\"");
    visitor.get("/search").await.has("name=\"q\"").lacks("id=\"q-error\"");
    for (query, status) in [
        ("a".to_owned(), 422),
        ("%00ab".to_owned(), 422),
        ("%FFab".to_owned(), 400),
        ("ab&q=cd".to_owned(), 400),
        ("x".repeat(200), 200),
        ("x".repeat(201), 422),
        ("%25%25".to_owned(), 200),
        ("%27%22%3A*%26%7C!()".to_owned(), 200),
        ("the".to_owned(), 200),
        ("-hello".to_owned(), 200),
        ("%22".to_owned(), 422),
    ] {
        assert_eq!(visitor.get(&format!("/search?q={query}")).await.status, status, "{query}");
    }
    assert_eq!(visitor.get("/search?q=-hello").await.posts(), Vec::<i64>::new());
}
