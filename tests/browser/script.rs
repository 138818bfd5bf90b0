//! What the site's own script adds.

use crate::{browser::Browser, site, support::PASSWORD};

#[tokio::test]
async fn a_double_click_publishes_once() {
    let site = site::served().await;
    let ada = site.member("ada").await;
    let browser = Browser::open(&site).await;
    browser.becomes(&ada).await;
    browser.goto("/posts/new").await;
    browser.fill("#title", "Twice").await;

    let publish = browser.sees("form[action='/posts'] button:not([formaction])").await;
    let clicks = browser.driver.action_chain().double_click_element(&publish);
    clicks.perform().await.unwrap();

    browser.reads("[role=status]", "Your post is live.").await;
    assert_eq!(site.count("select count(*) from posts").await, 1);
    browser.end().await;
}

#[tokio::test]
async fn a_preview_is_read_from_its_heading_and_an_invalid_one_marks_the_field() {
    let site = site::served().await;
    let ada = site.member("ada").await;
    for browser in [Browser::open(&site).await, Browser::without_javascript(&site).await] {
        browser.becomes(&ada).await;
        browser.goto("/posts/new").await;
        browser.fill("#title", "A look").await;
        browser.fill("#body", "Some **text**.").await;
        browser.click(PREVIEW).await;
        browser.reads("#preview strong", "text").await;
        let focus = "return document.activeElement.closest('#preview')?.querySelector('h2') === document.activeElement";
        assert!(browser.run::<bool>(focus).await);
        let gap = "const [above, below] = [...document.querySelectorAll('#preview :is(h2, .prose)')] \
            .map((part) => part.getBoundingClientRect()); return below.top - above.bottom";
        assert!(browser.run::<f64>(gap).await >= 8.0);

        browser.fill("#url", "nonsense").await;
        browser.click(PREVIEW).await;
        browser.reads("#url-error", "https://").await;
        browser.until_attribute("#url", "aria-invalid", "true").await;
        browser.until_attribute("#url", "aria-describedby", "url-error").await;
        browser.until_focus("url").await;
        assert!(browser.driver.title().await.unwrap().starts_with("Error: "));
        assert_eq!(browser.value("#title").await, "A look");
        assert_eq!(browser.value("#body").await.trim_end(), "Some **text**.");

        browser.fill("#url", "https://example.org/").await;
        browser.click(PREVIEW).await;
        browser.reads("#preview .source", "example.org").await;
        browser.end().await;
    }
}

const PREVIEW: &str = "button[formaction]";

#[tokio::test]
async fn a_title_is_counted_in_characters_as_the_site_counts_it() {
    let site = site::served().await;
    let ada = site.member("ada").await;
    let browser = Browser::open(&site).await;
    browser.becomes(&ada).await;
    browser.goto("/posts/new").await;
    let typed = "const field = document.querySelector('#title'); field.value = arguments[0]; \
        field.dispatchEvent(new Event('input', { bubbles: true }))";
    for (title, words) in
        [("🦀".repeat(129), ""), ("🦀".repeat(148), "2 left"), ("🦀".repeat(151), "1 too many")]
    {
        let () = browser.run_with(typed, &title.into()).await;
        let said: String =
            browser.run("return document.querySelector('#title-left').textContent").await;
        assert_eq!(said, words);
    }
    let () = browser.run_with(typed, &"🦀".repeat(150).into()).await;
    browser.click("form[action='/posts'] button:not([formaction])").await;
    browser.reads("[role=status]", "Your post is live.").await;
    browser.end().await;
}

#[tokio::test]
async fn a_password_can_be_shown_and_goes_out_hidden() {
    let site = site::served().await;
    site.member("ada").await;
    let browser = Browser::open(&site).await;
    browser.goto("/login").await;
    browser.fill("#login", "ada").await;
    browser.fill("#password", PASSWORD).await;
    browser.until_attribute("#password", "type", "password").await;

    let show = "button[aria-controls=password]";
    for (pressed, kind) in [("true", "text"), ("false", "password"), ("true", "text")] {
        browser.click(show).await;
        browser.until_attribute(show, "aria-pressed", pressed).await;
        browser.until_attribute("#password", "type", kind).await;
        assert_eq!(browser.value("#password").await, PASSWORD);
    }

    browser.click("form[action='/login'] button:not([type=button])").await;
    browser.reads("[role=status]", "You are logged in.").await;
    browser.end().await;
}

#[tokio::test]
async fn what_people_write_runs_nothing_and_sends_nothing() {
    let site = site::served().await;
    let ada = site.member("ada").await;
    let post = site::publish(&ada, "<script>ran = 1</script>", "", HOSTILE).await;
    let browser = Browser::open(&site).await;
    browser.becomes(&ada).await;

    for path in [format!("/posts/{post}"), "/new".to_owned(), "/search?q=word".to_owned()] {
        browser.goto(&path).await;
        browser.sees("article").await;
        let () = browser
            .run("for (const link of document.querySelectorAll('.prose *')) link.click()")
            .await;
        assert!(!browser.run::<bool>("return 'ran' in window").await, "{path}");
        let odd = "article :is(script, style, iframe, img, form:not(.vote), [onclick], [onerror], [style])";
        assert_eq!(browser.count(odd).await, 0, "{path}");
    }
    browser.end().await;
}

const HOSTILE: &str = "word <script>ran = 1</script><img src=x onerror='ran = 1'>\n\n\
<b hx-on:click='ran = 1' hx-post='/logout' hx-trigger='load' onclick='ran = 1'>bold</b>\n\n\
<form action='/logout' method='post'><button>press</button></form>\n\n[link](javascript:ran=1) \
<style>body { display: none }</style>";
