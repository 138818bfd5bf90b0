//! Each account action leaves the same line in the log, whichever face is used.

use serde_json::{Value, json};
use social_post::users::secret::Secret;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    program::{Program, get, post},
    secrets::entries,
    support::{API, JWT_SECRET, PASSWORD, Reply, database},
};

const BETTER: &str = "marble otter 7 lantern";
const BEST: &str = "silver bramble 3 canyon";

/// One user, who acts through one face.
struct Client<'a> {
    is_program: bool,
    name: &'static str,
    db: &'a PgPool,
    cookie: String,
    token: String,
    /// The id of each request, with the line that is expected in the log.
    sent: Vec<(String, &'static str)>,
}

impl Client<'_> {
    fn email(&self) -> String {
        format!("{}@example.org", self.name)
    }

    /// Sends the request of this client's face.
    async fn send(
        &mut self,
        to: &Program,
        line: &'static str,
        page: (&str, &[(&str, &str)]),
        api: (&str, &str, Value),
    ) {
        let request = if self.is_program {
            call(api.0, api.1, &self.token, &api.2)
        } else if page.0 == "/settings/export" {
            get(page.0, &self.cookie)
        } else {
            post(page.0, &self.cookie, page.1)
        };
        let reply = to.ask(&request).await;
        let is_refused = line == "password refused";
        let is_expected =
            if is_refused { reply.status == 422 } else { reply.status.as_u16() < 400 };
        assert!(is_expected, "{request}: {} {}", reply.status, reply.body);
        self.note(&reply, line);
    }

    /// Keeps the session cookie and the id of the request.
    fn note(&mut self, reply: &Reply, line: &'static str) {
        if let Some(set) = reply.cookies().iter().find(|cookie| cookie.starts_with("sid=")) {
            set.split(';').next().unwrap().clone_into(&mut self.cookie);
        }
        self.sent.push((reply.header("x-request-id").to_owned(), line));
    }

    async fn log_in(&mut self, to: &Program, password: &str) {
        let fields = [("login", self.name), ("password", password)];
        let reply = to.ask(post("/login", "", &fields)).await;
        self.note(&reply, "logged in");
        if self.is_program {
            let fields = [("username", self.name), ("password", password)];
            let reply = to.ask(post(&format!("{API}/login"), "", &fields)).await;
            reply.member("access_token").as_str().unwrap().clone_into(&mut self.token);
            self.note(&reply, "issued a token");
        }
    }

    /// Makes a link as one that was sent by e-mail, and returns its token.
    async fn link(&self, purpose: &str) -> String {
        let secret = Secret::new();
        let email = (purpose == "email").then(|| self.email());
        sqlx::query(
            "insert into mailed_links (user_id, purpose, key, email, email_key) \
             select id, $2, $3, $4, $4 from users where username = $1",
        )
        .bind(self.name)
        .bind(purpose)
        .bind(secret.key())
        .bind(email)
        .execute(self.db)
        .await
        .unwrap();
        secret.reveal().to_owned()
    }

    /// The handle of the user's oldest session.
    async fn oldest_session(&self) -> String {
        let sql = "select handle from user_sessions us join users u on u.id = us.user_id \
                   where u.username = $1 order by us.created_at limit 1";
        let handle: Uuid =
            sqlx::query_scalar(sql).bind(self.name).fetch_one(self.db).await.unwrap();
        handle.to_string()
    }
}

fn call(method: &str, path: &str, token: &str, document: &Value) -> String {
    let head = format!("{method} {API}{path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n");
    let token = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    };
    if document.is_null() {
        return format!("{head}{token}\r\n");
    }
    let document = document.to_string();
    let length = document.len();
    format!(
        "{head}{token}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{document}"
    )
}

/// Goes through every action: `silent` sends no e-mail, `mailing` does.
async fn act(client: &mut Client<'_>, silent: &Program, mailing: &Program) {
    let (name, email) = (client.name, client.email());
    let account = [("username", name), ("email", &*email), ("password", PASSWORD)];
    let document = json!({ "username": name, "email": email, "password": PASSWORD });
    client.send(silent, "signed up", ("/signup", &account), ("POST", "/users", document)).await;

    let token = client.link("email").await;
    let page = format!("/email/confirm/{token}");
    let api = ("POST", "/email/confirm", json!({ "token": token }));
    client.send(silent, "confirmed an e-mail address", (&page, &[]), api).await;

    let token = client.link("password").await;
    let page = format!("/password/reset/{token}");
    let api = ("POST", "/password/reset", json!({ "token": token, "new_password": BETTER }));
    let fields = [("new_password", BETTER)];
    client.send(silent, "reset a password by a link", (&page, &fields), api).await;

    let page = ("/password/forgot", &[("email", &*email)][..]);
    let api = ("POST", "/password/forgot", json!({ "email": email }));
    client.send(mailing, "asked for a link to a new password", page, api).await;

    client.log_in(silent, BETTER).await;
    let page = ("/settings/password", &[("current_password", BETTER), ("new_password", BEST)][..]);
    let document = json!({ "current_password": BETTER, "new_password": BEST });
    let api = ("PUT", "/users/me/password", document);
    client.send(silent, "changed the password", page, api).await;

    client.log_in(silent, BEST).await;
    let new = format!("countess-{email}");
    let page = ("/settings/email", &[("current_password", BEST), ("email", &*new)][..]);
    let document = json!({ "current_password": BEST, "email": new });
    for (to, line) in
        [(silent, "changed the e-mail address"), (mailing, "asked to change the e-mail address")]
    {
        client.send(to, line, page, ("PUT", "/users/me/email", document.clone())).await;
    }

    client.log_in(silent, BEST).await;
    client.log_in(silent, BEST).await;
    let handle = client.oldest_session().await;
    let api = format!("/users/me/sessions/{handle}");
    let page = ("/settings/sessions/revoke", &[("session", &*handle)][..]);
    client.send(silent, "ended a session", page, ("DELETE", &api, Value::Null)).await;
    let page = ("/settings/sessions/revoke", &[("others", "true")][..]);
    let api = ("DELETE", "/users/me/sessions", Value::Null);
    client.send(silent, "ended all other sessions and all tokens", page, api).await;

    client.log_in(silent, BEST).await;
    let page = ("/settings/export", &[][..]);
    let api = ("GET", "/users/me/export", Value::Null);
    client.send(silent, "exported the account's data", page, api).await;
    let (page, api) = (("/logout", &[][..]), ("DELETE", "/users/me/tokens", Value::Null));
    let line = if client.is_program { "ended all tokens" } else { "logged out" };
    client.send(silent, line, page, api).await;

    client.log_in(silent, BEST).await;
    for (password, line) in [("wrong", "password refused"), (BEST, "deleted the account")] {
        let page = ("/settings/delete-account", &[("current_password", password)][..]);
        let api = ("POST", "/users/me/deletion", json!({ "current_password": password }));
        client.send(silent, line, page, api).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_account_action_leaves_one_log_line_without_personal_data_whichever_face_is_used() {
    let database = database().await;
    let settings =
        [("LISTEN_ADDR", "127.0.0.1:0"), ("LOG_FORMAT", "json"), ("JWT_SECRET", JWT_SECRET)];
    // Nothing listens there: an e-mail that cannot be sent changes no response.
    let mail = [("SMTP_URL", "smtp://127.0.0.1:1"), ("MAIL_FROM", "post@site.test")];
    let mut silent = Program::start_with(&database.url, &settings).await;
    let mailing = [&settings[..], &mail].concat();
    let mut mailing = Program::start_with(&database.url, &mailing).await;

    // Names that no request id can contain, which is hexadecimal.
    let mut clients = [("zoltan", false), ("wolfgang", true)].map(|(name, is_program)| Client {
        is_program,
        name,
        db: &database.pool,
        cookie: String::new(),
        token: String::new(),
        sent: Vec::new(),
    });
    for client in &mut clients {
        act(client, &silent, &mailing).await;
    }

    let entries = [entries(&mut silent).await, entries(&mut mailing).await].concat();
    for client in &clients {
        assert!(client.sent.len() > 15);
        for (id, line) in &client.sent {
            let own: Vec<_> = entries.iter().filter(|entry| entry["span"]["id"] == **id).collect();
            let lines: Vec<_> = own.iter().map(|entry| &entry["message"]).collect();
            assert_eq!(lines, [*line, "request completed"], "{}: {own:#?}", client.name);
        }
        for personal in [client.name, "example.org", PASSWORD, BETTER, BEST] {
            let found = entries.iter().find(|entry| entry.to_string().contains(personal));
            assert!(found.is_none(), "{personal}: {found:#?}");
        }
    }
}
