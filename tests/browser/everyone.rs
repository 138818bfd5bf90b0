//! Accessibility of every page in every state: what axe-core finds, in both themes, on a wide screen
//! and on a phone; and nothing that scrolls sideways on the narrowest.

use serde_json::json;

use crate::{
    browser::Browser,
    site,
    support::{PASSWORD, Reply, TestSite, Visitor, post_office::PostOffice},
};

const AXE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../node_modules/axe-core/axe.min.js"));

/// One line for each violation, with the first place it was found at. The order of headings inside
/// what people write is theirs.
const RUN_AXE: &str = "
    const options = { resultTypes: ['violations'], preload: false,
        rules: { 'target-size': { enabled: true } } };
    if (arguments[0].length) options.runOnly = arguments[0];
    const isTheirs = ({ target: [place] }) => document.querySelector(place).closest('.prose');
    return axe.run(document, options).then(({ violations }) => violations.flatMap(({ id, help, nodes }) => {
        const ours = id === 'heading-order' ? nodes.filter((node) => !isTheirs(node)) : nodes;
        return ours.slice(0, 1).map(({ html, failureSummary }) =>
            `${id}, ${ours.length} times: ${help}: ${html} ${failureSummary}`);
    }));
";

/// What a theme can break; the rest is the same in both.
const COLOURS: [&str; 2] = ["color-contrast", "link-in-text-block"];

/// What reaches over the right edge, if the page scrolls there.
const FIND_OVERFLOW: &str = "
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth <= clientWidth) return [];
    const wide = [...document.body.querySelectorAll('*')].filter(
        (element) => element.getBoundingClientRect().right > clientWidth + 0.5);
    return [`${scrollWidth} px wide`, ...wide.slice(0, 3).map(({ outerHTML }) => outerHTML.slice(0, 200))];
";

#[tokio::test]
async fn every_page_without_a_session_is_accessible() {
    let site = site::served().await;
    let browser = Browser::open(&site).await;
    let mut inspector = Inspector { browser: &browser, found: Vec::new() };

    nothing_yet(&mut inspector).await;
    let (text, link) = fill(&site).await;
    reading(&mut inspector, text, link).await;
    coming_in(&mut inspector).await;

    assert!(inspector.found.is_empty(), "{}", inspector.found.join("\n"));
    browser.end().await;
}

#[tokio::test]
async fn every_page_with_a_session_is_accessible() {
    let site = site::served_impatiently().await;
    let (text, _) = fill(&site).await;
    let ada = site.member("ada-lovelace").await;
    let browser = Browser::open(&site).await;
    browser.becomes(&ada).await;
    let mut inspector = Inspector { browser: &browser, found: Vec::new() };

    logged_in(&mut inspector, text).await;
    own_post(&mut inspector).await;
    interrupted(&mut inspector, &site).await;

    assert!(inspector.found.is_empty(), "{}", inspector.found.join("\n"));
    browser.end().await;
}

#[tokio::test]
async fn every_account_page_is_accessible_also_when_rate_limited() {
    let office = PostOffice::open().await;
    let site = site::served_as_it_comes(&office).await;
    let ada = site.member("ada-lovelace").await;
    let browser = Browser::open(&site).await;
    let mut inspector = Inspector { browser: &browser, found: Vec::new() };

    mailed_links(&mut inspector, &office).await;
    too_often_for_a_stranger(&mut inspector, &site).await;
    browser.becomes(&ada).await;
    settings_with_mail(&mut inspector, &site).await;
    too_often_for_a_member(&mut inspector, &site, &ada).await;

    assert!(inspector.found.is_empty(), "{}", inspector.found.join("\n"));
    browser.end().await;
}

#[tokio::test]
async fn each_part_of_a_text_runs_in_the_direction_of_its_own_words_and_code_from_the_left() {
    let site = site::served().await;
    let ada = site.member("ada").await;
    let body = "שלום עולם, זה הטקסט.\n\nAn English paragraph.\n\n- A point.\n\n```\nlet x = f(1);\n```\n\nכאן `a + (b);` בפנים.";
    let post = site::publish(&ada, "שלום", "", body).await;
    let browser = Browser::open(&site).await;
    browser.goto(&format!("/posts/{post}")).await;

    let script = "
        const side = (element) => {
            const range = document.createRange();
            range.selectNodeContents(element);
            const [words, box] = [range, element].map((part) => part.getBoundingClientRect());
            return words.left - box.left < box.right - words.right ? 'left' : 'right';
        };
        const code = getComputedStyle(document.querySelector('.prose p code'));
        return [...document.querySelectorAll('.prose > p, .prose li, .prose pre')].map(side)
            .concat(code.direction, code.unicodeBidi);
    ";
    // Without its style sheet, as on a machine that stood still, the page is loaded once more.
    let mut sides: Vec<String> = browser.run(script).await;
    if sides.last().is_some_and(|kind| kind == "normal") {
        browser.goto(&format!("/posts/{post}")).await;
        sides = browser.run(script).await;
    }
    assert_eq!(sides, ["right", "left", "left", "left", "right", "ltr", "isolate"]);
    browser.end().await;
}

/// Controls that are too small as a touch target.
const FIND_SMALL: &str = "
    const { css, least: [wide, high] } = arguments[0];
    return [...document.querySelectorAll(css)].map((link) => [link, link.getBoundingClientRect()])
        .filter(([, { width, height }]) => width < wide || height < high)
        .map(([link, { width, height }]) => `${link.textContent}: ${width} by ${height}`);
";

#[tokio::test]
async fn every_touch_target_is_large_enough() {
    let site = site::served().await;
    fill(&site).await;
    let browser = Browser::open(&site).await;
    for (path, css, width, least) in [
        ("/new", ".host", 1280, [24, 24]),
        ("/new", ".host", 360, [24, 24]),
        ("/top?t=week", ".tabs a", 360, [44, 44]),
        ("/search?q=garden", ".tabs a", 360, [44, 44]),
    ] {
        browser.resize(width, 800).await;
        browser.goto(path).await;
        browser.sees(css).await;
        let small: Vec<String> =
            browser.run_with(FIND_SMALL, &json!({ "css": css, "least": least })).await;
        assert!(small.is_empty(), "{path} at {width} px: {small:?}");
    }
    browser.end().await;
}

struct Inspector<'a> {
    browser: &'a Browser,
    found: Vec<String>,
}

impl Inspector<'_> {
    async fn visit(&mut self, path: &str) {
        self.browser.goto(path).await;
        self.look(path).await;
    }

    async fn look(&mut self, what: &str) {
        self.browser.resize(320, 640).await;
        let wide: Vec<String> = self.browser.run(FIND_OVERFLOW).await;
        self.found.extend(wide.iter().map(|line| format!("{what} at 320 px overflows: {line}")));

        let () = self.browser.run(AXE).await;
        self.browser.resize(360, 740).await;
        self.run_axe(what, "360 px, light", &[]).await;
        self.browser.prefer_dark(true).await;
        self.run_axe(what, "360 px, dark", &COLOURS).await;
        self.browser.resize(1280, 900).await;
        self.run_axe(what, "1280 px, dark", &COLOURS).await;
        self.browser.prefer_dark(false).await;
        self.run_axe(what, "1280 px, light", &[]).await;
    }

    async fn run_axe(&mut self, what: &str, how: &str, rules: &[&str]) {
        let found: Vec<String> = self.browser.run_with(RUN_AXE, &json!(rules)).await;
        self.found.extend(found.iter().map(|line| format!("{what} at {how}: {line}")));
    }
}

async fn nothing_yet(inspector: &mut Inspector<'_>) {
    for path in ["/", "/new", "/top", "/users"] {
        inspector.visit(path).await;
    }
}

/// Posts of all kinds, more than a page of them; gives one with a text and one with a link.
async fn fill(site: &TestSite) -> (i64, i64) {
    for n in 0..31 {
        site.post_by("grace", &format!("A garden, as it was in year {n}")).await;
    }
    let author = site.member("a-name-of-thirty-letters-00000").await;
    let (long, path) = (format!("Un{}", "breakable".repeat(16)), "very-long".repeat(20));
    for (title, url, body) in [
        (long.as_str(), format!("https://{}.example.org/{path}", "long".repeat(14)), long.clone()),
        ("مرحبا بالعالم (hello)", String::new(), "שלום, and more words.".to_owned()),
        ("A link to a garden", "https://example.org/garden".to_owned(), String::new()),
        ("All of Markdown", "https://example.org/".to_owned(), MARKDOWN.to_owned()),
    ] {
        site::publish(&author, title, &url, &body).await;
    }
    let text = site.count("select max(id) from posts").await;
    let link = text - 1;
    sqlx::query("update posts set edited_at = now() where id = $1")
        .bind(text)
        .execute(&site.db)
        .await
        .unwrap();
    (text, link)
}

const MARKDOWN: &str = "# A heading\n\nSome **bold**, *slanted* and `fixed` words, and a \
[link](https://example.org/).\n\n## Another\n\n> Quoted,\n> twice.\n\n1. one\n2. two\n   - three\n\n---\n\n\
```\na line of code that is much longer than any phone is wide, so that it has to scroll sideways by itself\n```\n\n\
https://example.org/an-address-that-is-longer-than-any-phone-is-wide-and-cannot-be-broken-anywhere\n\n\
| a | b |\n|---|---|\n| a_cell_with_a_word_too_long_for_a_phone | and_another_cell_with_one_more_such_word |\n";

async fn reading(inspector: &mut Inspector<'_>, text: i64, link: i64) {
    for path in [
        "/",
        "/new",
        "/top?t=all",
        "/users",
        "/users/grace",
        "/users/a-name-of-thirty-letters-00000",
        "/search",
        "/search?q=garden",
        "/search?q=garden&sort=new",
        "/search?q=gardem",
        "/search?q=zebra",
        "/search?q=%21%21",
        "/nowhere",
    ] {
        inspector.visit(path).await;
    }
    for post in [text, link, text - 2, text - 3] {
        inspector.visit(&format!("/posts/{post}")).await;
    }

    let browser = inspector.browser;
    browser.goto("/new").await;
    browser.click("a[rel=next]").await;
    browser.until_count("article", 35).await;
    inspector.look("older posts").await;

    inspector.visit("/api/v1/docs").await;
    let () = browser
        .run("document.querySelectorAll('details').forEach((one) => one.open = true);")
        .await;
    inspector.look("the API with everything open").await;
}

async fn coming_in(inspector: &mut Inspector<'_>) {
    let browser = inspector.browser;
    inspector.visit("/signup").await;
    browser.fill("#username", "grace").await;
    browser.fill("#email", "grace").await;
    browser.fill("#password", "password").await;
    send_unchecked(browser, "/signup").await;
    browser.sees("#password-error").await;
    inspector.look("sign-up with errors").await;

    inspector.visit("/login").await;
    browser.fill("#login", "grace").await;
    browser.fill("#password", PASSWORD).await;
    send_unchecked(browser, "/login").await;
    browser.sees("#login-error").await;
    inspector.look("wrong password").await;
    for path in ["/password/forgot", "/password/reset/x", "/email/confirm/x"] {
        inspector.visit(path).await;
    }
}

async fn logged_in(inspector: &mut Inspector<'_>, text: i64) {
    let browser = inspector.browser;
    browser.goto("/").await;
    let vote = format!("form[action='/posts/{text}/vote'] button");
    browser.click(&vote).await;
    browser.until_attribute(&vote, "aria-pressed", "true").await;
    inspector.look("a feed with a vote").await;
    for path in [
        format!("/posts/{text}"),
        "/users/ada-lovelace".to_owned(),
        "/posts/new".to_owned(),
        format!("/posts/{text}/edit"),
    ] {
        inspector.visit(&path).await;
    }

    for path in ["/settings", "/settings/sessions", "/settings/delete-account"] {
        inspector.visit(path).await;
    }
    browser.goto("/settings").await;
    browser.fill("#email", "nonsense").await;
    send_unchecked(browser, "/settings/email").await;
    browser.sees("#email-error").await;
    inspector.look("settings with an error").await;

    browser.goto("/posts/new").await;
    browser.fill("#title", " ").await;
    browser.fill("#url", "nonsense").await;
    send_unchecked(browser, "/posts").await;
    browser.sees("#url-error").await;
    inspector.look("a post with errors").await;
}

async fn mailed_links(inspector: &mut Inspector<'_>, office: &PostOffice) {
    let browser = inspector.browser;
    let welcome = office.letters(1).await.remove(0);
    inspector.visit(&welcome.link_of(browser.origin(), "/email/confirm")).await;

    inspector.visit("/password/forgot").await;
    browser.fill("#email", "nonsense").await;
    send_unchecked(browser, "/password/forgot").await;
    browser.sees("#email-error").await;
    inspector.look("a forgotten password with an error").await;
    browser.fill("#email", "ada-lovelace@example.org").await;
    send_unchecked(browser, "/password/forgot").await;
    browser.reads("[role=status]", "sent").await;
    inspector.look("a link on its way").await;

    let letters = office.letters(2).await;
    let letter = letters.iter().find(|letter| letter.text.contains("/password/reset/")).unwrap();
    inspector.visit(&letter.link_of(browser.origin(), "/password/reset")).await;
    browser.fill("#new_password", "passwordpassword").await;
    browser.click("main form button:not([type=button])").await;
    browser.sees("#new_password-error").await;
    inspector.look("a new password with an error").await;
}

async fn too_often_for_a_stranger(inspector: &mut Inspector<'_>, site: &TestSite) {
    let browser = inspector.browser;
    let email = ("email", "ada-lovelace@example.org");
    until_too_often(async || site.visitor().post("/password/forgot", &[email]).await).await;
    browser.goto("/password/forgot").await;
    browser.fill("#email", email.1).await;
    send_unchecked(browser, "/password/forgot").await;
    browser.reads("[role=alert]", "Try again in").await;
    inspector.look("too many links").await;

    let wrong = [("login", "ada-lovelace"), ("password", "wrong password here")];
    until_too_often(async || site.visitor().post("/login", &wrong).await).await;
    browser.goto("/login").await;
    browser.fill("#login", "ada-lovelace").await;
    browser.fill("#password", PASSWORD).await;
    send_unchecked(browser, "/login").await;
    browser.reads("[role=alert]", "Try again in").await;
    inspector.look("too many tries to log in").await;

    for n in 0..4 {
        site.member(&format!("grace{n}")).await;
    }
    browser.goto("/signup").await;
    browser.fill("#username", "another").await;
    browser.fill("#email", "another@example.org").await;
    browser.fill("#password", PASSWORD).await;
    send_unchecked(browser, "/signup").await;
    browser.reads("[role=alert]", "Try again in").await;
    inspector.look("too many accounts").await;
}

async fn settings_with_mail(inspector: &mut Inspector<'_>, site: &TestSite) {
    let browser = inspector.browser;
    sqlx::query("delete from password_tries").execute(&site.db).await.unwrap();
    for _ in 0..2 {
        let fields = [("login", "ada-lovelace"), ("password", PASSWORD)];
        assert_eq!(site.visitor().post("/login", &fields).await.status, 303);
    }
    inspector.visit("/settings").await;
    inspector.visit("/settings/sessions").await;
    inspector.visit("/settings/delete-account").await;
    browser.fill("#delete-current", "wrong password here").await;
    browser.click("main form button:not([type=button])").await;
    browser.sees("#current_password-error").await;
    inspector.look("a deletion with a wrong password").await;

    browser.goto("/settings").await;
    browser.fill("#password-current", PASSWORD).await;
    browser.fill("#new_password", "passwordpassword").await;
    send_unchecked(browser, "/settings/password").await;
    browser.sees("#new_password-error").await;
    inspector.look("settings with a password that is easily guessed").await;
    browser.fill("#email", "countess@example.org").await;
    browser.fill("#email-current", PASSWORD).await;
    send_unchecked(browser, "/settings/email").await;
    browser.reads("[role=status]", "sent").await;
    inspector.look("settings with an address on its way").await;
}

async fn too_often_for_a_member(inspector: &mut Inspector<'_>, site: &TestSite, ada: &Visitor) {
    let browser = inspector.browser;
    let wrong = [("login", "ada-lovelace"), ("password", "wrong password here")];
    until_too_often(async || site.visitor().post("/login", &wrong).await).await;
    browser.goto("/settings").await;
    browser.fill("#password-current", PASSWORD).await;
    browser.fill("#new_password", "marble otter 7 lantern").await;
    send_unchecked(browser, "/settings/password").await;
    browser.reads("[role=alert]", "Try again in").await;
    inspector.look("settings after too many tries").await;
    browser.goto("/settings/delete-account").await;
    browser.fill("#delete-current", PASSWORD).await;
    browser.click("main form button:not([type=button])").await;
    browser.reads("[role=alert]", "Try again in").await;
    inspector.look("a deletion after too many tries").await;

    browser.goto("/posts/new").await;
    browser.fill("#title", "One too many").await;
    until_too_often(async || ada.post("/posts", &[("title", "One of many")]).await).await;
    send_unchecked(browser, "/posts").await;
    browser.reads("[role=alert]", "Try again in").await;
    inspector.look("too many posts").await;

    browser.goto("/search").await;
    while browser.count("main [role=alert]").await == 0 {
        until_too_often(async || ada.get("/search?q=many").await).await;
        browser.goto("/search?q=many").await;
    }
    inspector.look("too many searches").await;
}

/// A rate limit refills gradually, so this is best done just before it matters.
async fn until_too_often(send: impl AsyncFn() -> Reply) {
    for _ in 0..300 {
        if send().await.status == 429 {
            return;
        }
    }
    panic!("never too often");
}

async fn own_post(inspector: &mut Inspector<'_>) {
    let browser = inspector.browser;
    browser.goto("/posts/new").await;
    browser.fill("#title", "My own").await;
    browser.fill("#url", "https://example.org/").await;
    browser.fill("#body", MARKDOWN).await;
    browser.click("button[formaction]").await;
    browser.sees("#preview strong").await;
    inspector.look("a preview").await;

    send_unchecked(browser, "/posts").await;
    browser.sees("[role=status]").await;
    inspector.look("one's own post, just published").await;
    let place = browser.place().await;
    inspector.visit(&format!("{place}/edit")).await;
    browser.fill("#title", "Another tab was quicker").await;
    let () = browser.run("document.querySelector('[name=version]').value = 1").await;
    send_unchecked(browser, &format!("{place}/edit")).await;
    browser.sees("#current").await;
    inspector.look("an edit of what has changed meanwhile").await;
    inspector.visit(&format!("{place}/delete")).await;
    inspector.visit("/users/ada-lovelace").await;
}

async fn interrupted(inspector: &mut Inspector<'_>, site: &TestSite) {
    let browser = inspector.browser;
    let post = site.count("select max(id) from posts").await;
    let vote = format!("form[action='/posts/{post}/vote']");
    browser.goto("/new").await;
    site::database_goes_away(site).await;
    browser.click(&format!("{vote} button")).await;
    browser.sees(&format!("{vote} [role=alert]")).await;
    inspector.look("a vote that failed").await;
    inspector.visit("/top").await;
    site::database_comes_back(site).await;

    browser.goto("/posts/new").await;
    browser.fill("#title", "Not lost").await;
    site::end_all_sessions(site).await;
    send_unchecked(browser, "/posts").await;
    browser.reads("[role=alert]", "been logged out").await;
    inspector.look("a post by somebody logged out").await;

    browser.goto("/").await;
    let script = format!(
        "const form = document.createElement('form'); form.method = 'post'; \
         form.action = '/posts/{post}/vote'; document.body.append(form); form.submit()"
    );
    let () = browser.run(&script).await;
    browser.is_at(&format!("/posts/{post}/vote")).await;
    inspector.look("a vote by somebody logged out").await;
}

/// Sends the form although the browser sees what is wrong with it.
async fn send_unchecked(browser: &Browser, action: &str) {
    let script = format!("document.querySelector(\"form[action='{action}']\").noValidate = true");
    let () = browser.run(&script).await;
    browser
        .click(&format!("form[action='{action}'] button:not([formaction], [type=button])"))
        .await;
}
