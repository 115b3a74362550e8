//! The rules of ITU-T Q.24 on generated tones: random phase and alignment, through
//! mu-law and A-law, all sixteen keys.

use super::*;
use crate::audio::g711::Law;
use crate::audio::tone::amplitude;
use crate::rng::Rng;

/// One key press and what surrounds it.
#[derive(Clone, Copy)]
struct Press {
    row_dbm0: f64,
    column_dbm0: f64,
    /// Offsets of both tones as shares, and in Hz on top.
    row_share: f64,
    column_share: f64,
    more_hz: f64,
    on_ms: f64,
    off_ms: f64,
    /// Silence in the middle of the press.
    hole_ms: f64,
    /// Below each tone, dB; white noise over the whole stream.
    noise_db: Option<f64>,
    /// (Hz, dBm0) that sound all the time.
    always: [(f64, f64); 2],
}

const PLAIN: Press = Press {
    row_dbm0: -12.0,
    column_dbm0: -12.0,
    row_share: 0.0,
    column_share: 0.0,
    more_hz: 0.0,
    on_ms: 60.0,
    off_ms: 60.0,
    hole_ms: 0.0,
    noise_db: None,
    always: [(0.0, -200.0); 2],
};

/// Sound of `digits`, each pressed like `press`.
fn sound(rng: &mut Rng, digits: &[Digit], press: &Press) -> Vec<i16> {
    let mut out: Vec<f64> = vec![0.0; 800 + rng.below(80) as usize];
    let samples = |ms: f64| (ms * 8.0).round() as usize;
    for digit in digits {
        let (row, column) = digit.pair_hz();
        let shift = |hz: f64, share: f64| {
            hz * (1.0 + share)
                + press.more_hz.copysign(if share < 0.0 { -1.0 } else { 1.0 })
                    * f64::from(u8::from(press.more_hz != 0.0))
        };
        let (row, column) = (
            shift(row, press.row_share),
            shift(column, press.column_share),
        );
        let phases = (rng.unit() * TAU, rng.unit() * TAU);
        let count = samples(press.on_ms);
        let hole = count / 2..count / 2 + samples(press.hole_ms);
        for n in 0..count {
            let t = n as f64 * TAU / 8000.0;
            let value = amplitude(press.row_dbm0) * (row * t + phases.0).sin()
                + amplitude(press.column_dbm0) * (column * t + phases.1).sin();
            out.push(if hole.contains(&n) { 0.0 } else { value });
        }
        out.resize(out.len() + samples(press.off_ms), 0.0);
    }
    out.resize(out.len() + 800, 0.0);
    let phase = rng.unit() * TAU;
    for (n, value) in out.iter_mut().enumerate() {
        for (hz, dbm0) in press.always {
            *value += amplitude(dbm0) * (hz * n as f64 * TAU / 8000.0 + phase).sin();
        }
        if let Some(below_db) = press.noise_db {
            // Twelve uniform numbers make a normal one.
            let normal: f64 = (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0;
            let level = press.row_dbm0.min(press.column_dbm0) - below_db;
            *value += normal * RMS_0_DBM0 * 10f64.powf(level / 20.0);
        }
    }
    out.iter()
        .map(|x| x.round().clamp(-32_768.0, 32_767.0) as i16)
        .collect()
}

fn hear(sound: &[i16], law: Law) -> String {
    let mut detector = Detector::default();
    let through: Vec<i16> = sound.iter().map(|s| law.decode(law.encode(*s))).collect();
    for frame in through.chunks(160) {
        detector.handle(frame);
    }
    let mut text = String::new();
    let mut open = None;
    while let Some(sound) = detector.poll() {
        match sound {
            KeySound::Begin(digit) => {
                assert_eq!(open.replace(digit), None, "begin before the last end");
                text.push(digit.char());
            }
            KeySound::End(digit) => assert_eq!(open.take(), Some(digit)),
        }
    }
    assert_eq!(open, None, "a key that never ended");
    text
}

fn all() -> Vec<Digit> {
    (0..16).filter_map(Digit::from_code).collect()
}

/// How many of `rounds` x 16 keys are heard, and how many that nobody pressed.
fn score(rng: &mut Rng, press: &Press, rounds: u32) -> (usize, usize) {
    let (mut heard, mut extra) = (0, 0);
    for round in 0..rounds {
        let law = if round % 2 == 0 { Law::Mu } else { Law::A };
        let digits = all();
        let text = hear(&sound(rng, &digits, press), law);
        // Longest common subsequence would do; with no extra digits order is enough.
        let mut rest = text.chars().peekable();
        for digit in &digits {
            if rest.next_if_eq(&digit.char()).is_some() {
                heard += 1;
            }
        }
        extra += rest.count();
    }
    (heard, extra)
}

fn accepts(name: &str, seed: u64, press: &Press) {
    let (heard, extra) = score(&mut Rng::new(seed), press, 2);
    assert_eq!((heard, extra), (32, 0), "{name}");
}

fn rejects(name: &str, seed: u64, press: &Press) {
    let (heard, extra) = score(&mut Rng::new(seed), press, 2);
    assert_eq!((heard, extra), (0, 0), "{name}");
}

#[test]
fn plain_keys_are_heard_once_in_both_laws() {
    accepts("plain", 1, &PLAIN);
}

#[test]
fn offsets_of_1_5_percent_and_2_hz_pass_and_3_5_percent_do_not() {
    for (n, (row, column)) in [(1.0, 1.0), (-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0)]
        .into_iter()
        .enumerate()
    {
        let at = |share: f64, more_hz| Press {
            row_share: row * share,
            column_share: column * share,
            more_hz,
            ..PLAIN
        };
        accepts("1.5 % + 2 Hz", 10 + n as u64, &at(0.015, 2.0));
        rejects("3.5 %", 20 + n as u64, &at(0.035, 0.0));
    }
}

#[test]
fn twist_from_minus_8_to_plus_4_passes() {
    for (n, twist) in [-8.0, -4.0, 4.0].into_iter().enumerate() {
        let press = Press {
            row_dbm0: -15.0,
            column_dbm0: -15.0 + twist,
            ..PLAIN
        };
        accepts("twist", 30 + n as u64, &press);
    }
    let press = Press {
        row_dbm0: -22.0,
        column_dbm0: -8.0,
        ..PLAIN
    };
    rejects("twist of 14 dB", 35, &press);
}

#[test]
fn keys_of_40_ms_pass_and_of_23_ms_do_not() {
    let of = |on_ms, off_ms| Press {
        on_ms,
        off_ms,
        ..PLAIN
    };
    accepts("40 ms", 40, &of(40.0, 40.0));
    accepts("200 ms", 41, &of(200.0, 40.0));
    rejects("23 ms", 42, &of(23.0, 60.0));
    rejects("10 ms", 43, &of(10.0, 60.0));
}

#[test]
fn same_key_twice_with_40_ms_between_is_two() {
    let mut rng = Rng::new(50);
    let press = Press {
        on_ms: 50.0,
        off_ms: 40.0,
        ..PLAIN
    };
    for digit in all() {
        let text = hear(&sound(&mut rng, &[digit; 4], &press), Law::Mu);
        assert_eq!(text, digit.char().to_string().repeat(4));
    }
}

#[test]
fn interruption_of_up_to_20_ms_is_one_key() {
    for (n, hole_ms) in [2.0, 5.0, 10.0, 20.0].into_iter().enumerate() {
        let press = Press {
            on_ms: 120.0,
            hole_ms,
            ..PLAIN
        };
        accepts("interrupted", 60 + n as u64, &press);
    }
}

#[test]
fn levels_from_minus_3_to_minus_36_pass_and_minus_55_does_not() {
    for (n, level) in [-3.0, -20.0, -30.0, -36.0].into_iter().enumerate() {
        let press = Press {
            row_dbm0: level,
            column_dbm0: level,
            ..PLAIN
        };
        accepts("level", 70 + n as u64, &press);
    }
    let press = Press {
        row_dbm0: -55.0,
        column_dbm0: -55.0,
        ..PLAIN
    };
    rejects("-55 dBm0", 75, &press);
}

#[test]
fn noise_dial_tone_and_hum_do_not_hide_keys() {
    let noisy = Press {
        noise_db: Some(15.0),
        ..PLAIN
    };
    accepts("noise 15 dB below each tone", 80, &noisy);
    for (n, level) in [-40.0, -20.0, -8.0].into_iter().enumerate() {
        let press = Press {
            always: [(350.0, level), (440.0, level)],
            row_dbm0: -20.0,
            column_dbm0: -20.0,
            ..PLAIN
        };
        accepts("dial tone", 81 + n as u64, &press);
    }
    for (n, hz) in [50.0, 60.0, 180.0].into_iter().enumerate() {
        let press = Press {
            always: [(hz, -12.0), (0.0, -200.0)],
            ..PLAIN
        };
        accepts("hum", 85 + n as u64, &press);
    }
}

#[test]
fn noise_alone_and_single_tones_are_no_keys() {
    let mut rng = Rng::new(90);
    let mut noise = vec![0i16; 80_000];
    for sample in &mut noise {
        *sample = ((rng.unit() - 0.5) * 20_000.0) as i16;
    }
    assert_eq!(hear(&noise, Law::Mu), "");
    for hz in [350.0, 697.0, 941.0, 1000.0, 1209.0, 1633.0, 2000.0] {
        let tone: Vec<i16> = (0..8000)
            .map(|n| (8000.0 * (TAU * hz * f64::from(n) / 8000.0).sin()) as i16)
            .collect();
        assert_eq!(hear(&tone, Law::Mu), "", "{hz} Hz");
    }
    assert_eq!(hear(&vec![i16::MAX; 8000], Law::Mu), "");
    assert_eq!(hear(&[], Law::Mu), "");
}

#[test]
fn key_is_told_within_38_ms() {
    let mut rng = Rng::new(100);
    for digit in all() {
        let lead = 800 + rng.below(40) as usize;
        let press = sound(&mut rng, &[digit], &PLAIN);
        let start = press.iter().position(|s| s.abs() > 400).unwrap();
        let mut stream = vec![0; lead];
        stream.extend(&press[start..]);
        let mut detector = Detector::default();
        let told = stream.iter().position(|sample| {
            detector.handle(&[*sample]);
            detector.poll().is_some()
        });
        let delay_ms = (told.unwrap() - lead) / 8;
        assert!((28..=38).contains(&delay_ms), "{delay_ms} ms");
    }
}

#[test]
fn lost_frame_in_a_key_does_not_split_it_and_a_long_loss_ends_it() {
    let mut rng = Rng::new(110);
    let press = Press {
        on_ms: 200.0,
        ..PLAIN
    };
    let five = Digit::from_char('5').unwrap();
    let stream = sound(&mut rng, &[five], &press);
    let mut detector = Detector::default();
    for (n, frame) in stream.chunks(160).enumerate() {
        if n == 10 {
            detector.freeze(20);
        } else {
            detector.handle(frame);
        }
    }
    let heard: Vec<_> = std::iter::from_fn(|| detector.poll()).collect();
    assert_eq!(heard, [KeySound::Begin(five), KeySound::End(five)]);

    for frame in stream.chunks(160).take(10) {
        detector.handle(frame);
    }
    assert_eq!(detector.poll(), Some(KeySound::Begin(five)));
    detector.freeze(100);
    assert_eq!(detector.poll(), None);
    detector.freeze(40);
    assert_eq!(detector.poll(), Some(KeySound::End(five)));
}

#[test]
fn reset_ends_a_key() {
    let mut detector = Detector::default();
    let five = Digit::from_char('5').unwrap();
    let stream = sound(
        &mut Rng::new(1),
        &[five],
        &Press {
            on_ms: 400.0,
            ..PLAIN
        },
    );
    detector.handle(&stream[..2400]);
    assert_eq!(detector.poll(), Some(KeySound::Begin(five)));
    detector.reset();
    assert_eq!(detector.poll(), Some(KeySound::End(five)));
    detector.reset();
    assert_eq!(detector.poll(), None);
}

/// What a line does to sound on its way.
fn spoil(rng: &mut Rng, name: &str, clean: &[i16]) -> Vec<i16> {
    let passes = |count, sound: &[i16]| {
        let mut sound = sound.to_vec();
        for n in 0..count {
            let law = if n % 2 == 0 { Law::A } else { Law::Mu };
            for s in &mut sound {
                *s = law.decode(law.encode(*s));
            }
        }
        sound
    };
    match name {
        "four passes through G.711" => passes(4, clean),
        "clipped" => clean
            .iter()
            .map(|s| (i32::from(*s) * 4).clamp(-22_000, 22_000) as i16)
            .collect(),
        "echo of 10 dB less after 15 ms" => (0..clean.len())
            .map(|n| {
                let before = n.checked_sub(120).map_or(0, |at| clean[at]);
                (f64::from(clean[n]) + f64::from(before) * 0.316) as i16
            })
            .collect(),
        "one sample lost now and then" => {
            let slip = 900 + rng.below(300) as usize;
            let kept = |(n, s): (usize, &i16)| (n % slip != 0).then_some(*s);
            clean.iter().enumerate().filter_map(kept).collect()
        }
        "our own prompt 15 dB below" => {
            let mut voice = 0.0;
            clean
                .iter()
                .map(|s| {
                    // Noise coloured like speech.
                    voice = voice * 0.9 + (rng.unit() - 0.5) * 2.0 * amplitude(-32.0);
                    (f64::from(*s) + voice) as i16
                })
                .collect()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn lines_that_spoil_the_sound_hide_no_key() {
    let mut rng = Rng::new(120);
    for name in [
        "four passes through G.711",
        "clipped",
        "echo of 10 dB less after 15 ms",
        "one sample lost now and then",
        "our own prompt 15 dB below",
    ] {
        for law in [Law::Mu, Law::A] {
            let digits = all();
            let clean = sound(&mut rng, &digits, &PLAIN);
            let text = hear(&spoil(&mut rng, name, &clean), law);
            let expected: String = digits.iter().map(|d| d.char()).collect();
            assert_eq!(text, expected, "{name}");
        }
    }
}

/// The whole tone set at random points inside the limits. Prints its seed; another one
/// is taken from `TONE_SEED`.
#[test]
fn random_keys_within_the_limits_are_heard_and_nothing_else() {
    let seed = std::env::var("TONE_SEED").ok().and_then(|s| s.parse().ok());
    let rounds = std::env::var("TONE_ROUNDS")
        .ok()
        .and_then(|s| s.parse().ok());
    let (seed, rounds) = (seed.unwrap_or(77), rounds.unwrap_or(24));
    let mut rng = Rng::new(seed);
    let (mut heard, mut extra) = (0, 0);
    for _ in 0..rounds {
        let between = |rng: &mut Rng, low: f64, high: f64| low + (high - low) * rng.unit();
        let level = between(&mut rng, -30.0, -8.0);
        let twist = between(&mut rng, -8.0, 4.0);
        let press = Press {
            row_dbm0: level - twist.max(0.0),
            column_dbm0: level + twist.min(0.0),
            row_share: between(&mut rng, -0.015, 0.015),
            column_share: between(&mut rng, -0.015, 0.015),
            on_ms: between(&mut rng, 40.0, 120.0),
            off_ms: between(&mut rng, 40.0, 80.0),
            noise_db: (rng.below(2) == 0).then(|| between(&mut rng, 18.0, 40.0)),
            ..PLAIN
        };
        let (h, e) = score(&mut rng, &press, 1);
        heard += h;
        extra += e;
    }
    let all = rounds as usize * 16;
    println!("tone set, seed {seed}: {heard} of {all} heard, {extra} extra");
    assert_eq!(extra, 0, "seed {seed}");
    assert!(heard * 1000 >= all * 998, "seed {seed}: {heard} of {all}");
}
