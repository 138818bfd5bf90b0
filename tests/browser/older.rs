//! Pagination: the link to older posts.

use std::collections::BTreeSet;

use crate::{browser::Browser, site, support::TestSite};

const MORE: &str = "a[rel=next]";

#[tokio::test]
async fn older_posts_are_appended_and_the_focus_goes_to_the_first_of_them() {
    let site = site::served().await;
    let newest_first = sixty_five_posts(&site).await;
    let browser = Browser::open(&site).await;
    browser.goto("/new").await;
    browser.mark_page().await;

    for (had, has) in [(30, 60), (60, 65)] {
        browser.until_count("article", had).await;
        browser.click(MORE).await;
        browser.until_count("article", has).await;
        let first_new = format!("post-{}", newest_first[had]);
        let script = "return document.activeElement.closest('article')?.id ?? 'nowhere'";
        browser
            .until(&format!("the focus in {first_new}"), async || {
                Ok((browser.run::<String>(script).await == first_new).then_some(()))
            })
            .await;
    }

    assert_eq!(posts(&browser).await, newest_first);
    assert_eq!(browser.count(MORE).await, 0, "the list is at its end");
    let ids: Vec<String> =
        browser.run("return [...document.querySelectorAll('[id]')].map(({ id }) => id)").await;
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "no id comes twice");
    assert!(browser.is_same_page().await);
    assert_eq!(browser.place().await, "/new");
    browser.end().await;
}

#[tokio::test]
async fn without_javascript_pagination_shows_each_post_once_on_three_pages() {
    let site = site::served().await;
    let newest_first = sixty_five_posts(&site).await;
    let browser = Browser::without_javascript(&site).await;
    browser.goto("/new").await;

    let mut seen = posts(&browser).await;
    for count in [30, 5] {
        let before = browser.place().await;
        browser.click(MORE).await;
        browser
            .until("the next page", async || Ok((browser.place().await != before).then_some(())))
            .await;
        browser.until_count("article", count).await;
        seen.extend(posts(&browser).await);
    }

    assert_eq!(browser.count(MORE).await, 0);
    assert_eq!(seen, newest_first);
    browser.end().await;
}

async fn sixty_five_posts(site: &TestSite) -> Vec<i64> {
    let mut posts = Vec::new();
    for n in 1..=65 {
        posts.push(site.post_by("ada", &format!("Post number {n}")).await);
    }
    posts.reverse();
    posts
}

async fn posts(browser: &Browser) -> Vec<i64> {
    let script = "return [...document.querySelectorAll('article')].map(({ id }) => +id.slice(5))";
    browser.run(script).await
}
