use crate::support::{TestSite, Visitor};

async fn publish(by: &Visitor, title: &str, body: &str) -> i64 {
    let reply = by.post("/posts", &[("title", title), ("url", ""), ("body", body)]).await;
    reply.location().rsplit_once('/').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn words_are_found_in_any_form_in_title_and_text_and_marked() {
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
        .has("2 results");
    assert_eq!(ada.get("/search?q=running+servers").await.posts(), [title]);
    assert_eq!(ada.get("/search?q=%22a+small+server%22").await.posts(), [title]);
    assert_eq!(ada.get("/search?q=run+-marathon").await.posts(), [title]);
    assert_eq!(ada.get("/search?q=run+or+nothing").await.posts().len(), 3);
}

#[tokio::test]
async fn names_small_words_and_other_languages_are_found_too() {
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
async fn results_come_by_relevance_date_or_votes() {
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
async fn every_result_is_on_exactly_one_page_in_every_order() {
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
async fn newest_first_goes_on_behind_the_bound() {
    let site = TestSite::new().await;
    site.post_by("ada", "owl").await;
    for statement in [
        "insert into posts (author_id, title, body, body_html, excerpt, created_at)
            select 1, 'owl ' || n, '', '', '', now() - make_interval(mins => n) from generate_series(1, 1100) n",
        "insert into post_ranks select id, 0, hot_rank(0, created_at), created_at from posts on conflict do nothing",
        "insert into post_search select id, created_at, search_document(title, body) from posts on conflict do nothing",
    ] {
        sqlx::query(statement).execute(&site.db).await.unwrap();
    }
    let visitor = site.visitor();
    visitor.get("/search?q=owl").await.has("More than 1000 results");
    for (sort, expected) in [("new", 1101), ("relevance", 1001)] {
        let (mut next, mut count) = (Some(format!("/search?q=owl&sort={sort}")), 0);
        while let Some(path) = next {
            let page = visitor.get_part(&path).await;
            count += page.posts().len();
            next = page.next();
        }
        assert_eq!(count, expected, "{sort}");
    }
}

#[tokio::test]
async fn a_typing_error_finds_titles_that_look_alike() {
    let site = TestSite::new().await;
    let post = site.post_by("ada", "Introducing the Kubernetes gateway").await;
    let found = site.visitor().get("/search?q=kuberntes").await;
    assert_eq!(found.posts(), [post]);
    found.has("look alike");
}

#[tokio::test]
async fn a_search_that_finds_nothing_helps_on() {
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
