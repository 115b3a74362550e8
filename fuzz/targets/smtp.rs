//! SMTP and LMTP conversations. However the bytes are cut, the same is said and stored; what is
//! stored is ours and has whole lines; after the end nothing is said. The first byte chooses
//! what is spoken and offered.
#![no_main]

use std::sync::Arc;

use helpline_core::id::MailInId;
use helpline_core::request::email::Keys;
use helpline_core::smtp::{Checked, Conversation, Input, Output, Settings, Stored};
use helpline_core::time::Time;
use libfuzzer_sys::fuzz_target;

fn settings(choice: u8) -> Settings {
    Settings {
        host: "help.test".into(),
        addresses: vec!["help@help.test".into()],
        keys: Keys::new(&[7; 32], None),
        message_bytes_max: 4_096,
        messages_max: 5,
        lmtp: choice & 1 != 0,
        starttls: choice & 2 != 0,
        require_tls: choice & 4 != 0,
        auth: choice & 8 != 0,
        require_auth: choice & 16 != 0,
    }
}

/// What was said and stored.
fn talk<'a>(choice: u8, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut conversation = Conversation::new(Time::ZERO, Arc::new(settings(choice)));
    let mut log = Vec::new();
    let mut is_over = false;
    act(&mut conversation, choice, &mut log, &mut is_over);
    for piece in pieces {
        if !conversation.reading() {
            break;
        }
        conversation.handle(Time::ZERO, Input::Bytes(piece));
        act(&mut conversation, choice, &mut log, &mut is_over);
    }
    log
}

fn act(conversation: &mut Conversation, choice: u8, log: &mut Vec<String>, is_over: &mut bool) {
    while let Some(output) = conversation.poll() {
        assert!(!*is_over, "{output:?} after the end");
        match output {
            Output::Write(line) => {
                let line = String::from_utf8(line).expect("replies are text");
                assert!(line.ends_with("\r\n") && !line.trim_end().contains(['\r', '\n']));
                log.push(line);
            }
            Output::Store(mail) => {
                let ours = |to: &String| {
                    let to = to.to_ascii_lowercase();
                    to == "help@help.test" || to == "postmaster" || to == "postmaster@help.test"
                };
                assert!(
                    !mail.rcpt.is_empty() && mail.rcpt.iter().all(ours),
                    "{:?}",
                    mail.rcpt
                );
                assert!(mail.raw.len() <= 4_096 && !mail.raw.contains(&0));
                let text = String::from_utf8_lossy(&mail.raw).replace("\r\n", "");
                assert!(!text.contains(['\r', '\n']), "{text:?}");
                assert!(choice & 16 == 0 || mail.auth_user.as_deref() == Some("ada"));
                log.push(format!("{mail:?}"));
                let kept = Stored::Kept(MailInId::from_text("m1"));
                conversation.handle(Time::ZERO, Input::Stored(kept));
            }
            Output::StartTls => {
                log.push("tls".to_owned());
                conversation.handle(Time::ZERO, Input::TlsReady);
            }
            Output::CheckAuth(login) => {
                log.push(format!("{}/{}", login.user, login.password));
                let checked = match (login.user.as_str(), login.password.as_str()) {
                    ("ada", "pw") => Checked::Right,
                    ("ada", "later") => Checked::NotNow,
                    _ => Checked::Wrong,
                };
                conversation.handle(Time::ZERO, Input::AuthChecked(checked));
            }
            Output::Close => *is_over = true,
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let whole = talk(*choice, std::iter::once(bytes));
    // What waits behind STARTTLS is lost, and how much that is depends on the cut.
    if !whole.iter().any(|line| line == "tls") {
        assert_eq!(whole, talk(*choice, bytes.chunks(1)));
        assert_eq!(whole, talk(*choice, bytes.chunks(7)));
    } else {
        let _ = talk(*choice, bytes.chunks(1));
    }
});
