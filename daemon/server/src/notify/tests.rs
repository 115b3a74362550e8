//! The loop over a store, with a folder, and with a relay that speaks SMTP.

use helpline_core::queue::ewt::Promise;
use helpline_core::request::email::Keys;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Config, Relay, RelayTls};
use crate::store::outbox::{MailBody, insert};
use crate::store::{NewOutbox, look};

const NOW: Wall = Wall::from_millis(1_795_440_000_000); // 2026-11-23T13:20:00Z

/// A store in a folder of its own, at `NOW`.
struct Post {
    store: Store,
    _folder: tempfile::TempDir,
}

async fn post() -> Post {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::following_tokio(NOW);
    Post {
        store: Store::open_sqlite(folder.path(), &clock).await.unwrap(),
        _folder: folder,
    }
}

impl Post {
    /// Writes a row as the desk does.
    async fn put(&self, row: OutboxRow) {
        let kind: &'static str = match row.kind.as_str() {
            "ack" => "ack",
            "closing" => "closing",
            _ => "no_such_kind",
        };
        let mail = NewOutbox {
            about: row.id.clone(),
            id: row.id,
            kind,
            seq: 0,
            body: row.body,
            locale: row.locale,
            to_addr: row.to_addr,
            message_id: row.message_id,
            stale_at: None,
        };
        let written = self.store.write(move |tx| {
            let mail = mail.clone();
            Box::pin(async move { insert(tx, &mail).await })
        });
        written.await.unwrap();
        self.store.outbox_wake().notify_one();
    }

    /// State and last error of every row, by id.
    async fn marks(&self) -> Vec<(String, String)> {
        let rows = look::rows::<2>(
            &self.store,
            "select state, coalesce(last_error, '') from outbox order by id",
        );
        let rows = rows.await;
        rows.into_iter()
            .map(|[state, error]| (state, error))
            .collect()
    }

    /// The bytes kept for further tries, by id.
    async fn kept(&self) -> Vec<Option<Vec<u8>>> {
        look::bytes(&self.store, "select rendered from outbox order by id").await
    }
}

fn row(id: &str) -> OutboxRow {
    OutboxRow {
        id: id.into(),
        about: "r1".into(),
        kind: "ack".into(),
        body: MailBody {
            request_tag: Some("7KQ2-9F4M".into()),
            number_masked: Some("+49 … 67".into()),
            customer_name: Some("Ada".into()),
            position: Some(3),
            promise: Some(Promise::booked(
                NOW + Duration::from_secs(3600),
                "Europe/Berlin",
            )),
            made_at: Some(NOW),
            token: Some("tok-en".into()),
            ..MailBody::default()
        },
        locale: "de".into(),
        to_addr: "ada@example.org".into(),
        message_id: "r1.ack.abc@help.example".into(),
        rendered: None,
        attempts: 1,
        epoch: 1,
        is_unreachable: false,
    }
}

fn config(folder: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.site.name = "Söhne & Co\r\nBcc: evil@example.org\0".into();
    config.smtp.addresses = vec!["help@help.example".into()];
    config.mail.directory = Some(folder.to_owned());
    config
}

fn notifier(config: &Config, post: &Post) -> Arc<Notifier> {
    let keys = Arc::new(Keys::new(post.store.mail_key(), None));
    let letterhead = Letterhead::new(config, "http://help.example/", keys).unwrap();
    let mailer = Mailer::open(config).unwrap();
    let templates = Templates::load(None).unwrap();
    let clock = Clock::following_tokio(NOW);
    let services = Arc::new(Services::new(config, clock.clone()).unwrap());
    let recordings = config.recordings();
    let ways = (mailer, services);
    Notifier::new(
        post.store.clone(),
        templates,
        letterhead,
        ways,
        recordings,
        clock,
        7,
    )
}

/// Headers, unfolded.
fn headers(mail: &[u8]) -> Vec<String> {
    let text = String::from_utf8(mail.to_vec()).unwrap();
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    head.split("\r\n").map(str::to_owned).collect()
}

#[tokio::test]
async fn acknowledgement_is_a_whole_mail_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let post = post().await;
    let mut answered = row("../id-1.ack.1");
    answered.body.in_reply_to = Some("q@mail.example".into());
    answered.body.references = vec![
        "p@mail.example".into(),
        "bad id\r\nBcc: x@y".into(),
        "<x@y>".into(),
    ];
    post.put(answered).await;
    let notifier = notifier(&config(folder.path()), &post);
    notifier.flush().await.unwrap();
    assert_eq!(post.marks().await, [("sent".into(), String::new())]);
    let mail = std::fs::read(folder.path().join("id-1.ack.1.eml")).unwrap();
    assert_eq!(
        post.kept().await,
        [Some(mail.clone())],
        "the stored bytes are the sent ones"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let headers = headers(&mail);
    for wanted in [
        "Reply-To: ",
        "To: ada@example.org",
        "Message-ID: <r1.ack.abc@help.example>",
        "In-Reply-To: <q@mail.example>",
        "References: <p@mail.example> <q@mail.example>",
        "Auto-Submitted: auto-replied",
        "X-Auto-Response-Suppress: All",
        "X-Helpline-Loop: r1.ack.abc@help.example ",
        "Content-Language: de",
        "Date: Mon, 23 Nov 2026 13:20:00 +0000",
        "MIME-Version: 1.0",
        "Content-Type: multipart/alternative;",
    ] {
        let found = headers.iter().any(|header| header.starts_with(wanted));
        assert!(found, "{wanted} in {headers:#?}");
    }
    let subject = headers.iter().find(|h| h.starts_with("Subject: ")).unwrap();
    assert!(subject.ends_with("[#7KQ2-9F4M]"), "{subject}");
    assert!(
        !headers.iter().any(|h| h.starts_with("Bcc")),
        "{headers:#?}"
    );
    let text = String::from_utf8(mail.clone()).unwrap();
    assert!(text.contains("http://help.example/s/tok-en"));
    assert!(text.contains("um 15:20 Uhr an"), "{text}");
    let bare = mail.windows(2).any(|w| w[1] == b'\n' && w[0] != b'\r');
    assert!(!bare, "every line ends with CR LF");
    assert!(text.lines().all(|line| line.len() <= 998));
}

#[tokio::test]
async fn stored_bytes_are_sent_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let post = post().await;
    let kept = b"Subject: kept\r\n\r\nkept\r\n";
    post.put(row("id-2")).await;
    let first = post.store.claim_outbox(1).await.unwrap().remove(0);
    post.store.outbox_rendered(&first, kept).await.unwrap();
    post.store
        .outbox_deferred(&first, NOW, "451")
        .await
        .unwrap();
    notifier(&config(folder.path()), &post)
        .flush()
        .await
        .unwrap();
    let mail = std::fs::read(folder.path().join("id-2.eml")).unwrap();
    assert_eq!(mail, kept);
    assert_eq!(post.kept().await, [Some(kept.to_vec())]);
    assert_eq!(post.marks().await, [("sent".into(), String::new())]);
}

#[tokio::test]
async fn stale_acknowledgement_is_dropped_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let post = post().await;
    let old = NOW - Duration::from_secs(7200);
    for kind in ["ack", "closing"] {
        let mut late = row(kind);
        late.kind = kind.into();
        late.body.promise = Some(Promise::booked(old, "UTC"));
        post.put(late).await;
    }
    let mut unknown = row("no-promise");
    unknown.body.promise = None;
    unknown.body.made_at = Some(NOW - Duration::from_secs(90_000));
    post.put(unknown).await;
    let notifier = notifier(&config(folder.path()), &post);
    notifier.flush().await.unwrap();
    assert!(folder.path().join("closing.eml").exists());
    assert!(!folder.path().join("ack.eml").exists());
    let stale = ("suppressed".to_owned(), "stale".to_owned());
    let marks = post.marks().await;
    assert_eq!(marks.iter().filter(|mark| **mark == stale).count(), 2);
    assert!(notifier.counts().contains(&("suppressed", 2)));
}

#[tokio::test]
async fn what_can_never_be_sent_fails_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let post = post().await;
    for (n, (kind, to)) in (1..).zip([
        ("ack", "no address"),
        ("ack", "a@b.de\r\nBcc: c@d.de"),
        ("no_such_kind", "a@b.de"),
    ]) {
        let mut bad = row(&format!("bad-{n}"));
        (bad.kind, bad.to_addr) = (kind.into(), to.into());
        post.put(bad).await;
    }
    let notifier = notifier(&config(folder.path()), &post);
    notifier.flush().await.unwrap();
    let marks = post.marks().await;
    assert_eq!(marks.len(), 3);
    let failed = |(state, error): &(String, String)| state == "failed" && !error.is_empty();
    assert!(marks.iter().all(failed), "{marks:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn waits_grow_and_the_ninth_failure_is_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let notifier = notifier(&config(folder.path()), &post().await);
    let wait = |tries: u32| {
        let mut row = row("x");
        row.attempts = tries;
        match notifier.try_again(&row, NOW, "451".into()) {
            Verdict::Deferred { next_at, .. } => Some(next_at.since(NOW).as_secs_f64()),
            _ => None,
        }
    };
    for (tries, seconds) in (1..).zip([
        60.0, 300.0, 900.0, 3600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0,
    ]) {
        let got = wait(tries).unwrap();
        assert!(
            (0.8 * seconds..=1.2 * seconds).contains(&got),
            "{tries}: {got}"
        );
    }
    assert_eq!((wait(9), wait(400)), (None, None));
}

#[tokio::test]
async fn folder_that_is_gone_defers() {
    let folder = tempfile::tempdir().unwrap();
    let post = post().await;
    post.put(row("id-3")).await;
    let notifier = notifier(&config(folder.path()), &post);
    drop(folder);
    notifier.flush().await.unwrap();
    let marks = post.marks().await;
    assert!(
        marks[0].0 == "deferred" && !marks[0].1.is_empty(),
        "{marks:?}"
    );
    assert!(
        post.kept().await[0].is_some(),
        "rendered once for all tries"
    );
    assert_eq!(notifier.counts()[1], ("deferred", 1));
}

#[tokio::test]
async fn loop_wakes_for_a_new_row_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let post = post().await;
    let notifier = notifier(&config(folder.path()), &post);
    let stop = CancellationToken::new();
    let task = tokio::spawn(notifier.run(stop.clone()));
    tokio::task::yield_now().await;
    post.put(row("id-4")).await;
    let file = folder.path().join("id-4.eml");
    for _ in 0..500 {
        if file.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(file.exists(), "sent long before the next look");
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .unwrap()
        .unwrap();
}

/// A relay that answers DATA with `answer`; gives what it was sent.
async fn relay(answer: &'static str) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let mut heard = Vec::new();
        write.write_all(b"220 relay\r\n").await.unwrap();
        let mut data = false;
        while let Some(line) = lines.next_line().await.unwrap() {
            heard.push(line.clone());
            let reply: &str = match line.split(' ').next().unwrap_or_default() {
                "." if data => {
                    write.write_all(answer.as_bytes()).await.unwrap();
                    return heard;
                }
                _ if data => continue,
                "EHLO" => "250 relay\r\n",
                "DATA" => {
                    data = true;
                    "354 go\r\n"
                }
                _ => "250 ok\r\n",
            };
            write.write_all(reply.as_bytes()).await.unwrap();
        }
        heard
    });
    (port, task)
}

/// A relay without TLS or password.
fn plain_relay(host: &str, port: u16) -> Relay {
    Relay {
        host: host.into(),
        port,
        tls: RelayTls::None,
        username: None,
        password_file: None,
    }
}

#[tokio::test]
async fn answers_of_the_relay_decide() {
    for (answer, verdict) in [
        ("250 taken\r\n", "sent"),
        ("451 later\r\n", "deferred"),
        ("550 never\r\n", "failed"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (port, relay) = relay(answer).await;
        let mut config = config(folder.path());
        config.mail.relay = Some(plain_relay("127.0.0.1", port));
        let post = post().await;
        post.put(row("id-5")).await;
        let notifier = notifier(&config, &post);
        notifier.flush().await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(10), relay)
            .await
            .unwrap()
            .unwrap();
        let (state, error) = post.marks().await.remove(0);
        assert_eq!(state, verdict, "{answer}: {error}");
        assert!(
            heard
                .iter()
                .any(|l| l.starts_with("MAIL FROM:<help@help.example>"))
        );
        assert!(
            heard
                .iter()
                .any(|l| l.starts_with("RCPT TO:<ada@example.org>"))
        );
    }
}

/// What the relay heard of the sender, and the bytes of a mail about a request.
async fn sent_about(request: &str, change: impl FnOnce(&mut Config)) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (port, relay) = relay("250 taken\r\n").await;
    let mut config = config(folder.path());
    config.mail.relay = Some(plain_relay("127.0.0.1", port));
    change(&mut config);
    let post = post().await;
    post.put(row(request)).await;
    let notifier = notifier(&config, &post);
    notifier.flush().await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(10), relay);
    let heard = heard.await.unwrap().unwrap();
    let sender = heard.iter().find(|line| line.starts_with("MAIL FROM:"));
    let bytes = post.kept().await.remove(0).unwrap();
    let keys = Keys::new(post.store.mail_key(), None);
    let own = &config.smtp.addresses;
    let address = |line: &str| {
        let (_, rest) = line.split_once('<').unwrap();
        rest.split_once('>').unwrap().0.to_owned()
    };
    let headers = headers(&bytes);
    let reply_to = headers
        .iter()
        .find(|h| h.starts_with("Reply-To: "))
        .unwrap();
    let told = |address: &str| format!("{:?}", keys.recipient(own, address));
    (told(&address(sender.unwrap())), told(&address(reply_to)))
}

#[tokio::test]
async fn bounces_and_answers_go_to_addresses_that_name_the_request() {
    let request = "01936f3a-0000-7000-8000-0123456789ab";
    let (bounce, reply) = sent_about(request, |_| ()).await;
    assert_eq!(bounce, format!("Some(Bounce({request:?}))"));
    assert_eq!(reply, format!("Some(Reply({request:?}))"));
    let nothing = ("None".to_owned(), "None".to_owned());
    let off = |config: &mut Config| config.mail.plus_addresses = false;
    assert_eq!(sent_about(request, off).await, nothing);
    // No room behind the plus sign.
    let long = |config: &mut Config| {
        config.smtp.addresses = vec![format!("{}@help.example", "a".repeat(20))];
    };
    assert_eq!(sent_about(request, long).await, nothing);
    assert_eq!(sent_about("no-uuid", |_| ()).await, nothing);
}

#[tokio::test]
async fn plain_text_is_for_loopback_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    let mut relay = plain_relay("relay.example", 25);
    config.mail.relay = Some(relay.clone());
    assert!(Mailer::open(&config).is_err());
    relay.tls = RelayTls::Required;
    config.mail.relay = Some(relay.clone());
    assert!(Mailer::open(&config).is_ok());
    relay.username = Some("u".into());
    config.mail.relay = Some(relay);
    assert!(
        Mailer::open(&config).is_err(),
        "a user name without a password"
    );
}
