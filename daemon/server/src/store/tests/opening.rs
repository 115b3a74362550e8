//! Opening the store, and what happens when it fails.

use super::*;

#[tokio::test]
async fn opening_again_keeps_everything_and_migrates_once() {
    let url = postgres_url().await;
    let clock = Clock::system();
    for _ in 0..2 {
        let store = Store::open_postgres(&url, &clock).await.unwrap();
        insert(&store, new_request(1)).await;
        store.close().await;
    }
    let store = Store::open_postgres(&url, &clock).await.unwrap();
    let found = on!(store, tx => request::by_token(tx, "token-1")).unwrap();
    assert!(found.is_some());
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_sqlite(dir.path(), &clock).await.unwrap();
    insert(&store, new_request(1)).await;
    let key = store.mail_key().to_vec();
    store.close().await;
    let store = Store::open_sqlite(dir.path(), &clock).await.unwrap();
    assert_eq!((store.mail_key(), key.len()), (&key[..], 64));
    let found = on!(store, tx => request::by_token(tx, "token-1")).unwrap();
    assert!(found.is_some());
    let now = store.ping().await.unwrap();
    assert!(now.since(clock.wall()) < Duration::from_secs(1));
    assert!(clock.wall().since(now) < Duration::from_secs(1));
}

#[tokio::test]
async fn two_nodes_may_open_a_new_database_at_once() {
    let url = postgres_url().await;
    let clock = Clock::system();
    let (a, b) = tokio::join!(
        Store::open_postgres(&url, &clock),
        Store::open_postgres(&url, &clock)
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    a.ping().await.unwrap();
    b.ping().await.unwrap();
    assert_eq!(a.mail_key(), b.mail_key(), "one signs what the other reads");
    let other = Store::open_postgres(&postgres_url().await, &clock).await;
    assert_ne!(other.unwrap().mail_key(), a.mail_key());
}

#[tokio::test]
async fn two_daemons_cannot_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let first = Store::open_sqlite(dir.path(), &clock).await.unwrap();
    let second = Store::open_sqlite(dir.path(), &clock).await;
    assert!(matches!(&second, Err(Error::Locked(why)) if why.contains("another helpline daemon")));
    first.close().await;
    Store::open_sqlite(dir.path(), &clock).await.unwrap();
}

#[tokio::test]
async fn waiting_operations_share_a_commit_and_one_failure_hurts_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_sqlite(dir.path(), &Clock::system())
        .await
        .unwrap();
    let begun = std::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..500_u32 {
        let store = store.clone();
        tasks.spawn(async move {
            if n % 10 == 9 {
                let failed = on!(store, tx => async {
                    request::insert(tx, &new_request(99_999)).await?;
                    Err::<(), _>(Error::Fenced)
                });
                assert_eq!(failed, Err(Error::Fenced));
            } else {
                assert!(insert(&store, new_request(n)).await);
            }
        });
    }
    tasks.join_all().await;
    let n = on!(store, tx => tx.int("select count(*) from request", vec![])).unwrap();
    assert_eq!(n, 450);
    // One fsync each would take longer than this on any disk with a real one; it is
    // generous, because test machines are busy.
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_line_is_seen_on_both_databases() {
    for bench in benches().await {
        let store = &bench.store;
        assert!(insert(store, new_request(1)).await);
        let seen = on!(store, tx => estimate::line(tx, "help")).unwrap();
        assert_eq!((seen.present, seen.requests), (1, 1), "{}", bench.name);
    }
}

#[tokio::test]
async fn a_database_that_went_away_heals_by_itself() {
    let url = postgres_url().await;
    let store = Store::open_postgres(&url, &Clock::system()).await.unwrap();
    let (base, name) = url.rsplit_once('/').unwrap();
    let mut admin = sqlx::PgConnection::connect(&format!("{base}/postgres"))
        .await
        .unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
    )))
    .execute(&mut admin)
    .await
    .unwrap();
    let mut healed = false;
    for _ in 0..20 {
        match store.ping().await {
            Ok(_) => {
                healed = true;
                break;
            }
            Err(error) => assert!(error.is_temporary(), "{error:?}"),
        }
    }
    assert!(healed);
}

#[tokio::test]
async fn a_full_disk_is_unknown_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_sqlite(dir.path(), &Clock::system())
        .await
        .unwrap();
    on!(store, tx => tx.int("pragma max_page_count = 60", vec![])).unwrap();
    let mut refused = None;
    for n in 0..400 {
        let new = NewRequest {
            ack_json: Some("x".repeat(4_000)),
            ..new_request(n)
        };
        let done = store
            .write(move |tx| {
                let new = new.clone();
                Box::pin(async move { request::insert(tx, &new).await })
            })
            .await;
        if let Err(error) = done {
            refused = Some(error);
            break;
        }
    }
    assert!(
        matches!(refused, Some(Error::Unavailable(_))),
        "{refused:?}"
    );
    on!(store, tx => tx.int("pragma max_page_count = 100000", vec![])).unwrap();
    assert!(insert(&store, new_request(9_999)).await);
}
