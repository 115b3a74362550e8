//! Requests by mail that have to show first that they are meant, on both databases.

use helpline_core::request::When;

use super::*;
use crate::desk::staff::Ordered;
use crate::store::look;
use crate::store::tests::Bench;

/// Files the `n`-th customer's mail from `address`; its id.
async fn mail(desk: &Desk, n: u32, address: &str, admission: Admission) -> RequestId {
    mail_at(desk, n, address, admission, When::Now).await
}

async fn mail_at(
    desk: &Desk,
    n: u32,
    address: &str,
    admission: Admission,
    when: When,
) -> RequestId {
    let mut asked = request(n);
    asked.channel = Channel::Smtp;
    asked.email = Some(address.into());
    asked.when = when;
    let filing = Filing::Request {
        request: Box::new(asked),
        ack: Some(AckTo {
            address: address.into(),
            ..AckTo::default()
        }),
        admission,
    };
    desk.spool_mail(incoming(vec![0])).await.unwrap();
    let spooled = desk.claim_mail(1).await.unwrap().remove(0);
    let hash = format!("{n} {address}");
    match put(desk, &spooled, &hash, filing).await.unwrap() {
        Filed::Request(id) => id,
        other => panic!("{other:?}"),
    }
}

/// Kind, secret and place of every letter that was not fetched yet.
async fn letters(bench: &Bench) -> Vec<(String, String, Option<u32>)> {
    let rows = bench.store.claim_outbox(200).await.unwrap();
    let told = |row: crate::store::outbox::OutboxRow| {
        let token = row.body.token.unwrap_or_default();
        (row.kind, token, row.body.position)
    };
    rows.into_iter().map(told).collect()
}

/// State word and, if held, why, of a request.
async fn stands(bench: &Bench, id: &RequestId) -> (String, String) {
    let rows = look::rows::<3>(
        &bench.store,
        "select id, state, coalesce(held_reason, '') from request order by id",
    );
    let rows = rows.await;
    let found = rows.into_iter().find(|[row, ..]| row == id.as_str());
    found.map(|[_, state, held]| (state, held)).unwrap()
}

fn is(state: &str, held: &str) -> (String, String) {
    (state.into(), held.into())
}

/// Whoever is to be called now, in order.
async fn called(desk: &Desk) -> Vec<RequestId> {
    let room = desk.take("help").await.unwrap();
    room.claimed.into_iter().map(|c| c.row.id).collect()
}

#[tokio::test]
async fn who_confirms_has_the_place_of_the_mail() {
    for (desk, bench) in &desks().await {
        let mailed = mail(desk, 1, "ada@cust.test", Admission::Confirm).await;
        let told = letters(bench).await;
        let [(kind, token, place)] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert_eq!((kind.as_str(), *place), ("confirm", None), "{}", bench.name);
        assert_eq!(stands(bench, &mailed).await, is("held", "unverified"));
        let seen = desk.status(token).await.unwrap().unwrap();
        assert_eq!((seen.state.as_str(), seen.position), ("unverified", None));
        // Nobody waits for it, and nobody calls it.
        let second = desk.accept(request(2), Origin::default()).await.unwrap();
        assert_eq!(second.position, Some(1));
        desk.look(true).await.unwrap();
        assert_eq!(stands(bench, &mailed).await, is("held", "unverified"));
        for _ in 0..2 {
            assert!(desk.confirm(token).await.unwrap());
            assert_eq!(stands(bench, &mailed).await, is("waiting", ""));
        }
        let seen = desk.status(token).await.unwrap().unwrap();
        assert_eq!((seen.state.as_str(), seen.position), ("waiting", Some(1)));
        assert_eq!(called(desk).await, [mailed, second.id], "{}", bench.name);
        assert!(letters(bench).await.is_empty(), "one letter for one mail");
        assert!(!desk.confirm("nobody").await.unwrap());
        assert!(!desk.confirm(&"a".repeat(65)).await.unwrap());
    }
}

#[tokio::test]
async fn a_link_that_nobody_uses_ends_in_silence() {
    for (desk, bench) in &desks().await {
        let mailed = mail(desk, 1, "ada@cust.test", Admission::Confirm).await;
        let token = letters(bench).await.remove(0).1;
        let sql = "update request set not_before = not_before - 86400000 where id = $1";
        look::run(&bench.store, sql, &[mailed.as_str()]).await;
        desk.look(true).await.unwrap();
        assert_eq!(stands(bench, &mailed).await, is("expired", ""));
        assert!(desk.confirm(&token).await.unwrap());
        assert_eq!(stands(bench, &mailed).await, is("expired", ""), "too late");
        assert!(letters(bench).await.is_empty(), "{}", bench.name);
        assert!(called(desk).await.is_empty());
    }
}

#[tokio::test]
async fn what_may_be_forged_waits_for_the_operator() {
    for (desk, bench) in &desks().await {
        let released = mail(desk, 1, "ada@cust.test", Admission::Decide).await;
        let withdrawn = mail(desk, 2, "ben@cust.test", Admission::Decide).await;
        assert!(letters(bench).await.is_empty(), "nobody is written to");
        desk.look(true).await.unwrap();
        assert_eq!(stands(bench, &released).await, is("held", "doubtful"));
        assert!(called(desk).await.is_empty());
        let done = Ordered::Done(State::Waiting);
        assert_eq!(desk.hasten(&released).await.unwrap(), done);
        let done = Ordered::Done(State::Cancelled);
        assert_eq!(desk.withdraw(&withdrawn).await.unwrap(), done);
        assert_eq!(called(desk).await, [released], "{}", bench.name);
    }
}

#[tokio::test]
async fn a_strangers_mail_holds_up_nobody() {
    for (desk, bench) in &desks().await {
        let mailed = mail(desk, 1, "eve@evil.test", Admission::Confirm).await;
        let stranger = letters(bench).await.remove(0).1;
        let own = desk.accept(request(1), Origin::default()).await.unwrap();
        assert_eq!(own.position, Some(1), "{}", bench.name);
        assert_eq!(stands(bench, &own.id).await, is("waiting", ""));
        assert_eq!(stands(bench, &mailed).await, is("merged", ""));
        assert!(desk.confirm(&stranger).await.unwrap());
        // A later one learns nothing of the line, and changes nothing in it.
        let later = mail(desk, 1, "eve@other.test", Admission::Confirm).await;
        let told = letters(bench).await.remove(0);
        assert_eq!((told.0.as_str(), told.2), ("confirm", None));
        assert_eq!(stands(bench, &later).await, is("merged", ""));
        assert_eq!(called(desk).await, [own.id], "{}", bench.name);
    }
}

#[tokio::test]
async fn the_link_of_a_second_mail_confirms_the_first() {
    for (desk, bench) in &desks().await {
        let first = mail(desk, 1, "ada@cust.test", Admission::Confirm).await;
        let second = mail(desk, 1, "ada@work.test", Admission::Confirm).await;
        assert_eq!(letters(bench).await.len(), 2);
        assert_eq!(stands(bench, &second).await, is("merged", ""));
        let tokens = look::rows::<2>(&bench.store, "select id, token from request").await;
        let token = tokens.into_iter().find(|[id, _]| id == second.as_str());
        let [_, token] = token.unwrap();
        let view = desk.status(&token).await.unwrap().unwrap();
        assert_eq!(view.state, "unverified", "{}", bench.name);
        assert!(desk.confirm(&token).await.unwrap());
        assert_eq!(called(desk).await, [first], "{}", bench.name);
    }
}

#[tokio::test]
async fn no_line_and_no_quarter_of_an_hour_is_filled_with_unproven_requests() {
    for (desk, bench) in &desks().await {
        let tomorrow = desk.clock.wall() + Duration::from_secs(86_400);
        let when = When::Window {
            not_before: tomorrow,
            not_after: None,
        };
        for n in 0..95 {
            let address = format!("eve@{n}.test");
            mail_at(desk, n, &address, Admission::Confirm, when).await;
        }
        let mut booked = request(200);
        booked.when = when;
        let booked = desk.accept(booked, Origin::default()).await.unwrap();
        assert_eq!(booked.promise.from, tomorrow, "{}", bench.name);
        let now = desk.accept(request(201), Origin::default()).await.unwrap();
        assert_eq!(now.position, Some(1), "{}", bench.name);
        // A confirmed booking is one.
        let told = letters(bench).await;
        let (_, token, _) = told.iter().find(|(kind, ..)| kind == "confirm").unwrap();
        assert!(desk.confirm(token).await.unwrap());
        let view = desk.status(token).await.unwrap().unwrap();
        assert_eq!(
            (view.state.as_str(), view.due_at),
            ("scheduled", Some(tomorrow))
        );
    }
}

#[tokio::test]
async fn where_no_letter_may_go_somebody_decides() {
    for (desk, bench) in &desks().await {
        for n in 0..3 {
            let asked = mail(desk, n, "ada@cust.test", Admission::Confirm).await;
            assert_eq!(stands(bench, &asked).await, is("held", "unverified"));
        }
        let fourth = mail(desk, 3, "ada@cust.test", Admission::Confirm).await;
        assert_eq!(stands(bench, &fourth).await, is("held", "doubtful"));
        assert_eq!(letters(bench).await.len(), 3, "{}", bench.name);
    }
}

#[tokio::test]
async fn a_mail_during_a_talk_does_not_take_over_its_request() {
    for (desk, bench) in &desks().await {
        let own = desk.accept(request(1), Origin::default()).await.unwrap();
        let claimed = desk.take("help").await.unwrap().claimed.remove(0);
        let Placed::Go(live) = desk.place(&claimed).await.unwrap() else {
            panic!("{}: not placed", bench.name);
        };
        for progress in [LiveProgress::Answered, LiveProgress::Connected] {
            desk.progress(&live, progress).await.unwrap();
        }
        let mailed = mail(desk, 1, "eve@evil.test", Admission::Confirm).await;
        assert_eq!(stands(bench, &mailed).await, is("held", "unverified"));
        let broken = CallReport {
            end: End::HungUp { by_customer: true },
            rang: true,
            talked_for: Duration::from_secs(2),
            settled: None,
            answerer: None,
        };
        let state = desk.settle(&live, &broken).await.unwrap();
        assert_eq!(state, State::Backoff, "{}", bench.name);
        assert_eq!(stands(bench, &own.id).await, is("backoff", ""));
        assert_eq!(stands(bench, &mailed).await, is("merged", ""));
    }
}
