//! Mail against the real receiver, desk and store: raw sockets for what clients must not do,
//! swaks for what they do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use helpline::clock::Clock;
use helpline::config::{Config, Queue};
use helpline::desk::{Desk, SpooledMail};
use helpline::intake::{mail, smtp};
use helpline::store::Store;
use helpline_core::phone::DialRules;
use helpline_core::request::email::{Keys, Reading};
use rusqlite::{Connection, OpenFlags};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// A receiver on loopback with its workers and store.
struct Post {
    address: SocketAddr,
    desk: Arc<Desk>,
    receiver: Arc<smtp::Receiver>,
    rows: Connection,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Drop for Post {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn post(change: impl FnOnce(&mut Config)) -> Post {
    post_with(change, mail::read_mail).await
}

async fn post_with(change: impl FnOnce(&mut Config), reader: mail::Reader) -> Post {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config {
        queue: vec![Queue::default()],
        ..Config::default()
    };
    config.dial.allow = vec!["DE".into()];
    config.dial.region = Some("DE".into());
    config.smtp.addresses = vec!["help@help.test".into()];
    change(&mut config);
    let config = Arc::new(config);
    let clock = Clock::system();
    let store = Store::open_sqlite(folder.path(), &clock).await.unwrap();
    let desk = Desk::new(
        store,
        Arc::clone(&config),
        BTreeMap::new(),
        clock.clone(),
        1,
    );
    desk.start().await.unwrap();
    let desk = Arc::new(desk);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let protocol = smtp::Protocol::Smtp;
    let receiver =
        smtp::Receiver::new(&config.smtp, protocol, Arc::clone(&desk), clock, None).unwrap();
    let serving = tokio::spawn(Arc::clone(&receiver).serve(listener, stop.clone()));
    tokio::spawn(mail::work_with(
        Arc::clone(&desk),
        config,
        None,
        stop.clone(),
        reader,
    ));
    let file = database(folder.path());
    let rows = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    Post {
        address,
        desk,
        receiver,
        rows,
        stop,
        serving: Some(serving),
        _folder: folder,
    }
}

fn database(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path());
    files
        .find(|path| path.extension().is_some_and(|e| e == "db" || e == "sqlite"))
        .expect("a database file")
}

impl Post {
    /// (id, kind, reason) of all messages whose work is done, once `count` are.
    async fn filed(&self, count: usize) -> Vec<(String, String, Option<String>)> {
        let wait = async {
            loop {
                let filed = self.all(
                    "select id, kind, reason from mail_in where state in ('done', 'quarantined') order by created_at, id",
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                );
                if filed.len() >= count {
                    return filed;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("the mail was not filed in time")
    }

    fn all<T>(&self, text: &str, read: fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
        let mut statement = self.rows.prepare(text).unwrap();
        let rows = statement.query_map([], read).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn count(&self, table: &str) -> i64 {
        self.all(&format!("select count(*) from {table}"), |row| row.get(0))[0]
    }

    fn spooled_ids(&self) -> BTreeSet<String> {
        let ids = self.all("select id from mail_in", |row| row.get(0));
        ids.into_iter().collect()
    }

    async fn connect(&self) -> Peer {
        Peer {
            stream: BufReader::new(TcpStream::connect(self.address).await.unwrap()),
        }
    }

    async fn swaks(&self, arguments: &[&str]) -> (bool, String) {
        let mut swaks = tokio::process::Command::new("swaks");
        swaks.args([
            "--server",
            "127.0.0.1",
            "--port",
            &self.address.port().to_string(),
            "--timeout",
            "20",
        ]);
        let output = swaks
            .args(arguments)
            .kill_on_drop(true)
            .output()
            .await
            .expect("swaks is installed");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }
}

/// A client that says exactly what it is told.
struct Peer {
    stream: BufReader<TcpStream>,
}

impl Peer {
    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// One whole reply: its last line.
    async fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = tokio::time::timeout(PATIENCE, self.stream.read_line(&mut line))
                .await
                .expect("silence");
            if read.unwrap() == 0 || line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }

    async fn expect(&mut self, start: &str) -> String {
        let line = self.hear().await;
        assert!(line.starts_with(start), "{line:?}, not {start}");
        line
    }

    /// Up to the point where the message itself is due.
    async fn begin(&mut self) {
        self.expect("220 ").await;
        self.say(
            "EHLO c.test\r\nMAIL FROM:<ada@cust.test>\r\nRCPT TO:<help@help.test>\r\nDATA\r\n",
        )
        .await;
        for start in ["250 ", "250 2.1.0", "250 2.1.5", "354 "] {
            self.expect(start).await;
        }
    }

    /// Everything until the connection closes.
    async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut all)).await;
        read.expect("the connection stays open").unwrap();
        String::from_utf8(all).unwrap()
    }
}

fn message(number: &str, id: &str) -> String {
    format!(
        "From: Ada <ada@cust.test>\r\nTo: help@help.test\r\nSubject: Coupon\r\nMessage-ID: <{id}@cust.test>\r\n\r\n\
         Please call me on {number}\r\n"
    )
}

#[tokio::test]
async fn a_mail_becomes_a_request_with_an_acknowledgement() {
    let post = post(|_| ()).await;
    let mut peer = post.connect().await;
    peer.begin().await;
    peer.say(format!("{}.\r\n", message("030 901820", "1")))
        .await;
    let reply = peer.expect("250 2.0.0 queued as ").await;
    let id = reply.rsplit(' ').next().unwrap().to_owned();
    // Promised is stored, before any work.
    assert!(post.spooled_ids().contains(&id));
    peer.say("QUIT\r\n").await;
    assert!(peer.rest().await.starts_with("221 2.0.0"));
    let filed = post.filed(1).await;
    assert_eq!(filed[0], (id, "request".into(), None));
    let got: Vec<[String; 3]> = post.all("select number, channel, email from request", |row| {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?])
    });
    assert_eq!(got, [["+4930901820", "smtp", "ada@cust.test"]]);
    assert_eq!(post.count("outbox"), 1);
    assert_eq!(post.desk.snapshot().await.unwrap().counts.spool, 0);
}

#[tokio::test]
async fn the_same_mail_again_is_a_duplicate() {
    let post = post(|_| ()).await;
    for _ in 0..2 {
        let mut peer = post.connect().await;
        peer.begin().await;
        peer.say(format!("{}.\r\n", message("030 901820", "1")))
            .await;
        peer.expect("250 2.0.0").await;
    }
    let mut kinds: Vec<String> = post.filed(2).await.into_iter().map(|f| f.1).collect();
    kinds.sort();
    assert_eq!(kinds, ["duplicate", "request"]);
    assert_eq!(post.count("request"), 1);
}

#[tokio::test]
async fn machines_and_empty_mails_make_no_request() {
    let post = post(|_| ()).await;
    for text in [
        "Auto-Submitted: auto-replied\r\nFrom: a@x.test\r\nTo: help@help.test\r\n\r\ncall 030 901820\r\n",
        "From: a@x.test\r\nTo: help@help.test\r\n\r\nplease help\r\n",
        "",
        "no headers at all\r\n",
    ] {
        let mut peer = post.connect().await;
        peer.begin().await;
        peer.say(format!("{text}.\r\n")).await;
        peer.expect("250 2.0.0").await;
    }
    let filed: Vec<_> = post
        .filed(4)
        .await
        .into_iter()
        .map(|f| (f.1, f.2.unwrap_or_default()))
        .collect();
    assert!(
        filed.contains(&("machine".into(), "auto_submitted".into())),
        "{filed:?}"
    );
    assert!(
        filed.contains(&("needs_info".into(), "no_phone".into())),
        "{filed:?}"
    );
    assert!(
        filed.contains(&("quarantine".into(), "no_headers".into())),
        "{filed:?}"
    );
    assert_eq!(post.count("request"), 0);
}

static POISON_READS: AtomicU32 = AtomicU32::new(0);

/// Breaks on one message, as a fault in the reader would.
fn broken_reader(
    mail: &SpooledMail,
    config: &Config,
    dial: &DialRules,
    keys: &Keys,
) -> (String, Reading) {
    if mail.raw.starts_with(b"X-Poison") {
        POISON_READS.fetch_add(1, Ordering::SeqCst);
        panic!("poison");
    }
    mail::read_mail(mail, config, dial, keys)
}

#[tokio::test]
async fn a_poisoned_message_is_set_aside_and_others_are_read() {
    let post = post_with(|_| (), broken_reader).await;
    for text in [
        "X-Poison: 1\r\nFrom: a@cust.test\r\n\r\n".to_owned(),
        message("030 901820", "1"),
    ] {
        let mut peer = post.connect().await;
        peer.begin().await;
        peer.say(format!("{text}.\r\n")).await;
        peer.expect("250 2.0.0").await;
    }
    let filed: Vec<_> = post
        .filed(2)
        .await
        .into_iter()
        .map(|f| (f.1, f.2))
        .collect();
    assert!(
        filed.contains(&("quarantine".into(), Some("panic".into()))),
        "{filed:?}"
    );
    assert!(filed.contains(&("request".into(), None)), "{filed:?}");
    assert_eq!(POISON_READS.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn mail_to_the_postmaster_is_no_request() {
    let post = post(|_| ()).await;
    let mut peer = post.connect().await;
    peer.expect("220 ").await;
    peer.say("HELO c.test\r\nMAIL FROM:<ada@cust.test>\r\nRCPT TO:<postmaster>\r\nDATA\r\n")
        .await;
    for start in ["250 ", "250 2.1.0", "250 2.1.5", "354 "] {
        peer.expect(start).await;
    }
    peer.say(format!("{}.\r\n", message("030 901820", "1")))
        .await;
    peer.expect("250 2.0.0").await;
    let filed = post.filed(1).await;
    assert_eq!(
        (filed[0].1.as_str(), filed[0].2.as_deref()),
        ("machine", Some("postmaster"))
    );
}

#[tokio::test]
async fn no_ending_but_the_true_one_lets_a_second_message_in() {
    let post = post(|_| ()).await;
    for ending in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r\n.\r",
        "\r\n.\r\r\n",
        "\r.\r\n",
        "\n.\r\r\n",
        "\r\n\0.\r\n",
    ] {
        let mut peer = post.connect().await;
        peer.begin().await;
        let second = "MAIL FROM:<evil@x.test>\r\nRCPT TO:<help@help.test>\r\nDATA\r\nevil\r\n.\r\n";
        peer.say(format!("body{ending}{second}")).await;
        assert_eq!(peer.hear().await.get(..9), Some("550 5.5.2"), "{ending:?}");
        assert_eq!(peer.rest().await, "", "{ending:?}");
    }
    assert!(post.spooled_ids().is_empty());
}

#[tokio::test]
async fn nothing_is_relayed() {
    let post = post(|_| ()).await;
    for rcpt in [
        "victim@elsewhere.test",
        "victim%elsewhere.test@help.test",
        "elsewhere.test!victim@help.test",
        "@help.test:victim@elsewhere.test",
        "\"victim@elsewhere.test\"@help.test",
        "help@[127.0.0.1]",
        "help@localhost",
    ] {
        let (sent, text) = post.swaks(&["--from", "a@c.test", "--to", rcpt]).await;
        assert!(!sent, "{rcpt}: {text}");
        assert!(text.contains("<** 5"), "{rcpt}: {text}");
    }
    assert!(post.spooled_ids().is_empty());
}

#[tokio::test]
async fn swaks_delivers_plain_and_pipelined() {
    let post = post(|_| ()).await;
    let body = "Please call me tomorrow after 3pm on 030 901820";
    for extra in [&[][..], &["--pipeline"][..], &["--protocol", "SMTP"][..]] {
        let mut arguments = vec![
            "--from",
            "a@c.test",
            "--to",
            "help@help.test",
            "--body",
            body,
        ];
        arguments.extend(extra);
        let (sent, text) = post.swaks(&arguments).await;
        assert!(sent, "{text}");
    }
    let kinds: Vec<String> = post.filed(3).await.into_iter().map(|f| f.1).collect();
    assert!(
        kinds
            .iter()
            .all(|kind| kind == "request" || kind == "duplicate"),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_and_not_stored() {
    let post = post(|config| config.smtp.message_bytes_max = 20_000).await;
    let mut peer = post.connect().await;
    peer.begin().await;
    peer.say(format!("{}\r\n.\r\n", "x".repeat(1_000))).await;
    peer.expect("250 2.0.0").await;
    peer.say("MAIL FROM:<a@c.test> SIZE=20001\r\n").await;
    peer.expect("552 5.3.4").await;
    peer.say("MAIL FROM:<a@c.test>\r\nRCPT TO:<help@help.test>\r\nDATA\r\n")
        .await;
    for start in ["250 2.1.0", "250 2.1.5", "354 "] {
        peer.expect(start).await;
    }
    peer.say(format!("{}.\r\n", "0123456789abcdef\r\n".repeat(1_500)))
        .await;
    peer.expect("552 5.3.4").await;
    assert_eq!(post.spooled_ids().len(), 1);
}

#[tokio::test]
async fn a_socket_that_dies_in_a_message_leaves_nothing() {
    let post = post(|_| ()).await;
    for _ in 0..20 {
        let mut peer = post.connect().await;
        peer.begin().await;
        peer.say(message("030 901820", "1")).await;
        drop(peer);
    }
    let closed = async {
        while post.receiver.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, closed)
        .await
        .expect("connections stay counted");
    assert!(post.spooled_ids().is_empty());
}

#[tokio::test]
async fn hundred_connections_at_once_lose_nothing_and_the_next_is_told_to_come_again() {
    let post = post(|config| config.smtp.connections_per_address_max = 100).await;
    let mut peers = Vec::new();
    for _ in 0..100 {
        let mut peer = post.connect().await;
        peer.begin().await;
        peers.push(peer);
    }
    post.connect().await.expect("421 4.3.2").await;
    let mut promised = BTreeSet::new();
    for (at, peer) in peers.iter_mut().enumerate() {
        peer.say(format!(
            "{}.\r\n",
            message(&format!("030 9018{at:02}0"), &at.to_string())
        ))
        .await;
    }
    for peer in &mut peers {
        let reply = peer.expect("250 2.0.0 queued as ").await;
        promised.insert(reply.rsplit(' ').next().unwrap().to_owned());
    }
    assert_eq!(promised.len(), 100);
    assert!(promised.is_subset(&post.spooled_ids()));
    post.filed(100).await;
}

#[tokio::test]
async fn one_address_has_its_own_limit() {
    let post = post(|config| config.smtp.connections_per_address_max = 2).await;
    let mut first = post.connect().await;
    first.expect("220 ").await;
    let mut second = post.connect().await;
    second.expect("220 ").await;
    post.connect().await.expect("421 4.3.2").await;
    first.say("QUIT\r\n").await;
    first.rest().await;
    drop(first);
    let freed = async {
        while post.receiver.connections() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.unwrap();
    post.connect().await.expect("220 ").await;
}

#[tokio::test]
async fn stopping_finishes_the_message_and_then_says_so() {
    let mut post = post(|_| ()).await;
    let mut sending = post.connect().await;
    sending.begin().await;
    let mut idle = post.connect().await;
    idle.expect("220 ").await;
    post.stop.cancel();
    idle.expect("421 4.3.2").await;
    sending
        .say(format!("{}.\r\n", message("030 901820", "1")))
        .await;
    sending.expect("250 2.0.0").await;
    sending.expect("421 4.3.2").await;
    drop((sending, idle));
    let serving = post.serving.take().unwrap();
    tokio::time::timeout(PATIENCE, serving)
        .await
        .expect("the receiver does not stop")
        .unwrap();
    assert_eq!(post.spooled_ids().len(), 1);
    assert!(TcpStream::connect(post.address).await.is_err());
}
