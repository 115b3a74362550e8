//! SIGHUP reads flows and prompts again: new calls take the new ones, a call under way
//! keeps what it plays, and a set with a fault changes nothing.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::phone::{Keys, sipp_caller};
use crate::support::process::Daemon;

const SOON: Duration = Duration::from_secs(20);
/// Plays one recording, then ends the call.
const FLOW: &str = "helpline: 1\nid: hello\nstart: say\nlocales: [en-US]\n\
    prompts: { welcome: { text: \"Thank you for calling the help line.\" } }\nnodes:\n  \
    say: { type: play, say: [ { prompt: welcome } ], next: done }\n  done: { type: hangup }\n";

/// A recording of so many seconds; the name does not have to tell the format.
fn record(folder: &Path, seconds: u32) {
    let count = 8000 * seconds;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + 2 * count).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(8000u32.to_le_bytes());
    wav.extend(16_000u32.to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend((2 * count).to_le_bytes());
    wav.extend((0..count).flat_map(|n| (if n % 16 < 8 { 4000i16 } else { -4000 }).to_le_bytes()));
    fs::write(folder.join("en-US/welcome.flac"), wav).unwrap();
}

/// SIGHUP, and what the daemon says to it.
fn reload(daemon: &mut Daemon, word: &str) {
    let before = daemon.log().matches(word).count();
    daemon.program().signal(Signal::SIGHUP);
    let end = Instant::now() + SOON;
    while daemon.log().matches(word).count() == before {
        assert!(Instant::now() < end, "no {word:?}:\n{}", daemon.log());
        thread::sleep(Duration::from_millis(50));
    }
}

/// How long a call lasts until the daemon ends it.
fn call(daemon: &Daemon, name: &str) -> Duration {
    let began = Instant::now();
    let mut sipp = sipp_caller(daemon, name, "+442079461001", Keys::Events, "");
    assert_eq!(sipp.exit_code(SOON), 0, "{}\n{}", sipp.log(), daemon.log());
    began.elapsed()
}

#[test]
fn new_recordings_are_heard_by_new_calls_and_broken_ones_by_none() {
    let folder = tempfile::tempdir().unwrap();
    let (flows, prompts) = (folder.path().join("flows"), folder.path().join("prompts"));
    fs::create_dir_all(&flows).unwrap();
    fs::create_dir_all(prompts.join("en-US")).unwrap();
    fs::write(flows.join("hello.flow.yaml"), FLOW).unwrap();
    record(&prompts, 6);
    let mut daemon = Daemon::new(&format!(
        "[voice]\ninbound_from = [\"127.0.0.1\"]\ninbound_flow = \"hello\"\n\
         [ivr]\nflows = \"{}\"\nprompts = \"{}\"\n",
        flows.display(),
        prompts.display()
    ));
    daemon.start();

    // A call is under way while its recording is replaced.
    let began = Instant::now();
    let mut long = sipp_caller(&daemon, "long", "+442079461002", Keys::Events, "");
    thread::sleep(Duration::from_secs(2));
    record(&prompts, 1);
    reload(&mut daemon, "flows and prompts were read again");
    let short = call(&daemon, "short");
    assert!(
        short < Duration::from_secs(5),
        "{short:?}\n{}",
        daemon.log()
    );
    assert_eq!(long.exit_code(SOON), 0, "{}\n{}", long.log(), daemon.log());
    let long = began.elapsed();
    assert!(
        long > Duration::from_secs(6),
        "{long:?}: cut short\n{}",
        daemon.log()
    );

    // What cannot be used is named, and the old set stays.
    for (bytes, why) in [
        (
            b"no sound at all".to_vec(),
            "no WAV, FLAC, Ogg Vorbis or MP3",
        ),
        (vec![0; 40_000_000], "longer than"),
        (Vec::new(), "empty"),
    ] {
        fs::write(prompts.join("en-US/welcome.flac"), bytes).unwrap();
        reload(&mut daemon, "the old flows and prompts stay");
        let log = daemon.log();
        let fault = log
            .lines()
            .rfind(|l| l.contains("welcome.flac"))
            .unwrap_or("");
        assert!(fault.contains(why), "{why}:\n{log}");
    }
    let short = call(&daemon, "again");
    assert!(
        short < Duration::from_secs(5),
        "{short:?}\n{}",
        daemon.log()
    );
    // A flow that the configuration names must stay too.
    record(&prompts, 1);
    fs::rename(flows.join("hello.flow.yaml"), flows.join("hello.old")).unwrap();
    reload(&mut daemon, "the old flows and prompts stay");
    assert!(
        daemon.log().contains("there is no flow"),
        "{}",
        daemon.log()
    );
}
