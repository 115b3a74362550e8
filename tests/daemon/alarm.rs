//! The operator is told by mail what nobody else would notice, and not again and again.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use super::database::until;
use crate::support::process::Daemon;
use crate::support::smtp::deliver;

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(40);

/// A mail server that takes no password.
fn refusing() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || refuse(stream));
        }
    });
    port
}

fn refuse(mut stream: TcpStream) {
    use std::io::{BufRead as _, BufReader};
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let _ = stream.write_all(b"* OK hello\r\n");
    for line in lines.map_while(Result::ok) {
        let tag = line.split(' ').next().unwrap_or_default();
        if stream
            .write_all(format!("{tag} NO not you\r\n").as_bytes())
            .is_err()
        {
            return;
        }
    }
}

#[test]
fn the_operator_gets_one_mail_about_each_cause() {
    let mut daemon = Daemon::new("");
    let secret = daemon.dir.path().join("password");
    std::fs::write(&secret, "secret").unwrap();
    let port = refusing();
    daemon.configure(&format!(
        "[[mail.imap]]\nname = \"help\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n\
         user = \"u\"\npassword_file = {secret:?}\n"
    ));
    let text = std::fs::read_to_string(daemon.config_path()).unwrap();
    let text = text.replace("[mail]\n", "[mail]\noperator = \"night@firm.test\"\n");
    std::fs::write(daemon.config_path(), text).unwrap();
    daemon.start();
    let nested = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".repeat(600);
    let deep = format!("From: d@x.test\r\nTo: help@help.test\r\n{nested}");
    for _ in 0..3 {
        let reply = deliver(daemon.smtp, "d@x.test", &deep).unwrap();
        assert!(reply.starts_with("250 "), "{reply}");
    }
    until(PATIENCE, "both are told", || daemon.mails().len() == 2);
    sleep(Duration::from_secs(15));
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    daemon.start();
    sleep(Duration::from_secs(15));
    let mails = daemon.mails();
    assert_eq!(mails.len(), 2, "{mails:?}");
    for (subject, text) in [
        ("the mailbox help is out of order", "refused: "),
        ("a mail was set aside", "helpline spool list"),
    ] {
        let told = mails.iter().filter(|mail| mail.contains(subject));
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), 1, "{subject}: {mails:?}");
        assert!(
            told[0].contains(text) && told[0].contains("To: night@firm.test"),
            "{told:?}"
        );
        assert!(!told[0].contains("secret"), "{told:?}");
    }
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}
