//! Answers to our mail, and reports of what became of it.

use super::*;

/// Keys, and what was sent about a request.
fn sent() -> (Keys, SentMail) {
    let ack = SentMail {
        about: "01936f3a-0000-7000-8000-0123456789ab".into(),
        is_request: true,
        kind: "ack".into(),
        seq: 0,
    };
    (Keys::new(b"a key of these tests", None), ack)
}

fn read_keyed(raw: &str, envelope_from: Option<&str>, rcpt: &str) -> Reading {
    let (own, rcpt) = ([OWN.to_owned()], [rcpt.to_owned()]);
    let (dial, (keys, _)) = (rules(), sent());
    let context = MailContext {
        received: Wall::from_millis(1_795_424_400_000), // 2026-11-23T09:00:00Z
        envelope: envelope_from.into(),
        recipients: &rcpt,
        keys: Some(&keys),
        ..context(&own, &dial)
    };
    read(raw.as_bytes(), &context)
}

fn answer(headers: &str, to: &str, body: &str) -> Reading {
    let raw = format!(
        "From: Ada <ada@cust.test>\r\nTo: {to}\r\nMessage-ID: <2@cust.test>\r\n\
         Date: Mon, 23 Nov 2026 10:00:00 +0100\r\n{headers}\r\n{body}"
    );
    read_keyed(&raw, Some("ada@cust.test"), OWN)
}

#[test]
fn an_answer_names_its_request_by_address_then_message_id_then_tag() {
    let (keys, ack) = sent();
    let id = keys.message_id(&ack, "help.test");
    let reply_to = keys.reply_address(OWN, &ack.about).unwrap();
    let tag = request_tag(&crate::id::RequestId::from_text(&ack.about));
    let other = request_tag(&crate::id::RequestId::from_text(
        "01936f3a-0000-7000-8000-0123456789ac",
    ));
    let signed = Some(Thread::Signed(ack.about.clone()));
    let named = |headers: &str, to: &str| answer(headers, to, "Thanks").follow_up.map(|f| f.of);
    let subject = format!("Subject: Re: Your call [#{other}]\r\n");
    let answered = format!("In-Reply-To: <{id}>\r\n");
    for (headers, to, of) in [
        (String::new(), reply_to.as_str(), signed.clone()),
        (format!("Delivered-To: {reply_to}\r\n"), OWN, signed.clone()),
        (format!("{answered}{subject}"), OWN, signed.clone()),
        (
            format!("References: <1@x.test> <{id}> <2@x.test>\r\n"),
            OWN,
            signed,
        ),
        (subject, OWN, Some(Thread::Tag(other))),
        (
            format!("Subject: AW: [#{tag}]\r\n"),
            OWN,
            Some(Thread::Tag(tag)),
        ),
        // What we did not sign names nothing.
        (answered.replace(".0.", ".1."), OWN, None),
        (String::new(), &reply_to.replacen("+r", "+ra", 1), None),
        ("Subject: Re: [#ABCD-EFGH]\r\n".into(), OWN, None),
    ] {
        assert_eq!(named(&headers, to), of, "{headers} to {to}");
    }
    // By the envelope alone, as from a mailing client that sends blind copies.
    let raw = "From: ada@cust.test\r\nTo: undisclosed:;\r\n\r\ncancel";
    let blind = read_keyed(raw, Some("ada@cust.test"), &reply_to);
    assert!(blind.follow_up.is_some());
    // Without keys nothing is known again but a tag.
    assert_eq!(mail(&answered, "Thanks").follow_up, None);
}

#[test]
fn an_answer_asks_for_what_was_written_now() {
    let (keys, ack) = sent();
    let to = keys.reply_address(OWN, &ack.about).unwrap();
    let subject = "Subject: Re: call me on Friday at 10am, 030 7654321\r\n";
    let wish = |body: &str| {
        let follow_up = answer(subject, &to, body).follow_up.unwrap();
        assert!(follow_up.is_trusted);
        assert_eq!(follow_up.from.as_deref(), Some("ada@cust.test"));
        follow_up.wish
    };
    assert_eq!(wish("Please cancel.\r\n\r\nAda"), Wish::Cancel);
    assert_eq!(
        wish("Thanks!\r\n\r\n-- \r\nAda, 030 1234567"),
        Wish::Nothing
    );
    for unclear in [
        "call me any day except Friday",
        "Bitte rufen Sie mich am Dienstag, 25. November an.",
    ] {
        assert_eq!(wish(unclear), Wish::Unclear, "{unclear}");
    }
    let quoted = "Thanks\r\n\r\nOn Mon, 23 Nov 2026 help@help.test wrote:\r\n> call 030 1234567\r\n> cancel\r\n";
    assert_eq!(wish(quoted), Wish::Nothing);
    for (body, number, from) in [
        (
            "call tomorrow instead",
            None,
            Some("2026-11-23T23:00:00.000Z"),
        ),
        (
            "Please call me tomorrow at 3pm instead.",
            None,
            Some("2026-11-24T14:00:00.000Z"),
        ),
        (
            "Rufen Sie bitte morgen um 15 Uhr an.",
            None,
            Some("2026-11-24T14:00:00.000Z"),
        ),
        ("Use 030 1234567 please", Some("+49301234567"), None),
        (
            "Call me on 030 1234567 tomorrow at 3pm",
            Some("+49301234567"),
            Some("2026-11-24T14:00:00.000Z"),
        ),
    ] {
        let Wish::Change {
            number: n, when, ..
        } = wish(body)
        else {
            panic!("{body}");
        };
        assert_eq!(n.as_ref().map(|n| n.as_str()), number, "{body}");
        let begin = when.map(|when| match when {
            When::Now => "now".to_owned(),
            When::Window { not_before, .. } => not_before.rfc3339(),
        });
        assert_eq!(begin.as_deref(), from, "{body}");
    }
    assert!(matches!(
        wish("please call as soon as possible"),
        Wish::Change {
            when: Some(When::Now),
            number: None,
            ..
        }
    ));
}

#[test]
fn a_machine_that_answers_is_no_follow_up_and_a_doubtful_writer_is_not_trusted() {
    let (keys, ack) = sent();
    let to = keys.reply_address(OWN, &ack.about).unwrap();
    let away = answer("Auto-Submitted: auto-replied\r\n", &to, "cancel");
    assert_eq!((away.kind.word(), away.follow_up), ("machine", None));
    let ours = answer(
        &format!("X-Helpline-Loop: {}\r\n", keys.loop_mark("1@help.test")),
        &to,
        "cancel",
    );
    assert_eq!(ours.kind.reason(), Some("own_address"));
    let from_us = read_keyed(
        &format!("From: {to}\r\nTo: {OWN}\r\n\r\ncall 030 1234567"),
        Some(&to),
        OWN,
    );
    assert_eq!(from_us.kind.reason(), Some("own_address"));
    let raw = format!("From: no-reply@cust.test\r\nTo: {to}\r\n\r\ncancel");
    let role = read_keyed(&raw, Some("no-reply@cust.test"), &to);
    assert!(!role.follow_up.unwrap().is_trusted);
}

#[test]
fn a_report_names_our_mail_by_its_address_and_by_the_returned_headers() {
    let (keys, ack) = sent();
    let to = keys.bounce_address(OWN, &ack.about).unwrap();
    let id = keys.message_id(&ack, "help.test");
    let report = |to: &str, id: &str| {
        let raw = format!(
            "From: MAILER-DAEMON@mx.test\r\nTo: {to}\r\nMIME-Version: 1.0\r\n\
             Auto-Submitted: auto-replied\r\nContent-Type: multipart/report; \
             report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nSorry.\r\n--b\r\n\
             Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\n\
             Action: failed\r\nStatus: 5.1.1\r\n\r\n--b\r\n\
             Content-Type: text/rfc822-headers\r\n\r\nMessage-ID: <{id}>\r\n\r\n--b--\r\n"
        );
        match read_keyed(&raw, None, to).kind {
            Kind::Bounce { dsn, of, .. } => (dsn.has_no_address(), of),
            other => panic!("{other:?}"),
        }
    };
    let about = |mail| {
        Some(Undelivered {
            about: ack.about.clone(),
            mail,
        })
    };
    let whole = about(Some(("ack".to_owned(), 0)));
    assert_eq!(report(&to, &id), (true, whole.clone()));
    assert_eq!(report(OWN, &id), (true, whole));
    assert_eq!(report(&to, "1@x.test"), (true, about(None)));
    // Forged: whatever is not signed names nothing.
    assert_eq!(
        report(&to.replacen("+b", "+r", 1), "1@x.test"),
        (true, None)
    );
    assert_eq!(report(OWN, &id.replace(".ack.", ".closing.")), (true, None));
}

#[test]
fn what_else_comes_to_a_bounce_address_is_no_request_and_no_dead_address() {
    let (keys, ack) = sent();
    let to = keys.bounce_address(OWN, &ack.about).unwrap();
    let raw = format!("From: a@cust.test\r\nTo: {to}\r\n\r\ncall 030 1234567");
    let person = read_keyed(&raw, Some("a@cust.test"), &to);
    assert_eq!(person.kind.reason(), Some("bounce_address"));
    let away = format!("Auto-Submitted: auto-replied\r\n{raw}, I am away until 5.1.26.");
    assert_eq!(read_keyed(&away, None, &to).kind.word(), "machine");
    let words = format!("{raw}\r\n550 5.1.1 no such user");
    match read_keyed(&words, None, &to).kind {
        Kind::Bounce { dsn, of, .. } => {
            assert_eq!(dsn.action, Action::Failed);
            assert!(!dsn.has_no_address() && of.is_some());
        }
        other => panic!("{other:?}"),
    }
}
