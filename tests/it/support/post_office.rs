//! A real mail server on loopback, and the letters that have come to it.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use mailparse::{MailHeaderMap as _, ParsedMail, parse_mail};
use social_post::config::Outgoing;

pub struct PostOffice {
    server: Child,
    address: SocketAddr,
    letters: PathBuf,
}

/// A letter as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// To whom the envelope says it goes.
    pub to: String,
    pub from: String,
    pub subject: String,
    pub text: String,
    pub html: String,
    pub raw: String,
}

impl PostOffice {
    pub async fn open() -> PostOffice {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let letters = super::empty_directory("letters").join("box");
        let program = Path::new(crate::PROJECT).join("target/python/bin/aiosmtpd");
        let server = Command::new(program)
            .args(["-n", "-l", &address.to_string(), "-c", "aiosmtpd.handlers.Mailbox"])
            .arg(&letters)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the tests' mail server is installed by bin/test");
        let office = PostOffice { server, address, letters };
        for _ in 0..300 {
            if TcpStream::connect(address).is_ok() {
                return office;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the mail server does not start");
    }

    /// The setting that leads here.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub fn outgoing(&self) -> Outgoing {
        Outgoing { url: self.url(), from: "Social Post <post@site.test>".parse().unwrap() }
    }

    /// The letters that have come, once there are `count` of them, in no order.
    pub async fn letters(&self, count: usize) -> Vec<Received> {
        for _ in 0..400 {
            let letters = self.arrived();
            if letters.len() >= count {
                assert_eq!(letters.len(), count, "{letters:#?}");
                return letters;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{count} letters never came, only {:#?}", self.arrived());
    }

    pub fn arrived(&self) -> Vec<Received> {
        let files = fs::read_dir(self.letters.join("new")).into_iter().flatten().flatten();
        files.map(|file| Received::read(&fs::read(file.path()).unwrap())).collect()
    }
}

impl Drop for PostOffice {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Received {
    fn read(bytes: &[u8]) -> Received {
        let mail = parse_mail(bytes).unwrap();
        let header = |name: &str| mail.headers.get_first_value(name).unwrap_or_default();
        Received {
            to: header("X-RcptTo"),
            from: header("From"),
            subject: header("Subject"),
            text: part(&mail, "text/plain"),
            html: part(&mail, "text/html"),
            raw: String::from_utf8_lossy(bytes).into_owned(),
        }
    }

    /// The path of the one link in it that leads to `page`.
    #[track_caller]
    pub fn link(&self, page: &str) -> String {
        self.link_of("http://site.test", page)
    }

    /// The same, of a site at another address.
    #[track_caller]
    pub fn link_of(&self, origin: &str, page: &str) -> String {
        let start = format!("{origin}{page}/");
        let (_, rest) =
            self.text.split_once(&start).unwrap_or_else(|| panic!("no link: {self:#?}"));
        let token: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
        assert!(self.html.contains(&format!("href=\"{start}{token}\"")), "{}", self.html);
        format!("{page}/{token}")
    }
}

fn part(mail: &ParsedMail, kind: &str) -> String {
    let part = mail.subparts.iter().find(|part| part.ctype.mimetype == kind);
    part.map(|part| part.get_body().unwrap()).unwrap_or_default()
}
