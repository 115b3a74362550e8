//! What becomes of mail that was spooled, on both databases.

use super::*;
use crate::store::mail;

#[tokio::test]
async fn mail_is_filed_once_with_everything_it_causes() {
    for (desk, bench) in &desks().await {
        for _ in 0..4 {
            desk.spool_mail(incoming(vec![0, 255])).await.unwrap();
        }
        let ack = AckTo {
            address: "ada@example.org".into(),
            in_reply_to: Some("m1@example.org".into()),
            ..AckTo::default()
        };
        let mut mail_request = request(1);
        mail_request.channel = Channel::Smtp;
        let filing = Filing::Request {
            request: Box::new(mail_request),
            ack: Some(ack.clone()),
            admission: Admission::Line,
        };
        let first = desk.claim_mail(1).await.unwrap().remove(0);
        assert_eq!(
            (first.raw.as_slice(), first.attempts),
            ([0, 255].as_slice(), 1)
        );
        let filed = put(desk, &first, "h1", filing.clone()).await.unwrap();
        assert!(
            matches!(filed, Filed::Request(_)),
            "{}: {filed:?}",
            bench.name
        );
        let again = put(desk, &first, "h9", filing.clone()).await;
        assert_eq!(
            again,
            Err(StoreError::Fenced),
            "nothing is filed without the fence"
        );
        let second = desk.claim_mail(1).await.unwrap().remove(0);
        let copy = put(desk, &second, "h1", filing).await.unwrap();
        assert_eq!(copy, Filed::Duplicate);
        let third = desk.claim_mail(1).await.unwrap().remove(0);
        let ask = Filing::NeedsInfo {
            reason: "no_phone",
            ask: Some(ack),
            form_query: "email=ada%40example.org".into(),
            language: "de".into(),
        };
        assert_eq!(put(desk, &third, "h3", ask).await.unwrap(), Filed::Kept);
        let fourth = desk.claim_mail(1).await.unwrap().remove(0);
        let mut abroad = request(4);
        abroad.number = PhoneNumber::from_row("+12125550100");
        let refused = Filing::Request {
            request: Box::new(abroad),
            ack: None,
            admission: Admission::Line,
        };
        let refused = put(desk, &fourth, "h4", refused).await.unwrap();
        assert_eq!(refused, Filed::Refused(AcceptError::NotAllowed));
        assert!(desk.claim_mail(1).await.unwrap().is_empty());
        let rows = bench.store.claim_outbox(9).await.unwrap();
        let mut kinds: Vec<_> = rows
            .iter()
            .map(|r| (r.kind.as_str(), r.locale.as_str()))
            .collect();
        kinds.sort_unstable();
        assert_eq!(kinds, [("ack", "en"), ("needs_info", "de")]);
        let ack = rows.iter().find(|r| r.kind == "ack").unwrap();
        assert_eq!(ack.body.in_reply_to.as_deref(), Some("m1@example.org"));
        assert_eq!(ack.body.position, Some(1));
        assert_eq!(desk.snapshot().await.unwrap().counts.spool, 0);
    }
}

#[tokio::test]
async fn mail_that_somebody_else_has_spoils_nothing_of_its_lot() {
    for (desk, bench) in &desks().await {
        for _ in 0..3 {
            desk.spool_mail(incoming(vec![0])).await.unwrap();
        }
        let mut mails = desk.claim_mail(3).await.unwrap();
        mails[1].epoch += 1;
        let hash = |at: usize| ["same", "other", "same"][at];
        let lot = mails.iter().enumerate();
        let lot = lot.map(|(at, mail)| read(mail, hash(at), asked("ada@example.org")));
        let filed = desk.file_mails(lot.collect()).await;
        let expected = [
            Ok(Filed::Kept),
            Err(StoreError::Fenced),
            Ok(Filed::Duplicate),
        ];
        assert_eq!(filed, expected, "{}", bench.name);
        assert_eq!(bench.store.claim_outbox(9).await.unwrap().len(), 1);
        assert_eq!(desk.file_mails(Vec::new()).await, []);
    }
}

#[tokio::test]
async fn old_mail_loses_its_bytes_once_nothing_waits_for_them() {
    for (desk, bench) in &desks().await {
        for _ in 0..3 {
            desk.spool_mail(incoming(vec![0])).await.unwrap();
        }
        let aside = desk.claim_mail(1).await.unwrap().remove(0);
        let broken = Filing::Quarantine { reason: "panic" };
        put(desk, &aside, "h1", broken).await.unwrap();
        let done = desk.claim_mail(1).await.unwrap().remove(0);
        put(desk, &done, "h2", asked("ada@example.org"))
            .await
            .unwrap();
        let forget = async |floor: Wall, limit: u32| {
            let floor = MailInId::floor(floor);
            let forgotten = bench.store.write(move |tx| {
                let floor = floor.clone();
                Box::pin(async move { mail::forget_raw(tx, &floor, limit).await })
            });
            forgotten.await.unwrap()
        };
        let later = Wall::from_millis(aside.received_at.millis() + 86_400_000);
        assert_eq!(forget(Wall::from_millis(0), 9).await, 0, "{}", bench.name);
        assert_eq!(forget(later, 1).await, 1, "{}", bench.name);
        assert_eq!(forget(later, 9).await, 1, "{}", bench.name);
        assert!(!desk.retry_mail(&aside.id).await.unwrap());
        let waits = desk.claim_mail(9).await.unwrap();
        assert_eq!((waits.len(), waits[0].raw.as_slice()), (1, [0].as_slice()));
    }
}
