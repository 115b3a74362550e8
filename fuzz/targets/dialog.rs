//! What phones and peers write into header fields: addresses, registrations, session
//! timers. A binding is one that can be called; a session is never shorter than the least.
#![no_main]

use helpline_core::sip::address::{self, Address};
use helpline_core::sip::registrar::{BINDINGS_MAX, EXPIRES, Register, Registrar};
use helpline_core::sip::timer::{self, Asked, Limits};
use helpline_core::time::Time;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let parts: Vec<&str> = text.split('\n').collect();
    let part = |at: usize| parts.get(at).copied();
    for one in &parts {
        if let Some(found) = Address::parse(one) {
            assert!(!found.uri.is_empty());
            let _ = (found.user(), found.header("Replaces"), found.bare_uri());
        }
        let _ = address::list(one);
    }
    let mut registrar = Registrar::default();
    for (cseq, contacts) in (1..).zip(parts.chunks(2)) {
        let register = Register {
            contacts: contacts.to_vec(),
            expires: part(0),
            call_id: "c",
            cseq,
            source: ([192, 0, 2, 1], 5060).into(),
            agent: "",
        };
        registrar.register(Time::ZERO, "u", &register);
        let bindings = registrar.bindings(Time::ZERO, "u");
        assert!(bindings.len() <= BINDINGS_MAX);
        assert!(bindings.iter().all(|b| b.contact.starts_with(['s', 'S'])));
    }
    assert!(
        registrar
            .bindings(Time::from_millis(u64::from(EXPIRES.1) * 1_000), "u")
            .is_empty()
    );
    let limits = Limits {
        expires: 1_800,
        least: 90,
    };
    for supports in [true, false] {
        let asked = Asked {
            session_expires: part(0),
            min_se: part(1),
            supports,
        };
        match timer::answer(limits, asked) {
            Ok(agreed) => assert!(agreed.expires >= 90),
            Err(least) => assert_eq!(least, 90),
        }
    }
    assert!(timer::accepted(limits, part(0)).expires >= 90);
});
