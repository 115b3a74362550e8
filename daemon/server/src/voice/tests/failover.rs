//! Several targets of one trunk: which is asked, and when the next one may be.

use super::dns::{Dns, Record};
use super::odd::{odd_trunk, reply};
use super::*;

/// A domain whose first target is at `ports[0]`, its second at `ports[1]`, and so on.
fn zone(ports: &[u16]) -> Vec<(&'static str, Record)> {
    let mut zone = vec![("host.test", Record::A([127, 0, 0, 1].into()))];
    for (priority, port) in (1u16..).zip(ports) {
        let service = Record::Srv(priority * 10, 5, *port, "host.test");
        zone.push(("_sip._udp.carrier.test", service));
    }
    zone
}

async fn world(dns: &Dns) -> World {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    World::with(nowhere, |config| {
        config.voice.dns = Some(dns.address);
        config.trunks[0].target = "carrier.test".into();
    })
    .await
}

type Log = Arc<std::sync::Mutex<Vec<String>>>;

/// A target that answers OPTIONS, and INVITEs with what `answer` says; its first lines.
async fn target(
    answer: impl Fn(&str) -> Vec<String> + Send + 'static,
) -> (u16, Log, tokio::task::JoinHandle<()>) {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let (address, task) = odd_trunk(move |text| {
        if text.starts_with("OPTIONS") {
            return vec![reply(text, "200 OK", "")];
        }
        let line = text.lines().next().unwrap().to_owned();
        seen.lock().unwrap().push(line);
        let invite = text.starts_with("INVITE");
        if invite { answer(text) } else { vec![] }
    })
    .await;
    (address.port(), log, task)
}

async fn busy() -> (u16, Log, tokio::task::JoinHandle<()>) {
    target(|text| vec![reply(text, "486 Busy Here", "")]).await
}

fn count(log: &Log, start: &str) -> usize {
    log.lock()
        .unwrap()
        .iter()
        .filter(|l| l.starts_with(start))
        .count()
}

async fn end_of(world: &World, id: &str) -> End {
    let mut call = world.place(id, LIMIT).await.unwrap();
    desk(&mut call, None).await.1.end
}

const BUSY: End = End::Refused {
    code: 486,
    q850: None,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_asks_for_time_is_left_alone_and_the_next_is_called() {
    let refuse = |text: &str| {
        let wait = "Retry-After: 120 (in maintenance);duration=60\r\n";
        vec![reply(text, "503 Service Unavailable", wait)]
    };
    let (first, first_log, _first) = target(refuse).await;
    let (second, second_log, _second) = busy().await;
    let dns = Dns::start(zone(&[first, second])).await;
    let world = world(&dns).await;
    assert_eq!(end_of(&world, "one").await, BUSY);
    assert_eq!(end_of(&world, "two").await, BUSY);
    assert_eq!(count(&first_log, "INVITE"), 1, "it was asked for again");
    assert_eq!(count(&second_log, "INVITE"), 2);
    assert_eq!(world.engine.trunk_up("t"), Some(true));
    // With both closed nobody is called at all.
    let only = Dns::start(zone(&[first])).await;
    let world = self::world(&only).await;
    let refused = End::Refused {
        code: 503,
        q850: None,
    };
    assert_eq!(end_of(&world, "three").await, refused);
    assert_eq!(end_of(&world, "four").await, refused);
    assert_eq!(count(&first_log, "INVITE"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_nobody_is_at_costs_no_second() {
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let first = closed.local_addr().unwrap().port();
    drop(closed);
    let (second, log, _second) = busy().await;
    let dns = Dns::start(zone(&[first, second])).await;
    let world = world(&dns).await;
    let began = Instant::now();
    assert_eq!(end_of(&world, "icmp").await, BUSY);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(count(&log, "INVITE"), 1);
    assert_eq!(world.engine.trunk_up("t"), Some(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_target_is_left_and_its_late_answer_is_cancelled() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let first = silent.local_addr().unwrap().port();
    let (second, log, _second) = busy().await;
    let dns = Dns::start(zone(&[first, second])).await;
    let world = world(&dns).await;
    let mut call = world.place("silent", LIMIT).await.unwrap();
    let began = Instant::now();
    let (_, report) = desk(&mut call, None).await;
    assert_eq!((report.end, report.rang), (BUSY, false));
    let took = began.elapsed().as_secs_f64();
    assert!((5.5..8.0).contains(&took), "{took} s");
    assert_eq!(count(&log, "INVITE"), 1);
    // The first one wakes up and rings: it is told to stop.
    let mut buf = [0; 4_096];
    let mut answered = false;
    loop {
        let (len, from) = timeout(LIMIT, silent.recv_from(&mut buf))
            .await
            .unwrap()
            .unwrap();
        let text = std::str::from_utf8(&buf[..len]).unwrap();
        assert!(!text.contains("Route"), "{text}");
        if text.starts_with("CANCEL") {
            break;
        }
        if text.starts_with("INVITE") && !std::mem::replace(&mut answered, true) {
            let rings = reply(text, "180 Ringing", "");
            silent.send_to(rings.as_bytes(), from).await.unwrap();
        }
    }
    // A next call begins at the target that lives.
    let began = Instant::now();
    assert_eq!(end_of(&world, "next").await, BUSY);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_ringing_no_other_target_is_called() {
    let ring = |text: &str| {
        let refused = reply(
            text,
            "503 Service Unavailable",
            "Reason: Q.850;cause=34\r\n",
        );
        vec![reply(text, "180 Ringing", ""), refused]
    };
    let (first, _, _first) = target(ring).await;
    let (second, log, _second) = busy().await;
    let dns = Dns::start(zone(&[first, second])).await;
    let world = world(&dns).await;
    let mut call = world.place("rang", LIMIT).await.unwrap();
    let (words, report) = desk(&mut call, None).await;
    let refused = End::Refused {
        code: 503,
        q850: Some(34),
    };
    assert_eq!((words, report.end), (vec!["ringing".to_owned()], refused));
    assert_eq!(count(&log, "INVITE"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_target_is_waited_for() {
    // The third and later INVITEs of one call are answered: after 500 + 1000 ms.
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let slow = move |text: &str| match seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0..=1 => vec![],
        2 => vec![reply(text, "100 Trying", "")],
        _ => vec![reply(text, "486 Busy Here", "")],
    };
    let (first, first_log, task) = target(slow).await;
    let (second, log, _second) = busy().await;
    let dns = Dns::start(zone(&[first, second])).await;
    let world = world(&dns).await;
    let mut call = world.place("slow", Duration::from_secs(8)).await.unwrap();
    let (_, report) = desk(&mut call, None).await;
    // A 100 came, so the silence after it is the callee's: nobody else is asked.
    assert_eq!(report.end, End::RingLimit);
    assert_eq!(count(&first_log, "INVITE"), 3);
    assert_eq!(count(&log, "INVITE"), 0);
    task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trunk_that_moves_is_followed_and_dns_that_fails_changes_nothing() {
    let (first, first_log, _first) = busy().await;
    let (second, second_log, _second) = busy().await;
    let dns = Dns::start(zone(&[first])).await;
    let world = world(&dns).await;
    assert_eq!(end_of(&world, "before").await, BUSY);
    dns.set(Some(zone(&[second])));
    let moved = async {
        while count(&second_log, "INVITE") == 0 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(end_of(&world, "after").await, BUSY);
        }
    };
    timeout(LIMIT, moved)
        .await
        .expect("the new address is used after its time");
    dns.set(None);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let before = count(&first_log, "INVITE");
    assert_eq!(end_of(&world, "alone").await, BUSY);
    assert_eq!(
        count(&first_log, "INVITE"),
        before,
        "the old address is used"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trunk_dns_does_not_know_fails_its_calls_and_is_found_later() {
    let (port, _, _trunk) = busy().await;
    let dns = Dns::start(Vec::new()).await;
    let world = world(&dns).await;
    assert_eq!(world.engine.trunk_up("t"), Some(false));
    assert_eq!(end_of(&world, "lost").await, End::Unreachable);
    dns.set(Some(zone(&[port])));
    let found = async {
        while end_of(&world, "found").await != BUSY {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(LIMIT, found).await.expect("DNS is asked again");
    assert_eq!(world.engine.trunk_up("t"), Some(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trunk_that_cannot_encrypt_is_asked_again_without_if_that_is_allowed() {
    for (srtp, invites) in [
        (config::SrtpUse::Optional, 2),
        (config::SrtpUse::Required, 1),
    ] {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let (port, _, _task) = target(move |text| {
            log.lock().unwrap().push(text.to_owned());
            let status = if text.contains("RTP/SAVP") {
                "488 Not Acceptable Here"
            } else {
                "486 Busy Here"
            };
            vec![reply(text, status, "")]
        })
        .await;
        let trunk = SocketAddr::from(([127, 0, 0, 1], port));
        let world = World::with(trunk, |config| {
            config.trunks[0].srtp = srtp;
            config.trunks[0].srtp_over_plain_sip = true;
        })
        .await;
        let end = end_of(&world, "secret").await;
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), invites, "{end:?}");
        assert!(seen[0].contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"));
        assert_eq!(end == BUSY, invites == 2, "{end:?}");
        assert!(invites == 1 || !seen[1].contains("crypto"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_488_g711_alone_is_offered_once() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (port, _, _task) = target(move |text| {
        log.lock().unwrap().push(text.to_owned());
        vec![reply(text, "488 Not Acceptable Here", "")]
    })
    .await;
    let world = World::with(SocketAddr::from(([127, 0, 0, 1], port)), |config| {
        config.trunks[0].codecs = vec![config::CodecName::G722, config::CodecName::Pcma];
    })
    .await;
    let refused = End::Refused {
        code: 488,
        q850: None,
    };
    assert_eq!(end_of(&world, "codecs").await, refused);
    let seen = seen.lock().unwrap();
    let lines = seen
        .iter()
        .flat_map(|t| t.lines().filter(|l| l.starts_with("m=audio")));
    let formats: Vec<&str> = lines
        .filter_map(|l| l.split_once(" RTP/AVP "))
        .map(|(_, f)| f)
        .collect();
    assert_eq!(formats, ["9 8 101", "8 101"]);
}
