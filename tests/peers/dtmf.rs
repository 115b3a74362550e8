//! The in-band detector against libspandsp's, on the very same samples, and against
//! recordings of people and music.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// libspandsp's detector behind the interface of `helpline bench dtmf --against`.
fn spandsp(folder: &Path) -> PathBuf {
    let program = folder.join("spandsp");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/spandsp.c");
    let out = Command::new("cc")
        .args(["-O2", source, "-lspandsp", "-o"])
        .arg(&program)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success(),
        "{error}\ntests/run installs libspandsp-dev"
    );
    program
}

/// The last line of a bench.
fn bench(arguments: &[&str]) -> Value {
    let out = Command::new(env!("CARGO_BIN_EXE_helpline"))
        .args(["bench", "dtmf"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}\n{error}");
    println!("{text}");
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn tone_set_is_heard_better_than_by_spandsp_in_every_dimension() {
    let folder = tempfile::tempdir().unwrap();
    let program = spandsp(folder.path());
    let program = program.to_str().unwrap();
    let figures = bench(&["--presses", "160", "--seconds", "30", "--against", program]);
    assert!(figures["seed"].is_u64(), "{figures}");
    for name in ["single", "batch", "against"] {
        let speed = &figures[format!("{name}_channel_s_per_cpu_s")];
        assert!(speed.as_f64().unwrap() > 1.0, "{name}: {speed}");
    }
    // The batch hears the sound cut into eight: a cut may go through a key.
    let keys = |name: &str| figures[name].as_i64().unwrap();
    assert!(
        (keys("single_keys") - keys("batch_keys")).abs() <= 8,
        "{figures}"
    );
    assert!(keys("single_keys") > 10, "{figures}");
    let set = &figures["tone_set"];
    assert!(set["right"].as_f64().unwrap() >= 0.999, "{set}");
    assert_eq!(set["extra"], 0, "{set}");
    assert!(set["against_extra"].as_u64() > Some(0), "{set}");
    for (name, one) in set["dimensions"].as_object().unwrap() {
        let (ours, theirs) = (&one["right"], &one["against_right"]);
        // One press in 160 may be lost to a slip or an echo.
        assert!(ours.as_f64().unwrap() >= 0.99, "{name}: {one}");
        assert!(
            ours.as_f64().unwrap() + 0.01 >= theirs.as_f64().unwrap(),
            "{name}: {one}"
        );
    }
}

#[test]
fn speech_and_music_hold_no_keys() {
    let folder = tempfile::tempdir().unwrap();
    let spoken = folder.path().join("spoken");
    std::fs::create_dir(&spoken).unwrap();
    for (voice, name) in [
        ("en-us", "a"),
        ("en-gb+f2", "b"),
        ("de", "c"),
        ("fr+f4", "d"),
    ] {
        let out = Command::new("espeak-ng")
            .args(["-v", voice, "-a", "180", "-w"])
            .arg(spoken.join(format!("{name}.wav")))
            .arg("-f")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../docs/ARCHITECTURE.md"
            ))
            .output()
            .expect("espeak-ng; run tests/run, it installs it");
        assert!(out.status.success());
    }
    // People of Debian's asterisk packages; tests/run installs them.
    let people = Path::new("/usr/share/asterisk");
    let mut hours = 0.0;
    for recordings in [
        spoken.as_path(),
        &people.join("sounds/en_US_f_Allison"),
        &people.join("moh"),
    ] {
        let recordings = recordings.to_str().unwrap();
        let figures = bench(&["--recordings", recordings]);
        assert_eq!(figures["false_keys"], 0, "{recordings}: {figures}");
        hours += figures["hours"].as_f64().unwrap();
    }
    assert!(hours > 0.8, "{hours} hours only");
}
