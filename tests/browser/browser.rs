//! A browser as its user sees it: pages, what stands on them, and keys to press.
//!
//! No fixed sleeps: each step waits for what it needs.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thirtyfour::{
    By, Key, WebDriver, WebElement,
    error::{WebDriverErrorInner, WebDriverResult},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    chromedriver,
    support::{TestSite, Visitor},
};

/// A browser takes a core or more.
static PLACES: Semaphore = Semaphore::const_new(2);

/// Long enough for the slowest machine: a step that takes this long is lost.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Browser {
    pub driver: WebDriver,
    origin: String,
    has_javascript: bool,
    _place: SemaphorePermit<'static>,
}

impl Browser {
    pub async fn open(site: &TestSite) -> Browser {
        Browser::new(site, true).await
    }

    pub async fn without_javascript(site: &TestSite) -> Browser {
        Browser::new(site, false).await
    }

    async fn new(site: &TestSite, has_javascript: bool) -> Browser {
        let place = PLACES.acquire().await.unwrap();
        let driver = chromedriver::session(has_javascript).await;
        let origin = site.app.site.base_url.origin().to_owned();
        Browser { driver, origin, has_javascript, _place: place }
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub fn has_javascript(&self) -> bool {
        self.has_javascript
    }

    /// The browser is logged in as `member` is.
    pub async fn becomes(&self, member: &Visitor) {
        let cookie = json!({
            "name": "sid",
            "value": member.cookie("sid").unwrap(),
            "url": self.origin,
            "httpOnly": true,
            "sameSite": "Lax",
        });
        self.cdp("Network.setCookie", cookie).await;
    }

    pub async fn cdp(&self, command: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(command, parameters).await.unwrap()
    }

    pub async fn goto(&self, path: &str) {
        self.driver.goto(format!("{}{path}", self.origin)).await.unwrap();
    }

    /// Path, query and fragment of the page.
    pub async fn place(&self) -> String {
        self.driver.current_url().await.unwrap().as_str().replacen(&self.origin, "", 1)
    }

    pub async fn is_at(&self, place: &str) {
        self.until(&format!("the page {place}"), async || {
            Ok((self.place().await == place).then_some(()))
        })
        .await;
    }

    /// What `css` finds, once it is there to be seen.
    pub async fn sees(&self, css: &str) -> WebElement {
        self.until(css, async || {
            let found = self.driver.find(By::Css(css)).await?;
            Ok(found.is_displayed().await?.then_some(found))
        })
        .await
    }

    /// Waits until what `css` finds says `words`, among others.
    pub async fn reads(&self, css: &str, words: &str) {
        self.until(&format!("{words:?} in {css}"), async || {
            let text = self.driver.find(By::Css(css)).await?.text().await?;
            Ok(text.contains(words).then_some(()))
        })
        .await;
    }

    pub async fn until_attribute(&self, css: &str, name: &str, value: &str) {
        self.until(&format!("{name}={value} on {css}"), async || {
            let found = self.driver.find(By::Css(css)).await?.attr(name).await?;
            Ok((found.as_deref() == Some(value)).then_some(()))
        })
        .await;
    }

    pub async fn until_focus(&self, id: &str) {
        self.until(&format!("the focus on #{id}"), async || {
            Ok((self.focused().await == id).then_some(()))
        })
        .await;
    }

    pub async fn until_count(&self, css: &str, count: usize) {
        self.until(&format!("{count} of {css}"), async || {
            Ok((self.count(css).await == count).then_some(()))
        })
        .await;
    }

    pub async fn count(&self, css: &str) -> usize {
        self.driver.find_all(By::Css(css)).await.unwrap().len()
    }

    pub async fn click(&self, css: &str) {
        self.until(&format!("{css} to click"), async || {
            self.driver.find(By::Css(css)).await?.click().await?;
            Ok(Some(()))
        })
        .await;
    }

    /// Types `text` into the field, in place of what is there.
    pub async fn fill(&self, css: &str, text: &str) {
        self.until(&format!("{css} to write into"), async || {
            let field = self.driver.find(By::Css(css)).await?;
            field.clear().await?;
            field.send_keys(text).await?;
            Ok(Some(()))
        })
        .await;
    }

    pub async fn value(&self, css: &str) -> String {
        self.sees(css).await.value().await.unwrap().unwrap_or_default()
    }

    pub async fn text(&self, css: &str) -> String {
        self.sees(css).await.text().await.unwrap()
    }

    /// Presses a key on the element that has the focus.
    pub async fn press(&self, key: Key) {
        self.driver.action_chain().send_keys(key + "").perform().await.unwrap();
    }

    /// Types into the element that has the focus.
    pub async fn type_keys(&self, text: &str) {
        self.driver.action_chain().send_keys(text).perform().await.unwrap();
    }

    /// The id of what has the focus, or the name of its element.
    pub async fn focused(&self) -> String {
        let element = self.driver.active_element().await.unwrap();
        match element.id().await.unwrap() {
            Some(id) if !id.is_empty() => id,
            _ => element.tag_name().await.unwrap(),
        }
    }

    /// What the script returns. It runs beside the page's own, so without JavaScript too.
    pub async fn run<T: DeserializeOwned>(&self, script: &str) -> T {
        self.run_with(script, &Value::Null).await
    }

    /// The same, with something for the script to find in `arguments[0]`.
    pub async fn run_with<T: DeserializeOwned>(&self, script: &str, argument: &Value) -> T {
        self.driver.execute(script, [argument.clone()]).await.unwrap().convert().unwrap()
    }

    /// Marks the page, so that [`Browser::is_same_page`] can tell whether it was loaded again.
    pub async fn mark_page(&self) {
        let () = self.run("window.isMarked = true").await;
    }

    pub async fn is_same_page(&self) -> bool {
        self.run("return window.isMarked === true").await
    }

    pub async fn resize(&self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.cdp("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Without motion, so that a colour is what it is at once.
    pub async fn prefer_dark(&self, is_dark: bool) {
        let theme = if is_dark { "dark" } else { "light" };
        let features = json!({ "features": [
            { "name": "prefers-color-scheme", "value": theme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ] });
        self.cdp("Emulation.setEmulatedMedia", features).await;
    }

    /// Retries until there is a result, or an error that waiting does not fix.
    pub async fn until<T>(
        &self,
        what: &str,
        attempt: impl AsyncFn() -> WebDriverResult<Option<T>>,
    ) -> T {
        let begun = Instant::now();
        loop {
            let missed = match attempt().await {
                Ok(Some(found)) => return found,
                Ok(None) => "it never came".to_owned(),
                Err(err) => match err.as_inner() {
                    WebDriverErrorInner::NoSuchElement(_)
                    | WebDriverErrorInner::StaleElementReference(_)
                    | WebDriverErrorInner::ElementNotInteractable(_)
                    | WebDriverErrorInner::ElementClickIntercepted(_) => err.to_string(),
                    _ => panic!("{what}: {err}"),
                },
            };
            if begun.elapsed() > PATIENCE {
                let place = self.place().await;
                let page = self.driver.find(By::Css("body")).await.unwrap().text().await.unwrap();
                panic!("timed out waiting for {what} at {place}: {missed}\nThe page says:\n{page}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the browser has logged as errors so far, except for refusals by the site.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.driver.browser_log().await.unwrap().into_iter();
        entries
            .filter(|entry| !matches!(entry.level.as_str(), "INFO" | "DEBUG"))
            .map(|entry| format!("{} {}", entry.level, entry.message))
            .filter(|text| !text.contains("the server responded with a status of"))
            .collect()
    }

    /// Closes the browser, which must have logged no error: no violation of the content
    /// security policy, no error in a script.
    pub async fn end(self) {
        assert_eq!(self.complaints().await, [""; 0]);
        self.driver.clone().quit().await.unwrap();
    }
}

/// A test that fails does not end its session: the driver would block the thread that also serves the
/// site, and the browser waits for the site. It ends with chromedriver, when all tests have.
impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::mem::forget(self.driver.clone());
        }
    }
}
