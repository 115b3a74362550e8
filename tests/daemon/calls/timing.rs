//! Each rule of keys and timers (docs/IVR.md, "Keys and timers") has a golden trace, and the
//! very same one in the simulator and in a call of SIPp.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use helpline::config;
use helpline::voice::flows::{Setting, check};
use helpline_core::ivr::golden::World;
use helpline_core::ivr::io::{Input, Key, Output};
use helpline_core::ivr::sim::Sim;
use helpline_core::phone::PhoneNumber;
use helpline_core::time::Wall;

use super::{helpline, trace};
use crate::support::phone::{Keys, sipp_caller};
use crate::support::process::Daemon;

const LIMIT: Duration = Duration::from_secs(55);
/// The rule, the end of the caller's number, and what he keys; a comma waits a second, a
/// key before `_` is held for three.
const RULES: [(&str, &str, &str); 13] = [
    ("T1", "01", ""),
    ("T2", "02", ",1"),
    ("T3", "03", ",12"),
    ("T4", "04", ",#,7#"),
    ("T5", "05", ",12#,3"),
    ("T6", "06", ",*4,9"),
    ("T7", "07", ",1_2"),
    ("T8", "08", ",5"),
    ("B1", "11", ",1"),
    ("B2", "12", ",1,,2"),
    ("B3", "13", ",2"),
    ("B4", "14", ",1,,,,2"),
    ("B5", "15", ",9,1"),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/ivr/timing")
}

fn number(end: &str) -> String {
    format!("+4420794610{end}")
}

/// What happened, without times and words.
fn is_told(kind: &str) -> bool {
    matches!(
        kind,
        "node" | "key" | "event" | "exit" | "set" | "join" | "end"
    )
}

/// The trace of a simulated caller, and the end of it.
fn simulated(end: &str, keys: &str) -> Vec<String> {
    let setting = Setting {
        ivr: config::Ivr {
            flows: Some(folder()),
            ..config::Ivr::default()
        },
        ..Setting::default()
    };
    let (set, faults) = check(&setting).unwrap();
    let set = Arc::new(set.unwrap_or_else(|| panic!("{faults:?}")));
    let mut start = World::default().start("timing", Wall::default());
    start.call.from = Some(PhoneNumber::from_row(&number(end)));
    let mut sim = Sim::new(set, start).unwrap();
    // As the scenario of SIPp has it.
    sim.wait(Duration::from_millis(600));
    let mut is_first = true;
    let mut keys = keys.chars().peekable();
    while let Some(key) = keys.next() {
        if key == ',' {
            sim.wait(Duration::from_secs(1));
        } else if keys.next_if_eq(&'_').is_some() {
            let key = Key::new(key).unwrap();
            sim.input(Input::KeyDown(key));
            sim.wait(Duration::from_secs(3));
            sim.input(Input::KeyUp(key));
            is_first = false;
        } else {
            if !std::mem::take(&mut is_first) {
                sim.wait(Duration::from_millis(700));
            }
            sim.press(&key.to_string());
        }
    }
    sim.wait(Duration::from_secs(30));
    let lines = sim.log().iter().filter_map(|(_, output)| match output {
        Output::Trace(line) if is_told(line.kind) => Some(format!("{} {}", line.kind, line.data)),
        _ => None,
    });
    lines.collect()
}

#[test]
fn every_rule_of_keys_and_timers_holds_in_the_simulator_and_in_a_call() {
    let mut daemon = Daemon::new(&format!(
        "[voice]\ninbound_from = [\"127.0.0.1\"]\ninbound_flow = \"timing\"\nno_rtp_hangup = \"2m\"\n\
         [[queue]]\nname = \"help\"\nmax_calls = 1\n[ivr]\nflows = \"{}\"\n",
        folder().display()
    ));
    daemon.start();
    // Somebody is helped already, so that the caller of B5 has to wait.
    let _helped = sipp_caller(&daemon, "helped", &number("15"), Keys::Events, "");
    thread::sleep(Duration::from_secs(4));
    let golden = folder();
    thread::scope(|callers| {
        for (rule, end, keys) in RULES {
            let (daemon, golden) = (&daemon, &golden);
            callers.spawn(move || {
                let expected = simulated(end, keys);
                let right = expected.iter().any(|line| line == "node right play");
                assert!(right, "{rule}:\n{}", expected.join("\n"));
                let file = golden.join(format!("{rule}.trace"));
                let text = expected.join("\n") + "\n";
                if std::env::var_os("HELPLINE_GOLDEN").is_some() {
                    fs::write(&file, &text).unwrap();
                }
                assert_eq!(
                    fs::read_to_string(&file).unwrap_or_default(),
                    text,
                    "{rule}"
                );
                let name = format!("rule{rule}");
                let mut sipp = sipp_caller(daemon, &name, &number(end), Keys::Events, keys);
                let code = sipp.exit_code(LIMIT);
                assert_eq!(code, 0, "{rule}: {}\n{}", sipp.log(), daemon.log());
                let mut heard = trace(daemon, &format!("{name}-%"));
                heard.retain(|line| is_told(line.split(' ').next().unwrap_or_default()));
                assert_eq!(heard.join("\n") + "\n", text, "{rule}");
                let again = helpline(daemon, &["ivr", "replay", &name]);
                let same = "the same flows, the same call\n";
                assert!(again.ends_with(same), "{rule}:\n{again}");
            });
        }
    });
}
