use super::*;

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        host: "help.test".into(),
        addresses: vec!["help@help.test".into(), "hilfe@bücher.example".into()],
        keys: Keys::new(b"a key of these tests", None),
        message_bytes_max: 100_000,
        messages_max: 100,
        lmtp: false,
        starttls: false,
        require_tls: false,
        auth: false,
        require_auth: false,
    })
}

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

/// What was written, and whether the conversation was closed.
fn drain(conversation: &mut Conversation) -> (String, bool) {
    let (mut text, mut closed) = (String::new(), false);
    while let Some(output) = conversation.poll() {
        match output {
            Output::Write(bytes) => text.push_str(&String::from_utf8(bytes).unwrap()),
            Output::Store(_) => text.push_str("(store)\r\n"),
            Output::CheckAuth(_) => text.push_str("(check)\r\n"),
            Output::StartTls => text.push_str("(tls)\r\n"),
            Output::Close => closed = true,
        }
    }
    (text, closed)
}

fn in_data() -> Conversation {
    let mut c = Conversation::new(at(0), settings());
    c.handle(
        at(0),
        Input::Bytes(b"EHLO c\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<help@help.test>\r\nDATA\r\n"),
    );
    assert!(
        drain(&mut c)
            .0
            .ends_with("354 End with a line that holds only a dot\r\n")
    );
    c
}

#[test]
fn addresses_are_compared_by_lower_case_and_a_label() {
    let own = settings().addresses.clone();
    let keys = settings().keys.clone();
    let request = "01936f3a-0000-7000-8000-0123456789ab";
    let reply = keys.reply_address(&own[0], request).unwrap();
    let bounce = keys.bounce_address(&own[1], request).unwrap();
    for (address, whose) in [
        (reply.as_str(), Ownership::Ours),
        (&bounce.to_uppercase(), Ownership::Ours),
        (&reply.replacen("+r", "+b", 1), Ownership::UnknownHere),
        (&reply.replacen("+r", "+ra", 1), Ownership::UnknownHere),
        (
            &reply.replace("help.test", "other.test"),
            Ownership::Elsewhere,
        ),
        ("HELP@Help.Test", Ownership::Ours),
        ("hilfe@xn--bcher-kva.example", Ownership::Ours),
        ("Hilfe@BÜCHER.example", Ownership::Ours),
        ("postmaster", Ownership::Ours),
        ("Postmaster@help.test", Ownership::Ours),
        ("help%other.test@help.test", Ownership::UnknownHere),
        ("other.test!help@help.test", Ownership::UnknownHere),
        ("help+tag@help.test", Ownership::UnknownHere),
        ("help@other.test", Ownership::Elsewhere),
        ("help@help.test.other.test", Ownership::Elsewhere),
        ("postmaster@other.test", Ownership::Elsewhere),
        ("help@help.test@other.test", Ownership::Elsewhere),
        ("help", Ownership::Elsewhere),
        ("@help.test", Ownership::Elsewhere),
        ("help@", Ownership::Elsewhere),
    ] {
        assert_eq!(ownership(&own, &keys, address), whose, "{address}");
    }
}

#[test]
fn silence_between_commands_ends_the_conversation() {
    let mut c = Conversation::new(at(0), settings());
    drain(&mut c);
    assert_eq!(c.deadline(), Some(at(300)));
    c.handle(at(299), Input::Timeout);
    assert_eq!(drain(&mut c), (String::new(), false));
    c.handle(at(300), Input::Timeout);
    assert_eq!(drain(&mut c), ("421 4.4.2 Too slow\r\n".into(), true));
    assert_eq!(c.deadline(), None);
}

#[test]
fn small_talk_for_ever_ends_the_conversation() {
    let mut c = Conversation::new(at(0), settings());
    for second in (100..=500).step_by(100) {
        c.handle(at(second), Input::Bytes(b"NOOP\r\n"));
    }
    assert_eq!(c.deadline(), Some(at(600)));
    c.handle(at(600), Input::Timeout);
    assert!(drain(&mut c).1);
}

#[test]
fn a_message_that_drips_is_not_waited_for() {
    let mut c = in_data();
    for second in 1..60 {
        c.handle(at(second), Input::Bytes(b"drip"));
        assert_eq!(c.deadline(), Some(at(60)));
    }
    c.handle(at(60), Input::Timeout);
    assert_eq!(drain(&mut c), ("421 4.4.2 Too slow\r\n".into(), true));
    // At 500 bytes a second and more it may go on.
    let mut c = in_data();
    c.handle(at(1), Input::Bytes(&[b'x'; 40_000]));
    assert_eq!(c.deadline(), Some(at(80)));
    c.handle(at(60), Input::Timeout);
    assert!(!drain(&mut c).1);
    c.handle(at(80), Input::Timeout);
    assert!(drain(&mut c).1);
}

#[test]
fn a_message_coming_in_is_finished_before_the_daemon_stops() {
    let mut c = in_data();
    c.handle(at(1), Input::Pressure(Pressure::Stopping));
    assert_eq!(drain(&mut c), (String::new(), false));
    c.handle(at(2), Input::Bytes(b"x\r\n.\r\nMAIL FROM:<b@c.test>\r\n"));
    assert_eq!(drain(&mut c), ("(store)\r\n".into(), false));
    c.handle(
        at(3),
        Input::Stored(Stored::Kept(MailInId::from_text("m1"))),
    );
    let (text, closed) = drain(&mut c);
    assert_eq!(
        text,
        "250 2.0.0 queued as m1\r\n421 4.3.2 Closing, try again\r\n"
    );
    assert!(closed);
}

#[test]
fn memory_of_a_dropped_message_is_free_at_once() {
    let mut c = in_data();
    c.handle(at(1), Input::Bytes(&[b'x'; 5_000]));
    assert!(c.held() >= 5_000);
    c.handle(at(1), Input::Pressure(Pressure::Full));
    assert_eq!(c.held(), 0);
    c.handle(at(2), Input::Pressure(Pressure::Normal));
    c.handle(at(2), Input::Bytes(b"\r\n.\r\nNOOP\r\n"));
    let (text, closed) = drain(&mut c);
    assert_eq!(text, "452 4.3.1 No room, try again\r\n250 2.0.0 OK\r\n");
    assert!(!closed);
}

#[test]
fn bytes_that_wait_for_the_store_are_limited() {
    let mut c = in_data();
    c.handle(at(1), Input::Bytes(b"x\r\n.\r\n"));
    assert!(!c.reading());
    c.handle(at(1), Input::Bytes(&vec![b'x'; WAITING_BYTES_MAX + 1]));
    assert!(drain(&mut c).1);
}

/// A conversation over TLS whose peer has said hello.
fn encrypted() -> Conversation {
    let settings = Settings {
        starttls: true,
        auth: true,
        ..(*settings()).clone()
    };
    let mut c = Conversation::new(at(0), Arc::new(settings));
    c.handle(at(0), Input::Bytes(b"EHLO c\r\nSTARTTLS\r\n"));
    c.handle(at(0), Input::TlsReady);
    c.handle(at(0), Input::Bytes(b"EHLO c\r\n"));
    assert!(drain(&mut c).0.contains("250-AUTH PLAIN LOGIN\r\n"));
    c
}

#[test]
fn a_login_is_checked_before_anything_else_is_read() {
    let mut c = encrypted();
    c.handle(
        at(1),
        Input::Bytes(b"AUTH PLAIN AGFkYQBwdw==\r\nMAIL FROM:<a@c.test>\r\n"),
    );
    let login = Login {
        user: "ada".into(),
        password: "pw".into(),
    };
    assert_eq!(c.poll(), Some(Output::CheckAuth(Box::new(login))));
    assert_eq!((c.poll(), c.reading(), c.deadline()), (None, false, None));
    c.handle(at(9), Input::AuthChecked(Checked::Right));
    assert_eq!(drain(&mut c).0, "235 2.7.0 Logged in\r\n250 2.1.0 OK\r\n");
    let rest = b"RCPT TO:<help@help.test>\r\nDATA\r\nx\r\n.\r\n";
    c.handle(at(9), Input::Bytes(rest));
    let stored = std::iter::from_fn(|| c.poll()).find_map(|output| match output {
        Output::Store(received) => Some(received.auth_user),
        _ => None,
    });
    assert_eq!(stored, Some(Some("ada".into())));
}

#[test]
fn a_login_being_checked_when_the_daemon_stops_is_answered() {
    let mut c = encrypted();
    c.handle(at(1), Input::Bytes(b"AUTH PLAIN AGFkYQBwdw==\r\n"));
    c.handle(at(2), Input::Pressure(Pressure::Stopping));
    assert_eq!(drain(&mut c), ("(check)\r\n".into(), false));
    c.handle(at(3), Input::AuthChecked(Checked::Right));
    let (text, closed) = drain(&mut c);
    assert!(
        text.starts_with("235 ") && text.contains("421 4.3.2"),
        "{text}"
    );
    assert!(closed);
    c.handle(at(4), Input::AuthChecked(Checked::Right));
    assert_eq!(drain(&mut c), (String::new(), false));
}

#[test]
fn a_login_from_where_too_many_failed_ends_the_connection() {
    let mut c = encrypted();
    c.handle(at(1), Input::Bytes(b"AUTH PLAIN AGFkYQBwdw==\r\n"));
    assert_eq!(drain(&mut c), ("(check)\r\n".into(), false));
    c.handle(at(2), Input::AuthChecked(Checked::NotNow));
    let told = "421 4.7.0 Too many failed logins\r\n";
    assert_eq!(drain(&mut c), (told.into(), true));
}

#[test]
fn a_store_answer_out_of_turn_says_nothing() {
    let mut c = Conversation::new(at(0), settings());
    drain(&mut c);
    c.handle(at(0), Input::Stored(Stored::Unknown));
    assert_eq!(drain(&mut c), (String::new(), false));
}

#[test]
fn no_bytes_panic_or_grow_without_end() {
    let mut rng = Dice(7);
    for _ in 0..300 {
        let mut c = Conversation::new(at(0), settings());
        for step in 0..40 {
            let words: [&[u8]; 12] = [
                b"EHLO x\r\n",
                b"MAIL FROM:<a@b.c>",
                b"\r\n",
                b"RCPT TO:<help@help.test>\r\n",
                b"DATA\r\n",
                b".\r\n",
                b"\0",
                b"\n",
                b"RSET\r\n",
                b"<>",
                b"SIZE=99999999999999999999",
                b"\xff\xfe",
            ];
            let word = words[usize::try_from(rng.below(12)).unwrap()];
            c.handle(at(step), Input::Bytes(word));
            while let Some(output) = c.poll() {
                if let Output::Store(_) = output {
                    c.handle(at(step), Input::Stored(Stored::Unknown));
                }
            }
        }
        assert!(c.waiting.len() <= COMMAND_BYTES_MAX + 100);
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
