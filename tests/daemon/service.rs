//! The daemon as a systemd service: what it tells systemd, and how hardened its unit is.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::process::{Daemon, free_port};

/// Reads words to systemd until one holds `want`; everything read.
fn told(socket: &UnixDatagram, want: &str, limit: Duration) -> String {
    let end = Instant::now() + limit;
    let mut all = String::new();
    let mut buffer = [0; 4096];
    while Instant::now() < end {
        if let Ok(length) = socket.recv(&mut buffer) {
            let words = String::from_utf8_lossy(&buffer[..length]).into_owned();
            all += &words;
            all.push('\n');
            if words.contains(want) {
                return all;
            }
        }
    }
    panic!("{want} was not told within {limit:?}: {all}");
}

#[test]
fn systemd_is_told_ready_reload_watchdog_and_stop() {
    let mut daemon = Daemon::new("");
    let path = daemon.dir.path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    daemon
        .env
        .push(("NOTIFY_SOCKET".into(), path.display().to_string()));
    daemon.spawn();
    let soon = Duration::from_secs(20);
    told(&socket, "READY=1", soon);
    assert!(
        daemon.dir.path().join("data/helpline.db").exists(),
        "ready before the store was"
    );

    daemon.program().signal(Signal::SIGHUP);
    told(&socket, "RELOADING=1", soon);
    told(&socket, "READY=1", soon);
    told(&socket, "WATCHDOG=1", soon);

    daemon.program().signal(Signal::SIGTERM);
    told(&socket, "STOPPING=1", soon);
    assert_eq!(daemon.program().exit_code(soon), 0, "{}", daemon.log());
}

#[test]
fn the_unit_is_valid_and_hardened() {
    let scratch = tempfile::tempdir().unwrap();
    let unit = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../systemd/helpline.service"
    );
    // The binary is not installed here; everything else of the unit is checked as it is.
    let text = fs::read_to_string(unit).unwrap();
    let file = scratch.path().join("helpline.service");
    fs::write(&file, text.replace("/usr/bin/helpline", "/bin/true")).unwrap();
    analyze(&["verify", "--man=no"], &file);
    analyze(&["security", "--offline=true", "--threshold=15"], &file);
}

#[test]
fn the_socket_units_are_valid_and_name_what_is_served() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../systemd");
    let unit = fs::read_to_string(format!("{folder}/helpline.service")).unwrap();
    let unit = unit.replace("/usr/bin/helpline", "/bin/true");
    fs::write(scratch.path().join("helpline.service"), unit).unwrap();
    for name in ["http", "smtp", "submission", "lmtp"] {
        let file = format!("helpline-{name}.socket");
        let text = fs::read_to_string(format!("{folder}/{file}")).unwrap();
        assert!(
            text.contains(&format!("FileDescriptorName={name}\n")),
            "{file}"
        );
        fs::write(scratch.path().join(&file), text).unwrap();
        analyze(&["verify", "--man=no"], &scratch.path().join(&file));
    }
}

#[test]
fn sockets_of_systemd_are_served_under_their_names() {
    let mut daemon = Daemon::new("");
    let dir = daemon.dir.path().to_owned();
    let lmtp = dir.join("lmtp.sock").display().to_string();
    let text = fs::read_to_string(daemon.config_path()).unwrap();
    let text = text.replace("[smtp]\n", &format!("[smtp]\nlmtp = \"{lmtp}\"\n"));
    fs::write(daemon.config_path(), text).unwrap();
    // Not in the order of the configuration: only the names tell which is which. The addresses
    // are in use by then, so the daemon cannot have bound them itself.
    let local = |port: u16| format!("127.0.0.1:{port}");
    let sockets = [
        ("smtp", local(daemon.smtp)),
        ("lmtp", lmtp.clone()),
        ("http", local(daemon.http)),
    ];
    daemon.activate(&sockets);
    daemon.spawn();
    // Who comes before the daemon is there is answered once it is.
    let first = dialled(daemon.smtp);
    assert!(greeting(first).contains(" ESMTP"), "{}", daemon.log());
    daemon.wait_ready();
    daemon.ask("+442079460101");
    let local = UnixStream::connect(&lmtp).unwrap();
    assert!(greeting(local).contains(" LMTP"), "{}", daemon.log());
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

#[test]
fn a_socket_of_systemd_that_nobody_serves_is_a_fault() {
    for (name, extra, why) in [
        ("htpp", "", "FileDescriptorName= is one of"),
        (
            "smtp",
            "[smtp]\nenabled = false\n",
            "must not switch that part off",
        ),
        (
            "lmtp",
            "[smtp]\nlmtp = \"/run/nowhere/l.sock\"\n",
            "ListenStream= of a path",
        ),
    ] {
        let mut daemon = Daemon::new("");
        let text = fs::read_to_string(daemon.config_path()).unwrap();
        let extra = if extra.is_empty() { "[smtp]\n" } else { extra };
        fs::write(daemon.config_path(), text.replace("[smtp]\n", extra)).unwrap();
        let port = free_port();
        daemon.activate(&[(name, format!("127.0.0.1:{port}"))]);
        daemon.spawn();
        let _first = dialled(port);
        let code = daemon.program().exit_code(Duration::from_secs(20));
        assert_eq!(code, 1, "{}", daemon.log());
        assert!(daemon.log().contains(why), "{name}: {}", daemon.log());
    }
}

/// A connection to the port, as soon as somebody holds it.
fn dialled(port: u16) -> TcpStream {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn greeting(stream: impl Read) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

fn analyze(arguments: &[&str], file: &Path) {
    let out = Command::new("systemd-analyze")
        .args(arguments)
        .arg(file)
        .output()
        .expect("systemd-analyze; run tests/run, it installs it");
    let said =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{arguments:?}: {said}");
}
