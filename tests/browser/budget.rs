//! What a first visit costs, as the browser counts it.

use std::sync::{Arc, Mutex};

use serde::Deserialize;

use crate::{browser::Browser, site, support::TestSite};

const COUNT: &str = "
    const [page] = performance.getEntriesByType('navigation');
    const loaded = [page, ...performance.getEntriesByType('resource')];
    return {
        html: page.encodedBodySize,
        bytes: loaded.reduce((sum, { transferSize }) => sum + transferSize, 0),
        parts: loaded.map(({ name, encodedBodySize }) => `${new URL(name).pathname} ${encodedBodySize}`),
        origins: [...new Set(loaded.map(({ name }) => new URL(name).origin))],
        nodes: document.querySelectorAll('*').length,
        shift: window.shift,
    };
";

/// Collects what has shifted already, and all that will.
const WATCH_SHIFTS: &str = "
    window.shift = 0;
    new PerformanceObserver((list) => {
        for (const { value } of list.getEntries()) window.shift += value;
    }).observe({ type: 'layout-shift', buffered: true });
";

/// The last shift may come with the next frame; an observer hears of it after that.
const TWO_FRAMES: &str = "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))";

#[derive(Deserialize)]
struct Cost {
    html: u64,
    bytes: u64,
    parts: Vec<String>,
    origins: Vec<String>,
    nodes: u64,
    shift: f64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cost { html: _, bytes, parts, origins, nodes, shift } = self;
        write!(f, "{bytes} bytes ({parts:?}) from {origins:?}, {nodes} nodes, shifted by {shift}")
    }
}

#[tokio::test]
async fn the_first_page_of_thirty_posts_takes_at_most_five_requests_and_thirty_kilobytes() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let site = site::served_and_watched(asked.clone()).await;
    thirty_posts(&site).await;

    for (width, height) in [(1280, 900), (360, 740)] {
        let browser = Browser::open(&site).await;
        browser.resize(width, height).await;
        asked.lock().unwrap().clear();
        let watch = serde_json::json!({ "source": WATCH_SHIFTS });
        browser.cdp("Page.addScriptToEvaluateOnNewDocument", watch).await;
        browser.goto("/").await;
        browser.until_count("article", 30).await;
        let _: u8 = browser.run(TWO_FRAMES).await;
        let cost: Cost = browser.run(COUNT).await;

        let requests = asked.lock().unwrap().clone();
        println!("{width} px: {cost}, the site was asked for {requests:?}");
        assert!(requests.len() <= 5, "{requests:?}");
        assert_eq!(cost.origins.len(), 1, "{cost}");
        assert!(cost.html <= 8_000, "{cost}");
        assert!(cost.bytes <= 30_000, "{cost}");
        assert!(cost.nodes <= 900, "{cost}");
        assert!(cost.shift == 0.0, "{cost}");
        browser.end().await;
    }
}

async fn thirty_posts(site: &TestSite) {
    let mut people = Vec::new();
    for name in ["mira", "tomasz_k", "old-gardener", "jun", "Beatrix", "samuel-o"] {
        people.push(site.member(name).await);
    }
    for (n, (title, url, body)) in POSTS.iter().enumerate() {
        let post = site::publish(&people[n % people.len()], title, url, body).await;
        for voter in people.iter().take(n * 7 % 6) {
            voter.post(&format!("/posts/{post}/vote"), &[("value", "1")]).await;
        }
    }
}

/// Title, link and text. As long as such posts are: titles of 50 characters and links of 65 on
/// average, a text of one's own with every third.
const POSTS: [(&str, &str, &str); 30] = [
    (
        "Why our tomatoes stopped ripening in August",
        "https://gardennotes.example.com/2025/08/why-tomatoes-stop-ripening",
        "",
    ),
    (
        "A tiny database in 400 lines of C",
        "https://smallsystems.example.net/articles/tiny-database-in-400-lines",
        "",
    ),
    (
        "Ask: how do you keep a reading habit with small children?",
        "",
        "Ours are two and five. I used to read an hour each evening and now I fall asleep after three pages. Audiobooks while cooking work somewhat, but I lose the thread whenever someone shouts. What has worked for you, honestly?",
    ),
    (
        "The night train from Stockholm to Berlin, reviewed",
        "https://slowtravel.example.org/sweden/night-train-stockholm-berlin-review",
        "",
    ),
    (
        "Postgres: what a partial index can and cannot do",
        "https://blog.rowstore.example.com/postgres/partial-indexes-explained/",
        "",
    ),
    (
        "I repaired a 1978 radio and learned to solder",
        "https://benchtop.example.net/projects/1978-radio-repair",
        "The capacitors were the easy part. The dial cord took me four evenings, a pair of tweezers and a video from a retired engineer in Leeds, who then answered my e-mail within an hour.",
    ),
    (
        "Municipal water maps of 40 cities, now open data",
        "https://data.example.org/sets/municipal-water-maps-40-cities",
        "",
    ),
    (
        "Bread without kneading: what the long rest really does",
        "https://crumb.example.com/science/no-knead-long-rest",
        "",
    ),
    (
        "A field guide to moths at your window",
        "https://nature.example.org/guides/moths-at-your-window.pdf",
        "",
    ),
    (
        "Show: a calendar that prints on one sheet of paper",
        "https://onesheet.example.net/",
        "Twelve months, one page, no account. It is a single HTML file, so you can save it and print it in ten years. I would like to hear whether the week numbers are right where you live.",
    ),
    (
        "The library that lends out tools instead of books",
        "https://localpress.example.com/2025/10/tool-library-opens-second-branch",
        "",
    ),
    (
        "How sorting networks made our parser twice as fast",
        "https://engineering.parsehub.example.com/sorting-networks-in-practice",
        "",
    ),
    (
        "Three winters with a heat pump in a 1930s house",
        "https://oldhouse.example.org/heating/three-winters-with-a-heat-pump",
        "",
    ),
    (
        "Ask: which paper notebook survives daily carry?",
        "",
        "Mine fall apart after two months in a coat pocket. Stitched bindings hold, but the corners go soft and the elastic gives up. I do not mind paying more once, if it lasts for a year.",
    ),
    (
        "What sailors knew about the weather without instruments",
        "https://seahistory.example.org/essays/weather-without-instruments",
        "",
    ),
    (
        "A visual introduction to error-correcting codes",
        "https://mathpictures.example.net/codes/error-correcting-introduction/",
        "",
    ),
    (
        "The last typewriter repair shop in Lisbon",
        "https://craftmagazine.example.com/people/last-typewriter-repair-shop-lisbon",
        "",
    ),
    (
        "Learning the cello at fifty: notes after one year",
        "",
        "I can play eleven pieces badly and one well. My teacher says the left hand is patient and the right hand is proud. Here is what I would tell myself a year ago, in order of usefulness, and what I would leave out.",
    ),
    (
        "Rust's borrow checker as a design tool",
        "https://ferrous.example.net/posts/borrow-checker-as-a-design-tool",
        "",
    ),
    (
        "Why bridges hum: aeolian vibration for beginners",
        "https://physicsdaily.example.org/2025/bridges-that-hum",
        "",
    ),
    (
        "Small web servers on second-hand phones",
        "https://lowpower.example.net/phones-as-servers",
        "Nine phones with broken screens have now served a neighbourhood wiki for 14 months, on a solar panel the size of a door. The batteries are the weak part, as always: two of them swelled last summer.",
    ),
    (
        "The economics of a village shop, with all the numbers",
        "https://villageshop.example.com/open-accounts/2025",
        "",
    ),
    (
        "A short history of the semicolon",
        "https://typehistory.example.org/punctuation/semicolon",
        "",
    ),
    (
        "How we count birds that nobody can see",
        "https://ornithology.example.edu/outreach/acoustic-bird-counts",
        "",
    ),
    (
        "Ask: what do you wish you had known before beekeeping?",
        "",
        "We have room for two hives at the end of the garden and kind neighbours. The course starts in February. Everyone warns of the mites and nobody of the paperwork, so I am curious what else there is.",
    ),
    (
        "Accessible colours are not dull colours",
        "https://designnotes.example.com/colour/accessible-is-not-dull",
        "",
    ),
    (
        "The map projection that fits on a mug",
        "https://cartography.example.net/projections/mug",
        "",
    ),
    (
        "Reading old handwriting: a free course in ten lessons",
        "https://archives.example.org/learn/palaeography-in-ten-lessons",
        "",
    ),
    (
        "Our city planted 9,000 trees; 7,400 are alive",
        "https://urbanforest.example.org/reports/five-years-of-street-trees",
        "The full report has a table for each street. What made the difference was not the species but who had promised to water it, and whether that person still lived there two years later.",
    ),
    (
        "How to write a changelog people want to read",
        "https://writingforusers.example.com/changelogs/",
        "",
    ),
];
