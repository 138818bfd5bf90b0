//! What people write, on its way to other people: which HTML and which links come of it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use axum::http::Method;

use crate::support::{TestSite, Visitor, encode};

const REL: &str = "ugc nofollow noopener noreferrer";

/// What the parser of a browser finds in the HTML: each element that may be there, and no others.
///
/// The HTML has to be, byte by byte, what the parser's tree is written as. So nothing is in it that
/// a browser would see as another element, as another attribute, or as code.
#[track_caller]
fn holds_only_what_is_allowed(html: &str, what: &str) {
    let links: Arc<Mutex<Vec<HashMap<String, String>>>> = Arc::default();
    let mut reader = ammonia::Builder::empty();
    reader
        .tags(HashSet::from([
            "p",
            "br",
            "em",
            "strong",
            "del",
            "code",
            "pre",
            "blockquote",
            "ul",
            "ol",
            "li",
            "h3",
            "h4",
            "h5",
            "h6",
            "hr",
            "a",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
        ]))
        .add_tag_attributes("a", ["href", "rel"])
        .add_tag_attributes("ol", ["start"])
        .add_tag_attributes("code", ["class"])
        .link_rel(None)
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .attribute_filter({
            let links = links.clone();
            move |tag, name, value| {
                if tag == "a" {
                    let mut links = links.lock().unwrap();
                    if name == "href" || links.is_empty() {
                        links.push(HashMap::new());
                    }
                    let last = links.last_mut().unwrap();
                    last.insert(name.to_owned(), value.to_owned());
                }
                let fits = match name {
                    "class" => value.starts_with("language-"),
                    "start" => value.parse::<u32>().is_ok(),
                    "rel" => value == REL,
                    _ => true,
                };
                fits.then(|| value.into())
            }
        });
    assert_eq!(reader.clean(html).to_string(), html, "{what}");
    for link in links.lock().unwrap().iter() {
        if let Some(href) = link.get("href") {
            let fits = ["http:", "https:", "mailto:"].iter().any(|start| href.starts_with(start));
            assert!(fits, "{what} leads to {href}");
            assert_eq!(link.get("rel").map(String::as_str), Some(REL), "{what}: {href}");
        }
    }
}

/// How the site shows the text, as the preview does and the post itself.
async fn shown(by: &Visitor, body: &str) -> String {
    let fields = [("title", "A title"), ("url", ""), ("body", body)];
    let reply = by.post_part("/posts/preview", &fields).await;
    assert_eq!(reply.status, 200, "{body:.200}");
    prose(&reply.body).to_owned()
}

fn prose(page: &str) -> &str {
    let (_, rest) = page.split_once("<div class=\"prose\" dir=\"auto\">").unwrap();
    let (html, _) = rest.split_once("</article>").unwrap_or((rest, ""));
    html.rsplit_once("</div>\n<div class=\"row\">")
        .unwrap_or_else(|| html.rsplit_once("</div>").unwrap())
        .0
}

/// OWASP's evasion list, what has got through sanitisers before by being read twice in two ways,
/// and what htmx would act upon.
const ATTACKS: [&str; 118] = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=https://evil.test/x.js></SCRIPT>",
    "<<SCRIPT>alert(1);//\\<</SCRIPT>",
    "<SCRIPT/XSS SRC=\"https://evil.test/x.js\"></SCRIPT>",
    "<SCRIPT SRC=//evil.test/.j>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<script\\x20type=\"text/javascript\">alert(1);</script>",
    "<script\u{0c}>alert(1)</script>",
    "\"><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "<IMG SRC=\"javascript:alert(1);\">",
    "<IMG SRC=JaVaScRiPt:alert(1)>",
    "<IMG SRC=`javascript:alert(\"x\")`>",
    "<IMG \"\"\"><SCRIPT>alert(1)</SCRIPT>\"\\>",
    "<IMG SRC=# onmouseover=\"alert(1)\">",
    "<IMG onmouseover=alert(1)>",
    "<IMG SRC=/ onerror=\"alert(1)\"></img>",
    "<img src=x onerror=\"&#0000106&#0000097&#0000118&#0000097\">",
    "<IMG SRC=&#106;&#97;&#118;&#97;&#115;&#99;&#114;&#105;&#112;&#116;&#58;alert(1)>",
    "<IMG SRC=\"jav&#x09;ascript:alert(1);\">",
    "<IMG SRC=\" &#14; javascript:alert(1);\">",
    "<IMG SRC=\"`('XSS')\"`",
    "<INPUT TYPE=\"IMAGE\" SRC=\"javascript:alert(1);\">",
    "<BODY BACKGROUND=\"javascript:alert(1)\">",
    "<BODY ONLOAD=alert(1)>",
    "<body onscroll=alert(1)><br><input autofocus>",
    "<BGSOUND SRC=\"javascript:alert(1);\">",
    "<BR SIZE=\"&{alert(1)}\">",
    "<LINK REL=\"stylesheet\" HREF=\"javascript:alert(1);\">",
    "<STYLE>@import'https://evil.test/x.css';</STYLE>",
    "<STYLE>li {list-style-image: url(\"javascript:alert(1)\");}</STYLE><UL><LI>x</br>",
    "<STYLE>BODY{-moz-binding:url(\"https://evil.test/x.xml#x\")}</STYLE>",
    "<DIV STYLE=\"width: expression(alert(1));\">",
    "<p style=\"position:fixed;inset:0\">x</p>",
    "<META HTTP-EQUIV=\"refresh\" CONTENT=\"0;url=javascript:alert(1);\">",
    "<IFRAME SRC=\"javascript:alert(1);\"></IFRAME>",
    "<iframe srcdoc=\"<script>alert(1)</script>\"></iframe>",
    "<FRAMESET><FRAME SRC=\"javascript:alert(1);\"></FRAMESET>",
    "<TABLE BACKGROUND=\"javascript:alert(1)\"><TD BACKGROUND=\"javascript:alert(1)\">",
    "<BASE HREF=\"javascript:alert(1);//\">",
    "<OBJECT TYPE=\"text/x-scriptlet\" DATA=\"https://evil.test/x.html\"></OBJECT>",
    "<EMBED SRC=\"data:image/svg+xml;base64,PHN2Zz4=\" AllowScriptAccess=\"always\"></EMBED>",
    "<?xml version=\"1.0\"?><script xmlns=\"http://www.w3.org/1999/xhtml\">alert(1)</script>",
    "<!--[if gte IE 4]><SCRIPT>alert(1);</SCRIPT><![endif]-->",
    "<!--#exec cmd=\"/bin/echo x\"-->",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)>",
    "<audio src=x onerror=alert(1)>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<keygen autofocus onfocus=alert(1)>",
    "<isindex type=image src=1 onerror=alert(1)>",
    "<dialog open><form method=dialog><button>x</button></form></dialog>",
    "<button formaction=javascript:alert(1)>x",
    "<input type=hidden accesskey=X onclick=alert(1)>",
    "<a onmouseover=\"alert(1)\">x</a>",
    "<a href=\"javascript:alert(1)\" target=_blank ping=https://evil.test>x</a>",
    "<a name=body id=body class=flash role=status>x</a>",
    "<form id=x name=body action=https://evil.test><input name=attributes></form>",
    "<form><input name=parentNode></form>",
    "<img name=cookie><img name=forms>",
    "<div id=flash role=alert>Your password has expired</div>",
    // SVG, MathML.
    "<svg onload=alert(1)>",
    "<svg/onload=alert(1)//",
    "<svg><script>alert&#40;1&#41;</script></svg>",
    "<svg><script xlink:href=data:,alert(1) /></svg>",
    "<svg><animate attributeName=href values=javascript:alert(1) /><a><text y=20>x</text></a></svg>",
    "<svg><a><animate attributeName=href dur=1s from=javascript:alert(1) to=1 /><text>x</text></a>",
    "<svg><set attributeName=onmouseover to=alert(1) /></svg>",
    "<svg><use href=\"data:image/svg+xml;base64,PHN2Zz4=#x\"/></svg>",
    "<svg><foreignObject><iframe xmlns=\"http://www.w3.org/1999/xhtml\" src=javascript:alert(1)>",
    "<svg><style><img/src=x onerror=alert(1)></style></svg>",
    "<svg><p><style><!--</style><img src=x onerror=alert(1)>--></style>",
    "<svg></p><style><a id=\"</style><img src=1 onerror=alert(1)>\">",
    "<math href=\"javascript:alert(1)\">x</math>",
    "<math><mi//xlink:href=\"data:x,<script>alert(1)</script>\">",
    "<math><annotation-xml encoding=\"text/html\"><xmp>&lt;/xmp&gt;&lt;img src=x onerror=alert(1)&gt;",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<math><mtext><h1><a><h6></a></h6><mglyph><svg><mtext><style><a title=\"</style><img src onerror=alert(1)>\"></style></h1>",
    // Read once as text, once as markup.
    "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
    "<noembed><img src=\"</noembed><iframe onload=alert(1)>\"></noembed>",
    "<noframes><style></noframes><img src=x onerror=alert(1)></style></noframes>",
    "<textarea><img title=\"</textarea><img src=x onerror=alert(1)>\">",
    "<title><a href=\"</title><img src=x onerror=alert(1)>\">",
    "<xmp><p title=\"</xmp><img src=x onerror=alert(1)>\">",
    "<plaintext><img src=x onerror=alert(1)>",
    "<select><template><img src=x onerror=alert(1)></template></select>",
    "<template><script>alert(1)</script></template>",
    "<listing>&lt;img src=1 onerror=alert(1)&gt;</listing>",
    "<table><td><select><style><img src=x onerror=alert(1)>",
    "<p><svg><title><p><style><!--</style><img src=x onerror=alert(1)>",
    // htmx.
    "<a hx-get=/posts/1/delete hx-trigger=load>x</a>",
    "<div hx-post=/logout hx-trigger=\"load delay:1s\" hx-target=body></div>",
    "<div data-hx-on:load=alert(1) data-hx-get=/x></div>",
    "<div hx-on:click=\"alert(1)\" hx-vals='js:{x: alert(1)}'></div>",
    "<hx-partial hx-target=\"#flash\">x</hx-partial>",
    "<meta name=htmx-config content='{\"selfRequestsOnly\":false}'>",
    // By Markdown's own means.
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1) \"title\")",
    "[x](<javascript:alert(1)>)",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](\u{1}javascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "![x](javascript:alert(1) \"\\\" onerror=alert(1) x=\\\"\")",
    "[x](https://a.test/\"onmouseover=alert(1)) [x](https://a.test 'x\" onclick=\"alert(1)')",
    "[x]: javascript:alert(1)\n\n[x] [x][x] ![x]",
    "<javascript:alert(1)> <data:text/html,x>",
    "```\"><script>alert(1)</script>\n</code></pre><script>alert(1)</script>\n```",
    "~~~js onclick=alert(1) class=x\nx\n~~~",
    "`<img src=x onerror=alert(1)>` `<b>`{=html} <a@b.test\"onclick=alert(1)>",
    "# x {#flash .bad onclick=alert(1)}\n\n| <svg/onload=alert(1)> |\n|:-:|\n| </table><script> |",
];

#[tokio::test]
async fn nothing_that_people_write_is_ever_more_than_plain_text_with_links() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let around: [fn(&str) -> String; 6] = [
        |attack| attack.to_owned(),
        |attack| format!("text {attack} text"),
        |attack| format!("> - 1. {attack}\n\n    {attack}\n\n```\n{attack}\n```"),
        |attack| {
            format!(
                "| {attack} | *{attack}* |\n| --- | --- |\n| {attack} | [{attack}](https://a.test) |"
            )
        },
        |attack| {
            format!(
                "# {attack}\n\n[{attack}](https://a.test \"{attack}\") <https://a.test/{attack}>"
            )
        },
        |attack| format!("![{attack}][r] `{attack}`\n\n[r]: <https://b.test/{attack}> '{attack}'"),
    ];
    for attack in ATTACKS {
        for around in around {
            let text = around(attack);
            let fields = [("title", "A title"), ("url", ""), ("body", &text)];
            let reply = ada.post_part("/posts/preview", &fields).await;
            // Text that no post can hold is refused, and its preview says so.
            assert!([200, 422].contains(&reply.status.as_u16()), "{text}");
            holds_only_what_is_allowed(prose(&reply.body), &text);
        }
    }

    let together = ATTACKS
        .iter()
        .filter(|text| !text.contains(['\u{1}', '\u{0c}']))
        .copied()
        .collect::<Vec<_>>();
    for text in [together.join("\n\n"), together.concat()] {
        let fields = [("title", "A title"), ("url", ""), ("body", &text)];
        let reply = ada.post("/posts", &fields).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
        let page = site.visitor().get(reply.location()).await;
        holds_only_what_is_allowed(prose(&page.body), "all of them");
    }
}

/// The work on a request is bounded by three seconds: what took longer would be a 503.
#[tokio::test]
async fn a_text_built_to_be_slow_or_to_grow_renders_and_stays_small() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let fill = |piece: &str| piece.repeat(39_900 / piece.chars().count());
    let table = |columns: usize, row: &str| {
        let head = format!("{}\n{}\n", "|a".repeat(columns), "|-".repeat(columns));
        let rows = (39_000 - head.len()) / row.len();
        format!("{head}{}", row.repeat(rows))
    };
    let mut floods: Vec<String> = [
        "[",
        "![[",
        "[a](",
        "[](",
        "*a ",
        "*a_ ",
        "**",
        "_",
        "~~a",
        "`",
        "``a`",
        "<",
        "<a ",
        "</",
        "<!--",
        "<?",
        "<![CDATA[",
        "&",
        "&#x41;",
        "&#0;",
        "&amp",
        "> ",
        ">",
        "- ",
        "* a\n",
        "1. a\n",
        "  - a\n",
        "# ",
        "```\n",
        "\\",
        "\"",
        "(",
        "http://",
        "http://a",
        "://",
        "a@",
        "www.",
        "[a]: /\n",
        "[a][a]",
        "|",
        "|-",
        "\n",
        " \n",
        "\t",
        "\u{301}e",
        "🦀",
        "é\u{200D}",
        "\u{202E}a",
    ]
    .map(fill)
    .into();
    floods.extend([
        table(9_700, "|x\n"),
        table(4_000, "|x\n"),
        table(60, "|x\n"),
        table(1, "||||||||||\n"),
        table(2, "|x|y|\n"),
        format!("[a]: https://a.test/{}\n\n{}", "x".repeat(15_000), "[a]".repeat(8_000)),
        format!("[{}](https://a.test)", fill("a").split_at(39_000).0),
        format!("{}a{}", "[".repeat(15_000), "](x)".repeat(6_000)),
        format!("{}a{}", "*".repeat(19_000), "*".repeat(19_000)),
        (0..190).flat_map(|depth| ["  ".repeat(depth), "- a\n".into()]).collect(),
    ]);
    for text in floods {
        let html = shown(&ada, &text).await;
        let what: String = text.chars().take(20).collect();
        let most = text.len() * 8 + 1024;
        assert!(html.len() <= most, "{what:?}: {} bytes became {}", text.len(), html.len());
    }
}

#[tokio::test]
async fn only_an_address_of_the_web_is_a_link_wherever_it_is_written() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    for link in [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\tscript:alert(1)",
        "java\nscript://a.test/%0aalert(1)",
        "&#106;avascript:alert(1)",
        "\u{1}javascript:alert(1)",
        " \u{a0}javascript:alert(1)",
        "javascript://https://a.test/%0aalert(1)",
        "data:text/html,<script>alert(1)</script>",
        "Data:text/html;base64,PHNjcmlwdD4=",
        "vbscript:msgbox(1)",
        "blob:https://a.test/x",
        "file:///etc/passwd",
        "ftp://a.test/x",
        "view-source:https://a.test",
        "//evil.test",
        "/\\evil.test",
        "/posts/1",
        "http:/evil.test",
        "http:evil.test",
        "http:\\\\evil.test",
        "http:///",
        "http://a:b@c.test",
        "http://a@c.test",
        "https://exa\0mple.test",
        "https://exa mple.test",
        "https://a.test:99999",
        "https://[::1",
        "https://a.test\u{202E}/x",
        "mailto:ada@example.org",
        "nonsense",
    ] {
        let reply = ada.post("/posts", &[("title", "A title"), ("url", link), ("body", "")]).await;
        assert_eq!(reply.status, 422, "{link:?}");
        assert!(reply.problem("url").is_some(), "{link:?}");
        let preview =
            ada.post_part("/posts/preview", &[("title", "A"), ("url", link), ("body", "x")]).await;
        preview.lacks("class=\"source\"").lacks("<a ");
    }
    for link in
        ["JaVaScRiPt:alert(1)", "data:text/html,x", "//evil.test", "/posts/1", "vbscript:x", "x"]
    {
        let body = format!("[a]({link}) [b](<{link}>) ![c]({link}) [d] <{link}>\n\n[d]: {link}");
        let html = shown(&ada, &body).await;
        assert!(!html.contains("href"), "{html}");
    }
    assert_eq!(site.count("select count(*) from posts").await, 0);
}

/// A page may lead elsewhere only by what people wrote, and says of each such link that it is theirs.
#[tokio::test]
async fn every_external_link_is_nofollow_ugc() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let body = "[a](https://a.test) <https://b.test> https://c.test/x ![d](https://d.test/d.png) \
                [e](mailto:e@e.test) [f](/users) [g](//g.test)";
    let fields = [("title", "Ways off"), ("url", "https://www.аpple.com/x"), ("body", body)];
    let published = ada.post("/posts", &fields).await;
    let place = published.location();
    let mut ways = 0;
    for by in [&ada, &site.visitor()] {
        for path in ["/", "/new", "/top", "/search?q=ways", "/users/ada", place] {
            let page = by.get(path).await;
            page.has(">xn--pple-43d.com</a>");
            for tag in page.body.split("<a ").skip(1) {
                let tag = tag.split_once('>').unwrap().0;
                let leads_off = tag.contains("href=\"http") || tag.contains("href=\"mailto:");
                let is_here = tag.contains("href=\"/") && !tag.contains("href=\"//");
                let has_no_way = !tag.contains("href=") || tag.contains("href=\"#");
                assert!(leads_off || is_here || has_no_way, "{path}: {tag}");
                assert!(!leads_off || tag.contains(&format!("rel=\"{REL}\"")), "{path}: {tag}");
                assert!(!tag.contains("target="), "{path}: {tag}");
                ways += usize::from(leads_off);
            }
        }
    }
    // The link in each of twelve pages, and five in the text of the post's own.
    assert_eq!(ways, 12 + 2 * 5);
}

#[tokio::test]
async fn the_site_itself_follows_no_link() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x.png", elsewhere.local_addr().unwrap());
    let body = format!("[a]({url}) <{url}> {url} ![b]({url} \"{url}\")\n\n[c]: {url}");
    let fields = [("title", url.as_str()), ("url", &url), ("body", &body)];
    ada.post("/posts/preview", &fields).await;
    let place = ada.post("/posts", &fields).await.location().to_owned();
    ada.post(&format!("{place}/edit"), &fields).await;
    for path in ["/", &place, &format!("/search?{}", encode(&[("q", &url)]))] {
        let request = ada.request(Method::GET, path).header("referer", &url);
        ada.send(request, "").await.has("127.0.0.1");
    }
    let next = [("login", "ada"), ("password", crate::support::PASSWORD), ("next", url.as_str())];
    site.visitor().post("/login", &next).await;

    // Long enough for what would go on behind an answer.
    let knocked = tokio::time::timeout(std::time::Duration::from_millis(300), elsewhere.accept());
    assert!(knocked.await.is_err(), "somebody came from {url}");
}

/// In one line nothing may hide or turn around; a text of many lines is set apart from the page.
#[tokio::test]
async fn invisible_and_bidi_characters_are_removed_from_titles() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let controls = (0u32..0x20).chain(0x7F..0xA0);
    let nonsense = (0xFDD0..0xFDF0)
        .step_by(5)
        .chain((0..17).flat_map(|plane| [plane * 0x10000 + 0xFFFE, plane * 0x10000 + 0xFFFF]));
    let turning = (0x202A..0x202F).chain(0x2066..0x206A).chain([0x200E, 0x200F, 0x061C]);
    let mut titles: Vec<String> = controls
        .chain(nonsense)
        .chain(turning)
        .map(|code| format!("admin{}txt.", char::from_u32(code).unwrap()))
        .collect();
    titles.extend([
        format!("Z{}", "\u{301}".repeat(300)),
        format!("Z{}", "\u{301}\u{323}".repeat(3)),
        "\u{200B}".into(),
        "\u{3164}\u{2800}\u{FE0F}\u{AD}\u{E0020}".into(),
        "\u{301}".into(),
    ]);
    for title in titles {
        let reply = ada.post("/posts", &[("title", &title), ("url", ""), ("body", "")]).await;
        assert_eq!(reply.status, 422, "{title:?}");
        assert!(reply.problem("title").is_some(), "{title:?}");
        let account = [
            ("username", title.as_str()),
            ("email", "x@example.org"),
            ("password", crate::support::PASSWORD),
        ];
        assert_eq!(site.visitor().post("/signup", &account).await.status, 422, "{title:?}");
    }
    assert_eq!(site.count("select count(*) from posts").await, 0);

    let turned = "\u{202E}txt \u{2067}x";
    let place = ada.post("/posts", &[("title", "Fine"), ("url", ""), ("body", turned)]).await;
    let page = site.visitor().get(place.location()).await;
    page.has(&format!("<div class=\"prose\" dir=\"auto\"><p>{turned}</p>"));
    site.visitor().get("/").await.has(&format!("<p class=\"gist\" dir=\"auto\">{turned}</p>"));
}
