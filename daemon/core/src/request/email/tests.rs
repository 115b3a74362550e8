use super::*;

mod thread;

const OWN: &str = "help@help.test";

fn rules() -> DialRules {
    DialRules {
        allow: vec!["DE".into(), "US".into()],
        ..DialRules::default()
    }
}

fn read_from(raw: &[u8], envelope_from: Option<&str>) -> Reading {
    let own = [OWN.to_owned()];
    let dial = rules();
    let received = "2026-11-23T09:00:00Z"
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_millisecond();
    let context = MailContext {
        received: Wall::from_millis(received),
        envelope: envelope_from.into(),
        ..context(&own, &dial)
    };
    read(raw, &context)
}

fn context<'a>(own: &'a [String], dial: &'a DialRules) -> MailContext<'a> {
    MailContext {
        own_addresses: own,
        zone: "Europe/Berlin",
        region: Some("DE"),
        dial,
        queue: "help",
        received: Wall::default(),
        envelope: Envelope::Unknown,
        authserv_ids: &[],
        recipients: &[],
        keys: None,
        checked: None,
    }
}

fn mail(headers: &str, body: &str) -> Reading {
    let raw = format!(
        "From: Ada <ada@cust.test>\r\nTo: help@help.test\r\nSubject: Coupon fails\r\nMessage-ID: <1@cust.test>\r\n\
         Date: Mon, 23 Nov 2026 10:00:00 +0100\r\n{headers}\r\n{body}"
    );
    read_from(raw.as_bytes(), Some("ada@cust.test"))
}

fn request(reading: &Reading) -> &HelpRequest {
    match &reading.kind {
        Kind::Request(request) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mail_with_number_and_time_is_a_request() {
    let reading = mail(
        "",
        "Please call me tomorrow after 3pm on 030 1234567\r\nhttps://shop.test/basket\r\n\r\n-- \r\nAda\r\n",
    );
    let request = request(&reading);
    assert_eq!(request.number.as_str(), "+49301234567");
    assert_eq!(request.name.as_deref(), Some("Ada"));
    assert_eq!(request.email.as_deref(), Some("ada@cust.test"));
    assert_eq!(request.page.as_deref(), Some("https://shop.test/basket"));
    assert_eq!(request.language, "en");
    assert_eq!(request.zone.as_deref(), Some("Europe/Berlin"));
    let note = request.note.as_deref().unwrap();
    assert!(
        note.starts_with("Coupon fails\n\nPlease call me") && !note.contains("-- "),
        "{note}"
    );
    let When::Window {
        not_before,
        not_after,
    } = request.when
    else {
        panic!("{:?}", request.when)
    };
    assert_eq!(not_before.rfc3339(), "2026-11-24T14:00:00.000Z");
    assert_eq!(not_after.unwrap().rfc3339(), "2026-11-24T22:59:59.000Z");
    assert!(reading.auto_reply);
    let ack = reading.ack.unwrap();
    assert_eq!(ack.address, "ada@cust.test");
    assert_eq!(ack.in_reply_to.as_deref(), Some("1@cust.test"));
    assert_eq!(ack.references, ["1@cust.test"]);
    assert_eq!(ack.subject.as_deref(), Some("Coupon fails"));
}

#[test]
fn labelled_lines_win_over_free_text() {
    let reading = mail(
        "",
        "Name: Bob\r\nPhone: +1 415 555 2671\r\nTime: tomorrow 9-5\r\n\r\nnot 030 1234567\r\n",
    );
    let request = request(&reading);
    assert_eq!(request.number.as_str(), "+14155552671");
    assert_eq!(request.name.as_deref(), Some("Bob"));
    assert!(matches!(request.when, When::Window { .. }));
}

#[test]
fn html_only_mail_is_read() {
    let html = "<html><body><p>Bitte rufen Sie mich an: <a href=\"tel:+49-30-1234567\">hier</a></p><p>Danke</p></body></html>";
    let reading = mail(
        "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n",
        html,
    );
    assert_eq!(request(&reading).number.as_str(), "+49301234567");
    assert_eq!(reading.language, Some("de"));
}

#[test]
fn letters_survive_false_charset_labels() {
    for label in ["utf-8", "us-ascii", "1252", "x-unknown"] {
        let head = format!(
            "From: a@cust.test\r\nTo: help@help.test\r\nContent-Type: text/plain; charset={label}\r\n\r\n"
        );
        let raw = [head.as_bytes(), b"Gr\xfc\xdfe, 030 1234567"].concat();
        let reading = read_from(&raw, Some("a@cust.test"));
        assert!(
            request(&reading).note.as_deref().unwrap().contains("Grüße"),
            "{label}"
        );
    }
}

#[test]
fn encoded_parts_are_decoded() {
    let reading = mail(
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n",
        "Q2FsbCBtZSBvbiAwMzAgMTIzNDU2Nw==\r\n",
    );
    assert_eq!(request(&reading).number.as_str(), "+49301234567");
    let reading = mail(
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n",
        "Gr=C3=BC=C3=9Fe 030 12=\r\n34567\r\n",
    );
    assert_eq!(request(&reading).number.as_str(), "+49301234567");
}

#[test]
fn quoted_numbers_are_never_called() {
    let reading = mail(
        "",
        "thanks\r\n\r\nOn 1 May 2026 help@help.test wrote:\r\n> call 030 1234567\r\n",
    );
    assert_eq!(reading.kind, Kind::NeedsInfo { reason: "no_phone" });
    assert!(reading.auto_reply);
}

#[test]
fn numbers_missing_doubtful_or_refused_are_asked_for() {
    for (body, reason) in [
        ("please help", "no_phone"),
        ("030 1234567 or 030 7654321", "ambiguous_phone"),
        ("0900 1 123456", "refused_phone"),
        ("+44 20 7946 0018", "refused_phone"),
        ("", "no_phone"),
    ] {
        assert_eq!(mail("", body).kind, Kind::NeedsInfo { reason }, "{body}");
    }
}

#[test]
fn machines_are_never_answered_and_make_no_request() {
    let call = "call 030 1234567";
    for (headers, reason) in [
        ("Auto-Submitted: auto-replied\r\n", "auto_submitted"),
        (
            "Auto-Submitted: (x) Auto-Generated; y=z\r\n",
            "auto_submitted",
        ),
        (
            "Auto-Submitted: auto-replied\r\nAuto-Submitted: no\r\n",
            "auto_submitted",
        ),
        ("Return-Path: <>\r\n", "null_sender"),
        ("List-Id: x\r\n", "list"),
        ("list-unsubscribe: <x>\r\n", "list"),
        ("Precedence: bulk\r\n", "precedence"),
        ("X-Precedence: Junk\r\n", "precedence"),
        ("X-Auto-Response-Suppress: DR, AutoReply\r\n", "suppress"),
        ("X-Autoreply: yes\r\n", "autoreply_header"),
        ("X-Loop: a\r\n", "autoreply_header"),
        ("X-Helpline-Loop: a\r\n", "autoreply_header"),
        ("Content-Type: multipart/report; boundary=x\r\n", "report"),
        ("Sender: MAILER-DAEMON@x.test\r\n", "mailer_daemon"),
        ("Reply-To: HELP@help.test\r\n", "own_address"),
        ("Message-ID: <x@HELP.test>\r\n", "own_address"),
    ] {
        let reading = mail(headers, call);
        assert_eq!(reading.kind, Kind::Machine { reason }, "{headers}");
        assert!(!reading.auto_reply && reading.ack.is_none(), "{headers}");
    }
    let raw = b"From: a@cust.test\r\nTo: help@help.test\r\n\r\ncall 030 1234567";
    assert_eq!(
        read_from(raw, None).kind,
        Kind::Machine {
            reason: "null_sender"
        }
    );
    let own = b"From: a@cust.test\r\nTo: help@help.test\r\n\r\ncall 030 1234567";
    assert_eq!(
        read_from(own, Some("help@help.test")).kind,
        Kind::Machine {
            reason: "own_address"
        }
    );
    assert_eq!(
        read_from(own, Some("postmaster@x.test")).kind,
        Kind::Machine {
            reason: "mailer_daemon"
        }
    );
}

#[test]
fn what_mail_servers_report_is_a_bounce() {
    let failed = mail("X-Failed-Recipients: a\r\n", "550 5.1.1 no such user");
    assert!(matches!(failed.kind, Kind::Bounce { of: None, .. }));
    assert_eq!(failed.kind.reason(), Some("dsn_failed"));
    for (from, body, reason) in [
        (
            "MAILER-DAEMON@x.test",
            "451 4.4.1 will retry",
            "dsn_delayed",
        ),
        (
            "Mail Delivery System <x@x.test>",
            "call 030 1234567",
            "dsn_unparsed",
        ),
    ] {
        let raw = format!("From: {from}\r\nTo: help@help.test\r\n\r\n{body}");
        let reading = read_from(raw.as_bytes(), None);
        assert_eq!(reading.kind.word(), "bounce", "{from}");
        assert_eq!(reading.kind.reason(), Some(reason), "{from}");
        assert!(!reading.auto_reply && reading.ack.is_none(), "{from}");
    }
}

#[test]
fn auto_submitted_no_is_a_person() {
    let reading = mail(
        "Auto-Submitted: no\r\nAuto-Submitted: No (really)\r\n",
        "call 030 1234567",
    );
    assert!(matches!(reading.kind, Kind::Request(_)) && reading.auto_reply);
}

#[test]
fn role_addresses_make_requests_but_get_no_reply() {
    for from in [
        "noreply@cust.test",
        "no-reply-7@cust.test",
        "DoNotReply@cust.test",
        "owner-x@cust.test",
        "bounces+1@cust.test",
    ] {
        let raw = format!("From: {from}\r\nTo: help@help.test\r\n\r\ncall 030 1234567");
        let reading = read_from(raw.as_bytes(), Some(from));
        assert!(matches!(reading.kind, Kind::Request(_)), "{from}");
        assert_eq!(
            (reading.auto_reply, reading.silent_reason),
            (false, Some("role_sender")),
            "{from}"
        );
    }
}

#[test]
fn replies_go_to_the_writer_and_to_nobody_else() {
    let to = |headers: &str| mail(headers, "030 1234567").ack.unwrap().address;
    assert_eq!(to("Reply-To: victim@elsewhere.test\r\n"), "ada@cust.test");
    assert_eq!(to("Reply-To: desk@CUST.test\r\n"), "desk@CUST.test");
    assert_eq!(
        to("Reply-To: a@cust.test, b@cust.test\r\n"),
        "ada@cust.test"
    );
    for from in [
        "a@b@cust.test",
        "\"a b\"@cust.test",
        "nobody",
        "",
        "a@cust.test\0",
        "<a@cust.test",
    ] {
        let raw = format!("From: {from}\r\nTo: help@help.test\r\n\r\n030 1234567");
        let reading = read_from(raw.as_bytes(), Some("x@cust.test"));
        if let Some(ack) = reading.ack {
            assert_eq!(ack.address, "a@cust.test", "{from:?}");
        }
    }
}

#[test]
fn mail_not_addressed_to_us_is_not_answered() {
    let raw = b"From: a@cust.test\r\nTo: other@cust.test\r\n\r\ncall 030 1234567";
    let reading = read_from(raw, Some("a@cust.test"));
    assert!(matches!(reading.kind, Kind::Request(_)));
    assert_eq!(reading.silent_reason, Some("not_addressed"));
}

#[test]
fn several_writers_are_kept_for_people() {
    for from in [
        "From: b@cust.test\r\n",
        "From: b@cust.test, c@cust.test\r\n",
    ] {
        assert_eq!(
            mail(from, "030 1234567").kind,
            Kind::Quarantine {
                reason: "several_from"
            }
        );
    }
}

#[test]
fn what_cannot_be_read_is_kept_for_people() {
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
    for (raw, reason) in [
        (b"".to_vec(), "no_headers"),
        (b"\r\n\r\n".to_vec(), "no_headers"),
        (nested.into_bytes(), "too_many_parts"),
        (
            "Content-Type: message/rfc822\r\n\r\n"
                .repeat(60)
                .into_bytes(),
            "too_deep",
        ),
    ] {
        let reading = read_from(&raw, Some("a@cust.test"));
        assert_eq!(reading.kind, Kind::Quarantine { reason }, "{}", raw.len());
        assert!(!reading.auto_reply);
    }
}

#[test]
fn hostile_text_comes_out_clean() {
    let raw = "From: =?utf-8?q?A=0D=0AX=3A_y=E2=80=AE?= <ada@cust.test>\r\nTo: help@help.test\r\n\
               Subject: =?utf-8?q?hi=0D=0ABcc=3A_x=00?=\r\nReferences: <a@b> <bad id@x> junk <c\u{7f}@d> <e@f>\r\n\r\n\
               Page: javascript:alert(1)\r\n030 1234567 {{x}} \u{202e}\0";
    let reading = read_from(raw.as_bytes(), Some("ada@cust.test"));
    let request = request(&reading);
    assert_eq!(request.page, None);
    for text in [
        request.name.as_deref().unwrap(),
        reading.ack.as_ref().unwrap().subject.as_deref().unwrap(),
    ] {
        assert!(
            text.chars().all(|c| !c.is_control() && c != '\u{202e}'),
            "{text:?}"
        );
    }
    let note = request.note.as_deref().unwrap();
    assert!(
        note.contains("{{x}}") && !note.contains(['\0', '\u{202e}']),
        "{note:?}"
    );
    assert_eq!(reading.ack.unwrap().references, ["a@b", "e@f"]);
}

#[test]
fn many_references_are_cut_to_the_latest() {
    let many: String = (0..500).map(|i| format!(" <{i}@x.test>\r\n")).collect();
    let ack = mail(&format!("References:{many}"), "030 1234567")
        .ack
        .unwrap();
    assert_eq!(ack.references.len(), 20);
    assert_eq!(ack.references.last().unwrap(), "1@cust.test");
}

/// The daemon sent nothing and told no reason; `helpline mail` said that it would answer.
#[test]
fn a_writer_whose_address_cannot_be_answered_is_told_as_such() {
    for from in ["ada@cu st.test", "ada", "<@cust.test>", "a da@cust.test"] {
        let raw = format!("From: {from}\r\nTo: help@help.test\r\n\r\ncall 030 1234567\r\n");
        let reading = read_from(raw.as_bytes(), Some("ada@cust.test"));
        let told = (reading.auto_reply, reading.silent_reason);
        assert_eq!(told, (false, Some("no_address")), "{from}");
        assert!(matches!(reading.kind, Kind::Request(_)), "{from}");
    }
}

#[test]
fn two_pages_are_no_page() {
    assert_eq!(
        mail("", "https://a.test/ and https://b.test/ 030 1234567").page,
        None
    );
    assert_eq!(
        mail("", "see <https://a.test/x>, https://a.test/x. 030 1234567")
            .page
            .as_deref(),
        Some("https://a.test/x")
    );
}

#[test]
fn no_bytes_panic() {
    let mut rng = Dice(3);
    let pieces: [&[u8]; 14] = [
        b"From: a@cust.test\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n",
        b"\r\n",
        b"--x\r\n",
        b"--x--\r\n",
        b"Content-Type: text/html\r\n",
        b"<a href=tel:1>",
        b"\xff\xfe\x80",
        b"=?utf-8?b?",
        b"030 1234567 ",
        b"\n> ",
        b"On 1 x wrote:",
        b"Content-Transfer-Encoding: base64\r\n",
        "tomorrow at 3 \u{130}\u{130} ß".as_bytes(),
    ];
    for _ in 0..600 {
        let mut raw = Vec::new();
        for _ in 0..rng.below(24) {
            raw.extend_from_slice(pieces[usize::try_from(rng.below(14)).unwrap()]);
        }
        read_from(&raw, Some("a@cust.test"));
        assert_eq!(content_hash(&raw).len(), 64);
    }
}

/// Numbers that look like chance and are the same each time (Knuth's constants).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
