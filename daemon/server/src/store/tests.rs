//! Every store function on both databases. PostgreSQL: `HELPLINE_TEST_POSTGRES` names a
//! server, each test makes a database of its own in it (`tests/run` starts one).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use helpline_core::call::Disposition;
use helpline_core::id::{AttemptId, CallId, MailInId, NodeId, RequestId};
use helpline_core::phone::PhoneNumber;
use helpline_core::queue::ewt::Promise;
use helpline_core::queue::{Effects, HeldReason, Release, State};
use helpline_core::request::{Channel, HelpRequest, When};
use helpline_core::rng::Rng;
use sqlx::Connection as _;

use super::estimate::Lesson;
use super::outbox::MailBody;
use super::*;

/// 2026-11-23T13:20:00Z.
const START: Wall = Wall::from_millis(1_795_440_000_000);

/// A store, and the same store at other times.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) name: &'static str,
    _dir: Option<tempfile::TempDir>,
}

impl Bench {
    /// The same database, its clock so much later than that of the bench is now: a slow
    /// machine must not eat the difference up.
    pub(crate) fn later(&self, later: Duration) -> Store {
        Store {
            clock: Clock::following_tokio(self.store.clock.wall() + later),
            ..self.store.clone()
        }
    }
}

impl Store {
    /// The clock the store follows.
    pub(crate) fn test_clock(&self) -> Clock {
        self.clock.clone()
    }
}

fn offer(trunk: &str, price: i64) -> Offer {
    let trunk = trunk.to_owned();
    Offer { trunk, price }
}

/// A fresh PostgreSQL database.
pub(crate) async fn postgres_url() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let server = std::env::var("HELPLINE_TEST_POSTGRES")
        .expect("HELPLINE_TEST_POSTGRES is not set; run the tests with tests/run, which starts a PostgreSQL");
    let name = format!(
        "t{}_{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let mut admin = sqlx::PgConnection::connect(&server).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {name}")))
        .execute(&mut admin)
        .await
        .unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    format!("{base}/{name}")
}

/// One store on each database, with a virtual clock that starts at the same time.
pub(crate) async fn benches() -> Vec<Bench> {
    let clock = Clock::following_tokio(START);
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Store::open_sqlite(dir.path(), &clock).await.unwrap();
    let postgres = Store::open_postgres(&postgres_url().await, &clock)
        .await
        .unwrap();
    vec![
        Bench {
            store: sqlite,
            name: "SQLite",
            _dir: Some(dir),
        },
        Bench {
            store: postgres,
            name: "PostgreSQL",
            _dir: None,
        },
    ]
}

macro_rules! on {
    ($store:expr, $tx:ident, [$($v:ident),*] => $body:expr) => {{
        $(let $v = $v.clone();)*
        $store
            .write(move |$tx| {
                $(let $v = $v.clone();)*
                Box::pin(async move { $body.await })
            })
            .await
    }};
    ($store:expr, $tx:ident => $body:expr) => {
        $store
            .write(move |$tx| Box::pin(async move { $body.await }))
            .await
    };
}

mod limits;
mod mails;
mod opening;

use mails::{new_mail, new_spooled, write_mail};

fn number(n: u32) -> PhoneNumber {
    PhoneNumber::from_row(&format!("+4930123{n:04}"))
}

fn new_request(n: u32) -> NewRequest {
    let mut rng = Rng::new(u64::from(n));
    let at = START + Duration::from_millis(u64::from(n));
    let request = HelpRequest {
        whom: helpline_core::request::Whom::default(),
        queue: "help".into(),
        channel: Channel::Form,
        number: number(n),
        name: Some("Ada".into()),
        email: Some("ada@example.org".into()),
        page: None,
        note: None,
        language: "en".into(),
        zone: None,
        when: When::Now,
    };
    NewRequest {
        proven: false,
        pin: None,
        id: RequestId::new(at, &mut rng),
        request,
        state: State::Waiting,
        held_reason: None,
        place_at: at,
        not_before: START,
        due_at: None,
        not_after: None,
        token: format!("token-{n}"),
        ack_json: None,
        promise: Promise::none(START, "UTC"),
        forecast: None,
        stale_at: None,
        address: Some("192.0.2.1".into()),
        source: None,
        parent: None,
        accepted_at: at,
    }
}

async fn insert(store: &Store, new: NewRequest) -> bool {
    store
        .write(move |tx| {
            let new = new.clone();
            Box::pin(async move { request::insert(tx, &new).await })
        })
        .await
        .unwrap()
}

fn node_id(n: u64) -> NodeId {
    NodeId::new(START, &mut Rng::new(n))
}

pub(crate) fn trunk_config(name: &str, channels: u32, rate: f64) -> config::Trunk {
    config::Trunk {
        name: name.into(),
        target: "127.0.0.1:5060".into(),
        caller_id: "+493055500".into(),
        max_channels: channels,
        calls_per_second: rate,
        codecs: vec![config::CodecName::Pcmu],
        ..config::Trunk::default()
    }
}

/// A store with a node, a trunk and `requests` waiting requests.
async fn ready(store: &Store, requests: u32, channels: u32) {
    on!(store, tx => async {
        node::start(tx, &node_id(1), true).await?;
        trunk::configure(tx, &[trunk_config("a", channels, 100.0)]).await
    })
    .unwrap();
    for n in 0..requests {
        assert!(insert(store, new_request(n)).await);
    }
}

/// Any request of the queue `help`.
const ANY: claim::Which<'static> = claim::Which {
    queue: "help",
    booked: false,
    before: None,
    agent: None,
};

async fn claim_all(store: &Store, limit: u32) -> Vec<Claimed> {
    on!(store, tx => claim::claim(tx, &node_id(1), ANY, limit)).unwrap()
}

fn intent_of(row: &RequestRow) -> Intent {
    let mut rng = Rng::new(row.accepted_at.millis().unsigned_abs() + u64::from(row.tries));
    Intent {
        attempt: AttemptId::new(START, &mut rng),
        request: row.id.clone(),
        queue: row.queue.clone(),
        epoch: row.epoch,
        node: node_id(1),
        number: row.number.clone(),
        call_id: CallId::new(START, &mut rng).to_string(),
        trunks: vec![offer("a", 0)],
        ring_limit: Duration::from_secs(40),
    }
}

async fn intend(store: &Store, intent: &Intent) -> Result<claim::Intended, IntentRefused> {
    let intent = intent.clone();
    store
        .write(move |tx| {
            let intent = intent.clone();
            Box::pin(async move { claim::intent(tx, &intent).await })
        })
        .await
        .unwrap()
}

async fn row_of(store: &Store, id: &RequestId) -> RequestRow {
    let id = id.clone();
    store
        .read(move |tx| {
            let id = id.clone();
            Box::pin(async move { request::by_id(tx, &id).await })
        })
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn a_number_has_one_open_request_in_a_queue() {
    for Bench { store, name, .. } in &benches().await {
        assert!(insert(store, new_request(1)).await, "{name}");
        let twin = NewRequest {
            id: RequestId::new(START, &mut Rng::new(99)),
            token: "other".into(),
            ..new_request(1)
        };
        assert!(!insert(store, twin.clone()).await, "{name}");
        let open = on!(store, tx => request::open_of(tx, "help", &number(1))).unwrap();
        assert_eq!(open.unwrap().id, new_request(1).id);
        // Once it is over, the number may ask again.
        let row = row_of(store, &new_request(1).id).await;
        on!(store, tx, [row] => request::apply(tx, &row, State::Cancelled, &Effects::default()))
            .unwrap();
        assert!(insert(store, twin).await, "{name}");
    }
}

#[tokio::test]
async fn claims_follow_the_key_and_are_never_given_twice() {
    for Bench { store, name, .. } in &benches().await {
        ready(store, 6, 10).await;
        let first = claim_all(store, 4).await;
        let numbers: Vec<_> = first.iter().map(|c| c.row.number.clone()).collect();
        assert_eq!(numbers, (0..4).map(number).collect::<Vec<_>>(), "{name}");
        assert_eq!(claim_all(store, 10).await.len(), 2, "{name}");
        assert!(claim_all(store, 10).await.is_empty(), "{name}");
        // Given back it has its old place.
        let back = first[0].row.clone();
        let (id, epoch) = (back.id.clone(), back.epoch);
        assert!(on!(store, tx, [id] => request::release(tx, &id, epoch, Duration::ZERO)).unwrap());
        assert_eq!(claim_all(store, 1).await[0].row.id, back.id);
    }
}

#[tokio::test]
async fn eight_claimers_at_once_get_each_request_once() {
    let url = postgres_url().await;
    let store = Store::open_postgres(&url, &Clock::system()).await.unwrap();
    ready(&store, 40, 10).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let store = store.clone();
        tasks.spawn(
            async move { on!(store, tx => claim::claim(tx, &node_id(n), ANY, 10)).unwrap() },
        );
    }
    let mut taken: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(!taken.is_empty());
    taken.extend(claim_all(&store, 40).await);
    let mut ids: Vec<_> = taken.into_iter().map(|c| c.row.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40);
    assert!(claim_all(&store, 40).await.is_empty());
}

#[tokio::test]
async fn channels_are_never_exceeded_by_intents_at_once() {
    let url = postgres_url().await;
    let store = Store::open_postgres(&url, &Clock::system()).await.unwrap();
    ready(&store, 8, 3).await;
    let mut tasks = tokio::task::JoinSet::new();
    for claimed in claim_all(&store, 8).await {
        let store = store.clone();
        tasks.spawn(async move { intend(&store, &intent_of(&claimed.row)).await });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 3);
    for refused in results.into_iter().filter_map(Result::err) {
        assert_eq!(refused, IntentRefused::Released(Release::NoChannel));
    }
}

#[tokio::test]
async fn an_intent_needs_its_fence_a_channel_and_a_free_number() {
    for Bench { store, name, .. } in &benches().await {
        ready(store, 3, 1).await;
        let claimed = claim_all(store, 3).await;
        let first = intent_of(&claimed[0].row);
        let made = intend(store, &first).await.unwrap();
        assert_eq!((made.attempt_no, made.trunk.as_str()), (1, "a"), "{name}");
        // The same intent again: fenced, whatever the reason it is repeated for.
        assert_eq!(intend(store, &first).await, Err(IntentRefused::Fenced));
        let full = intend(store, &intent_of(&claimed[1].row)).await;
        assert_eq!(full, Err(IntentRefused::Released(Release::NoChannel)));
        assert_eq!(
            row_of(store, &claimed[1].row.id).await.state,
            State::Waiting
        );
        // On a phone-in call.
        on!(store, tx => async {
            call::inbound_begins(tx, &CallId::new(START, &mut Rng::new(5)), "in-1", &node_id(1), Some(&number(2))).await
        })
        .unwrap();
        let busy = intend(store, &intent_of(&claimed[2].row)).await;
        assert_eq!(busy, Err(IntentRefused::Released(Release::NumberBusy)));
        let waits = row_of(store, &claimed[2].row.id).await;
        assert!(
            waits.not_before >= START + Duration::from_secs(60),
            "{name}"
        );
        assert_eq!(waits.tries, 0);
        on!(store, tx => call::inbound_ends(tx, "in-1")).unwrap();
        let free = row_of(store, &claimed[2].row.id).await;
        assert!(free.not_before < START + Duration::from_secs(60), "{name}");
    }
}

#[tokio::test]
async fn a_number_on_the_do_not_call_list_is_refused_at_the_intent() {
    for bench in &benches().await {
        let store = &bench.store;
        ready(store, 1, 10).await;
        let claimed = claim_all(store, 1).await;
        let entry = Suppression {
            period: Some(Duration::from_secs(60)),
            reason: "stop",
        };
        on!(store, tx => async { limit::suppress(tx, &number(0), entry).await }).unwrap();
        let refused = intend(store, &intent_of(&claimed[0].row)).await;
        assert_eq!(refused, Err(IntentRefused::Suppressed));
        assert!(on!(store, tx => async { limit::is_suppressed(tx, &number(0)).await }).unwrap());
        let later = bench.later(Duration::from_secs(61));
        assert!(!on!(later, tx => async { limit::is_suppressed(tx, &number(0)).await }).unwrap());
    }
}

#[tokio::test]
async fn progress_and_end_pass_the_fence_once() {
    for Bench { store, name, .. } in &benches().await {
        ready(store, 1, 10).await;
        let claimed = claim_all(store, 1).await.remove(0).row;
        let intent = intent_of(&claimed);
        intend(store, &intent).await.unwrap();
        let (id, epoch) = (intent.attempt.clone(), intent.epoch);
        let lease = Duration::from_secs(60);
        for (step, state) in [
            (Progress::Ringing, State::Dialling),
            (Progress::Answered, State::Answered),
            (Progress::Ringing, State::Answered), // late news
            (Progress::Connected, State::Connected),
            (Progress::Answered, State::Connected),
        ] {
            let id = id.clone();
            on!(store, tx, [id] => attempt::progress(tx, &id, epoch, step, lease)).unwrap();
            assert_eq!(
                row_of(store, &claimed.id).await.state,
                state,
                "{name} {step:?}"
            );
        }
        on!(store, tx, [id] => attempt::settled(tx, &id, epoch, Disposition::Later, Some(START)))
            .unwrap();
        let outcome = Outcome {
            disposition: Disposition::Talked,
            sip_code: Some(200),
            q850: None,
        };
        let mut results = Vec::new();
        for _ in 0..2 {
            let id = id.clone();
            results.push(on!(store, tx, [id] => attempt::end(tx, &id, epoch, &outcome)));
        }
        assert_eq!(results, [Ok(()), Err(Error::Fenced)], "{name}");
        let late =
            on!(store, tx, [id] => attempt::progress(tx, &id, epoch, Progress::Answered, lease));
        assert_eq!(late, Err(Error::Fenced), "{name}");
        let request = claimed.id.clone();
        let history = on!(store, tx, [request] => attempt::history(tx, &request));
        assert_eq!(history.unwrap(), [Disposition::Talked]);
        let calls = on!(store, tx => estimate::calls(tx, "help")).unwrap();
        assert!(calls.is_empty(), "{name}");
        // The end does not belong to the period, and the call may have ended in this instant.
        let end = on!(store, tx => tx.now()).unwrap() + Duration::from_millis(1);
        let start = Wall::default();
        let lessons = on!(store, tx => estimate::lessons(tx, "help", start, end)).unwrap();
        assert!(
            matches!(lessons[..], [Lesson::Waited(..), Lesson::Handled(..)]),
            "{name}: {lessons:?}"
        );
        let again = on!(store, tx => estimate::lessons(tx, "help", end, end)).unwrap();
        assert!(again.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn what_a_dead_node_left_is_found() {
    for bench in &benches().await {
        let store = &bench.store;
        ready(store, 2, 10).await;
        let claimed = claim_all(store, 2).await;
        intend(store, &intent_of(&claimed[0].row)).await.unwrap();
        assert!(
            on!(store, tx => node::orphans(tx, true))
                .unwrap()
                .is_empty()
        );
        assert!(on!(store, tx => async { node::beat(tx, &node_id(1)).await }).unwrap());
        // The first clock ran on meanwhile; a slow machine takes seconds to come here.
        let later = bench.later(Duration::from_secs(45));
        let orphans = on!(later, tx => node::orphans(tx, true)).unwrap();
        assert_eq!(orphans.len(), 2, "{}: {orphans:?}", bench.name);
        assert!(matches!(&orphans[0], Orphan::Attempt(a) if a.request == claimed[0].row.id));
        assert!(matches!(&orphans[1], Orphan::Leased(id, _) if *id == claimed[1].row.id));
        assert!(!on!(later, tx => async { node::beat(tx, &node_id(1)).await }).unwrap());
    }
}

#[tokio::test]
async fn a_new_incarnation_alone_finds_everything_at_once() {
    for Bench { store, name, .. } in &benches().await {
        ready(store, 1, 10).await;
        claim_all(store, 1).await;
        on!(store, tx => async { node::start(tx, &node_id(2), true).await }).unwrap();
        assert_eq!(
            on!(store, tx => node::orphans(tx, true)).unwrap().len(),
            1,
            "{name}"
        );
        on!(store, tx => async { node::stop(tx, &node_id(2)).await }).unwrap();
    }
}

#[tokio::test]
async fn timers_find_what_is_due_and_when_the_next_is() {
    for bench in &benches().await {
        let store = &bench.store;
        let due = START + Duration::from_secs(3_600);
        let booked = NewRequest {
            state: State::Scheduled,
            not_before: due,
            due_at: Some(due),
            ..new_request(1)
        };
        insert(store, booked).await;
        insert(store, new_request(2)).await;
        let timer = |closed, ages| Timer {
            queue: "help".into(),
            closed,
            ages,
        };
        let count = async |store: &Store, timer: Timer| {
            store
                .write(move |tx| {
                    let timer = timer.clone();
                    Box::pin(async move { request::due(tx, &timer).await })
                })
                .await
                .unwrap()
                .len()
        };
        assert_eq!(count(store, timer(false, true)).await, 0);
        assert_eq!(count(store, timer(true, false)).await, 1);
        let next = on!(store, tx => request::next_timer(tx)).unwrap();
        assert_eq!(next, Some(due), "{}", bench.name);
        let later = bench.later(Duration::from_secs(3_600));
        assert_eq!(count(&later, timer(false, false)).await, 1);
        let old = bench.later(Duration::from_secs(49 * 3_600));
        assert_eq!(count(&old, timer(false, true)).await, 2);
        let soon = on!(store, tx => request::bookings_until(tx, "help", due)).unwrap();
        assert_eq!(soon, 1);
        assert_eq!(on!(store, tx => request::standing(tx, "help")).unwrap(), 2);
    }
}

#[tokio::test]
async fn a_step_is_written_only_on_the_row_it_was_made_for() {
    for Bench { store, name, .. } in &benches().await {
        insert(store, new_request(1)).await;
        let row = row_of(store, &new_request(1).id).await;
        let held = Effects {
            held_reason: Some(HeldReason::Closed),
            not_before: Some(START + Duration::from_secs(60)),
            counted: true,
            ..Effects::default()
        };
        let write = async |row: RequestRow, state, effects: Effects| {
            store
                .write(move |tx| {
                    let (row, effects) = (row.clone(), effects.clone());
                    Box::pin(async move { request::apply(tx, &row, state, &effects).await })
                })
                .await
        };
        write(row.clone(), State::Held, held.clone()).await.unwrap();
        assert_eq!(
            write(row, State::Held, held).await,
            Err(Error::Fenced),
            "{name}"
        );
        let row = row_of(store, &new_request(1).id).await;
        assert_eq!((row.state, row.attempts), (State::Held, 1));
        assert_eq!(row.held_reason, Some(HeldReason::Closed));
        let parent = RequestId::from_text("p");
        on!(store, tx, [row, parent] => request::merge_into(tx, &row, &parent)).unwrap();
        let merged = on!(store, tx => request::by_token(tx, "token-1"))
            .unwrap()
            .unwrap();
        assert_eq!(
            (merged.state, merged.parent),
            (State::Merged, Some(RequestId::from_text("p")))
        );
        let none = on!(store, tx => request::by_token(tx, "token-1' or 1=1 --")).unwrap();
        assert!(none.is_none());
    }
}

#[tokio::test]
async fn positions_count_what_comes_before() {
    for Bench { store, name, .. } in &benches().await {
        for n in [3, 1, 2] {
            insert(store, new_request(n)).await;
        }
        for n in [1, 2, 3] {
            let key = row_of(store, &new_request(n).id).await.key();
            let ahead = on!(store, tx, [key] => request::ahead(tx, "help", &key));
            assert_eq!(ahead.unwrap(), n - 1, "{name}");
        }
    }
}

#[tokio::test]
async fn traces_and_counts_read_back() {
    for Bench { store, name, .. } in &benches().await {
        ready(store, 2, 5).await;
        let line = TraceRow {
            flow: "f".into(),
            seq: 1,
            at_ms: 20,
            node: "hello".into(),
            kind: "say".into(),
            data: "'; drop table request; --".into(),
        };
        for _ in 0..2 {
            let line = line.clone();
            on!(store, tx, [line] => call::trace(tx, "c", "out", &[line])).unwrap();
        }
        write_mail(store, new_mail("r", "closing", 0)).await;
        on!(store, tx => async { mail::spool(tx, &new_spooled(2)).await }).unwrap();
        let counts = store.counts().await.unwrap();
        assert_eq!(
            counts.requests,
            [("help".into(), "waiting".into(), 2)],
            "{name}"
        );
        assert_eq!(counts.oldest_waiting.len(), 1);
        assert_eq!((counts.outbox, counts.spool, counts.calls), (1, 1, 0));
        assert_eq!(counts.trunks, [("a".into(), 0, 5, false)]);
    }
}
