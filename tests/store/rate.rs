//! Acknowledged is durable, and many are acknowledged at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use helpline::clock::Clock;
use helpline::desk::Desk;
use helpline::store::Store;

use crate::support::world::{config, origin, request};

/// Requests posted by 128 senders at once; group commit has to carry them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rush_of_requests_is_acknowledged_in_time_and_kept() {
    const REQUESTS: u32 = 1_500;
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let mut config = config(2);
    config.queue[0].waiting_max = 10_000;
    let config = Arc::new(config);
    let store = Store::open_sqlite(dir.path(), &clock).await.unwrap();
    let calendars = config.calendars();
    let desk = Arc::new(Desk::new(
        store,
        Arc::clone(&config),
        calendars,
        clock.clone(),
        1,
    ));
    desk.start().await.unwrap();
    let begun = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..128_u32 {
        let desk = Arc::clone(&desk);
        senders.spawn(async move {
            let mut slowest = Duration::ZERO;
            let mut tokens = Vec::new();
            for n in (sender..REQUESTS).step_by(128) {
                let begun = Instant::now();
                tokens.push(desk.accept(request(n), origin(n)).await.unwrap().token);
                slowest = slowest.max(begun.elapsed());
            }
            (slowest, tokens)
        });
    }
    let answers = senders.join_all().await;
    let took = begun.elapsed();
    let slowest = answers.iter().map(|(slowest, _)| *slowest).max().unwrap();
    let rate = f64::from(REQUESTS) / took.as_secs_f64();
    println!("{rate:.0} acknowledgements/s, slowest {slowest:?}");
    drop(desk);
    // The writer ends when the last handle is gone; then the folder is free.
    let store = loop {
        match Store::open_sqlite(dir.path(), &clock).await {
            Ok(store) => break store,
            Err(helpline::store::Error::Locked(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    let desk = Desk::new(store, Arc::clone(&config), config.calendars(), clock, 2);
    for token in answers.into_iter().flat_map(|(_, tokens)| tokens) {
        assert!(desk.status(&token).await.unwrap().is_some());
    }
    // An unoptimised build on a busy machine; one commit a request would take 10 s here.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}
