//! Mail that leaves and mail that comes in.

use super::*;

pub(super) fn new_mail(about: &str, kind: &'static str, n: u32) -> NewOutbox {
    NewOutbox {
        id: format!("{about}.{kind}.{n}"),
        about: about.into(),
        kind,
        seq: n,
        body: MailBody {
            position: Some(3),
            ..MailBody::default()
        },
        locale: "en".into(),
        to_addr: "ada@example.org".into(),
        message_id: format!("{about}.{kind}.{n}@example.org"),
        stale_at: None,
    }
}

pub(super) async fn write_mail(store: &Store, mail: NewOutbox) {
    store
        .write(move |tx| {
            let mail = mail.clone();
            Box::pin(async move { outbox::insert(tx, &mail).await })
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_mail_is_written_once_and_leaves_in_order() {
    for bench in &benches().await {
        let store = &bench.store;
        for (kind, n) in [("ack", 0), ("ack", 0), ("attempted", 1)] {
            write_mail(store, new_mail("r1", kind, n)).await;
        }
        let claimed = store.claim_outbox(10).await.unwrap();
        assert_eq!(claimed.len(), 1, "{}: {claimed:?}", bench.name);
        assert_eq!(claimed[0].kind, "ack");
        assert_eq!(claimed[0].body.position, Some(3));
        assert!(store.claim_outbox(10).await.unwrap().is_empty());
        store
            .outbox_rendered(&claimed[0], b"bytes\0\xff")
            .await
            .unwrap();
        let again = START + Duration::from_secs(60);
        store
            .outbox_deferred(&claimed[0], again, "451")
            .await
            .unwrap();
        assert!(store.claim_outbox(10).await.unwrap().is_empty());
        let later = bench.later(Duration::from_secs(60));
        let retry = later.claim_outbox(10).await.unwrap();
        assert_eq!(retry.len(), 1);
        assert_eq!(
            retry[0].rendered.as_deref(),
            Some(b"bytes\0\xff".as_slice())
        );
        assert_eq!(
            (retry[0].attempts, &retry[0].message_id),
            (2, &claimed[0].message_id)
        );
        // The first claim is fenced now.
        assert_eq!(store.outbox_sent(&claimed[0]).await, Err(Error::Fenced));
        later.outbox_sent(&retry[0]).await.unwrap();
        let next = later.claim_outbox(10).await.unwrap();
        assert_eq!(next[0].kind, "attempted");
        later.outbox_failed(&next[0], "550").await.unwrap();
        assert!(later.claim_outbox(10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_worker_that_died_with_a_mail_loses_it_to_the_next() {
    for bench in &benches().await {
        write_mail(&bench.store, new_mail("r1", "closing", 0)).await;
        assert_eq!(bench.store.claim_outbox(1).await.unwrap().len(), 1);
        let later = bench.later(Duration::from_secs(121));
        let again = later.claim_outbox(1).await.unwrap();
        assert_eq!(again.len(), 1, "{}", bench.name);
        later.outbox_suppressed(&again[0], "test").await.unwrap();
    }
}

#[tokio::test]
async fn an_acknowledgement_that_comes_too_late_is_not_sent() {
    for bench in &benches().await {
        let store = &bench.store;
        insert(store, new_request(1)).await;
        let id = new_request(1).id;
        let late = NewOutbox {
            stale_at: Some(START + Duration::from_secs(60)),
            ..new_mail("other", "ack", 0)
        };
        write_mail(store, late).await;
        write_mail(store, new_mail(id.as_str(), "ack", 0)).await;
        let row = row_of(store, &id).await;
        on!(store, tx, [row] => request::apply(tx, &row, State::Done, &Effects::default()))
            .unwrap();
        write_mail(store, new_mail("third", "ack", 0)).await;
        let later = bench.later(Duration::from_secs(61));
        let claimed = later.claim_outbox(10).await.unwrap();
        let about: Vec<_> = claimed.iter().map(|c| c.about.as_str()).collect();
        assert_eq!(about, ["third"], "{}", bench.name);
    }
}

pub(super) fn new_spooled(n: u64) -> NewMail {
    NewMail {
        id: MailInId::new(START, &mut Rng::new(n)),
        via: "smtp",
        peer: "192.0.2.9".into(),
        helo: "mx.example".into(),
        auth_user: None,
        mail_from: None,
        rcpt: vec!["help@example.org".into()],
        raw: b"Subject: x\r\n\r\n\0\xff".to_vec(),
    }
}

#[tokio::test]
async fn spooled_mail_is_worked_on_three_times_at_most() {
    for bench in &benches().await {
        let store = &bench.store;
        on!(store, tx => async { mail::spool(tx, &new_spooled(1)).await }).unwrap();
        for n in 1..=3_u32 {
            let later = bench.later(Duration::from_secs(61 * u64::from(n)));
            let claim = on!(later, tx => mail::claim(tx, 1)).unwrap().remove(0);
            assert_eq!(
                (claim.attempts, claim.raw),
                (n, new_spooled(1).raw),
                "{}",
                bench.name
            );
            assert!(on!(later, tx => mail::claim(tx, 1)).unwrap().is_empty());
        }
        let later = bench.later(Duration::from_secs(300));
        assert!(
            on!(later, tx => mail::claim(tx, 1)).unwrap().is_empty(),
            "{}",
            bench.name
        );
    }
}

#[tokio::test]
async fn mail_is_filed_under_its_fence_and_seen_once() {
    for Bench { store, name, .. } in &benches().await {
        on!(store, tx => async { mail::spool(tx, &new_spooled(1)).await }).unwrap();
        let claim = on!(store, tx => mail::claim(tx, 1)).unwrap().remove(0);
        let id = claim.id.clone();
        let see = async || {
            let id = id.clone();
            on!(store, tx, [id] => mail::see(tx, "hash", &id)).unwrap()
        };
        assert!(see().await && !see().await, "{name}");
        on!(store, tx, [id] => mail::unsee(tx, "hash", &id)).unwrap();
        assert!(see().await);
        on!(store, tx => mail::end_leases(tx)).unwrap();
        let again = on!(store, tx => mail::claim(tx, 1)).unwrap().remove(0);
        for (epoch, want) in [(claim.epoch, Err(Error::Fenced)), (again.epoch, Ok(()))] {
            let id = id.clone();
            let done = on!(store, tx, [id] => mail::done(tx, &id, epoch, "machine", Some("list"), "hash", None));
            assert_eq!(done, want, "{name}");
        }
        assert!(on!(store, tx => mail::claim(tx, 1)).unwrap().is_empty());
    }
}
