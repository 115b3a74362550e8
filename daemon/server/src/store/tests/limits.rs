//! Trunks, buckets and keys: what may be done how often.

use super::*;

#[tokio::test]
async fn three_trunk_failures_open_the_breaker() {
    for bench in &benches().await {
        let store = &bench.store;
        ready(store, 0, 10).await;
        for _ in 0..2 {
            on!(store, tx => trunk::failed(tx, "a")).unwrap();
        }
        on!(store, tx => trunk::worked(tx, "a")).unwrap();
        for _ in 0..3 {
            let row = on!(store, tx => trunk::all(tx)).unwrap().remove(0);
            assert!(row.room(START) > 0, "{}", bench.name);
            on!(store, tx => trunk::failed(tx, "a")).unwrap();
        }
        let row = on!(store, tx => trunk::all(tx)).unwrap().remove(0);
        assert_eq!(row.room(START + Duration::from_secs(5)), 0);
        let take = async |store: &Store| {
            on!(store, tx => async { trunk::take(tx, &[offer("a", 0)]).await }).unwrap()
        };
        assert_eq!(take(store).await, Err(Release::NoTrunk));
        assert_eq!(
            row.room(START + Duration::from_secs(11)),
            1,
            "half open: one call"
        );
        let later = bench.later(Duration::from_secs(11));
        assert_eq!(take(&later).await, Ok(offer("a", 0)));
        // A trunk that left the configuration carries nothing.
        on!(store, tx => trunk::configure(tx, &[])).unwrap();
        assert!(on!(store, tx => trunk::all(tx)).unwrap().is_empty());
    }
}

#[tokio::test]
async fn caps_of_a_day_hold_are_settled_and_end_at_midnight() {
    let capped = crate::config::Trunk {
        minutes_per_day: Some(4),
        cost_per_day: Some(0.1),
        rates: [("+".to_owned(), 0.02), ("+49".to_owned(), 0.05)].into(),
        ..trunk_config("a", 100, 1_000.0)
    };
    let (dear, cheap) = (capped.price("+4930123"), capped.price("+44207"));
    assert_eq!((dear, cheap), (500, 200));
    for bench in &benches().await {
        let trunks: &'static [_] = Box::leak(Box::new([capped.clone()]));
        let configure = async |store: &Store| {
            on!(store, tx => trunk::configure(tx, trunks)).unwrap();
        };
        configure(&bench.store).await;
        let take = async |store: &Store, price| {
            on!(store, tx => async { trunk::take(tx, &[offer("a", price)]).await }).unwrap()
        };
        let settle = async |store: &Store, price, minutes| {
            on!(store, tx => async { trunk::settle(tx, &offer("a", price), minutes).await })
                .unwrap();
        };
        let spent = async |store: &Store| {
            let row = on!(store, tx => trunk::all(tx)).unwrap().remove(0).spent;
            (row.minutes, row.cost, row.is_over)
        };
        assert!(take(&bench.store, dear).await.is_ok());
        assert!(take(&bench.store, cheap).await.is_ok());
        assert_eq!(spent(&bench.store).await, (2, 700, false), "{}", bench.name);
        assert!(
            take(&bench.store, dear).await.is_err(),
            "money for another one is not there"
        );
        // The dear one was not answered; the cheap one lasted three minutes.
        settle(&bench.store, dear, 0).await;
        settle(&bench.store, cheap, 3).await;
        assert_eq!(spent(&bench.store).await, (3, 600, false));
        // A start in between forgets nothing.
        configure(&bench.store).await;
        assert!(take(&bench.store, cheap).await.is_ok());
        assert_eq!(spent(&bench.store).await, (4, 800, true));
        assert!(
            take(&bench.store, cheap).await.is_err(),
            "minutes are used up"
        );
        let tomorrow = bench.later(Duration::from_secs(86_400));
        assert_eq!(spent(&tomorrow).await, (0, 0, false));
        assert!(take(&tomorrow, dear).await.is_ok());
        assert_eq!(spent(&tomorrow).await, (1, 500, false));
    }
}

#[tokio::test]
async fn the_rate_of_a_trunk_holds() {
    for bench in &benches().await {
        on!(bench.store, tx => async {
            trunk::configure(tx, &[trunk_config("slow", 100, 2.0)]).await
        })
        .unwrap();
        let still = bench.later(Duration::ZERO);
        let mut went = 0;
        for _ in 0..10 {
            let took = on!(still, tx => async { trunk::take(tx, &[offer("slow", 0)]).await });
            went += u32::from(took.unwrap().is_ok());
        }
        assert!((2..=3).contains(&went), "{}: {went}", bench.name);
    }
}

#[tokio::test]
async fn a_bucket_says_when_to_come_again() {
    let three = Limit {
        name: "test",
        interval: Duration::from_secs(60),
        burst: 3,
    };
    for bench in &benches().await {
        let take = async |store: &Store, whose: &'static str| {
            on!(store, tx => limit::take(tx, three, whose)).unwrap()
        };
        for _ in 0..3 {
            assert_eq!(take(&bench.store, "a").await, Ok(()), "{}", bench.name);
        }
        let wait = take(&bench.store, "a").await.unwrap_err();
        assert!(
            wait > Duration::from_secs(50) && wait <= Duration::from_secs(60),
            "{wait:?}"
        );
        assert_eq!(take(&bench.store, "b").await, Ok(()));
        let later = bench.later(wait + Duration::from_secs(1));
        assert_eq!(take(&later, "a").await, Ok(()));
        on!(bench.later(Duration::from_secs(999)), tx => limit::sweep(tx)).unwrap();
        for _ in 0..3 {
            assert_eq!(
                take(&bench.later(Duration::from_secs(999)), "a").await,
                Ok(())
            );
        }
    }
}

#[tokio::test]
async fn a_key_gives_its_first_answer_again() {
    for Bench { store, name, .. } in &benches().await {
        let take =
            async |body: &'static str| on!(store, tx => key::take(tx, "http", "k", body)).unwrap();
        assert_eq!(take("a").await, KeyState::Fresh, "{name}");
        on!(store, tx => async {
            key::answer(tx, "http", "k", &RequestId::from_text("r"), "yes").await
        })
        .unwrap();
        assert_eq!(take("a").await, KeyState::Answered("yes".into()));
        assert_eq!(take("b").await, KeyState::Reused);
        on!(store, tx => key::give_back(tx, "http", "k")).unwrap();
        assert_eq!(
            take("a").await,
            KeyState::Answered("yes".into()),
            "an answer stays"
        );
    }
}
