//! The door on both databases.

mod agents;
mod mail;
mod operator;
mod pin;

use std::net::{IpAddr, Ipv4Addr};

use helpline_core::call::{CallReport, End, Settled};
use helpline_core::phone::PhoneNumber;
use helpline_core::queue::State;
use helpline_core::request::Channel;

mod proof;

use super::*;
use crate::store::tests::{benches, trunk_config};

mod thread;

fn config() -> Arc<Config> {
    let mut config = Config::default();
    config.dial.allow = vec!["DE".into()];
    config.queue = vec![Queue {
        waiting_max: 90,
        ..Queue::default()
    }];
    config.trunk = vec![trunk_config("carrier", 100, 100.0)];
    config.mail.operator = Some("night@firm.test".into());
    Arc::new(config)
}

/// One started desk on each database.
async fn desks() -> Vec<(Arc<Desk>, crate::store::tests::Bench)> {
    let mut desks = Vec::new();
    for bench in benches().await {
        let config = config();
        let clock = bench.store.test_clock();
        let calendars = config.calendars();
        let desk = Desk::new(bench.store.clone(), config, calendars, clock, 1);
        desk.start().await.unwrap();
        desks.push((Arc::new(desk), bench));
    }
    desks
}

fn request(n: u32) -> HelpRequest {
    HelpRequest {
        whom: helpline_core::request::Whom::default(),
        name: Some("Ada <b>".into()),
        email: Some("ada@example.org".into()),
        note: Some("'; drop table request; --".into()),
        zone: Some("Nowhere/Land".into()),
        ..stage::request(n)
    }
}

fn keyed(key: &str, body: &str) -> Origin {
    Origin {
        key: Some(IntakeKey {
            scope: "http",
            key: key.into(),
            body_hash: body.into(),
        }),
        ack: Some(AckTo {
            address: "ada@example.org".into(),
            ..AckTo::default()
        }),
        ..Origin::default()
    }
}

#[tokio::test]
async fn one_key_in_parallel_is_one_request() {
    for (desk, bench) in &desks().await {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let desk = Arc::clone(desk);
            tasks.spawn(async move { desk.accept(request(1), keyed("k", "b")).await.unwrap() });
        }
        let answers = tasks.join_all().await;
        assert_eq!(
            answers.iter().filter(|a| a.fresh).count(),
            1,
            "{}",
            bench.name
        );
        for answer in &answers {
            let same = (&answer.id, &answer.token, &answer.promise);
            assert_eq!(
                same,
                (&answers[0].id, &answers[0].token, &answers[0].promise)
            );
        }
        let reused = desk.accept(request(1), keyed("k", "other")).await;
        assert_eq!(reused, Err(AcceptError::KeyReused));
        assert_eq!(bench.store.claim_outbox(9).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn positions_grow_and_a_full_line_refuses() {
    for (desk, bench) in &desks().await {
        for n in 0..90 {
            let accepted = desk.accept(request(n), Origin::default()).await.unwrap();
            assert_eq!(accepted.position, Some(n + 1), "{}", bench.name);
            assert_eq!(
                accepted.promise.zone, "UTC",
                "an unknown zone is not believed"
            );
        }
        let full = desk.accept(request(90), keyed("k", "b")).await;
        assert_eq!(full, Err(AcceptError::Full));
        let snapshot = desk.snapshot().await.unwrap();
        assert_eq!(
            snapshot.counts.requests,
            [("help".into(), "waiting".into(), 90)]
        );
    }
}

/// A desk whose lines are long.
async fn wide(bench: &crate::store::tests::Bench) -> Arc<Desk> {
    let mut config = (*config()).clone();
    config.queue[0].waiting_max = 100_000;
    let (clock, calendars) = (bench.store.test_clock(), config.calendars());
    let desk = Desk::new(bench.store.clone(), Arc::new(config), calendars, clock, 3);
    desk.start().await.unwrap();
    Arc::new(desk)
}

#[tokio::test]
async fn requests_that_come_at_once_enter_as_if_one_by_one() {
    for bench in &benches().await {
        let desk = wide(bench).await;
        let blocked = request(59).number;
        desk.block(&blocked, None).await.unwrap();
        // Each number once, but for the fifth, which asks eight times: too often for a minute.
        let mut tasks = tokio::task::JoinSet::new();
        for n in (0..60).chain([5; 7]) {
            let desk = Arc::clone(&desk);
            let origin = match n {
                20..24 => keyed(&format!("k{n}"), "b"),
                30..34 => Origin {
                    address: Some(format!("192.0.2.{}", n / 2).parse().unwrap()),
                    ..Origin::default()
                },
                _ => Origin::default(),
            };
            tasks.spawn(async move { (n, desk.accept(request(n), origin).await) });
        }
        let (mut places, mut ids, mut merged, mut refused) = (vec![], vec![], 0, vec![]);
        while let Some(done) = tasks.join_next().await {
            match done.unwrap() {
                (n, Ok(accepted)) => {
                    let place = accepted.position.unwrap();
                    ids.push(accepted.id.clone());
                    match desk.is_merged(&accepted).await.unwrap() {
                        true => merged += 1,
                        false => places.push((place, n)),
                    }
                }
                (n, Err(error)) => refused.push((n, error)),
            }
        }
        places.sort_unstable();
        let numbers: std::collections::BTreeSet<u32> = places.iter().map(|(_, n)| *n).collect();
        assert_eq!(numbers.len(), 59, "{}", bench.name);
        assert_eq!(
            (places.len(), merged),
            (59, 4),
            "{}: {refused:?}",
            bench.name
        );
        let places: Vec<u32> = places.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, (1..=59).collect::<Vec<_>>(), "{}", bench.name);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 63, "{}", bench.name);
        let not_allowed = refused
            .iter()
            .filter(|(_, e)| *e == AcceptError::NotAllowed);
        assert_eq!(not_allowed.map(|(n, _)| *n).collect::<Vec<_>>(), [59]);
        let too_many = |e: &AcceptError| matches!(e, AcceptError::TooMany { .. });
        assert_eq!(
            refused
                .iter()
                .filter(|(n, e)| *n == 5 && too_many(e))
                .count(),
            3
        );
        let counts = desk.snapshot().await.unwrap().counts;
        assert_eq!(
            counts.requests,
            [("help".to_owned(), "waiting".to_owned(), 59)]
        );
        assert_eq!(counts.outbox, 3, "an address gets three letters an hour");
    }
}

#[tokio::test]
async fn a_number_cannot_ask_without_end() {
    for (desk, bench) in &desks().await {
        let mut refused = None;
        for _ in 0..7 {
            if let Err(error) = desk.accept(request(1), Origin::default()).await {
                refused = Some(error);
            }
        }
        let too_many = matches!(refused, Some(AcceptError::TooMany { .. }));
        assert!(too_many, "{}: {refused:?}", bench.name);
        let mut strange = request(2);
        strange.queue = "nowhere".into();
        let refused = desk.accept(strange, Origin::default()).await;
        assert_eq!(refused, Err(AcceptError::NotAllowed));
        let mut abroad = request(3);
        abroad.number = PhoneNumber::from_row("+12125550100");
        let refused = desk.accept(abroad, Origin::default()).await;
        assert_eq!(refused, Err(AcceptError::NotAllowed));
    }
}

#[tokio::test]
async fn a_call_goes_through_all_its_rows() {
    for (desk, bench) in &desks().await {
        let accepted = desk.accept(request(1), keyed("k", "b")).await.unwrap();
        let look = desk.look(true).await.unwrap();
        assert_eq!(look.callable, ["help"]);
        let mut room = desk.take("help").await.unwrap();
        let Placed::Go(live) = desk.place(&room.claimed.remove(0)).await.unwrap() else {
            panic!("{}: not placed", bench.name);
        };
        for progress in [
            LiveProgress::Ringing,
            LiveProgress::Answered,
            LiveProgress::Connected,
        ] {
            desk.progress(&live, progress).await.unwrap();
        }
        let report = CallReport {
            end: End::HungUp { by_customer: true },
            rang: true,
            talked_for: Duration::from_secs(60),
            settled: Some(Settled::Accepted),
            answerer: None,
        };
        assert_eq!(desk.settle(&live, &report).await, Ok(State::Done));
        assert_eq!(desk.settle(&live, &report).await, Err(StoreError::Fenced));
        let status = desk.status(&accepted.token).await.unwrap().unwrap();
        assert_eq!((status.state.as_str(), status.open), ("done", false));
        assert_eq!(status.last_disposition.as_deref(), Some("talked"));
        assert_eq!(desk.snapshot().await.unwrap().attempts, [("talked", 1)]);
        assert!(desk.status("' or 1=1").await.unwrap().is_none());
        assert_eq!(
            desk.cancel(&"x".repeat(10_000)).await,
            Ok(Cancelled::NotFound)
        );
    }
}

/// Has the next one in line called, with this outcome.
async fn called(desk: &Desk, report: &CallReport) -> State {
    let claimed = desk.take("help").await.unwrap().claimed.remove(0);
    let Placed::Go(live) = desk.place(&claimed).await.unwrap() else {
        panic!("not placed");
    };
    desk.progress(&live, LiveProgress::Answered).await.unwrap();
    desk.settle(&live, report).await.unwrap()
}

#[tokio::test]
async fn whoever_has_others_called_is_not_heard_for_a_day() {
    let stop = CallReport {
        end: End::HungUp { by_customer: false },
        rang: true,
        talked_for: Duration::from_secs(5),
        settled: Some(Settled::Stop),
        answerer: None,
    };
    for (desk, bench) in &desks().await {
        let from = |address: &str| Origin {
            address: Some(address.parse().unwrap()),
            ..Origin::default()
        };
        let bad = "192.0.2.66";
        for n in [1, 4] {
            desk.accept(request(n), from(bad)).await.unwrap();
            let state = called(desk, &stop).await;
            assert_eq!(state, State::Suppressed, "{}", bench.name);
        }
        let Err(AcceptError::TooMany { retry_after }) = desk.accept(request(2), from(bad)).await
        else {
            panic!("{}: still heard", bench.name);
        };
        assert!(
            retry_after > Duration::from_secs(23 * 3_600),
            "{retry_after:?}"
        );
        // Others are, and the number of the person who was called is not called again.
        assert!(desk.accept(request(2), from("192.0.2.67")).await.is_ok());
        let again = desk.accept(request(1), from("192.0.2.67")).await;
        assert_eq!(again, Err(AcceptError::NotAllowed));
        let tomorrow = desk_at(bench, Duration::from_secs(25 * 3_600));
        assert!(tomorrow.accept(request(3), from(bad)).await.is_ok());
    }
}

#[tokio::test]
async fn after_a_restart_an_answered_call_is_not_repeated() {
    for (desk, bench) in &desks().await {
        let mut tokens = Vec::new();
        for n in 0..3 {
            tokens.push(
                desk.accept(request(n), keyed(&n.to_string(), "b"))
                    .await
                    .unwrap()
                    .token,
            );
        }
        let claimed = desk.take("help").await.unwrap().claimed;
        for (n, claimed) in claimed.iter().take(2).enumerate() {
            let Placed::Go(live) = desk.place(claimed).await.unwrap() else {
                panic!("not placed");
            };
            if n == 0 {
                desk.progress(&live, LiveProgress::Answered).await.unwrap();
            }
        }
        desk.stop().await.unwrap();
        let config = config();
        let calendars = config.calendars();
        let clock = bench.store.test_clock();
        let next = Desk::new(bench.store.clone(), config, calendars, clock, 2);
        next.start().await.unwrap();
        let mut states = Vec::new();
        for token in &tokens {
            states.push(next.status(token).await.unwrap().unwrap().state);
        }
        assert_eq!(states, ["held", "backoff", "waiting"], "{}", bench.name);
    }
}

fn incoming(raw: Vec<u8>) -> Incoming {
    Incoming {
        is_handed: false,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        helo: "x".into(),
        auth_user: None,
        mail_from: None,
        rcpt: vec!["help@example.org".into()],
        raw,
    }
}

/// Files `filing` as the message number `n`.
async fn file(desk: &Desk, n: u32, filing: Filing) -> Filed {
    desk.spool_mail(incoming(vec![0])).await.unwrap();
    let spooled = desk.claim_mail(1).await.unwrap().remove(0);
    put(desk, &spooled, &format!("{n}"), filing).await.unwrap()
}

fn read(spooled: &SpooledMail, content_hash: &str, filing: Filing) -> ReadMail {
    ReadMail {
        id: spooled.id.clone(),
        epoch: spooled.epoch,
        auth: None,
        content_hash: content_hash.to_owned(),
        follow_up: None,
        filing,
    }
}

/// Files one message.
async fn put(
    desk: &Desk,
    spooled: &SpooledMail,
    content_hash: &str,
    filing: Filing,
) -> Result<Filed, StoreError> {
    let read = read(spooled, content_hash, filing);
    desk.file_mails(vec![read]).await.remove(0)
}

fn asked(address: &str) -> Filing {
    Filing::NeedsInfo {
        reason: "no_phone",
        ask: Some(AckTo {
            address: address.into(),
            ..AckTo::default()
        }),
        form_query: String::new(),
        language: "en".into(),
    }
}

fn asking_for(n: u32, address: &str) -> Filing {
    let mut request = request(n);
    request.channel = Channel::Smtp;
    Filing::Request {
        request: Box::new(request),
        ack: Some(AckTo {
            address: address.into(),
            ..AckTo::default()
        }),
        admission: Admission::Line,
    }
}

/// Desks of one database, each at another time.
fn desk_at(bench: &crate::store::tests::Bench, later: Duration) -> Desk {
    let (store, config) = (bench.later(later), config());
    let (clock, calendars) = (store.test_clock(), config.calendars());
    Desk::new(store, config, calendars, clock, later.as_secs())
}

#[tokio::test]
async fn a_machine_that_answers_every_reply_gets_three_an_hour_and_six_a_day() {
    for (_, bench) in &desks().await {
        let mut replies = Vec::new();
        // Every minute for 27 hours would take long; every ten are enough to hit each limit.
        for n in 0..27 * 6 {
            let desk = desk_at(bench, Duration::from_secs(u64::from(n) * 600));
            // Upper case is the same address, and requests count like questions.
            let filed = match n % 3 {
                0 => file(&desk, n, asked("Robot@machine.test")).await,
                1 => file(&desk, n, asking_for(n, "robot@machine.test")).await,
                _ => file(&desk, n, asked("robot@Machine.test")).await,
            };
            assert!(
                matches!(filed, Filed::Kept | Filed::Request(_)),
                "{}: {n} {filed:?}",
                bench.name
            );
            // These clocks run on from the moment they are made.
            let rows = bench.later(Duration::from_secs(u64::from(n) * 600 + 60));
            let new = rows.claim_outbox(9).await.unwrap();
            for row in &new {
                rows.outbox_sent(row).await.unwrap();
                replies.push(n * 10);
            }
            assert_eq!(
                desk.snapshot().await.unwrap().replies_withheld,
                u64::from(new.is_empty()),
                "{}: {n} {filed:?} {replies:?}",
                bench.name
            );
        }
        let most = |minutes: u32| {
            let within = |at: &u32| {
                replies
                    .iter()
                    .filter(|other| (*at..at + minutes).contains(*other))
                    .count()
            };
            replies.iter().map(within).max().unwrap()
        };
        assert_eq!((most(60), most(24 * 60)), (3, 6), "{replies:?}");
    }
}

#[tokio::test]
async fn a_domain_and_everybody_together_have_budgets_of_replies() {
    for (desk, bench) in &desks().await {
        for n in 0..40 {
            file(desk, n, asked(&format!("c{n}@one.test"))).await;
        }
        let withheld = desk.snapshot().await.unwrap().replies_withheld;
        assert_eq!(withheld, 10, "{}", bench.name);
        // Another domain still has its own.
        file(desk, 99, asked("c@two.test")).await;
        assert_eq!(bench.store.claim_outbox(100).await.unwrap().len(), 31);
    }
}

#[tokio::test]
async fn a_form_cannot_flood_somebody_with_acknowledgements() {
    for (desk, bench) in &desks().await {
        for n in 0..5 {
            desk.accept(request(n), keyed(&format!("k{n}"), "b"))
                .await
                .unwrap();
        }
        assert_eq!(
            bench.store.claim_outbox(9).await.unwrap().len(),
            3,
            "{}",
            bench.name
        );
        // The same key asks for nothing new, and takes nothing.
        let again = desk.accept(request(0), keyed("k0", "b")).await.unwrap();
        assert!(!again.fresh);
        assert_eq!(desk.snapshot().await.unwrap().replies_withheld, 2);
    }
}

impl Desk {
    /// A store for the tests of modules that know only the desk.
    pub(crate) async fn test_store(dir: &std::path::Path, clock: &Clock) -> Store {
        Store::open_sqlite(dir, clock).await.unwrap()
    }
}
