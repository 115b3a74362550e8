//! Answers to mail, and mail that comes back, on both databases.

use helpline_core::request::When;
use helpline_core::request::email::{Action, Dsn, FollowUp, Thread, Undelivered, Wish};

use super::*;
use crate::store::look;

const ADA: &str = "ada@cust.test";
const HOUR: Duration = Duration::from_secs(3_600);

/// Files an answer as the message number `n`; by itself it asks for a number.
async fn answer(desk: &Desk, n: u32, follow_up: FollowUp) -> Filed {
    desk.spool_mail(incoming(vec![0])).await.unwrap();
    let spooled = desk.claim_mail(1).await.unwrap().remove(0);
    let read = ReadMail {
        follow_up: Some(Box::new(follow_up)),
        ..read(&spooled, &format!("answer {n}"), asked(ADA))
    };
    desk.file_mails(vec![read]).await.remove(0).unwrap()
}

fn from_ada(id: &RequestId, wish: Wish) -> FollowUp {
    FollowUp {
        of: Thread::Signed(id.as_str().to_owned()),
        from: Some("Ada@CUST.test".into()),
        is_trusted: true,
        wish,
    }
}

fn another_time(at: Wall, until: Option<Wall>) -> Wish {
    Wish::Change {
        number: None,
        when: Some(When::Window {
            not_before: at,
            not_after: until,
        }),
        zone: None,
    }
}

fn another_number(number: &str) -> Wish {
    Wish::Change {
        number: Some(PhoneNumber::from_row(number)),
        when: None,
        zone: None,
    }
}

/// A request of Ada's by mail.
async fn stands(desk: &Desk, n: u32) -> RequestId {
    match file(desk, n, asking_for(n, ADA)).await {
        Filed::Request(id) => id,
        other => panic!("{other:?}"),
    }
}

async fn states(bench: &crate::store::tests::Bench) -> Vec<String> {
    let rows = look::rows::<1>(&bench.store, "select state from request order by id").await;
    rows.into_iter().map(|[state]| state).collect()
}

async fn letters(bench: &crate::store::tests::Bench) -> Vec<[String; 2]> {
    let sql = "select kind, cast(seq as text) from outbox order by kind, seq";
    look::rows::<2>(&bench.store, sql).await
}

fn pairs(rows: &[[String; 2]]) -> Vec<(&str, &str)> {
    rows.iter().map(|[a, b]| (a.as_str(), b.as_str())).collect()
}

#[tokio::test]
async fn an_answer_cancels_as_the_link_does_and_once() {
    for (desk, bench) in &desks().await {
        let id = stands(desk, 1).await;
        let mut cancellations = desk.cancellations();
        let cancelled = Filed::FollowUp(id.clone(), "cancelled");
        let wish = || from_ada(&id, Wish::Cancel);
        assert_eq!(answer(desk, 1, wish()).await, cancelled, "{}", bench.name);
        assert_eq!(states(bench).await, ["cancelled"]);
        assert_eq!(
            pairs(&letters(bench).await),
            [("ack", "0"), ("closing", "0")]
        );
        assert_eq!(answer(desk, 1, wish()).await, Filed::Duplicate);
        let over = Filed::FollowUp(id.clone(), "over");
        assert_eq!(answer(desk, 2, wish()).await, over);
        assert_eq!(letters(bench).await.len(), 2);
        assert!(cancellations.try_recv().is_err(), "no call was on");
        // One that is on is ended.
        let rings = stands(desk, 2).await;
        let sql = "update request set state = 'dialling' where id = $1";
        look::run(&bench.store, sql, &[rings.as_str()]).await;
        let cancelled = Filed::FollowUp(rings.clone(), "cancelled");
        assert_eq!(
            answer(desk, 3, from_ada(&rings, Wish::Cancel)).await,
            cancelled
        );
        assert_eq!(cancellations.try_recv(), Ok(rings));
        let kept = "select kind, coalesce(reason, '') from mail_in where request_id is not null order by id";
        let kept = look::rows::<2>(&bench.store, kept).await;
        assert_eq!(
            kept[1..3],
            [["follow_up", "cancelled"], ["follow_up", "over"]]
        );
    }
}

#[tokio::test]
async fn who_is_not_the_customer_changes_nothing() {
    for (desk, bench) in &desks().await {
        let id = stands(desk, 1).await;
        let ada = from_ada(&id, Wish::Cancel);
        let others = [
            FollowUp {
                from: Some("bob@cust.test".into()),
                ..ada.clone()
            },
            FollowUp {
                from: None,
                ..ada.clone()
            },
            FollowUp {
                is_trusted: false,
                ..ada.clone()
            },
        ];
        for (n, other) in (0..).zip(others) {
            let unverified = Filed::FollowUp(id.clone(), "unverified");
            assert_eq!(answer(desk, n, other).await, unverified, "{}", bench.name);
        }
        // A name of no request: the mail stands for itself.
        for (n, of) in (5..).zip([
            Thread::Signed("01936f3a-0000-7000-8000-0123456789ab".into()),
            Thread::Tag("2222-2222".into()),
        ]) {
            let of_nothing = FollowUp { of, ..ada.clone() };
            assert_eq!(answer(desk, n, of_nothing).await, Filed::Kept);
        }
        assert_eq!(states(bench).await, ["waiting"]);
        let asks = "select kind from mail_in where kind = 'needs_info'";
        assert_eq!(look::rows::<1>(&bench.store, asks).await.len(), 2);
        // By the tag it is found, and her own mail counts.
        let tagged = FollowUp {
            of: Thread::Tag(request_tag(&id)),
            ..ada
        };
        let cancelled = Filed::FollowUp(id.clone(), "cancelled");
        assert_eq!(answer(desk, 9, tagged).await, cancelled, "{}", bench.name);
    }
}

#[tokio::test]
async fn an_answer_moves_the_call_and_tells_it_once() {
    for (desk, bench) in &desks().await {
        let id = stands(desk, 1).await;
        let due = desk.clock.wall() + 26 * HOUR;
        let changed = Filed::FollowUp(id.clone(), "changed");
        let noted = Filed::FollowUp(id.clone(), "noted");
        let until = Some(due + HOUR);
        let wish = |at, until| from_ada(&id, another_time(at, until));
        assert_eq!(
            answer(desk, 1, wish(due, until)).await,
            changed,
            "{}",
            bench.name
        );
        let row = "select state, cast(due_at as text), cast(not_after as text) from request";
        let millis = |at: Wall| at.millis().to_string();
        let booked = ["scheduled".to_owned(), millis(due), millis(due + HOUR)];
        let stored = look::rows::<3>(&bench.store, row).await;
        assert_eq!(stored[..], [booked]);
        assert_eq!(
            answer(desk, 2, wish(due, until)).await,
            noted,
            "the same again"
        );
        let too_far = wish(due + 400 * HOUR, None);
        let refused = Filed::FollowUp(id.clone(), "bad_time");
        assert_eq!(answer(desk, 3, too_far).await, refused);
        assert_eq!(look::rows::<3>(&bench.store, row).await, stored);
        // The second says that it was not moved.
        assert_eq!(
            pairs(&letters(bench).await),
            [("ack", "0"), ("changed", "1"), ("changed", "2")]
        );
        // At once after all.
        let soon = Wish::Change {
            number: None,
            when: Some(When::Now),
            zone: None,
        };
        assert_eq!(answer(desk, 4, from_ada(&id, soon.clone())).await, changed);
        assert_eq!(states(bench).await, ["waiting"]);
        assert_eq!(answer(desk, 5, from_ada(&id, soon)).await, noted);
        // The budget of replies: the changes are made, and not confirmed.
        assert_eq!(letters(bench).await.len(), 3);
        assert_eq!(answer(desk, 6, wish(due, None)).await, changed);
        assert_eq!(
            (states(bench).await, letters(bench).await.len()),
            (vec!["scheduled".into()], 3)
        );
        assert_eq!(desk.snapshot().await.unwrap().replies_withheld, 2);
        // A call that is on is not moved.
        look::run(&bench.store, "update request set state = 'dialling'", &[]).await;
        let late = Filed::FollowUp(id.clone(), "too_late");
        assert_eq!(answer(desk, 7, wish(due + HOUR, None)).await, late);
    }
}

#[tokio::test]
async fn another_number_is_called_if_it_may_be() {
    for (desk, bench) in &desks().await {
        let id = stands(desk, 1).await;
        desk.accept(request(2), Origin::default()).await.unwrap();
        let says = |word| Filed::FollowUp(id.clone(), word);
        let number = async |n, number| answer(desk, n, from_ada(&id, another_number(number))).await;
        assert_eq!(number(1, "+49301230001").await, says("noted"), "it is that");
        assert_eq!(number(2, "+12125550100").await, says("refused_phone"));
        assert_eq!(number(3, "+49301230002").await, says("number_in_line"));
        assert_eq!(
            number(4, "+49301230009").await,
            says("changed"),
            "{}",
            bench.name
        );
        assert_eq!(number(5, "+49301230008").await, says("too_many"));
        let numbers = "select number from request order by number";
        let numbers = look::rows::<1>(&bench.store, numbers).await;
        assert_eq!(numbers, [["+49301230002"], ["+49301230009"]]);
        let told = bench.store.claim_outbox(9).await.unwrap();
        let told = told
            .iter()
            .find(|row| row.kind == "ack" || row.kind == "changed")
            .unwrap();
        bench.store.outbox_sent(told).await.unwrap();
        let changed = bench.store.claim_outbox(9).await.unwrap().remove(0);
        assert_eq!(
            (changed.kind.as_str(), changed.body.reason.as_deref()),
            ("changed", Some("number"))
        );
        assert_eq!(changed.body.number_masked.as_deref(), Some("+49 … 09"));
    }
}

#[tokio::test]
async fn an_answer_with_a_time_to_a_request_that_is_over_makes_a_new_one() {
    for (desk, bench) in &desks().await {
        let id = stands(desk, 1).await;
        desk.withdraw(&id).await.unwrap();
        let due = desk.clock.wall() + 3 * HOUR;
        let again = from_ada(&id, another_time(due, None));
        let stranger = FollowUp {
            from: Some("bob@cust.test".into()),
            ..again.clone()
        };
        let unverified = Filed::FollowUp(id.clone(), "unverified");
        assert_eq!(answer(desk, 1, stranger).await, unverified);
        let filed = answer(desk, 2, again).await;
        assert!(
            matches!(&filed, Filed::Request(new) if *new != id),
            "{filed:?}"
        );
        assert_eq!(
            states(bench).await,
            ["cancelled", "scheduled"],
            "{}",
            bench.name
        );
        let numbers = look::rows::<1>(&bench.store, "select distinct number from request").await;
        assert_eq!(numbers.len(), 1);
        // With a number the mail stands for itself, whoever writes.
        let numbered = from_ada(&id, another_number("+49301230005"));
        assert_eq!(answer(desk, 3, numbered).await, Filed::Kept);
        let thanks = Filed::FollowUp(id.clone(), "noted");
        assert_eq!(answer(desk, 4, from_ada(&id, Wish::Nothing)).await, thanks);
    }
}

#[tokio::test]
async fn a_time_that_is_not_understood_is_answered_once() {
    for (desk, bench) in &desks().await {
        let id = stands(desk, 1).await;
        let unclear = || from_ada(&id, Wish::Unclear);
        let filed = Filed::FollowUp(id.clone(), "unclear");
        assert_eq!(answer(desk, 1, unclear()).await, filed, "{}", bench.name);
        assert_eq!(answer(desk, 2, unclear()).await, filed);
        let told = [("ack", "0"), ("changed", "1")];
        assert_eq!(pairs(&letters(bench).await), told, "{}", bench.name);
        let sql = "select body_json from outbox where kind = 'changed'";
        let [body] = look::rows::<1>(&bench.store, sql).await.remove(0);
        assert!(body.contains("\"reason\":\"unclear\""), "{body}");
        assert_eq!(states(bench).await, ["waiting"]);
        // A stranger is not answered.
        let stranger = FollowUp {
            from: Some("eve@evil.test".into()),
            ..unclear()
        };
        let kept = Filed::FollowUp(id.clone(), "unverified");
        assert_eq!(answer(desk, 4, stranger).await, kept);
    }
}

fn report(id: &RequestId, status: &str, mail: Option<(&str, u32)>) -> Filing {
    Filing::Bounce {
        reason: "dsn_failed",
        dsn: Dsn {
            action: if status.starts_with('5') {
                Action::Failed
            } else {
                Action::Delayed
            },
            status: Some(status.into()),
            is_formal: true,
            message_id: None,
        },
        of: Some(Undelivered {
            about: id.as_str().to_owned(),
            mail: mail.map(|(kind, seq)| (kind.to_owned(), seq)),
        }),
    }
}

#[tokio::test]
async fn mail_that_comes_back_is_noted_and_a_dead_address_gets_no_more() {
    let bounced = "select coalesce(bounced, '') from outbox order by kind";
    let flagged = "select coalesce(mail_failed, '') from request order by id";
    for (desk, bench) in &desks().await {
        let id = stands(desk, 1).await;
        desk.withdraw(&id).await.unwrap();
        let rows = async || {
            let mails = look::rows::<1>(&bench.store, bounced).await;
            (mails, look::rows::<1>(&bench.store, flagged).await)
        };
        // Late, or nothing of ours: counted alone.
        assert_eq!(
            file(desk, 10, report(&id, "4.4.1", Some(("ack", 0)))).await,
            Filed::Kept
        );
        let foreign = Filing::Bounce {
            reason: "dsn_failed",
            dsn: Dsn::default(),
            of: None,
        };
        file(desk, 11, foreign).await;
        assert_eq!(
            rows().await,
            (
                vec![[String::new()], [String::new()]],
                vec![[String::new()]]
            )
        );
        file(desk, 12, report(&id, "5.2.2", Some(("ack", 0)))).await;
        assert_eq!(rows().await.0, [["5.2.2"], [""]], "{}", bench.name);
        assert!(
            bench
                .store
                .claim_outbox(9)
                .await
                .unwrap()
                .iter()
                .all(|r| !r.is_unreachable)
        );
        // It does not say which mail: the latest.
        file(desk, 13, report(&id, "5.1.1", None)).await;
        let (mails, flag) = rows().await;
        assert_eq!(
            (mails[1][0].as_str(), flag[0][0].as_str()),
            ("5.1.1", "5.1.1")
        );
        let later = bench.later(HOUR);
        let claimed = later.claim_outbox(9).await.unwrap();
        assert!(!claimed.is_empty() && claimed.iter().all(|r| r.is_unreachable));
        let much_later = bench.later(61 * 24 * HOUR);
        let claimed = much_later.claim_outbox(9).await.unwrap();
        assert!(!claimed.is_empty() && claimed.iter().all(|r| !r.is_unreachable));
        let reports = desk.snapshot().await.unwrap().reports;
        assert_eq!(reports, [("delayed", 1), ("failed", 2), ("not_ours", 1)]);
    }
}
