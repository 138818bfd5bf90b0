//! The longest values that are allowed, and one character more.

use axum::http::Method;

use crate::{
    hostile::{AttackedSite, of},
    support::{PASSWORD, encode},
};

/// Each bound is inclusive, counts characters and not bytes, and what fits is kept whole.
#[tokio::test]
async fn the_longest_allowed_text_is_kept_and_one_character_more_is_refused() {
    let mut at = AttackedSite::new().await;
    let (ada, post) = (at.ada(), at.post);
    let link = |length: usize| format!("https://example.test/{}", of("x", length - 21));
    let wide = |length: usize| format!("https://example.test/{}", of("🦀", length - 21));
    let cases: [(&str, String, u16); 18] = [
        ("title", of("a", 1), 303),
        ("title", of("a", 150), 303),
        ("title", of("🦀", 150), 303),
        ("title", of("a", 151), 422),
        ("title", of("🦀", 151), 422),
        // Two characters as typed, one as everybody counts.
        ("title", of("e\u{301}", 150), 303),
        // One character as typed, three in the form in which it is kept.
        ("title", of("\u{FB2C}", 50), 303),
        ("title", of("\u{FB2C}", 51), 422),
        ("url", link(2000), 303),
        ("url", link(2001), 422),
        // Each takes twelve as it is kept.
        ("url", wide(21 + 164), 303),
        ("url", wide(21 + 165), 422),
        ("body", of("𝄞", 40_000), 303),
        ("body", of("𝄞", 40_001), 422),
        ("body", of("\u{FB2C}", 13_333), 303),
        ("body", of("\u{FB2C}", 13_334), 422),
        ("body", of("a\r\n", 20_000), 303),
        ("body", format!("{}\n\n\n", of("𝄞 ", 20_000)), 303),
    ];
    for (name, value, status) in cases {
        let mut fields = vec![("title", "A title"), ("url", ""), ("body", "")];
        fields.retain(|(field, _)| *field != name);
        fields.push((name, &value));
        for address in ["/posts".to_owned(), format!("/posts/{post}/edit")] {
            let reply = at.send(&ada, ada.form(&address), encode(&fields)).await;
            let what = format!("{name} of {} characters to {address}", value.chars().count());
            assert_eq!(reply.status, status, "{what}");
            if status == 422 {
                assert!(reply.problem(name).is_some(), "{what}");
                reply.has(&value.chars().take(20).collect::<String>());
                continue;
            }
            let shown = at.send(&ada, ada.request(Method::GET, reply.location()), "").await;
            assert_eq!(shown.status, 200, "{what}");
            let edit = format!("{}/edit", reply.location());
            let kept = at.send(&ada, ada.request(Method::GET, &edit), "").await;
            let typed = value.trim().replace("\r\n", "\n").replace("e\u{301}", "\u{e9}");
            let typed = typed.replace('\u{FB2C}', "\u{5E9}\u{5BC}\u{5C1}");
            assert!(name == "url" || kept.body.contains(&typed), "{what} is not kept whole");
            // Wherever a person goes from a page, the site takes the address.
            for page in ["/", "/new", "/users/ada"] {
                at.send(&ada, ada.request(Method::GET, page), "").await;
            }
        }
    }
    at.tell();
}

#[tokio::test]
async fn the_length_limits_of_username_email_and_password_are_exact() {
    let mut at = AttackedSite::new().await;
    let local = |length: usize| format!("{}@example.org", of("l", length));
    let domain = |length: usize| {
        let name = format!("{}.", of("d", 62)).repeat(3);
        format!("l@{name}{}.org", of("d", length - name.len() - 6))
    };
    // 128 characters that count 512 bytes, and nothing that a guesser would try.
    let emoji: String =
        (0..128u32).map(|n| char::from_u32(0x1F300 + (n * 37) % 200).unwrap()).collect();
    let short_emoji: String = emoji.chars().take(10).collect();
    let cases: [(&str, String, u16); 26] = [
        ("username", "a".into(), 422),
        ("username", "ab".into(), 303),
        ("username", of("u", 30), 303),
        ("username", of("u", 31), 422),
        ("username", of("\u{e9}", 15), 422),
        ("email", local(64), 303),
        ("email", local(65), 422),
        ("email", domain(254), 303),
        ("email", domain(255), 422),
        ("email", "two@at@example.org".into(), 422),
        ("email", "a@b.org\r\nBcc: c@d.org".into(), 422),
        ("password", "kettle9vi".into(), 422),
        ("password", "kettle9vio".into(), 303),
        ("password", short_emoji.chars().take(9).collect(), 422),
        ("password", short_emoji, 303),
        ("password", emoji.clone(), 303),
        ("password", format!("{emoji}🦀"), 422),
        ("password", "violet kettle 9 ".repeat(8), 303),
        ("password", format!("{}x", "violet kettle 9 ".repeat(8)), 422),
        ("password", emoji.chars().take(64).collect(), 303),
        ("password", "  violet kettle 9 harbour ".into(), 303),
        ("password", "passwordpassword".into(), 422),
        ("password", "socialpost12345".into(), 422),
        ("password", "person23person23".into(), 422),
        ("password", "Person24@Example.org".into(), 422),
        ("password", "abcdefghi\0jklmnop".into(), 422),
    ];
    for (n, (name, value, status)) in cases.into_iter().enumerate() {
        let (username, email) = (format!("person{n}"), format!("person{n}@example.org"));
        let mut fields =
            vec![("username", username.as_str()), ("email", &email), ("password", PASSWORD)];
        fields.retain(|(field, _)| *field != name);
        fields.push((name, &value));
        let stranger = at.site.visitor();
        let reply = at.send(&stranger, stranger.form("/signup"), encode(&fields)).await;
        let what = format!("{name} {value:?}");
        assert_eq!(reply.status, status, "{what}: {:?}", reply.problem(name));
        if status == 422 {
            assert!(reply.problem(name).is_some(), "{what}");
            assert!(name != "password" || !reply.body.contains(&value), "{what} comes back");
            continue;
        }
        let login = fields.iter().find(|(field, _)| *field == "username").unwrap().1;
        let password = fields.iter().find(|(field, _)| *field == "password").unwrap().1;
        let mut odd = vec![
            password[..password.char_indices().last().unwrap().0].to_owned(),
            password.to_uppercase(),
            password.trim().to_owned(),
            format!("{password} "),
        ];
        // bcrypt would not read as far as this.
        for at in [72, 127] {
            let other = |(n, letter): (usize, char)| if n == at { '¿' } else { letter };
            odd.push(password.chars().enumerate().map(other).collect());
        }
        odd.retain(|odd| odd != password);
        let right = [(password.to_owned(), 303)];
        for (password, status) in odd.into_iter().map(|odd| (odd, 401)).chain(right) {
            let stranger = at.site.visitor();
            let fields = encode(&[("login", login), ("password", &password)]);
            let reply = at.send(&stranger, stranger.form("/login"), fields).await;
            assert_eq!(reply.status, status, "{what}: every character counts, {password:?}");
        }
    }
    at.tell();
}

#[tokio::test]
async fn the_longest_allowed_search_works_and_paginates() {
    let mut at = AttackedSite::new().await;
    let stranger = at.site.visitor();
    for (words, status) in [
        (of("a", 200), 200),
        (of("a", 201), 422),
        (of("語", 200), 200),
        (of("語", 201), 422),
        (of("🦀", 200), 200),
        (of("%", 200), 200),
        (of("_", 200), 200),
        (of("\\", 200), 200),
        (of("- \"", 66), 200),
        (of("a or ", 40), 200),
    ] {
        let address = format!("/search?sort=new&{}", encode(&[("q", &words)]));
        let reply = at.send(&stranger, stranger.request(Method::GET, &address), "").await;
        assert_eq!(reply.status, status, "{words}");
        let way_in = reply.body.split("href=\"/login").nth(1).unwrap().split('"').next().unwrap();
        let way_in = format!("/login{}", way_in.replace("&#38;", "&"));
        let reply = at.send(&stranger, stranger.request(Method::GET, &way_in), "").await;
        assert_eq!(reply.status, 200, "from the search for {words} to {way_in}");
    }
}
