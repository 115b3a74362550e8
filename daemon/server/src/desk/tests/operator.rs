//! What concerns the operator: tokens of mailboxes, logins, alarms.

use helpline_core::oauth::Tokens;

use super::*;
use crate::store::outbox::{AlarmFacts, OutboxRow};
use crate::store::tests::Bench;

#[tokio::test]
async fn tokens_of_a_mailbox_are_kept_together_and_for_one_client() {
    let tokens = |n: u32| Tokens {
        access: format!("access-{n}"),
        refresh: format!("refresh-{n}"),
        refresh_at: Wall::from_millis(1_000 * i64::from(n)),
    };
    for (desk, bench) in &desks().await {
        assert_eq!(desk.mailbox_tokens("help", "c1").await.unwrap(), None);
        for n in [1, 2] {
            let kept = desk.keep_mailbox_tokens("help", "c1", &tokens(n)).await;
            kept.unwrap();
        }
        let kept = desk.mailbox_tokens("help", "c1").await.unwrap();
        assert_eq!(kept, Some(tokens(2)), "{}", bench.name);
        // Another client, or a new consent, begins anew; another mailbox has its own.
        assert_eq!(desk.mailbox_tokens("help", "c2").await.unwrap(), None);
        assert_eq!(desk.mailbox_tokens("other", "c1").await.unwrap(), None);
        desk.keep_mailbox_tokens("help", "c2", &tokens(3))
            .await
            .unwrap();
        assert_eq!(desk.mailbox_tokens("help", "c1").await.unwrap(), None);
    }
}

#[tokio::test]
async fn mail_tells_whether_its_sender_logged_in() {
    for (desk, bench) in &desks().await {
        for user in [None, Some("web-shop".to_owned())] {
            let logged_in = user.is_some();
            let incoming = Incoming {
                auth_user: user,
                ..incoming(vec![0])
            };
            desk.spool_mail(incoming).await.unwrap();
            let spooled = desk.claim_mail(1).await.unwrap().remove(0);
            assert_eq!(spooled.submitted, logged_in, "{}", bench.name);
            // Nothing is asked about the origin of what a login vouches for.
            assert_eq!(spooled.sender.is_none(), logged_in, "{}", bench.name);
        }
    }
}

/// What the operator has been told since this was last asked.
async fn alarms(bench: &Bench) -> Vec<(String, AlarmFacts)> {
    let rows = bench.store.claim_outbox(400).await.unwrap();
    let alarms = rows.into_iter().filter(|row| row.kind == "alarm");
    let told = |row: OutboxRow| {
        assert_eq!(row.to_addr, "night@firm.test");
        (row.body.reason.unwrap(), row.body.alarm.unwrap())
    };
    alarms.map(told).collect()
}

#[tokio::test]
async fn the_operator_is_told_of_a_cause_once_a_day() {
    for (desk, bench) in &desks().await {
        assert_eq!(desk.tell_operator().await.unwrap(), 0, "{}", bench.name);
        desk.note_mailbox("Help desk", "first").await.unwrap();
        desk.note_mailbox("Help desk", "refused: no").await.unwrap();
        desk.note_mailbox("other", "silent").await.unwrap();
        assert_eq!(desk.tell_operator().await.unwrap(), 2, "{}", bench.name);
        let told = alarms(bench).await;
        let facts = |mailbox: &str, detail: &str| AlarmFacts {
            mailbox: Some(mailbox.into()),
            detail: Some(detail.into()),
        };
        assert!(told.contains(&("mailbox".into(), facts("Help desk", "refused: no"))));
        assert!(told.contains(&("mailbox".into(), facts("other", "silent"))));
        // It goes on, and an hour later it is told no second time.
        let after = async |hours: u64| {
            let store = bench.later(Duration::from_secs(hours * 3_600));
            let clock = store.test_clock();
            Desk::new(store, config(), config().calendars(), clock, hours)
        };
        let hour = after(1).await;
        hour.note_mailbox("other", "silent").await.unwrap();
        assert_eq!(hour.tell_operator().await.unwrap(), 0, "{}", bench.name);
        // The next day it is, if it is so still; what is over is not.
        let day = after(26).await;
        assert_eq!(day.tell_operator().await.unwrap(), 0, "{}", bench.name);
        day.note_mailbox("other", "silent").await.unwrap();
        assert_eq!(day.tell_operator().await.unwrap(), 1, "{}", bench.name);
    }
}

#[tokio::test]
async fn the_operator_is_told_of_mail_set_aside_and_of_replies_used_up() {
    for (desk, bench) in &desks().await {
        file(desk, 0, Filing::Quarantine { reason: "too_deep" }).await;
        desk.tell_operator().await.unwrap();
        let told = alarms(bench).await;
        let detail = told.first().and_then(|(_, facts)| facts.detail.clone());
        assert_eq!(detail.as_deref(), Some("too_deep"), "{}", bench.name);
        for n in 1..=300 {
            file(desk, n, asked(&format!("c{n}@d{}.test", n % 20))).await;
        }
        assert_eq!(desk.tell_operator().await.unwrap(), 0, "{}", bench.name);
        // A few seconds may have passed, and a reply more is allowed by then.
        for n in 301..=320 {
            file(desk, n, asked(&format!("c{n}@e{}.test", n % 20))).await;
        }
        assert_eq!(desk.tell_operator().await.unwrap(), 1, "{}", bench.name);
    }
}
