//! What happens when the session or the database ends in the middle of writing.

use crate::{
    browser::Browser,
    site,
    support::{PASSWORD, TestSite, Visitor},
};

const PUBLISH: &str = "form[action='/posts'] button:not([formaction])";
const LOG_IN: &str = "form[action='/login'] button:not([type=button])";
const TEXT: &str = "Written for an hour.\n\n\"Quoted\" & <b>odd</b>, with 50 % more.";

#[tokio::test]
async fn a_session_that_ends_while_writing_costs_nothing_that_was_typed() {
    let site = site::served().await;
    let browser = Browser::open(&site).await;

    write_through_a_lost_session(&site, &browser).await;

    browser.end().await;
}

#[tokio::test]
async fn a_session_that_ends_while_writing_costs_nothing_without_javascript_either() {
    let site = site::served().await;
    let browser = Browser::without_javascript(&site).await;

    write_through_a_lost_session(&site, &browser).await;

    browser.end().await;
}

async fn write_through_a_lost_session(site: &TestSite, browser: &Browser) {
    write(site, browser).await;
    site::end_all_sessions(site).await;
    browser.click(PUBLISH).await;
    browser.reads("[role=alert]", "You've been logged out").await;
    still_has_all(browser).await;

    let first = browser.driver.window().await.unwrap();
    browser.fill("#login", "ada").await;
    browser.fill("#password", PASSWORD).await;
    browser.click(LOG_IN).await;
    let second = browser
        .until("a new tab", async || {
            let tabs = browser.driver.windows().await?;
            Ok(tabs.into_iter().find(|tab| *tab != first))
        })
        .await;
    browser.driver.switch_to_window(second).await.unwrap();
    browser.reads("[role=status]", "You are logged in.").await;
    browser.driver.close_window().await.unwrap();
    browser.driver.switch_to_window(first).await.unwrap();

    still_has_all(browser).await;
    browser.click(PUBLISH).await;
    is_published(site, browser).await;
}

#[tokio::test]
async fn a_session_that_ends_before_a_preview_costs_nothing_that_was_typed() {
    let site = site::served().await;
    for browser in [Browser::open(&site).await, Browser::without_javascript(&site).await] {
        if browser.has_javascript() {
            write(&site, &browser).await;
        } else {
            let bob = site.member("bob").await;
            write_as(&bob, &browser).await;
        }
        site::end_all_sessions(&site).await;
        browser.click("button[formaction]").await;
        browser.reads("[role=alert]", "You've been logged out").await;
        browser.sees("form[action='/login'] #password").await;
        still_has_all(&browser).await;
        browser.end().await;
    }
}

#[tokio::test]
async fn a_database_that_is_away_for_a_moment_costs_nothing_that_was_typed() {
    let site = site::served_impatiently().await;
    let browser = Browser::open(&site).await;

    write_through_an_absent_database(&site, &browser).await;

    browser.end().await;
}

#[tokio::test]
async fn a_database_that_is_away_costs_nothing_without_javascript_either() {
    let site = site::served_impatiently().await;
    let browser = Browser::without_javascript(&site).await;

    write_through_an_absent_database(&site, &browser).await;

    browser.end().await;
}

async fn write_through_an_absent_database(site: &TestSite, browser: &Browser) {
    write(site, browser).await;
    site::database_goes_away(site).await;
    browser.click(PUBLISH).await;
    browser.reads("[role=alert]", "reach its database").await;
    still_has_all(browser).await;

    site::database_comes_back(site).await;
    browser.click(PUBLISH).await;
    is_published(site, browser).await;
}

async fn write(site: &TestSite, browser: &Browser) {
    write_as(&site.member("ada").await, browser).await;
}

async fn write_as(author: &Visitor, browser: &Browser) {
    browser.becomes(author).await;
    browser.goto("/posts/new").await;
    browser.fill("#title", "An hour's work").await;
    browser.fill("#url", "https://example.org/a?b=c&d=e").await;
    browser.fill("#body", TEXT).await;
}

async fn still_has_all(browser: &Browser) {
    assert_eq!(browser.value("#title").await, "An hour's work");
    assert_eq!(browser.value("#url").await, "https://example.org/a?b=c&d=e");
    assert_eq!(browser.value("#body").await, TEXT);
}

async fn is_published(site: &TestSite, browser: &Browser) {
    browser.reads("[role=status]", "Your post is live.").await;
    assert_eq!(browser.text("article h1").await, "An hour's work");
    assert_eq!(site.count("select count(*) from posts").await, 1);
}

#[tokio::test]
async fn a_vote_that_cannot_be_saved_says_so_beside_its_button_which_stays() {
    let site = site::served_impatiently().await;
    let post = site.post_by("ada", "Hello").await;
    let bob = site.member("bob").await;
    let browser = Browser::open(&site).await;
    browser.becomes(&bob).await;
    browser.goto("/new").await;
    browser.mark_page().await;
    let form = format!("form[action='/posts/{post}/vote']");
    let button = format!("{form} button");

    site::database_goes_away(&site).await;
    browser.click(&button).await;
    browser.reads(&format!("{form} [role=alert]"), "Could not save your vote").await;
    browser.until_attribute(&button, "aria-pressed", "false").await;
    browser.reads(&format!("#score-{post}"), "0").await;
    let id = browser.sees(&button).await.id().await.unwrap().unwrap();
    assert_eq!(browser.focused().await, id);

    site::database_comes_back(&site).await;
    browser.click(&button).await;
    browser.until_attribute(&button, "aria-pressed", "true").await;
    browser.reads(&format!("#score-{post}"), "1").await;
    assert_eq!(browser.count(&format!("{form} [role=alert]")).await, 0);
    assert!(browser.is_same_page().await);
    browser.end().await;
}

#[tokio::test]
async fn a_vote_without_a_session_leads_through_the_log_in_page_and_back() {
    let site = site::served().await;
    let post = site.post_by("ada", "Hello").await;
    site.member("bob").await;
    let browser = Browser::open(&site).await;
    let button = format!("form[action='/posts/{post}/vote'] button");

    browser.goto("/top?t=week").await;
    browser.click(&format!("#post-{post} a[href^='/login']")).await;
    log_in(&browser).await;
    browser.is_at(&format!("/top?t=week#post-{post}")).await;

    // The page still looks logged in, but the session has ended.
    site::end_all_sessions(&site).await;
    browser.click(&button).await;
    log_in(&browser).await;
    browser.sees("[role=status]").await;
    assert!(browser.place().await.starts_with("/top?t=week"));

    browser.click(&button).await;
    browser.until_attribute(&button, "aria-pressed", "true").await;
    assert_eq!(site.wrong_scores().await, []);
    browser.end().await;
}

#[tokio::test]
async fn a_vote_without_a_session_leads_through_the_log_in_page_and_back_without_javascript() {
    let site = site::served().await;
    let post = site.post_by("ada", "Hello").await;
    let bob = site.member("bob").await;
    let browser = Browser::without_javascript(&site).await;
    browser.becomes(&bob).await;
    browser.goto("/new").await;

    site::end_all_sessions(&site).await;
    browser.click(&format!("form[action='/posts/{post}/vote'] button")).await;
    log_in(&browser).await;

    browser.reads("[role=status]", "You are logged in.").await;
    assert!(browser.place().await.starts_with("/new"));
    browser.end().await;
}

async fn log_in(browser: &Browser) {
    browser.fill("#login", "bob").await;
    browser.fill("#password", PASSWORD).await;
    browser.click(LOG_IN).await;
}
