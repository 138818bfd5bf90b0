//! The one chromedriver (a `WebDriver` server) of these tests, started by the first that needs it.

use std::{
    io::{BufRead as _, BufReader, Lines},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use nix::unistd::Uid;
use serde_json::{Value, json};
use thirtyfour::{Capabilities, WebDriver};

/// Ends the driver and its browsers and deletes their files once the other end of its input is closed:
/// nothing is left behind, no matter how the tests end.
const KEEPER: &str = "read -r _; kill -s KILL -- -$0; rm -rf \"$1\" || rm -rf \"$1\"";

struct Driver {
    address: String,
    /// The driver, its keeper with the end of its input that is ours, and where the driver writes
    /// to: without a reader it would end.
    _held: (Child, Child, Lines<BufReader<ChildStdout>>),
}

fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        // A short path: the browser puts a socket in it.
        let directory = std::env::temp_dir().join(format!("browser-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", &directory)
            .env("XDG_CONFIG_HOME", &directory)
            .env("XDG_CACHE_HOME", &directory)
            // Ctrl-C is for the keeper to act on, with all the browsers in one group.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|err| {
                let _ = std::fs::remove_dir(&directory);
                panic!("chromedriver does not run ({err}): `bin/test` installs it")
            });
        let keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, &driver.id().to_string()])
            .arg(&directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = output
            .find_map(|line| {
                let line = line.unwrap();
                let (_, port) = line.split_once("started successfully on port ")?;
                Some(port.trim_end_matches('.').to_owned())
            })
            .expect("chromedriver did not start");
        Driver { address: format!("http://127.0.0.1:{port}"), _held: (driver, keeper, output) }
    })
}

/// A browser of its own: profile, cookies and cache.
pub async fn session(has_javascript: bool) -> WebDriver {
    let key = std::env::var("CHAIN_KEY_HASH").ok();
    // The one certificate that `bin/chain --test` shows, and no other.
    let trusted = key.map(|hash| format!("--ignore-certificate-errors-spki-list={hash}"));
    let mut arguments = vec![
        "--headless=new",
        "--window-size=1280,900",
        "--disable-gpu",
        "--disable-quic",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ];
    if Uid::effective().is_root() {
        arguments.push("--no-sandbox");
    }
    arguments.extend(trusted.as_deref());
    let mut preferences = json!({ "credentials_enable_service": false });
    if !has_javascript {
        preferences["profile.managed_default_content_settings.javascript"] = json!(2);
    }
    let Value::Object(capabilities) = json!({
        "browserName": "chrome",
        "goog:chromeOptions": { "args": arguments, "prefs": preferences },
        "goog:loggingPrefs": { "browser": "ALL" },
    }) else {
        unreachable!()
    };
    let address = tokio::task::spawn_blocking(driver).await.unwrap().address.as_str();
    WebDriver::new(address, Capabilities::from(capabilities)).await.unwrap()
}
