//! What the tone set does not say: times, lost sound, sounds that are no keys, and that a
//! batch hears what single detectors hear.

use std::f64::consts::TAU;

use super::*;
use crate::audio::dtmf::tone_set::{Dimension, Tally, hear};
use crate::audio::tone;
use crate::rng::Rng;

fn key(c: char) -> Digit {
    Digit::from_char(c).unwrap()
}

/// Silence, a key, silence; ms.
fn press(digit: Digit, before: usize, on: u64, after: usize) -> Vec<i16> {
    let mut sound = vec![0; before * 8];
    sound.extend(tone::key(digit, Duration::from_millis(on)));
    sound.resize(sound.len() + after * 8, 0);
    sound
}

fn digits(sound: &[i16]) -> String {
    let mut detector = Detector::default();
    sound.chunks(160).for_each(|frame| detector.handle(frame));
    detector.finish();
    let begun = |heard| match heard {
        KeySound::Begin(digit) => Some(digit.char()),
        KeySound::End(_) => None,
    };
    std::iter::from_fn(|| detector.poll())
        .filter_map(begun)
        .collect()
}

#[test]
fn key_is_told_within_38_ms_and_its_times_within_5() {
    let mut rng = Rng::new(100);
    for digit in (0..16).filter_map(Digit::from_code) {
        let lead = 800 + rng.below(40) as usize;
        let mut stream = vec![0; lead];
        stream.extend(press(digit, 0, 90, 100));
        let mut detector = Detector::default();
        let told = stream.iter().position(|sample| {
            detector.handle(&[*sample]);
            !detector.judge.is_silent()
        });
        let delay_ms = (told.unwrap() - lead) / 8;
        // The ramp of our own keys takes 2-3 ms of the 38.
        assert!((28..=41).contains(&delay_ms), "{delay_ms} ms");
        detector.handle(&stream[told.unwrap() + 1..]);
        let at = lead as f64 / 8.0;
        for (sound, expected) in [
            (KeySound::Begin(digit), at),
            (KeySound::End(digit), at + 90.0),
        ] {
            let heard = detector.poll_heard().unwrap();
            assert_eq!(heard.sound, sound);
            let off = heard.at.as_secs_f64() * 1000.0 - expected;
            assert!(off.abs() < 7.5, "{sound:?}: {off} ms");
        }
    }
}

#[test]
fn tone_that_the_sound_ends_in_is_a_key_and_ends_with_it() {
    let mut detector = Detector::default();
    detector.handle(&press(key('7'), 20, 45, 0));
    detector.finish();
    let heard: Vec<_> = std::iter::from_fn(|| detector.poll_heard()).collect();
    assert_eq!(heard.len(), 2);
    assert!(heard[1].at.as_millis().abs_diff(65) <= 6, "{heard:?}");
}

#[test]
fn twist_of_14_db_and_tones_of_25_ms_are_no_keys_and_a_hole_of_20_ms_splits_none() {
    let length = Duration::from_millis(100);
    let twisted = tone::burst(&[(770.0, -22.0), (1336.0, -8.0)], length);
    assert_eq!(digits(&twisted), "");
    assert_eq!(digits(&press(key('5'), 50, 25, 50)), "");
    for at in 45..70 {
        let mut sound = press(key('5'), 50, 120, 50);
        sound[(50 + at) * 8..(70 + at) * 8].fill(0);
        assert_eq!(digits(&sound), "5", "{at}");
    }
}

#[test]
fn noise_alone_and_single_tones_are_no_keys() {
    let mut rng = Rng::new(90);
    let noise: Vec<i16> = (0..80_000)
        .map(|_| ((rng.unit() - 0.5) * 20_000.0) as i16)
        .collect();
    assert_eq!(digits(&noise), "");
    for hz in [350.0, 697.0, 941.0, 1000.0, 1209.0, 1633.0, 2000.0] {
        let tone: Vec<i16> = (0..8000)
            .map(|n| (8000.0 * (TAU * hz * f64::from(n) / 8000.0).sin()) as i16)
            .collect();
        assert_eq!(digits(&tone), "", "{hz} Hz");
    }
    assert_eq!(digits(&vec![i16::MAX; 8000]), "");
    assert_eq!(digits(&[]), "");
}

#[test]
fn lost_frame_in_a_key_does_not_split_it_and_a_long_loss_ends_it() {
    let stream = press(key('5'), 100, 200, 100);
    let mut detector = Detector::default();
    for (n, frame) in stream.chunks(160).enumerate() {
        if n == 10 {
            detector.freeze(20);
        } else {
            detector.handle(frame);
        }
    }
    let heard: Vec<_> = std::iter::from_fn(|| detector.poll_heard()).collect();
    let [begin, end] = heard[..] else {
        panic!("{heard:?}");
    };
    // Lost sound counts in the times.
    assert!(begin.at.as_millis().abs_diff(100) <= 6, "{begin:?}");
    assert!(end.at.as_millis().abs_diff(300) <= 6, "{end:?}");

    stream
        .chunks(160)
        .take(10)
        .for_each(|frame| detector.handle(frame));
    assert_eq!(detector.poll(), Some(KeySound::Begin(key('5'))));
    detector.freeze(100);
    assert_eq!(detector.poll(), None);
    detector.freeze(40);
    assert_eq!(detector.poll(), Some(KeySound::End(key('5'))));
}

#[test]
fn reset_ends_a_key() {
    let mut detector = Detector::default();
    detector.handle(&press(key('5'), 100, 200, 0));
    assert_eq!(detector.poll(), Some(KeySound::Begin(key('5'))));
    detector.reset();
    assert_eq!(detector.poll(), Some(KeySound::End(key('5'))));
    detector.reset();
    assert_eq!(detector.poll(), None);
}

/// Sound of one kind: keys of the tone set, random samples, tones that come and go, silence
/// with clicks, full-scale steps.
fn some_sound(rng: &mut Rng, count: usize) -> Vec<i16> {
    let mut sound = Vec::with_capacity(count);
    while sound.len() < count {
        let length = 1 + rng.below(4000) as usize;
        match rng.below(6) {
            0 => sound.extend((0..length).map(|_| rng.next_u32() as i16)),
            1 => sound.resize(sound.len() + length, 0),
            2 => sound.extend((0..length).map(|n| if n % 50 < 25 { i16::MAX } else { i16::MIN })),
            3 => {
                let hz = 600.0 + 1200.0 * rng.unit();
                let wave = |n| 9000.0 * (TAU * hz * n as f64 / 8000.0).sin();
                sound.extend((0..length).map(|n| wave(n) as i16));
            }
            _ => {
                let which = rng.below(Dimension::ALL.len() as u64) as usize;
                sound.extend(Dimension::ALL[which].stream(rng).sound);
            }
        }
    }
    sound.truncate(count);
    sound
}

#[test]
fn batch_hears_at_the_same_samples_what_single_detectors_hear() {
    let mut rng = Rng::new(130);
    for round in 0..3 {
        let count = 24_000 + round * 7;
        let channels: [Vec<i16>; BATCH] = std::array::from_fn(|_| some_sound(&mut rng, count));
        let mut batch = Batch::default();
        let mut singles: [Detector; BATCH] = Default::default();
        let (mut at, mut keys) = (0, 0);
        while at < count {
            // Pieces of any length, so that hops are filled from several.
            let end = (at + 1 + rng.below(330) as usize).min(count);
            let pieces = channels.each_ref().map(|sound| &sound[at..end]);
            batch.handle(pieces);
            for (channel, single) in singles.iter_mut().enumerate() {
                single.handle(pieces[channel]);
                loop {
                    let heard = single.poll_heard();
                    assert_eq!(batch.poll(channel), heard, "channel {channel} at {at}");
                    if heard.is_none() {
                        break;
                    }
                    keys += 1;
                }
            }
            at = end;
        }
        assert!(keys > 20, "{keys} sounds only");
    }
}

/// A seed from the operating system; `TONE_SEED` repeats a run.
fn seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    let given = std::env::var("TONE_SEED").ok().and_then(|s| s.parse().ok());
    given.unwrap_or_else(|| RandomState::new().hash_one(0))
}

#[test]
fn tone_set_is_heard_in_every_dimension_and_nothing_else() {
    let seed = seed();
    println!("TONE_SEED={seed}");
    let mut rng = Rng::new(seed);
    let mut all = Tally::default();
    for dimension in Dimension::ALL {
        // Enough presses that the rare miss of these two does not count as half a percent.
        let is_hard = matches!(dimension, Dimension::Slip | Dimension::Echo);
        let tally = dimension.score(if is_hard { 40 } else { 13 }, &mut rng);
        println!("{}: {tally:?}", dimension.name());
        assert!(tally.share() >= 0.995, "{}: {tally:?}", dimension.name());
        assert_eq!(tally.extra, 0, "{}: {tally:?}", dimension.name());
        all.merge(&tally);
    }
    assert!(all.share() >= 0.999, "{all:?}");
}

#[test]
fn tone_set_tells_when_keys_began_and_ended() {
    let mut rng = Rng::new(7);
    for dimension in [
        Dimension::Twist,
        Dimension::Length,
        Dimension::Level,
        Dimension::Mixed,
    ] {
        let tally = dimension.score(4, &mut rng);
        assert!(tally.begin_off < Duration::from_micros(5_500), "{tally:?}");
        assert!(tally.end_off < Duration::from_micros(7_500), "{tally:?}");
        assert!(hear(&dimension.stream(&mut rng)).len() >= 30);
    }
}
