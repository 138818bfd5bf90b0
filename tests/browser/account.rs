//! A member's own account, once with JavaScript and once without.

use crate::{
    browser::Browser,
    site,
    support::{PASSWORD, TestSite, post_office::PostOffice},
};

const BETTER: &str = "marble otter 7 lantern";

#[tokio::test]
async fn a_member_changes_their_account_and_deletes_it() {
    let office = PostOffice::open().await;
    let site = site::served_with_mail(&office).await;
    let browser = Browser::open(&site).await;
    look_after(&browser, &site, &office).await;
    browser.end().await;
}

#[tokio::test]
async fn a_member_changes_their_account_and_deletes_it_without_javascript() {
    let office = PostOffice::open().await;
    let site = site::served_with_mail(&office).await;
    let browser = Browser::without_javascript(&site).await;
    look_after(&browser, &site, &office).await;
    browser.end().await;
}

async fn look_after(browser: &Browser, site: &TestSite, office: &PostOffice) {
    let ada = site.member("ada").await;
    browser.becomes(&ada).await;
    confirm_address(browser, office).await;
    change_password(browser).await;
    end_another_session(browser, site).await;
    forget_password(browser, office).await;
    leave(browser).await;
    assert_eq!(site.count("select count(*) from users").await, 0);
}

async fn confirm_address(browser: &Browser, office: &PostOffice) {
    browser.goto("/users/ada").await;
    browser.click(".profile a[href='/settings']").await;
    browser.reads("form[action='/settings/email']", "not confirmed yet").await;
    let letter = office.letters(1).await.remove(0);
    browser.goto(&letter.link_of(browser.origin(), "/email/confirm")).await;
    browser.click("main form button").await;
    browser.reads("[role=status]", "confirmed").await;

    browser.fill("#email", "countess@example.org").await;
    browser.fill("#email-current", "wrong password here").await;
    browser.click("form[action='/settings/email'] button:not([type=button])").await;
    browser.reads("#current_password-error", "Wrong password").await;
    assert_eq!(browser.value("#email").await, "countess@example.org", "what was typed is kept");
    browser.fill("#email-current", PASSWORD).await;
    browser.click("form[action='/settings/email'] button:not([type=button])").await;
    browser.reads("[role=status]", "sent").await;
    let letters = office.letters(2).await;
    let letter = letters.iter().find(|letter| letter.to == "countess@example.org").unwrap();
    browser.goto(&letter.link_of(browser.origin(), "/email/confirm")).await;
    browser.click("main form button").await;
    browser.reads("form[action='/settings/email']", "countess@example.org (confirmed)").await;
}

async fn change_password(browser: &Browser) {
    browser.fill("#password-current", PASSWORD).await;
    browser.fill("#new_password", "passwordpassword").await;
    browser.click("form[action='/settings/password'] button:not([type=button])").await;
    browser.reads("#new_password-error", "easy to guess").await;
    browser.fill("#password-current", PASSWORD).await;
    browser.fill("#new_password", BETTER).await;
    browser.click("form[action='/settings/password'] button:not([type=button])").await;
    browser.reads("[role=status]", "Your password is changed").await;
    browser.is_at("/settings").await;
}

async fn end_another_session(browser: &Browser, site: &TestSite) {
    for _ in 0..2 {
        let fields = [("login", "ada"), ("password", BETTER)];
        assert_eq!(site.visitor().post("/login", &fields).await.status, 303);
    }
    browser.click("a[href='/settings/sessions']").await;
    browser.until_count(".sessions li", 3).await;
    browser.reads(".sessions li:first-child", "This device").await;
    browser.mark_page().await;
    browser.click(".sessions li:nth-child(2) button").await;
    browser.until_count(".sessions li", 2).await;
    assert_eq!(browser.is_same_page().await, browser.has_javascript());
    browser.click("button[name=others]").await;
    browser.until_count(".sessions li", 1).await;
    browser.reads(".sessions li", "This device").await;
}

async fn forget_password(browser: &Browser, office: &PostOffice) {
    browser.click("form[action='/logout'] button").await;
    browser.sees("header a[href='/signup']").await;
    browser.goto("/login").await;
    browser.click("a[href='/password/forgot']").await;
    browser.fill("#email", "countess@example.org").await;
    browser.click("form[action='/password/forgot'] button").await;
    browser.reads("[role=status]", "sent").await;
    let letters = office.letters(5).await;
    let letter = letters.iter().find(|letter| letter.text.contains("/password/reset/")).unwrap();
    let link = letter.link_of(browser.origin(), "/password/reset");
    browser.goto(&link).await;
    browser.fill("#new_password", PASSWORD).await;
    browser.click("main form button:not([type=button])").await;
    browser.reads("[role=status]", "Log in with it").await;
    browser.fill("#login", "ada").await;
    browser.fill("#password", PASSWORD).await;
    browser.click("form[action='/login'] button:not([type=button])").await;
    browser.reads("[role=status]", "You are logged in").await;
    browser.goto(&link).await;
    browser.reads("h1", "This link has expired").await;
}

async fn leave(browser: &Browser) {
    browser.goto("/settings").await;
    browser.click("a[href='/settings/delete-account']").await;
    browser.fill("#delete-current", "wrong password here").await;
    browser.click("main form button:not([type=button])").await;
    browser.sees("#current_password-error").await;
    browser.fill("#delete-current", PASSWORD).await;
    browser.click("main form button:not([type=button])").await;
    browser.reads("[role=status]", "Your account is deleted").await;
    browser.sees("header a[href='/signup']").await;
}
