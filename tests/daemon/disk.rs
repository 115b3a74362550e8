//! The disk is full for a while: nothing is acknowledged that is not kept, and service comes
//! back by itself.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::process::Daemon;

/// Writes of a thread that fail, by their number since its start: for a spell all, then one of
/// many. The file is opened anew after each.
const FULL: [&str; 2] = ["60..90", "60+70"];
/// So often it is full and has room again.
const SPELLS: [u32; 2] = [1, 5];
/// Service is back within this after the disk has room again.
const BACK: Duration = Duration::from_secs(30);

#[test]
fn a_full_disk_is_told_loses_nothing_and_is_forgotten() {
    for (full, spells) in FULL.into_iter().zip(SPELLS) {
        fill(full, spells);
    }
}

/// Asks for calls until the disk was full so often and had room again.
fn fill(full: &str, wanted: u32) {
    let mut daemon = Daemon::new("");
    daemon.with_tables();
    daemon.tamper("pwrite64,fdatasync", &format!("error=ENOSPC:when={full}"));
    daemon.start();
    let (mut kept, mut refused, mut n) = (Vec::new(), 0, 0);
    let (mut is_full, mut spells) = (false, 0);
    let mut since = Instant::now();
    while spells < wanted {
        assert!(
            since.elapsed() < BACK,
            "{} kept, {refused} refused\n{}",
            kept.len(),
            daemon.log()
        );
        n += 1;
        let body = format!("{{\"phone\":\"+44207947{n:04}\"}}");
        match daemon.post_json(&body, &[]) {
            Ok(answer) if answer.status == 201 => {
                let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
                kept.push(json["id"].as_str().unwrap().to_owned());
                spells += u32::from(is_full);
                if std::mem::take(&mut is_full) {
                    since = Instant::now();
                }
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.body);
                let head = answer.head.to_ascii_lowercase();
                assert!(head.contains("\r\nretry-after: "), "{head}");
                (refused, is_full) = (refused + 1, true);
                sleep(Duration::from_millis(50));
            }
            Err(error) => panic!("the daemon is gone: {error}\n{}", daemon.log()),
        }
    }
    println!("{} kept, {refused} refused", kept.len());
    let rows = daemon.rows("select id from request");
    for id in &kept {
        assert!(
            rows.iter().any(|row| row[0] == *id),
            "{id} was acknowledged and is lost"
        );
    }
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}
