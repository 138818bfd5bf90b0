//! Renders Markdown to safe HTML, and to plain text and excerpts.
//!
//! Two defences: raw HTML in the Markdown is treated as text, and the HTML of the renderer passes a
//! sanitiser with a short allowlist.

use std::{collections::HashSet, sync::LazyLock};

use ammonia::{Builder, UrlRelative};
use linkify::{LinkFinder, LinkKind};
use pulldown_cmark::{
    CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, TextMergeStream, html,
};

/// Headings start below the page's own. No images, because loading one would tell another site who
/// reads. No `id`, and no `class` except a code block's language.
static SANITISER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let tags = [
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
    ];
    let mut builder = Builder::empty();
    builder
        .tags(HashSet::from(tags))
        .add_tag_attributes("a", ["href"])
        .add_tag_attributes("ol", ["start"])
        .add_tag_attributes("code", ["class"])
        .attribute_filter(|tag, attribute, value| match (tag, attribute) {
            ("code", "class") => is_language(value).then(|| value.into()),
            ("ol", "start") => (value.len() <= 9).then(|| value.into()),
            _ => Some(value.into()),
        })
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("ugc nofollow noopener noreferrer"));
    builder
});

/// The maximum depth of nesting. Beyond it the elements are dropped and their text stays.
const MAX_DEPTH: usize = 16;

/// The maximum size of the HTML, as a multiple of the Markdown's. A list of short links, the largest
/// ratio that people write, comes to seven.
const MAX_GROWTH: usize = 8;

/// HTML made by [`to_html`], now or when the post was written. Templates do not escape it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct Html(String);

impl Html {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for Html {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Html {}

/// Renders to HTML with allowed elements only. The same text always gives the same HTML.
///
/// A text whose HTML would exceed `MAX_GROWTH`, such as a table of ten thousand columns, is shown as it
/// was typed.
pub fn to_html(markdown: &str) -> Html {
    let limit = markdown.len() * MAX_GROWTH + 1024;
    let html = sanitised(shallow(linked(events(markdown))), limit);
    let as_typed = || {
        let paragraph = [
            Event::Start(Tag::Paragraph),
            Event::Text(markdown.into()),
            Event::End(TagEnd::Paragraph),
        ];
        sanitised(paragraph.into_iter(), usize::MAX).unwrap_or_default()
    };
    Html(html.unwrap_or_else(as_typed))
}

/// `None` if the HTML would be longer than `limit` bytes.
fn sanitised<'a>(events: impl Iterator<Item = Event<'a>>, limit: usize) -> Option<String> {
    let mut unsafe_html = String::new();
    html::push_html(&mut unsafe_html, events);
    if unsafe_html.len() > limit {
        return None;
    }
    Some(SANITISER.clean(&unsafe_html).to_string()).filter(|html| html.len() <= limit)
}

/// The plain text as a reader sees it, with one space between words.
pub fn plain(markdown: &str) -> String {
    let mut text = String::new();
    for event in events(markdown) {
        match event {
            Event::Text(part) | Event::Code(part) => text.push_str(&part),
            Event::SoftBreak | Event::HardBreak => text.push(' '),
            Event::End(end) if !is_inline(end) => text.push(' '),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first words of the plain text: at most `length` characters, cut between words.
pub fn excerpt(markdown: &str, length: usize) -> String {
    // Four characters of Markdown per character of text are enough, and bound the work.
    let whole = plain(&markdown.chars().take(length * 4).collect::<String>());
    if whole.chars().count() <= length {
        return whole;
    }
    // One character is for the ellipsis.
    let start: String = whole.chars().take(length.saturating_sub(1)).collect();
    let ends_a_word = whole[start.len()..].starts_with(' ');
    let cut = if ends_a_word { start.len() } else { start.rfind(' ').unwrap_or(start.len()) };
    format!("{}…", &start[..cut])
}

fn events(markdown: &str) -> impl Iterator<Item = Event<'_>> {
    let options = Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES;
    Parser::new_ext(markdown, options).map(|event| match event {
        // What looks like HTML is text.
        Event::Html(html) | Event::InlineHtml(html) => Event::Text(html),
        Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
            level: below_page(level),
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        }),
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(below_page(level))),
        // An image becomes a link to it, with its description as the text.
        Event::Start(Tag::Image { link_type, dest_url, id, .. }) => {
            Event::Start(Tag::Link { link_type, dest_url, title: CowStr::Borrowed(""), id })
        }
        Event::End(TagEnd::Image) => Event::End(TagEnd::Link),
        event => event,
    })
}

/// Makes links of the bare URLs in the text.
fn linked<'a>(events: impl Iterator<Item = Event<'a>>) -> impl Iterator<Item = Event<'a>> {
    let mut finder = LinkFinder::new();
    finder.kinds(&[LinkKind::Url]);
    let mut inside = 0;
    TextMergeStream::new(events).flat_map(move |event| {
        match &event {
            Event::Start(Tag::Link { .. } | Tag::CodeBlock(_)) => inside += 1,
            Event::End(TagEnd::Link | TagEnd::CodeBlock) => inside -= 1,
            Event::Text(text) if inside == 0 && text.contains("://") => {
                return finder.spans(text).flat_map(|span| with_link(&span)).collect();
            }
            _ => {}
        }
        vec![event]
    })
}

fn with_link(span: &linkify::Span) -> Vec<Event<'static>> {
    let text = || CowStr::from(span.as_str().to_owned());
    if span.kind().is_none() {
        return vec![Event::Text(text())];
    }
    let link = Tag::Link {
        link_type: LinkType::Autolink,
        dest_url: text(),
        title: CowStr::Borrowed(""),
        id: CowStr::Borrowed(""),
    };
    vec![Event::Start(link), Event::Text(text()), Event::End(TagEnd::Link)]
}

/// `h3` and below: the page has its own `h1`, and lists use `h2`.
fn below_page(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 | HeadingLevel::H2 | HeadingLevel::H3 => HeadingLevel::H3,
        level => level,
    }
}

/// Drops the elements nested deeper than [`MAX_DEPTH`], and keeps their text.
fn shallow<'a>(events: impl Iterator<Item = Event<'a>>) -> impl Iterator<Item = Event<'a>> {
    let mut depth = 0;
    events.filter(move |event| match event {
        Event::Start(_) => {
            depth += 1;
            depth <= MAX_DEPTH
        }
        Event::End(_) => {
            depth -= 1;
            depth < MAX_DEPTH
        }
        _ => true,
    })
}

fn is_inline(end: TagEnd) -> bool {
    matches!(
        end,
        TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link | TagEnd::Image
    )
}

fn is_language(class: &str) -> bool {
    class.strip_prefix("language-").is_some_and(|name| {
        !name.is_empty()
            && name.len() <= 32
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'#'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markdown_is_rendered_to_html() {
        let html = to_html(
            "# Hi *you*\n\n1 < 2, **b** ~~c~~ `d` [e](https://f.test)\n\n- g\n- h\n\n```rust\nfn i() {}\n```",
        );
        insta::assert_snapshot!(html, @r#"
        <h3>Hi <em>you</em></h3>
        <p>1 &lt; 2, <strong>b</strong> <del>c</del> <code>d</code> <a href="https://f.test" rel="ugc nofollow noopener noreferrer">e</a></p>
        <ul>
        <li>g</li>
        <li>h</li>
        </ul>
        <pre><code class="language-rust">fn i() {}
        </code></pre>
        "#);
    }

    #[test]
    fn dangerous_html_is_removed() {
        for attack in [
            "<script>alert(1)</script>",
            "<svg/onload=alert(1)>",
            "[x](javascript:alert(1))",
            "[x](data:text/html,x)",
            "[x](//evil.test)",
            "<a hx-get=/x>y</a>",
            "<img src=x onerror=alert(1)>",
            "![x](https://spy.test/x.png)",
            "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
            "`<b>`{=html}",
            "<form id=x name=body>",
            "[x]: javascript:alert(1)\n\n[x]",
            "<style>*{}</style>",
        ] {
            let html = to_html(attack).0;
            assert!(is_allowed(&html), "{attack} became {html}");
        }
    }

    #[test]
    fn links_pass_nothing_on_to_search_engines_and_other_sites() {
        assert_eq!(
            to_html("<https://a.test>").0.trim(),
            r#"<p><a href="https://a.test" rel="ugc nofollow noopener noreferrer">https://a.test</a></p>"#
        );
    }

    #[test]
    fn a_bare_address_is_a_link_but_not_in_code_or_twice() {
        let rel = r#"rel="ugc nofollow noopener noreferrer""#;
        assert_eq!(
            to_html("See (https://a.test/x_y_z?b=c&d). `https://b.test` [https://c.test](https://d.test)").0.trim(),
            format!(
                "<p>See (<a href=\"https://a.test/x_y_z?b=c&amp;d\" {rel}>https://a.test/x_y_z?b=c&amp;d</a>). \
                 <code>https://b.test</code> <a href=\"https://d.test\" {rel}>https://c.test</a></p>"
            )
        );
        assert_eq!(to_html("javascript://a.test/%0aalert(1)").0.matches("href").count(), 0);
    }

    #[test]
    fn an_excerpt_is_plain_and_ends_between_words() {
        assert_eq!(
            excerpt("# One\n\nTwo **three** [four](https://x.test), *five*.", 200),
            "One Two three four, five."
        );
        assert_eq!(excerpt("One two three", 8), "One two…");
        assert_eq!(excerpt("One two three", 7), "One…");
        assert_eq!(excerpt("One two", 7), "One two");
        assert_eq!(excerpt(&"x".repeat(50), 8), "xxxxxxx…");
        assert_eq!(excerpt("", 8), "");
    }

    #[test]
    fn the_size_of_the_html_is_bounded() {
        let columns = |count: usize, rows: usize| {
            format!("{}\n{}\n{}", "|a".repeat(count), "|-".repeat(count), "|x\n".repeat(rows))
        };
        for text in [
            "> ".repeat(5000),
            "[".repeat(30_000),
            "<".repeat(30_000),
            "&".repeat(30_000),
            "<a@b.c>".repeat(5000),
            "[a](b)".repeat(6500),
            format!("[a]: https://a.test\n\n{}", "[a]".repeat(13_000)),
            columns(10_000, 1),
            columns(4000, 8000),
            columns(60, 13_000),
        ] {
            let html = to_html(&text).0;
            let most = text.len() * MAX_GROWTH + 1024;
            let what: String = text.chars().take(30).collect();
            assert!(html.len() <= most, "{what}: {} bytes became {}", text.len(), html.len());
            assert!(is_allowed(&html), "{what}");
            assert!(excerpt(&text, 200).chars().count() <= 200, "{what}");
        }
    }

    #[test]
    fn dense_tables_and_lists_of_links_stay_within_the_bound() {
        let table = format!("|a|b|c|\n|-|-|-|\n{}", "|1|2|3|\n".repeat(500));
        assert_eq!(to_html(&table).0.matches("<td>").count(), 1500);
        let links = "- http://a.co\n".repeat(500);
        assert_eq!(to_html(&links).0.matches("<a href").count(), 500);
    }

    /// Fragments with a meaning to a Markdown parser, a browser or a sanitiser.
    fn fragments() -> impl Strategy<Value = String> {
        let fragment = prop::sample::select(vec![
            "<script>",
            "</script>",
            "<svg",
            "<math>",
            "<mtext>",
            "<mglyph>",
            "<style>",
            "</style>",
            "<img src=x onerror=alert(1)>",
            "<a href=\"javascript:alert(1)\">",
            "</a>",
            "<table>",
            "<td>",
            "<select>",
            "<template>",
            "<noscript>",
            "<xmp>",
            "<plaintext>",
            "<textarea>",
            "<title>",
            "<iframe srcdoc=\"",
            "<form id=x name=body>",
            "<!--",
            "-->",
            "<![CDATA[",
            "]]>",
            "<?",
            "?>",
            "<p id=a class=b style=c hx-get=/x data-hx-on:load=y>",
            "&lt;",
            "&#60;",
            "&#0;",
            "&NewLine;",
            "[",
            "]",
            "(",
            ")",
            "](",
            "[a]",
            "[a]: ",
            "javascript:",
            "data:",
            "https://a.test/",
            "http://",
            "mailto:",
            "//",
            "\"",
            "'",
            "`",
            "``",
            "```",
            "~~~",
            "~~",
            "*",
            "**",
            "_",
            "__",
            "# ",
            "### ",
            "> ",
            "- ",
            "1. ",
            "7. ",
            "999999999) ",
            "    ",
            "\t",
            "|",
            "|-|\n",
            "|:-:|",
            "---",
            "***",
            "===",
            "\n",
            "\n\n",
            "\\",
            "\\\n",
            "  \n",
            "!",
            "a",
            "é",
            "\u{202E}",
            "\u{0}",
            "\u{FEFF}",
            "{=html}",
            "```js onload=x\n",
            "<a@b.test>",
            "<https://b.test/'\">",
        ]);
        prop::collection::vec(fragment, 0..40).prop_map(|fragments| fragments.concat())
    }

    proptest! {
        #[test]
        fn any_text_gives_allowed_elements_and_sanitising_again_changes_nothing(
            text in prop_oneof![
                "[<>a-z/=\"'&;:#*_`~\\[\\]()!| \\n0-9-]{0,80}",
                any::<String>(),
                fragments(),
                fragments(),
            ]
        ) {
            let html = to_html(&text).0;
            prop_assert!(is_allowed(&html), "{}", html);
            // The sanitiser parses as a browser does, and finds nothing hidden.
            prop_assert_eq!(SANITISER.clean(&html).to_string(), &html[..]);
            prop_assert_eq!(to_html(&text).0, &html[..]);
            prop_assert!(html.len() <= text.len() * MAX_GROWTH + 1024);
        }

        #[test]
        fn an_excerpt_is_one_line_and_within_its_length(
            text in prop_oneof![any::<String>(), fragments()], length in 1..60usize
        ) {
            let excerpt = excerpt(&text, length);
            prop_assert!(excerpt.chars().count() <= length, "{}", excerpt);
            prop_assert!(excerpt.split(' ').all(|word| !word.contains(char::is_whitespace)));
        }
    }

    /// Whether the HTML has only allowed tags with allowed attributes.
    fn is_allowed(html: &str) -> bool {
        let allowed = |tag: &str| {
            let tag = tag.trim_start_matches('/');
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let plain = [
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
            ];
            let fits = match name {
                "a" => {
                    attributes.is_empty()
                        || attributes.starts_with("href=\"http")
                        || attributes.starts_with("href=\"mailto:")
                        || attributes.starts_with("rel=\"ugc")
                }
                "code" => attributes.is_empty() || attributes.starts_with("class=\"language-"),
                "ol" => attributes.is_empty() || attributes.starts_with("start=\""),
                _ => attributes.is_empty(),
            };
            plain.contains(&name) && fits
        };
        html.split('<')
            .skip(1)
            .all(|rest| rest.split_once('>').is_some_and(|(tag, _)| allowed(tag)))
    }
}
