//! The database server dies and comes back: nobody hears a yes that does not hold, and the
//! daemon goes on by itself.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::phone::{refusing_trunk, trunk_config};
use crate::support::process::{Daemon, free_port, http};
use crate::support::sipp::invites;
use crate::support::smtp::{asking, deliver};

/// The daemon works again so long after its database answers, at the latest.
const BACK: Duration = Duration::from_secs(10);

/// A PostgreSQL of its own on a port that stays the same.
pub(super) struct Database {
    dir: PathBuf,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Database {
    pub(super) fn start() -> Database {
        let folder = tempfile::tempdir().unwrap();
        // The server runs as another user when the tests run as root.
        Command::new("chmod")
            .arg("755")
            .arg(folder.path())
            .status()
            .unwrap();
        let database = Database {
            dir: folder.path().join("db"),
            port: free_port(),
            _folder: folder,
        };
        database.go_on();
        database
    }

    fn script(&self, what: &str) -> String {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/postgres");
        let out = Command::new(file)
            .arg(what)
            .arg(&self.dir)
            .arg(self.port.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{what}: {said}");
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// Starts it, again after a crash with what was committed; its URL.
    fn go_on(&self) -> String {
        self.script("start")
    }

    /// It is gone at once: no checkpoint, no word to its clients.
    fn crash(&self) {
        self.script("stop");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/postgres");
        // It may be down already.
        let _ = Command::new(file).arg("stop").arg(&self.dir).output();
    }
}

/// A daemon on `database`.
pub(super) fn daemon_on(database: &Database, config: &str) -> Daemon {
    let daemon = Daemon::new(config);
    let url = daemon.dir.path().join("db-url");
    let port = database.port;
    fs::write(
        &url,
        format!("postgres://helpline@127.0.0.1:{port}/postgres"),
    )
    .unwrap();
    let text = fs::read_to_string(daemon.config_path()).unwrap();
    let text = text.replace(
        "[store]\n",
        &format!("[store]\npostgres_url_file = \"{}\"\n", url.display()),
    );
    fs::write(daemon.config_path(), text).unwrap();
    daemon
}

/// Repeats `try_it` until it is true; how long that took.
pub(super) fn until(limit: Duration, what: &str, mut try_it: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !try_it() {
        assert!(begun.elapsed() < limit, "{what} not within {limit:?}");
        sleep(Duration::from_millis(100));
    }
    begun.elapsed()
}

#[test]
fn while_the_database_is_gone_nothing_is_promised_and_afterwards_everything_is_kept() {
    let database = Database::start();
    let trunk_port = free_port();
    let mut daemon = daemon_on(&database, &trunk_config(trunk_port, "", ""));
    let messages = daemon.dir.path().join("messages");
    let _sipp = refusing_trunk(trunk_port, "486 Busy Here", &messages);
    daemon.start();
    let number = |n: u32| format!("+4420794608{n:02}");
    let ask = |n: u32| daemon.post_json(&format!("{{\"phone\":\"{}\"}}", number(n)), &[]);
    let mail = |n: u32| {
        let from = format!("c{n}@cust.test");
        deliver(daemon.smtp, &from, &asking(&from, &number(n))).unwrap()
    };
    let called = || invites(&messages);

    let mut pages = Vec::new();
    for n in 0..4 {
        let answer = ask(n).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.body);
        let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let page = json["status_url"].as_str().unwrap();
        pages.push(page[page.find("/s/").unwrap()..].to_owned());
    }
    assert!(mail(4).starts_with("250"));
    // Nothing is under way when the database dies: a call whose outcome is unknown waits
    // out its interval, on purpose, and would hold the one channel meanwhile.
    until(Duration::from_secs(20), "five calls refused", || {
        let metrics = http(daemon.ops, "GET", "/metrics", &[], "").unwrap();
        metrics
            .body
            .contains("helpline_attempts_total{disposition=\"busy\"} 5")
    });
    database.crash();

    gone(&daemon, &ask, &mail);

    database.go_on();
    let took = until(BACK, "ready", || {
        http(daemon.ops, "GET", "/readyz", &[], "").is_ok_and(|a| a.status == 200)
    });
    println!("ready {took:?} after the database answered");
    let after = ask(7).unwrap();
    assert_eq!(after.status, 201, "{}", after.body);
    assert!(mail(8).starts_with("250"));
    for page in pages {
        let page = http(daemon.http, "GET", &format!("{page}/status"), &[], "").unwrap();
        assert!(page.body.contains("backoff"), "{}", page.body);
    }
    let took = until(Duration::from_secs(15), "the new ones called", || {
        let called = called();
        [7, 8].iter().all(|n| called.contains_key(&number(*n)))
    });
    println!("the new ones called {took:?} later");
    for (number, calls) in called() {
        assert_eq!(calls.len(), 1, "{number} was called by {calls:?}");
    }
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

/// What the daemon says while its database is gone.
fn gone(
    daemon: &Daemon,
    ask: &impl Fn(u32) -> std::io::Result<crate::support::process::Answer>,
    mail: &impl Fn(u32) -> String,
) {
    let refused = ask(5).unwrap();
    assert_eq!(refused.status, 503, "{}", refused.body);
    let head = refused.head.to_ascii_lowercase();
    assert!(head.contains("\r\nretry-after: "), "{head}");
    let said = mail(6);
    assert!(said.starts_with("451"), "{said}");
    let ready = http(daemon.ops, "GET", "/readyz", &[], "").unwrap();
    assert_eq!(ready.status, 503, "{}", ready.body);
    assert!(ready.body.contains("db"), "{}", ready.body);
    let alive = http(daemon.ops, "GET", "/healthz", &[], "").unwrap();
    assert_eq!(alive.status, 200);
}
