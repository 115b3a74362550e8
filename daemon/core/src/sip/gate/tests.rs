use super::*;
use crate::rng::Rng;
use crate::sip::digest::Algorithm;

fn check(datagram: &[u8], source: Source, tag: u64, door: Option<Door<'_>>) -> Verdict {
    let beside = Beside {
        source,
        tag,
        full: false,
        door,
    };
    super::check(datagram, &beside)
}

const GOOD: &str = "INVITE sip:+4930123@192.0.2.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK1\r\n\
    Via: SIP/2.0/UDP 192.0.2.8\r\n\
    From: \"A <\\\" B\" <sip:a@192.0.2.9>;tag=1\r\nTo: <sip:b@192.0.2.1>\r\n\
    Call-ID: x@y\r\nContact: <sip:a@192.0.2.9>\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 3\r\n\r\nv=0";

fn code(verdict: Verdict) -> String {
    match verdict {
        Verdict::Pass => "pass".into(),
        Verdict::Drop(fault) => format!("drop {}", fault.word()),
        Verdict::Answer(_, bytes) => String::from_utf8(bytes).unwrap()[8..11].into(),
        Verdict::Within(dialog, _) => format!("within {} {}", dialog.local_tag, dialog.remote_tag),
    }
}

fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    code(check(
        GOOD.replacen(from, to, 1).as_bytes(),
        Source::Trunk,
        7,
        None,
    ))
}

#[test]
fn a_good_invite_passes_from_a_trunk_and_not_from_a_stranger() {
    assert_eq!(code(check(GOOD.as_bytes(), Source::Trunk, 7, None)), "pass");
    assert_eq!(
        code(check(GOOD.as_bytes(), Source::Stranger, 7, None)),
        "403"
    );
}

#[test]
fn each_fault_has_its_answer() {
    for (from, to, want) in [
        ("SIP/2.0\r\nVia", "SIP/7.0\r\nVia", "505"),
        ("INVITE sip", "HELLO sip", "400"), // CSeq no longer fits
        ("sip:+4930123@192.0.2.1", "http://x", "416"),
        ("sip:+4930123@192.0.2.1", "<sip:x@y>", "400"),
        ("sip:+4930123@192.0.2.1", "sip:", "400"),
        ("Max-Forwards: 70", "Max-Forwards: 0", "483"),
        ("Max-Forwards: 70", "Max-Forwards: 256", "400"),
        (
            "Max-Forwards: 70",
            "Max-Forwards: 70\r\nmax-forwards: 70",
            "400",
        ),
        ("Max-Forwards: 70", "Require: 100rel", "420"),
        ("Max-Forwards: 70", "Require: timer, Replaces", "pass"),
        ("Max-Forwards: 70", "Proxy-Require: foo", "420"),
        ("Contact: <sip:a@192.0.2.9>", "X: 1", "400"),
        ("Contact: <sip:a@192.0.2.9>", "m: *", "400"),
        (
            "Contact: <sip:a@192.0.2.9>",
            "m: <sip:a@b>, <sip:c@d>",
            "400",
        ),
        (
            "Contact: <sip:a@192.0.2.9>",
            "m: \"a, b\" <sip:c@d>",
            "pass",
        ),
        ("Max-Forwards: 70", "Content-Encoding: gzip", "415"),
        ("Content-Length: 3", "Content-Length: 4", "400"),
        ("Content-Length: 3", "Content-Length: -3", "400"),
        ("Content-Length: 3", "X: 3", "400"),
        ("Content-Length: 3", "Content-Length: 3\r\nl: 3", "400"),
        ("CSeq: 1 INVITE", "CSeq: 2147483648 INVITE", "400"),
        ("CSeq: 1 INVITE", "CSeq: 1 BYE", "400"),
        ("CSeq: 1 INVITE", "CSeq: one INVITE", "400"),
        ("Call-ID: x@y", "Call-ID: x@y\r\ni: z", "400"),
        ("To: <sip:b", "To: \"b <sip:b", "400"),
        ("To: <sip:b@192.0.2.1>", "To: <sip:b@192.0.2.1", "400"),
        ("Max-Forwards: 70", "X-Foo : 1", "400"),
        ("Content-Length: 3", "X-Foo : 1", "400"),
    ] {
        assert_eq!(with(from, to), want, "{to}");
    }
    let other = GOOD.replace("INVITE", "PUBLISH");
    assert_eq!(code(check(other.as_bytes(), Source::Trunk, 7, None)), "405");
}

#[test]
fn a_missing_field_is_never_passed() {
    for field in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let text: String = GOOD
            .split_inclusive("\r\n")
            .filter(|l| !l.starts_with(&format!("{field}:")))
            .collect();
        let verdict = check(text.as_bytes(), Source::Trunk, 7, None);
        assert!(matches!(verdict, Verdict::Drop(_)), "{field} {verdict:?}");
    }
}

#[test]
fn the_answer_copies_what_names_the_transaction() {
    let Verdict::Answer(Fault::Stranger, bytes) =
        check(GOOD.as_bytes(), Source::Stranger, 0xabc, None)
    else {
        panic!("not answered");
    };
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("SIP/2.0 403 Forbidden\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch"));
    assert!(text.contains("Via: SIP/2.0/UDP 192.0.2.8\r\n"));
    assert!(text.contains("To: <sip:b@192.0.2.1>;tag=0000000000000abc\r\n"));
    assert!(text.contains("CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"));
    assert!(text.len() < GOOD.len() + 80);
}

#[test]
fn bad_acks_and_bad_responses_are_dropped_without_a_word() {
    let ack = GOOD
        .replace("INVITE", "ACK")
        .replace("sip:+4930123@192.0.2.1", "http://x");
    assert_eq!(
        code(check(ack.as_bytes(), Source::Trunk, 7, None)),
        "drop uri"
    );
    let head = GOOD.split_once("\r\n").unwrap().1;
    let response = format!("SIP/2.0 200 OK\r\n{head}");
    assert_eq!(
        code(check(response.as_bytes(), Source::Stranger, 7, None)),
        "pass"
    );
    let bad = response.replace("CSeq: 1", "CSeq: x");
    assert_eq!(
        code(check(bad.as_bytes(), Source::Trunk, 7, None)),
        "drop header"
    );
}

#[test]
fn a_challenge_from_a_stranger_never_reaches_the_stack() {
    let head = GOOD.split_once("\r\n").unwrap().1;
    for status in ["401 Unauthorized", "407 Proxy Authentication Required"] {
        let text = format!("SIP/2.0 {status}\r\n{head}");
        assert_eq!(
            code(check(text.as_bytes(), Source::Stranger, 7, None)),
            "drop challenge"
        );
        assert_eq!(
            code(check(text.as_bytes(), Source::Caller, 7, None)),
            "drop challenge"
        );
        assert_eq!(code(check(text.as_bytes(), Source::Trunk, 7, None)), "pass");
    }
}

#[test]
fn requests_within_a_dialog_may_come_from_another_address() {
    let text = GOOD.replace("To: <sip:b@192.0.2.1>", "To: <sip:b@192.0.2.1>;tag=9");
    let verdict = check(text.as_bytes(), Source::Stranger, 7, None);
    let Verdict::Within(dialog, answer) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(
        (dialog.call_id, dialog.local_tag, dialog.remote_tag),
        ("x@y".into(), "9".into(), "1".into())
    );
    assert!(answer.starts_with(b"SIP/2.0 481 "));
    // From those we know it goes straight to the stack.
    assert_eq!(
        code(check(text.as_bytes(), Source::Caller, 7, None)),
        "pass"
    );
}

#[test]
fn a_stranger_gets_the_same_answer_whatever_it_asks_for() {
    for method in ["INVITE", "OPTIONS", "BYE", "REFER", "INFO"] {
        let text = GOOD.replace("INVITE", method);
        assert_eq!(
            code(check(text.as_bytes(), Source::Stranger, 7, None)),
            "403"
        );
    }
    for method in ["REGISTER", "MESSAGE", "SUBSCRIBE"] {
        let text = GOOD.replace("INVITE", method);
        assert_eq!(
            code(check(text.as_bytes(), Source::Stranger, 7, None)),
            "405"
        );
    }
}

#[test]
fn with_a_door_strangers_are_asked_for_proof_of_either_kind() {
    let guard = Guard::new("r", [7; 32], vec![Algorithm::Sha256, Algorithm::Md5]);
    let now = Time::from_millis(5);
    let from = "192.0.2.9".parse().unwrap();
    let at = |now| {
        Some(Door {
            guard: &guard,
            now,
            from,
        })
    };
    for method in ["INVITE", "REGISTER"] {
        let text = GOOD.replace("INVITE", method);
        for user in ["ada", "nobody"] {
            let text = text.replace("<sip:b@", &format!("<sip:{user}@"));
            let verdict = check(text.as_bytes(), Source::Stranger, 7, at(now));
            let Verdict::Answer(Fault::Proof, bytes) = verdict else {
                panic!("{verdict:?}")
            };
            let answer = String::from_utf8(bytes).unwrap();
            assert!(answer.starts_with("SIP/2.0 401 Unauthorized\r\n"));
            let offered: Vec<_> = answer.matches("WWW-Authenticate: Digest").collect();
            assert_eq!(offered.len(), 2);
            assert!(answer.find("SHA-256") < answer.find("MD5"));
        }
        // With a fresh nonce of ours the stack sees it, from wherever.
        let challenge = guard.challenges(now, 9, false).remove(0);
        let nonce = challenge.split("nonce=").nth(1).unwrap();
        let proof = format!("Authorization: Digest username=\"u\", nonce={nonce}\r\nMax-Forwards");
        let text = text.replace("Max-Forwards", &proof);
        let verdict = check(text.as_bytes(), Source::Stranger, 7, at(now));
        assert_eq!(code(verdict), "pass");
        let late = now + std::time::Duration::from_secs(121);
        let verdict = check(text.as_bytes(), Source::Stranger, 7, at(late));
        let Verdict::Answer(_, bytes) = verdict else {
            panic!("{verdict:?}")
        };
        assert!(String::from_utf8(bytes).unwrap().contains("stale=true"));
    }
    // A caller needs no proof to call, but everybody to register.
    let code_of = |text: &str, source| code(check(text.as_bytes(), source, 7, at(now)));
    assert_eq!(code_of(GOOD, Source::Caller), "pass");
    let register = GOOD.replace("INVITE", "REGISTER");
    assert_eq!(code_of(&register, Source::Trunk), "401");
}

#[test]
fn while_no_call_is_taken_new_ones_are_put_off_and_others_go_on() {
    let full = |text: &str| {
        let beside = Beside {
            source: Source::Trunk,
            tag: 7,
            full: true,
            door: None,
        };
        super::check(text.as_bytes(), &beside)
    };
    let Verdict::Answer(Fault::Full, bytes) = full(GOOD) else {
        panic!("not put off");
    };
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("SIP/2.0 503 ") && text.contains("Retry-After: 10\r\n"));
    let within = GOOD.replace("To: <sip:b@192.0.2.1>", "To: <sip:b@192.0.2.1>;tag=9");
    assert_eq!(code(full(&within)), "pass");
    assert_eq!(code(full(&GOOD.replace("INVITE", "OPTIONS"))), "pass");
}

#[test]
fn scanners_keepalives_and_sizes() {
    let scanner = GOOD.replace("Max-Forwards: 70", "User-Agent: Friendly-Scanner");
    assert_eq!(
        code(check(scanner.as_bytes(), Source::Stranger, 7, None)),
        "drop scanner"
    );
    assert_eq!(code(check(b"\r\n\r\n", Source::Trunk, 7, None)), "pass");
    assert_eq!(
        code(check(b"\r\n\r\n", Source::Stranger, 7, None)),
        "drop stranger"
    );
    assert_eq!(code(check(b"", Source::Trunk, 7, None)), "drop size");
    assert_eq!(
        code(check(&[b'a'; 9_000], Source::Trunk, 7, None)),
        "drop size"
    );
    assert_eq!(code(check(b"hello", Source::Trunk, 7, None)), "drop shape");
}

#[test]
fn no_mutation_panics_and_no_answer_is_much_longer() {
    let mut rng = Rng::new(41);
    for _ in 0..20_000 {
        let mut bytes = GOOD.as_bytes().to_vec();
        for _ in 0..=rng.below(6) {
            let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
            match rng.below(3) {
                0 => bytes[at] = rng.next_u64().to_le_bytes()[0],
                1 => drop(bytes.drain(..at).count()),
                _ => bytes.truncate(at.max(1)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let source = [Source::Stranger, Source::Trunk][usize::from(rng.below(2) == 0)];
        if let Verdict::Answer(_, answer) = check(&bytes, source, 1, None) {
            assert!(answer.len() < bytes.len() + 250);
        }
    }
}
