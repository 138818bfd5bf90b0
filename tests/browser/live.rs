//! Two people at two windows: what one does the other sees arrive, and nothing moves.

use social_post::{database::pool, live};

use crate::{
    browser::Browser,
    site::{publish, served},
};

/// Where each post and the end of the page are.
const PLACES: &str = "
    const all = [...document.querySelectorAll('article, .foot'), document.documentElement];
    return all.map((element) => {
        const { x, y, width, height } = element.getBoundingClientRect();
        return [x, y, width, height].join();
    });
";

#[tokio::test]
async fn a_change_in_one_window_arrives_live_in_the_other_and_nothing_moves() {
    let site = served().await;
    let listening = pool::open_without_timeouts((*site.db.connect_options()).clone());
    tokio::spawn(live::run(site.app.live.clone(), site.db.clone(), listening));
    let ada = site.member("ada").await;
    let long = format!("https://{}.example.org/", "long".repeat(14));
    let link = publish(&ada, "A link", &long, "").await;
    let text = publish(&ada, "A text", "", "With something to read.").await;
    let writer = Browser::open(&site).await;
    writer.becomes(&ada).await;
    let reader = Browser::open(&site).await;

    for width in [1280, 360] {
        reader.resize(width, 900).await;
        reader.goto("/new").await;
        reader.mark_page().await;
        let places: Vec<String> = reader.run(PLACES).await;
        let before = reader.text(&format!("#score-{link}")).await;
        let focused = reader.focused().await;

        writer.goto(&format!("/posts/{link}")).await;
        writer.click(".vote button").await;
        let after = if before == "0" { "1" } else { "0" };
        reader.reads(&format!("#score-{link}"), after).await;
        for post in [link, text] {
            writer.goto(&format!("/posts/{post}/edit")).await;
            writer.fill("#title", &format!("Changed for {width}")).await;
            writer.click(".writing .btn").await;
            writer.is_at(&format!("/posts/{post}")).await;
            reader.reads(&format!("#edited-{post}"), "edited").await;
        }
        let ready = publish(&ada, &format!("Fresh for {width}"), "", "").await;
        reader.reads("#fresh", "Show 1 new post").await;
        let more = publish(&ada, &format!("Fresher for {width}"), "", "").await;
        reader.reads("#fresh", "Show 2 new posts").await;

        let now: Vec<String> = reader.run(PLACES).await;
        assert_eq!(now, places, "{width} px: something moved");
        assert_eq!(reader.focused().await, focused, "{width} px: the focus moved");
        assert!(reader.is_same_page().await, "{width} px: the page was loaded anew");
        assert_eq!(reader.count(&format!("#post-{ready}")).await, 0);

        reader.click("#fresh a").await;
        reader.sees(&format!("#post-{more}")).await;
        reader.sees(&format!("#post-{ready}")).await;
        assert_eq!(reader.count("#fresh a").await, 0);
    }

    for browser in [reader, writer] {
        browser.end().await;
    }
}
