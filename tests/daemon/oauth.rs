//! Mailboxes with tokens in place of a password: a real Dovecot, which asks the provider of this
//! test whether a token is good.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use super::database::until;
use crate::support::dovecot::Dovecot;
use crate::support::process::{Daemon, http};
use crate::support::smtp::asking;

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(40);

/// What the provider has and has seen.
#[derive(Default)]
struct Provider {
    /// The access token that the mail server takes.
    taken: String,
    /// What the token endpoint answers.
    answer: (u16, String),
    /// Forms that came to the token endpoint.
    forms: Vec<BTreeMap<String, String>>,
    /// Tokens that the mail server asked about and that were right, and wrong.
    logins: (usize, usize),
}

impl Provider {
    fn give(&mut self, form: BTreeMap<String, String>) -> (u16, String) {
        self.forms.push(form);
        self.answer.clone()
    }

    /// Whether a token is good, and whose it is (RFC 7662).
    fn vouch(&mut self, form: &BTreeMap<String, String>) -> String {
        if form["token"] == self.taken {
            self.logins.0 += 1;
            return r#"{"active":true,"username":"help@help.test"}"#.to_owned();
        }
        self.logins.1 += 1;
        r#"{"active":false}"#.to_owned()
    }
}

type Shared = Arc<Mutex<Provider>>;

fn listen(shared: &Shared) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || endpoint(stream, &shared));
        }
    });
    port
}

/// One request at the token endpoint, or one of the mail server about a token.
fn endpoint(stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(&stream);
    let (mut length, mut asks_about_token) = (0, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        asks_about_token |= line.contains("/introspect");
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let form = url::form_urlencoded::parse(&body).into_owned().collect();
    let (status, answer) = match asks_about_token {
        true => (200, shared.lock().unwrap().vouch(&form)),
        false => shared.lock().unwrap().give(form),
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    let _ = (&stream).write_all((head + &answer).as_bytes());
}

fn provider(taken: &str, status: u16, answer: &str) -> (Shared, Dovecot, Daemon) {
    let shared = Shared::default();
    {
        let mut provider = shared.lock().unwrap();
        provider.taken = taken.to_owned();
        provider.answer = (status, answer.to_owned());
    }
    let token = listen(&shared);
    let dovecot = Dovecot::start_with_tokens(token);
    let daemon = Daemon::new("");
    let at = daemon.dir.path().display().to_string();
    fs::write(format!("{at}/client"), "client-secret\n").unwrap();
    fs::write(format!("{at}/refresh"), "refresh-1\n").unwrap();
    daemon.configure(&format!(
        "[[mail.imap]]\nname = \"help\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n\
         user = \"help@help.test\"\npoll = \"1s\"\n\
         [mail.imap.oauth2]\ntoken_url = \"http://127.0.0.1:{token}/token\"\nclient_id = \"id-1\"\n\
         client_secret_file = \"{at}/client\"\nscope = \"mail\"\nrefresh_token_file = \"{at}/refresh\"\n",
        dovecot.imap
    ));
    (shared, dovecot, daemon)
}

fn logins(shared: &Shared) -> (usize, usize) {
    shared.lock().unwrap().logins
}

fn refresh_tokens(shared: &Shared) -> Vec<String> {
    let provider = shared.lock().unwrap();
    let tokens = provider.forms.iter();
    tokens.map(|form| form["refresh_token"].clone()).collect()
}

fn ready(daemon: &Daemon) -> String {
    http(daemon.ops, "GET", "/readyz?verbose", &[], "")
        .unwrap()
        .body
}

fn keeps_secrets(daemon: &Daemon) {
    let log = daemon.log();
    for secret in [
        "access-",
        "refresh-1",
        "refresh-2",
        "refresh-3",
        "client-secret",
    ] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}

#[test]
fn tokens_are_kept_over_a_restart_and_renewed_when_they_are_not_taken() {
    let first = r#"{"access_token":"access-1","expires_in":3600,"refresh_token":"refresh-2"}"#;
    let (shared, dovecot, mut daemon) = provider("access-1", 200, first);
    let message = asking("ada@cust.test", "+442079460000");
    dovecot.deliver("help@help.test", "1", &message);
    daemon.start();
    until(PATIENCE, "it is logged in", || logins(&shared) == (1, 0));
    {
        let provider = shared.lock().unwrap();
        let form = &provider.forms[0];
        let sent =
            ["grant_type", "client_id", "client_secret", "scope"].map(|key| form[key].as_str());
        assert_eq!(sent, ["refresh_token", "id-1", "client-secret", "mail"]);
    }
    let kept = "select access_token, refresh_token from mailbox_token";
    assert_eq!(daemon.rows(kept), [["access-1", "refresh-2"]]);
    until(PATIENCE, "its mail is fetched and moved", || {
        dovecot.count("help@help.test", "Processed") == 1
    });
    keeps_secrets(&daemon);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());

    // The token is good still: nobody is asked for another.
    daemon.start();
    until(PATIENCE, "it is logged in", || logins(&shared) == (2, 0));
    assert_eq!(refresh_tokens(&shared), ["refresh-1"]);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());

    // The provider ends it early: the next is got with the refresh token that came last.
    {
        let mut provider = shared.lock().unwrap();
        provider.taken = "access-2".to_owned();
        let next = r#"{"access_token":"access-2","expires_in":3600,"refresh_token":"refresh-3"}"#;
        provider.answer = (200, next.to_owned());
    }
    daemon.start();
    until(PATIENCE, "it is logged in", || logins(&shared) == (3, 1));
    assert_eq!(refresh_tokens(&shared), ["refresh-1", "refresh-2"]);
    assert_eq!(daemon.rows(kept), [["access-2", "refresh-3"]]);
    keeps_secrets(&daemon);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

#[test]
fn without_consent_nothing_is_tried_until_a_new_token_is_given() {
    let (shared, _dovecot, mut daemon) = provider("access-1", 400, r#"{"error":"invalid_grant"}"#);
    daemon.start();
    until(PATIENCE, "it is told", || {
        let ready = ready(&daemon);
        ready.contains("imap:help") && ready.contains("invalid_grant")
    });
    sleep(Duration::from_secs(20));
    assert_eq!(refresh_tokens(&shared), ["refresh-1"], "it was asked again");
    let alarms = daemon.log().matches("not looked at any more").count();
    assert_eq!(alarms, 1, "{}", daemon.log());
    keeps_secrets(&daemon);

    let granted = r#"{"access_token":"access-1","expires_in":3600}"#;
    shared.lock().unwrap().answer = (200, granted.to_owned());
    fs::write(daemon.dir.path().join("refresh"), "refresh-2\n").unwrap();
    until(PATIENCE, "it is logged in", || logins(&shared) == (1, 0));
    until(PATIENCE, "it is well", || {
        !ready(&daemon).contains("invalid_grant")
    });
    assert_eq!(refresh_tokens(&shared), ["refresh-1", "refresh-2"]);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

#[test]
fn an_endpoint_that_is_out_of_order_is_asked_again() {
    let (shared, _dovecot, mut daemon) = provider("access-1", 503, "<html>later</html>");
    daemon.start();
    until(PATIENCE, "it is told", || {
        ready(&daemon).contains("status 503")
    });
    let granted = r#"{"access_token":"access-1"}"#;
    shared.lock().unwrap().answer = (200, granted.to_owned());
    until(PATIENCE, "it is logged in", || logins(&shared) == (1, 0));
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}
