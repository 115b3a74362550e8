//! `helpline dtmf FILE` on recordings of every kind, and on what is none.

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use helpline_core::audio::Law;
use helpline_core::audio::dtmf::Digit;

fn dtmf(file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_helpline"));
    command.arg("dtmf").arg(file).output().unwrap()
}

/// Digit, start and end in ms of each line; fails unless the command ended well.
fn keys(file: &Path) -> Vec<(char, f64, f64)> {
    let out = dtmf(file);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}: {error}", file.display());
    assert_eq!(error, "", "{}", file.display());
    let text = String::from_utf8(out.stdout).unwrap();
    let line = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words.len(), 3, "{line:?}");
        let digit = words[0].parse().unwrap();
        (digit, words[1].parse().unwrap(), words[2].parse().unwrap())
    };
    text.lines().map(line).collect()
}

/// 100 ms of silence, then each key for 80 ms with 60 ms of silence behind; -1 to 1.
fn pressed(digits: &str, rate_hz: u32) -> Vec<f64> {
    let count = |ms: u32| (rate_hz * ms / 1000) as usize;
    let mut sound = vec![0.0; count(100)];
    for digit in digits.chars() {
        let (row, column) = Digit::from_char(digit).unwrap().pair_hz();
        let wave = |hz: f64, n: usize| 0.2 * (TAU * hz * n as f64 / f64::from(rate_hz)).sin();
        sound.extend((0..count(80)).map(|n| wave(row, n) + wave(column, n)));
        sound.resize(sound.len() + count(60), 0.0);
    }
    sound
}

/// How a sample is written: format tag of the WAV header, bits, and the bytes.
type Kind = (&'static str, u16, u16, fn(f64) -> Vec<u8>);

const KINDS: [Kind; 8] = [
    ("u8", 1, 8, |x| vec![(128.0 + 127.0 * x).round() as u8]),
    ("s16", 1, 16, |x| linear(x).to_le_bytes().to_vec()),
    ("s24", 1, 24, |x| {
        ((x * 8_388_607.0) as i32).to_le_bytes()[..3].to_vec()
    }),
    ("s32", 1, 32, |x| {
        ((x * 2_147_483_647.0) as i32).to_le_bytes().to_vec()
    }),
    ("f32", 3, 32, |x| (x as f32).to_le_bytes().to_vec()),
    ("f64", 3, 64, |x| x.to_le_bytes().to_vec()),
    ("a-law", 6, 8, |x| vec![Law::A.encode(linear(x))]),
    ("mu-law", 7, 8, |x| vec![Law::Mu.encode(linear(x))]),
];

fn linear(x: f64) -> i16 {
    (x * 32_767.0).round() as i16
}

fn wav(kind: &Kind, rate_hz: u32, channels: u16, sound: &[f64]) -> Vec<u8> {
    let (_, tag, bits, bytes) = kind;
    let data: Vec<u8> = sound
        .iter()
        .flat_map(|x| bytes(*x).repeat(usize::from(channels)))
        .collect();
    let block = channels * bits / 8;
    let mut file = b"RIFF".to_vec();
    file.extend((38 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(18u32.to_le_bytes());
    file.extend(tag.to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(rate_hz.to_le_bytes());
    file.extend((rate_hz * u32::from(block)).to_le_bytes());
    file.extend(block.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(0u16.to_le_bytes());
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

#[test]
fn every_kind_of_wav_gives_digits_and_times() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("call.wav");
    let digits = "1234567890*#ABCD";
    let shapes = [
        (8000, 1),
        (11_025, 2),
        (44_100, 1),
        (48_000, 2),
        (192_000, 1),
    ];
    for (n, kind) in KINDS.iter().enumerate() {
        // Each kind with two rates, so that all are used.
        for shape in [n, n + 3] {
            let (rate_hz, channels) = shapes[shape % shapes.len()];
            fs::write(
                &file,
                wav(kind, rate_hz, channels, &pressed(digits, rate_hz)),
            )
            .unwrap();
            let name = format!("{} {rate_hz} Hz, {channels} channels", kind.0);
            let keys = keys(&file);
            let heard: String = keys.iter().map(|k| k.0).collect();
            assert_eq!(heard, digits, "{name}");
            for (n, (digit, start, end)) in keys.iter().enumerate() {
                let at = 100.0 + 140.0 * n as f64;
                assert!(
                    (start - at).abs() < 6.0,
                    "{name}: {digit} began at {start}, not {at}"
                );
                let at = at + 80.0;
                assert!(
                    (end - at).abs() < 8.0,
                    "{name}: {digit} ended at {end}, not {at}"
                );
            }
        }
    }
}

#[test]
fn flac_ogg_and_mp3_give_what_was_pressed() {
    for ending in ["flac", "ogg", "mp3"] {
        let file = format!(
            "{}/../../tests/golden/sound/keys.{ending}",
            env!("CARGO_MANIFEST_DIR")
        );
        let keys = keys(Path::new(&file));
        let heard: String = keys.iter().map(|k| k.0).collect();
        assert_eq!(heard, "159#", "{ending}");
        for (n, (_, start, _)) in keys.iter().enumerate() {
            let at = 200.0 + 150.0 * n as f64;
            assert!((start - at).abs() < 8.0, "{ending}: {start}, not {at}");
        }
    }
}

#[test]
fn file_that_ends_in_a_tone_tells_it_and_short_or_silent_ones_tell_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.wav");
    for rate_hz in [8000, 48_000] {
        let sound = pressed("7", rate_hz);
        let cut = (rate_hz * 150 / 1000) as usize;
        fs::write(&file, wav(&KINDS[1], rate_hz, 1, &sound[..cut])).unwrap();
        let keys = keys(&file);
        let [('7', start, end)] = keys[..] else {
            panic!("{keys:?}");
        };
        assert!(
            (start - 100.0).abs() < 6.0 && (144.0..=150.0).contains(&end),
            "{keys:?}"
        );
    }
    for count in [0, 1, 39, 40, 41, 8000] {
        fs::write(&file, wav(&KINDS[1], 8000, 1, &vec![0.0; count])).unwrap();
        assert_eq!(keys(&file), [], "{count} samples");
    }
}

#[test]
fn what_is_no_recording_is_refused_by_name_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let good = wav(&KINDS[1], 8000, 1, &pressed("5", 8000));
    fs::write(path("empty.wav"), b"").unwrap();
    fs::write(path("text.wav"), "hello, this is no sound\n".repeat(100)).unwrap();
    fs::write(path("header.wav"), &good[..30]).unwrap();
    fs::write(
        path("slow.wav"),
        wav(&KINDS[1], 2000, 1, &pressed("5", 2000)),
    )
    .unwrap();
    fs::create_dir(path("folder.wav")).unwrap();
    for (name, why) in [
        ("missing.wav", "No such file"),
        ("empty.wav", "empty"),
        ("text.wav", "no WAV, FLAC, Ogg Vorbis or MP3"),
        ("header.wav", ""),
        ("slow.wav", "2000 Hz"),
        ("folder.wav", "not a file"),
    ] {
        let out = dtmf(&path(name));
        let error = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{name}: {error}");
        assert!(out.stdout.is_empty(), "{name}");
        assert!(
            error.contains(name) && error.contains(why),
            "{name}: {error}"
        );
        assert!(
            !error.contains("panicked") && error.lines().count() == 1,
            "{name}: {error}"
        );
    }
}
