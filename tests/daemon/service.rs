//! The daemon as a systemd service: what it tells systemd, and how hardened its unit is.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::process::Daemon;

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
