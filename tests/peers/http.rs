//! The web side against curl: a real listener, a real desk over SQLite, a real client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use helpline::clock::Clock;
use helpline::config::{Config, Queue};
use helpline::desk::Desk;
use helpline::intake::http::HttpIntake;
use helpline::notify::Notifier;
use helpline::notify::mail::{Letterhead, Mailer};
use helpline::notify::template::Templates;
use helpline::page::{Pages, assets, secure};
use helpline::services::Services;
use helpline::store::Store;
use helpline::web::health::instrument;
use helpline::web::metrics::Metrics;
use helpline::web::status::StatusPage;
use helpline::web::{Limits, serve};
use helpline_core::request::email::Keys;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A desk, its pages and a listener on loopback; all end with it.
struct Site {
    address: SocketAddr,
    metrics: Metrics,
    stop: CancellationToken,
    folder: tempfile::TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn site(limits: Limits) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = Config {
        queue: vec![Queue::default()],
        ..Config::default()
    };
    config.dial.allow = vec!["DE".into()];
    config.dial.region = Some("DE".into());
    config.mail.directory = Some(folder.path().join("out"));
    let config = Arc::new(config);
    let clock = Clock::system();
    let store = Store::open_sqlite(folder.path(), &clock).await.unwrap();
    let notifier = notifier(&config, store.clone(), &clock, address);
    let desk = Desk::new(
        store,
        Arc::clone(&config),
        BTreeMap::new(),
        clock.clone(),
        1,
    );
    desk.start().await.unwrap();
    let desk = Arc::new(desk);
    let pages = Arc::new(Pages::new(&config.site, &format!("http://{address}")).unwrap());
    let intake = HttpIntake::new(
        &config,
        Arc::clone(&pages),
        clock.clone(),
        Arc::clone(&desk),
    );
    let status = StatusPage::new(pages, clock.clone(), &config.site.zone, desk);
    let router = intake.unwrap().router().merge(status.router());
    let metrics = Metrics::default();
    let router = instrument(secure(router.merge(assets()), false), &metrics, &clock);
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, router, limits, stop.clone()));
    tokio::spawn(notifier.run(stop.clone()));
    Site {
        address,
        metrics,
        stop,
        folder,
    }
}

fn notifier(config: &Config, store: Store, clock: &Clock, address: SocketAddr) -> Arc<Notifier> {
    let keys = Arc::new(Keys::new(store.mail_key(), None));
    let letterhead = Letterhead::new(config, &format!("http://{address}"), keys).unwrap();
    let mailer = Mailer::open(config).unwrap();
    let templates = Templates::load(None).unwrap();
    let services = Arc::new(Services::new(config, clock.clone()).unwrap());
    let (ways, recordings) = ((mailer, services), config.recordings());
    let clock = clock.clone();
    Notifier::new(store, templates, letterhead, ways, recordings, clock, 1)
}

impl Site {
    /// The mails that were written, when there are `count` of them.
    async fn mails(&self, count: usize) -> Vec<String> {
        let folder = self.folder.path().join("out");
        for _ in 0..500 {
            let mut files: Vec<_> = std::fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|end| end == "eml"))
                .collect();
            if files.len() >= count {
                files.sort();
                let read = |path| std::fs::read_to_string(path).unwrap();
                return files.into_iter().map(read).collect();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("there are no {count} mails");
    }

    /// curl with `arguments`; `~` before a path stands for the site's address.
    async fn curl(&self, arguments: &[&str]) -> (u16, String) {
        let output = self.run(arguments).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let full = |argument: &&str| match argument.strip_prefix("~/") {
            Some(path) => format!("http://{}/{path}", self.address),
            None => (*argument).to_owned(),
        };
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["-s", "--max-time", "30", "-w", "\n%{http_code}"])
            .args(arguments.iter().map(full))
            .kill_on_drop(true);
        curl.output().await.expect("curl is installed")
    }

    async fn post(&self, headers: &[&str], body: &str) -> (u16, serde_json::Value) {
        let mut arguments = vec!["-H", "Content-Type: application/json", "-H", "Expect:"];
        for header in headers {
            arguments.extend(["-H", *header]);
        }
        arguments.extend(["--data-binary", body, "~/api/requests"]);
        let (status, body) = self.curl(&arguments).await;
        let body = serde_json::from_str(&body);
        (status, body.unwrap_or(serde_json::Value::Null))
    }
}

const GOOD: &str = r#"{"phone":"+49 30 901820","note":"help"}"#;

#[tokio::test]
async fn same_key_gives_the_same_answer_and_another_body_none() {
    let site = site(Limits::default()).await;
    let key = ["Idempotency-Key: abc"];
    let (status, first) = site.post(&key, GOOD).await;
    assert_eq!(status, 201, "{first}");
    assert_eq!(first["position"], 1);
    let (status, again) = site.post(&key, GOOD).await;
    assert_eq!((status, &again["id"]), (201, &first["id"]));
    assert_eq!(again["status_url"], first["status_url"]);
    let (status, problem) = site.post(&key, r#"{"phone":"+49 30 901821"}"#).await;
    assert_eq!(
        (status, &problem["type"]),
        (422, &"/problems/key-reused".into())
    );
    let (status, other) = site.post(&[], r#"{"phone":"+49 30 901821"}"#).await;
    assert_eq!((status, &other["position"]), (201, &2.into()));
    assert_ne!(other["id"], first["id"]);
}

#[tokio::test]
async fn customer_is_told_by_mail_once() {
    let site = site(Limits::default()).await;
    let body =
        r#"{"phone":"+49 30 901820","email":"ada@example.org","name":"Ada {{x}}","lang":"en"}"#;
    for _ in 0..2 {
        let (status, answer) = site.post(&["Idempotency-Key: m"], body).await;
        assert_eq!(status, 201, "{answer}");
    }
    let (_, answer) = site
        .post(
            &[],
            r#"{"phone":"+49 30 901821","email":"bob@example.org"}"#,
        )
        .await;
    let mails = site.mails(2).await;
    assert_eq!(mails.len(), 2, "one a request");
    let to_ada: Vec<_> = mails
        .iter()
        .filter(|m| m.contains("To: ada@example.org"))
        .collect();
    assert_eq!(to_ada.len(), 1);
    let mail = to_ada[0].replace("=\r\n", "");
    assert!(mail.contains("Auto-Submitted: auto-replied"), "{mail}");
    assert!(
        mail.contains("Hello Ada {{x}},") && mail.contains("You are number 1."),
        "{mail}"
    );
    assert!(!mail.contains("901820"), "the number is masked");
    let secret = mail.split("/s/").nth(1).unwrap();
    let secret: String = secret.chars().take_while(|c| !c.is_whitespace()).collect();
    let (status, page) = site.curl(&[&format!("~/s/{secret}?lang=en")]).await;
    assert!(
        status == 200 && page.contains("You are in line"),
        "the link works"
    );
    assert!(
        answer["status_url"]
            .as_str()
            .is_some_and(|url| !url.ends_with(&secret))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_at_once_with_one_key_are_one_request() {
    let site = site(Limits::default()).await;
    let mut arguments = vec!["-Z", "--parallel-max", "50", "--parallel-immediate"];
    arguments.extend(["-H", "Content-Type: application/json"]);
    arguments.extend(["-H", "Idempotency-Key: k", "-d", GOOD]);
    arguments.extend(std::iter::repeat_n("~/api/requests", 100));
    let output = site.run(&arguments).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("\n201").count(), 100, "{text}");
    let mut ids: Vec<&str> = text
        .split("\"id\":\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(ids.len(), 100);
    ids.dedup();
    assert_eq!(ids.len(), 1, "one request");
    let (status, next) = site.post(&[], r#"{"phone":"+49 30 901822"}"#).await;
    assert_eq!((status, &next["position"]), (201, &2.into()));
}

#[tokio::test]
async fn wrong_large_and_foreign_bodies_are_refused() {
    let site = site(Limits::default()).await;
    let (status, problem) = site.post(&[], "{\"phone\":").await;
    assert_eq!(
        (status, &problem["type"]),
        (400, &"/problems/bad-json".into())
    );
    let (status, problem) = site.post(&[], r#"{"phone":"+49 30 901820","x":1}"#).await;
    assert_eq!(
        (status, &problem["type"]),
        (422, &"/problems/unknown-key".into())
    );
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.json");
    std::fs::write(&large, vec![b' '; 300_000]).unwrap();
    let large = format!("@{}", large.display());
    assert_eq!(site.post(&[], &large).await.0, 413);
    let chunked = ["Transfer-Encoding: chunked"];
    assert_eq!(site.post(&chunked, &large).await.0, 413);
    assert_eq!(site.post(&["Content-Encoding: gzip"], GOOD).await.0, 415);
    assert_eq!(
        site.post(&["Origin: https://shop.example"], GOOD).await.0,
        403
    );
    assert_eq!(site.curl(&["-d", "phone=1", "~/api/requests"]).await.0, 415);
    // None of them stands in line.
    assert_eq!(site.post(&[], GOOD).await.1["position"], 1);
}

#[tokio::test]
async fn form_leads_to_the_status_page_and_cancel_takes_it_back() {
    let site = site(Limits::default()).await;
    let (status, page) = site.curl(&["~/help?lang=en"]).await;
    assert!(status == 200 && page.contains("Ask for a call"));
    // A form without our token has to be confirmed; the confirm page is usable at once.
    let typed = ["--data-urlencode", "phone=030 901820", "-d", "lang=en"];
    let (status, confirm) = site.curl(&[&typed[..], &["~/help"]].concat()).await;
    assert!(status == 200 && confirm.contains("Please check and confirm"));
    let field = |name: &str| {
        let after = confirm.split(&format!("name=\"{name}\" value=\"")).nth(1);
        let value = after.and_then(|rest| rest.split('"').next()).unwrap();
        format!("{name}={}", value.replace("&#x3D;", "="))
    };
    let (idem, token) = (field("idem"), field("ft"));
    let origin = format!("Origin: http://{}", site.address);
    let send = [
        &typed[..],
        &["-d", &idem, "-d", &token, "-H", &origin, "-L", "~/help"],
    ]
    .concat();
    let (status, page) = site.curl(&send).await;
    assert_eq!(status, 200);
    assert!(page.contains("You are in line"), "{page}");
    assert!(page.contains("<dd class=\"place\">1</dd>"), "{page}");
    // A double click leads to the same page.
    let (_, again) = site.curl(&send).await;
    let link = |page: &str| {
        let rest = page.split("action=\"/s/").nth(1).map(str::to_owned);
        rest.and_then(|rest| rest.split("/cancel").next().map(str::to_owned))
    };
    let secret = link(&page).unwrap();
    assert_eq!(link(&again).unwrap(), secret);
    let cancel = format!("~/s/{secret}/cancel");
    let foreign = ["-X", "POST", "-H", "Origin: https://evil.example", &cancel];
    assert_eq!(site.curl(&foreign).await.0, 403);
    assert_eq!(
        site.curl(&["-X", "POST", "-H", &origin, &cancel]).await.0,
        303
    );
    let (status, json) = site.curl(&[&format!("~/s/{secret}/status")]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, &json["state"]), (200, &"cancelled".into()));
    assert_eq!(json["can"], serde_json::json!([]));
    let text = site.metrics.text();
    assert!(
        text.contains("route=\"/s/{token}/cancel\",status=\"4xx\"} 1"),
        "{text}"
    );
    assert!(!text.contains(&secret), "the secret is in no metric");
}

#[tokio::test]
async fn slow_headers_are_cut_off_while_others_are_served() {
    let site = site(Limits {
        header_time: Duration::from_millis(500),
        ..Limits::default()
    })
    .await;
    let begin = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        stream
            .write_all(b"POST /help HTTP/1.1\r\nHost: x\r\nX: ")
            .await
            .unwrap();
        slow.push(stream);
    }
    assert_eq!(site.curl(&["~/help"]).await.0, 200);
    for mut stream in slow {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest));
        // Closed or reset, with or without an answer: but not a success.
        let _ = read.await.expect("cut off");
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    assert!(begin.elapsed() < Duration::from_secs(20));
}
