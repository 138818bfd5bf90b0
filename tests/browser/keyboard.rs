//! Keyboard only.

use thirtyfour::Key;

use crate::{browser::Browser, site, support::PASSWORD};

#[tokio::test]
async fn the_keyboard_alone_skips_to_the_content_votes_and_keeps_its_place() {
    let site = site::served().await;
    let bob = site.member("bob").await;
    site.post_by("ada", "First").await;
    let post = site.post_by("ada", "Second").await;
    let browser = Browser::open(&site).await;
    browser.becomes(&bob).await;
    browser.goto("/").await;
    browser.mark_page().await;

    browser.press(Key::Tab).await;
    let first = browser.driver.active_element().await.unwrap();
    assert_eq!(first.text().await.unwrap(), "Skip to content");
    let is_visible = "return document.activeElement.getBoundingClientRect().top >= 0";
    assert!(browser.run::<bool>(is_visible).await);
    browser.press(Key::Enter).await;
    browser.is_at("/#main").await;
    browser.press(Key::Tab).await;
    assert!(browser.run::<bool>("return !!document.activeElement.closest('main')").await);

    let button = format!("form[action='/posts/{post}/vote'] button");
    let id = browser.sees(&button).await.id().await.unwrap().unwrap();
    tab_to(&browser, &id).await;
    assert!(has_focus_ring(&browser).await);
    for (key, pressed) in [(Key::Space, "true"), (Key::Enter, "false"), (Key::Enter, "true")] {
        browser.press(key).await;
        browser.until_attribute(&button, "aria-pressed", pressed).await;
        assert_eq!(browser.focused().await, id);
    }
    assert!(has_focus_ring(&browser).await);
    assert!(browser.is_same_page().await);
    browser.end().await;
}

#[tokio::test]
async fn the_keyboard_alone_logs_in_and_publishes() {
    let site = site::served().await;
    site.member("ada").await;
    let browser = Browser::open(&site).await;

    browser.goto("/login").await;
    tab_to(&browser, "login").await;
    browser.type_keys("ada").await;
    tab_to(&browser, "password").await;
    browser.type_keys(PASSWORD).await;
    browser.press(Key::Enter).await;
    browser.reads("[role=status]", "You are logged in.").await;

    browser.goto("/posts/new").await;
    browser.until_focus("title").await;
    browser.type_keys("By hand").await;
    tab_to(&browser, "body").await;
    browser.type_keys("All of it.").await;
    browser.press(Key::Tab).await;
    browser.press(Key::Enter).await;
    browser.reads("[role=status]", "Your post is live.").await;
    assert_eq!(browser.text("article h1").await, "By hand");
    browser.end().await;
}

async fn tab_to(browser: &Browser, id: &str) {
    for _ in 0..40 {
        if browser.focused().await == id {
            return;
        }
        browser.press(Key::Tab).await;
    }
    panic!("Tab does not reach #{id}");
}

async fn has_focus_ring(browser: &Browser) -> bool {
    browser
        .run(
            "const style = getComputedStyle(document.activeElement); \
             return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2",
        )
        .await
}
