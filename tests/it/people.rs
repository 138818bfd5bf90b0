use crate::support::{PASSWORD, TestSite};

#[tokio::test]
async fn a_sign_up_starts_a_session() {
    let site = TestSite::new().await;
    let ada = site.visitor();

    let reply = ada
        .post(
            "/signup",
            &[("username", "Ada"), ("email", "ada@example.org"), ("password", PASSWORD)],
        )
        .await;

    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/"));
    ada.get("/").await.has("Welcome!").has("action=\"/logout\"").has("href=\"/users/Ada\"");
    ada.get("/").await.lacks("Welcome!");
    let hash: String =
        sqlx::query_scalar("select password_hash from users").fetch_one(&site.db).await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
}

#[tokio::test]
async fn every_error_of_a_sign_up_is_under_its_field_and_what_was_typed_is_kept() {
    let site = TestSite::new().await;
    let visitor = site.visitor();
    let secret = "tooshort";

    let reply = visitor
        .post("/signup", &[("username", "a b"), ("email", "nonsense"), ("password", secret)])
        .await;

    assert_eq!(reply.status, 422);
    assert!(reply.problem("username").unwrap().contains("2 to 30"));
    assert!(reply.problem("email").unwrap().contains("not an e-mail"));
    assert!(reply.problem("password").unwrap().contains("at least 10"));
    reply.has("value=\"a b\"").has("value=\"nonsense\"").has("aria-invalid=\"true\"").lacks(secret);
    assert_eq!(reply.cookies(), [""; 0]);
    assert_eq!(site.count("select count(*) from users").await, 0);
}

#[tokio::test]
async fn usernames_and_email_addresses_are_unique_in_any_case() {
    let site = TestSite::new().await;
    site.member("Ada").await;
    let sign_up = async |username: &str, email: &str| {
        let fields = [("username", username), ("email", email), ("password", PASSWORD)];
        site.visitor().post("/signup", &fields).await
    };

    let both = sign_up("aDA", " ADA@Example.ORG").await;
    assert_eq!(both.status, 422);
    assert!(both.problem("username").unwrap().contains("taken"));
    assert!(both.problem("email").unwrap().contains("already"));

    // Not the same letters, so not the same person.
    assert_eq!(sign_up("mike", "mike@example.org").await.status, 303);
    assert_eq!(sign_up("mike2", "mıke@example.org").await.status, 303);
    assert_eq!(sign_up("mike3", "mi\u{212A}e@example.org").await.status, 422);
    for reserved in ["admin", "Root", "api"] {
        let reply = sign_up(reserved, "r@example.org").await;
        assert!(reply.problem("username").unwrap().contains("reserved"), "{reserved}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_concurrent_sign_ups_with_one_name_one_succeeds() {
    let site = TestSite::new().await;
    let mut racers = tokio::task::JoinSet::new();
    for n in 0..20 {
        let visitor = site.visitor();
        let username = if n % 2 == 0 { "Ada" } else { "ada" };
        let email =
            if n % 3 == 0 { "ada@example.org".to_owned() } else { format!("ADA{n}@example.org") };
        racers.spawn(async move {
            let fields = [("username", username), ("email", &email), ("password", PASSWORD)];
            let reply = visitor.post("/signup", &fields).await;
            let is_told = reply.problem("username").or(reply.problem("email")).is_some();
            (reply.status.as_u16(), is_told)
        });
    }
    let replies = racers.join_all().await;

    let winners = replies.iter().filter(|(status, _)| *status == 303).count();
    let told = replies.iter().filter(|(status, is_told)| *status == 422 && *is_told).count();
    let busy = replies.iter().filter(|(status, _)| *status == 503).count();
    assert_eq!((winners, winners + told + busy), (1, 20), "{replies:?}");
    assert_eq!(site.count("select count(*) from users").await, 1);
}

#[tokio::test]
async fn a_member_logs_in_by_name_or_email_and_returns_to_the_same_page() {
    let site = TestSite::new().await;
    site.member("Ada").await;
    for login in ["ada", "ADA", "ada@example.org", " Ada@Example.org "] {
        let visitor = site.visitor();
        visitor.get("/login?next=/posts/new").await.has("name=\"next\" value=\"/posts/new\"");
        let fields = [("login", login), ("password", PASSWORD), ("next", "/posts/new")];
        let reply = visitor.post("/login", &fields).await;
        assert_eq!((reply.status.as_u16(), reply.location()), (303, "/posts/new"), "{login}");
        visitor.get("/posts/new").await.has("Ada");
    }
}

#[tokio::test]
async fn a_page_that_needs_a_session_redirects_to_the_log_in_and_back() {
    let site = TestSite::new().await;
    let stranger = site.visitor();

    let page = stranger.get("/posts/new").await;
    assert_eq!((page.status.as_u16(), page.location()), (303, "/login?next=/posts/new"));
    let part = stranger.get_part("/posts/new").await;
    assert_eq!(part.status, 401);
    assert!(part.header("hx-redirect").starts_with("/login"));
}

#[tokio::test]
async fn the_next_parameter_never_redirects_off_the_site() {
    let site = TestSite::new().await;
    site.member("ada").await;
    for next in [
        "//evil.test",
        "/\\evil.test",
        "https://evil.test",
        "https:evil.test",
        "/\t/evil.test",
        "javascript:alert(1)",
        "/a\r\nSet-Cookie:x=y",
        "evil.test",
        "",
        &format!("/{}", "a".repeat(600)),
        "/\u{0}",
        "/ü",
    ] {
        let visitor = site.visitor();
        let fields = [("login", "ada"), ("password", PASSWORD), ("next", next)];
        let reply = visitor.post("/login", &fields).await;
        assert_eq!((reply.status.as_u16(), reply.location()), (303, "/"), "{next:?}");
    }
}

#[tokio::test]
async fn every_failed_log_in_gets_the_same_response_whatever_the_reason() {
    let site = TestSite::new().await;
    site.member("ada").await;
    site.member("sue").await;
    sqlx::query("update users set suspended_at = now() where username = 'sue'")
        .execute(&site.db)
        .await
        .unwrap();
    sqlx::query("insert into users (username) values ('imported')")
        .execute(&site.db)
        .await
        .unwrap();

    let mut answers = Vec::new();
    for (login, password) in
        [("nobody", PASSWORD), ("ada", "wrong password"), ("sue", PASSWORD), ("imported", PASSWORD)]
    {
        let reply =
            site.visitor().post("/login", &[("login", login), ("password", password)]).await;
        assert_eq!(reply.status, 401);
        reply
            .has("Wrong user name, e-mail or password.")
            .has(&format!("value=\"{login}\""))
            .lacks(password);
        let mut headers = reply.headers.clone();
        headers.remove("x-request-id");
        headers.remove("content-length");
        answers.push((headers, reply.body.replace(login, "LOGIN")));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
}

#[tokio::test]
async fn people_are_listed_with_the_number_of_their_posts_even_without_posts() {
    let site = TestSite::new().await;
    for name in ["ada", "bob"] {
        site.member(name).await;
    }
    for n in 0..31 {
        site.post_by("ada", &format!("Post {n}")).await;
    }
    site.post_by("cy", "One").await;

    let people = site.visitor().get("/users").await;
    let order =
        ["cy", "bob", "ada"].map(|name| people.body.find(&format!("/users/{name}\"")).unwrap());
    assert!(order.is_sorted(), "the newest come first");
    people.has("31 posts").has("1 post<").has("0 posts").lacks("@example.org");

    let ada = site.visitor().get("/users/ada").await;
    ada.has("31 posts").lacks("@example.org");
    let rest = site.visitor().get(&ada.next().unwrap()).await;
    assert_eq!((ada.posts().len(), rest.posts().len(), rest.next()), (30, 1, None));
    site.visitor().get("/users/bob").await.has("has not posted anything");
    for name in ["nobody", "a%00b", "a%2Fb", "%D0%B0da"] {
        assert_eq!(site.visitor().get(&format!("/users/{name}")).await.status, 404, "{name}");
    }
}

#[tokio::test]
async fn a_profile_has_one_canonical_path_in_the_spelling_of_the_name() {
    let site = TestSite::new().await;
    site.member("Ada-L").await;
    let visitor = site.visitor();

    assert_eq!(visitor.get("/users/Ada-L").await.status, 200);
    for (path, place) in [
        ("/users/ada-l", "/users/Ada-L"),
        ("/users/ADA-L?after=x&y", "/users/Ada-L?after=x&y"),
        ("/users/%41da-L", "/users/Ada-L"),
    ] {
        for reply in [visitor.get(path).await, visitor.get_part(path).await] {
            assert_eq!((reply.status.as_u16(), reply.location()), (308, place), "{path}");
        }
    }
}

#[tokio::test]
async fn a_sign_up_instead_of_a_log_in_returns_to_the_same_page_too() {
    let site = TestSite::new().await;
    let ada = site.visitor();

    ada.get("/login?next=/posts/new").await.has("href=\"/signup?next=/posts/new\"");
    let form = ada.get("/signup?next=/posts/new").await;
    form.has("name=\"next\" value=\"/posts/new\"").has("href=\"/login?next=/posts/new\"");
    let fields = [
        ("username", "ada"),
        ("email", "ada@example.org"),
        ("password", ""),
        ("next", "/posts/new"),
    ];
    ada.post("/signup", &fields).await.has("name=\"next\" value=\"/posts/new\"");
    let fields = [fields[0], fields[1], ("password", PASSWORD), fields[3]];
    let reply = ada.post("/signup", &fields).await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/posts/new"));
    assert_eq!(ada.get("/signup?next=/top").await.location(), "/top");

    let bob = site.visitor();
    bob.get("/signup?next=//evil.test").await.has("name=\"next\" value=\"/\"");
    let fields = [
        ("username", "bob"),
        ("email", "b@x.org"),
        ("password", PASSWORD),
        ("next", "//evil.test"),
    ];
    assert_eq!(bob.post("/signup", &fields).await.location(), "/");
}

#[tokio::test]
async fn a_form_with_errors_says_so_in_its_title_and_focuses_the_first() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let stranger = site.visitor();
    let long = "x".repeat(151);
    for (by, path, fields, field) in [
        (&stranger, "/signup", &[("username", ""), ("email", "x")][..], "username"),
        (&stranger, "/signup", &[("username", "bob"), ("email", "x")], "email"),
        (&stranger, "/signup", &[("username", "bob"), ("email", "b@x.org")], "password"),
        (&stranger, "/login", &[("login", "ada"), ("password", "wrong")], "login"),
        (&ada, "/posts", &[("title", &long), ("url", "x")], "title"),
        (&ada, "/posts/preview", &[("title", "x"), ("url", "x"), ("body", "\0")], "url"),
        (&ada, "/posts", &[("title", "x"), ("body", "\0")], "body"),
    ] {
        let page = by.post(path, fields).await;
        page.has("<title>Error: ");
        let begins: Vec<_> =
            page.body.split('<').filter(|tag| tag.contains(" autofocus")).collect();
        assert!(begins[0].contains(&format!("id=\"{field}\"")), "{path} {begins:?}");
    }
    for path in ["/signup", "/login"] {
        stranger.get(path).await.lacks("Error: ");
    }
    stranger.get("/search?q=a").await.has("<title>Error: ").has(" autofocus");
}

#[tokio::test]
async fn no_page_echoes_a_u_0000() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    for (by, path, fields) in [
        (&ada, "/posts", &[("title", "a\0b"), ("url", "a\0b"), ("body", "a\0b")][..]),
        (&ada, "/posts/preview", &[("title", "a\0b"), ("url", "a\0b"), ("body", "a\0b")]),
        (&site.visitor(), "/signup", &[("username", "a\0b"), ("email", "a\0b")]),
        (&site.visitor(), "/login", &[("login", "a\0b"), ("password", "x")]),
    ] {
        let page = by.post(path, fields).await;
        assert!(page.status.is_client_error(), "{path}");
        page.has("value=\"a\u{FFFD}b\"").lacks("\0");
    }
}

#[tokio::test]
async fn pagination_shows_every_person_once() {
    let site = TestSite::new().await;
    sqlx::query("insert into users (username) select 'person' || n from generate_series(1, 120) n")
        .execute(&site.db)
        .await
        .unwrap();
    let visitor = site.visitor();
    let (mut next, mut names) = (Some("/users".to_owned()), Vec::new());
    while let Some(path) = next {
        let (page, part) = (visitor.get(&path).await, visitor.get_part(&path).await);
        let on = |body: &str| -> Vec<String> {
            let rows = body.split("<li class=\"person\"><a href=\"/users/").skip(1);
            rows.map(|rest| rest.split_once('"').unwrap().0.to_owned()).collect()
        };
        assert_eq!(on(&page.body), on(&part.body));
        part.lacks("<!doctype");
        names.extend(on(&page.body));
        next = page.next();
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!((count, names.len()), (120, 120));
}
