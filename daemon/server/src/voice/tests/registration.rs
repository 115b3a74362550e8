//! Registration at a trunk: challenged, too brief, refreshed, given up.

use super::odd::{odd_trunk, reply};
use super::*;

type Log = Arc<std::sync::Mutex<Vec<String>>>;

async fn world(trunk: SocketAddr, dir: &std::path::Path) -> World {
    let file = dir.join("password");
    std::fs::write(&file, "secret").unwrap();
    World::with(trunk, |config| {
        config.trunks[0].username = Some("u".into());
        config.trunks[0].password_file = Some(file);
        config.trunks[0].register = true;
    })
    .await
}

/// A field of a request.
fn field<'a>(request: &'a str, name: &str) -> &'a str {
    let line = request.lines().find(|l| l.starts_with(name)).unwrap_or("");
    line.split_once(": ").map_or("", |(_, value)| value)
}

/// A registrar that wants SHA-256 and 1,200 seconds, and grants two.
async fn registrar(proxy: bool) -> (SocketAddr, Log, tokio::task::JoinHandle<()>) {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let (name, status) = if proxy {
        ("Proxy-Authenticate", "407 Proxy Authentication Required")
    } else {
        ("WWW-Authenticate", "401 Unauthorized")
    };
    let (address, task) = odd_trunk(move |text| {
        if text.starts_with("OPTIONS") {
            return vec![reply(text, "200 OK", "")];
        }
        seen.lock().unwrap().push(text.to_owned());
        let answer = if !text.contains("uthorization: Digest") {
            let challenges = format!(
                "{name}: Digest realm=\"r\", nonce=\"n\", algorithm=MD5, qop=\"auth\"\r\n\
                 {name}: Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256, qop=\"auth,auth-int\"\r\n"
            );
            reply(text, status, &challenges)
        } else if field(text, "Expires") == "600" {
            reply(text, "423 Interval Too Brief", "Min-Expires: 1200\r\n")
        } else {
            let contact = field(text, "Contact");
            let others = "<sip:other@192.0.2.7>;expires=3000";
            let bindings = format!("Contact: {others}, {contact};expires=2\r\n");
            reply(text, "200 OK", &bindings)
        };
        vec![answer]
    })
    .await;
    (address, log, task)
}

async fn wait_for(limit: Duration, what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(limit, wait).await.is_ok(), "not in time: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_is_proven_prolonged_refreshed_and_given_up() {
    for proxy in [false, true] {
        let (address, log, _task) = registrar(proxy).await;
        let dir = tempfile::tempdir().unwrap();
        let world = world(address, dir.path()).await;
        let registered = || world.engine.trunk_registered("t") == Some(true);
        wait_for(LIMIT, "the registration", registered).await;
        let granted = Instant::now();
        let sent = || log.lock().unwrap().len();
        let before = sent();
        wait_for(LIMIT, "the refresh", || sent() > before + 1).await;
        let after = granted.elapsed().as_secs_f64();
        assert!(
            (1.2..2.0).contains(&after),
            "refreshed after {after} s of 2"
        );
        assert!(registered());
        world.engine.drain(Duration::ZERO).await;
        let log = log.lock().unwrap();
        let (first, last) = (log.first().unwrap(), log.last().unwrap());
        assert!(
            first.starts_with(&format!("REGISTER sip:{address} SIP/2.0")),
            "{first}"
        );
        assert_eq!(field(first, "Expires"), "600");
        assert_eq!(field(last, "Expires"), "0", "{last}");
        assert!(
            last.contains("algorithm=SHA-256") && last.contains("qop=auth,"),
            "{last}"
        );
        let mut numbers = log
            .iter()
            .map(|t| field(t, "CSeq").to_owned())
            .collect::<Vec<_>>();
        numbers.dedup();
        assert_eq!(
            numbers.len(),
            log.len(),
            "each REGISTER has a number of its own"
        );
        assert!(
            log.iter()
                .all(|t| field(t, "Call-ID") == field(first, "Call-ID"))
        );
        assert!(!log.iter().any(|t| t.contains("secret")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registrar_that_refuses_is_asked_again_after_a_pause_and_calls_go_on() {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let (address, _task) = odd_trunk(move |text| match text.split(' ').next() {
        Some("REGISTER") => {
            seen.lock().unwrap().push(text.to_owned());
            vec![reply(text, "403 Forbidden", "")]
        }
        Some("OPTIONS") => vec![reply(text, "200 OK", "")],
        Some("INVITE") => vec![reply(text, "486 Busy Here", "")],
        _ => vec![],
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let world = world(address, dir.path()).await;
    wait_for(LIMIT, "a refusal", || log.lock().unwrap().len() == 1).await;
    let mut call = world.place("call", LIMIT).await.unwrap();
    let busy = End::Refused {
        code: 486,
        q850: None,
    };
    assert_eq!(desk(&mut call, None).await.1.end, busy);
    assert_eq!(world.engine.trunk_registered("t"), Some(false));
    let began = Instant::now();
    wait_for(LIMIT, "another try", || log.lock().unwrap().len() == 2).await;
    assert!(
        began.elapsed() > Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    world.engine.drain(Duration::ZERO).await;
    assert_eq!(log.lock().unwrap().len(), 2, "nothing to give up");
}
