//! One person's way through the whole site, once with JavaScript and once without. `bin/chain --test` sends
//! it through nginx, over https.

use thirtyfour::Key;

use crate::{
    browser::Browser,
    site,
    support::{PASSWORD, TestSite},
};

const TEXT: &str = "Some **bold** words and a [link](https://example.org/).\n\n- one\n- two\n";

#[tokio::test]
async fn a_member_signs_up_writes_votes_searches_edits_and_deletes() {
    let site = site::chained_or_served().await;
    let others = older_posts(&site).await;
    let browser = Browser::open(&site).await;

    live_through(&browser, "ada", &others).await;
    assert_eq!(site.wrong_scores().await, []);

    let kept: (usize, usize, String) =
        browser.run("return [localStorage.length, sessionStorage.length, document.cookie]").await;
    assert_eq!(kept, (0, 0, String::new()), "nothing is kept where scripts can read it");
    browser.end().await;
}

#[tokio::test]
async fn a_member_does_all_of_it_without_javascript() {
    let site = site::chained_or_served().await;
    let others = older_posts(&site).await;
    let browser = Browser::without_javascript(&site).await;

    live_through(&browser, "ida", &others).await;
    assert_eq!(site.wrong_scores().await, []);
    browser.end().await;
}

async fn older_posts(site: &TestSite) -> Vec<i64> {
    let mut posts = Vec::new();
    for n in 0..25 {
        posts.push(site.post_by("grace", &format!("An older post, number {n}")).await);
    }
    posts
}

async fn live_through(browser: &Browser, name: &str, others: &[i64]) {
    sign_up(browser, name).await;
    let post = publish(browser).await;
    vote(browser, others[3]).await;
    search(browser, post).await;
    edit(browser, post).await;
    log_out_and_in(browser, name, post).await;
    delete(browser, post).await;
}

async fn sign_up(browser: &Browser, name: &str) {
    browser.goto("/").await;
    browser.click("header a[href='/signup']").await;
    browser.fill("#username", name).await;
    browser.fill("#email", &format!("{name}@example.org")).await;
    browser.fill("#password", PASSWORD).await;
    browser.click("form[action='/signup'] button:not([type=button])").await;
    browser.is_at("/").await;
    browser.reads("[role=status]", "Welcome!").await;
}

async fn publish(browser: &Browser) -> i64 {
    browser.click("a[href='/posts/new']").await;
    browser.fill("#title", "On analytical engines").await;
    browser.fill("#body", TEXT).await;
    browser.mark_page().await;
    browser.click("button[formaction='/posts/preview']").await;
    browser.reads("#preview strong", "bold").await;
    let place = if browser.has_javascript() { "/posts/new" } else { "/posts/preview" };
    browser.is_at(place).await;
    assert_eq!(browser.is_same_page().await, browser.has_javascript());
    assert_eq!(browser.text("#preview h2").await, "On analytical engines");
    assert_eq!(browser.value("#title").await, "On analytical engines");
    assert_eq!(browser.value("#body").await.trim_end(), TEXT.trim_end());

    browser.click("form[action='/posts'] button:not([formaction])").await;
    browser.reads("[role=status]", "Your post is live.").await;
    assert_eq!(browser.text("main h1").await, "On analytical engines");
    assert_eq!(browser.text("article strong").await, "bold");
    assert_eq!(browser.count("article li").await, 2);
    let place = browser.place().await;
    let post = place.strip_prefix("/posts/").unwrap().parse().unwrap();

    browser.click("header a[href='/']").await;
    browser.click("main a[href='/new']").await;
    browser.is_at("/new").await;
    assert_eq!(browser.text(&format!("#post-{post} h2")).await, "On analytical engines");
    post
}

async fn vote(browser: &Browser, post: i64) {
    let button = format!("form[action='/posts/{post}/vote'] button[name=value]");
    let score = format!("#score-{post}");
    browser.is_at("/new").await;
    browser.until_attribute(&button, "aria-pressed", "false").await;
    let focus = browser.sees(&button).await.id().await.unwrap().unwrap();

    for (pressed, votes) in [("true", "1"), ("false", "0"), ("true", "1")] {
        browser.mark_page().await;
        browser.click(&button).await;
        browser.until_attribute(&button, "aria-pressed", pressed).await;
        browser.reads(&score, votes).await;
        if browser.has_javascript() {
            assert!(browser.is_same_page().await, "only the control is swapped");
            assert_eq!(browser.focused().await, focus);
            assert_eq!(browser.place().await, "/new");
        } else {
            browser.is_at(&format!("/new#post-{post}")).await;
        }
        assert!(is_in_view(browser, &button).await, "one stays where one was");
        assert!(browser.run::<f64>("return scrollY").await > 300.0);
    }
}

async fn is_in_view(browser: &Browser, css: &str) -> bool {
    let script = format!(
        "const box = document.querySelector(\"{css}\").getBoundingClientRect(); \
         return box.top >= 0 && box.bottom <= innerHeight"
    );
    browser.run(&script).await
}

async fn search(browser: &Browser, post: i64) {
    browser.fill("#find", "engine").await;
    browser.press(Key::Enter).await;
    browser.is_at("/search?q=engine").await;
    assert_eq!(browser.text(&format!("#post-{post} h2 mark")).await, "engines");
    assert_eq!(browser.count("article").await, 1);
}

async fn edit(browser: &Browser, post: i64) {
    browser.click(&format!("a[href='/posts/{post}']")).await;
    browser.click(&format!("a[href='/posts/{post}/edit']")).await;
    browser.fill("#title", "On difference engines").await;
    browser.click(&format!("form[action='/posts/{post}/edit'] button:not([formaction])")).await;
    browser.reads("[role=status]", "Your changes are saved.").await;
    browser.is_at(&format!("/posts/{post}")).await;
    assert_eq!(browser.text("article h1").await, "On difference engines");
    browser.reads("article .meta", "edited").await;
}

async fn log_out_and_in(browser: &Browser, name: &str, post: i64) {
    browser.click("form[action='/logout'] button").await;
    browser.sees("header a[href^='/login']").await;
    browser.goto("/top").await;
    browser.click(&format!("#post-{post} a[href^='/login']")).await;
    browser.fill("#login", &format!("{}@example.org", name.to_uppercase())).await;
    browser.fill("#password", PASSWORD).await;
    browser.click("form[action='/login'] button:not([type=button])").await;
    browser.is_at(&format!("/top#post-{post}")).await;
    browser.reads("[role=status]", "You are logged in.").await;
}

async fn delete(browser: &Browser, post: i64) {
    browser.click(&format!("a[href='/posts/{post}']")).await;
    browser.click(&format!("a[href='/posts/{post}/edit']")).await;
    browser.click(&format!("a[href='/posts/{post}/delete']")).await;
    browser.reads("main", "On difference engines").await;
    browser.click(&format!("form[action='/posts/{post}/delete'] button")).await;
    browser.is_at("/").await;
    browser.reads("[role=status]", "Your post is deleted.").await;
    assert_eq!(browser.count(&format!("#post-{post}")).await, 0);
}
