use rubato::Resampler as _;
use rubato::audioadapter_buffers::direct::InterleavedSlice;

use super::*;

const RATES: [u32; 6] = [11_025, 16_000, 22_050, 44_100, 48_000, 192_000];

fn tone(hz: f64, rate_hz: u32, count: usize) -> Vec<f32> {
    let step = std::f64::consts::TAU * hz / f64::from(rate_hz);
    (0..count)
        .map(|n| (0.5 * (step * n as f64).sin()) as f32)
        .collect()
}

fn resampled(sound: &[f32], from_hz: u32, to_hz: u32) -> Vec<f32> {
    let input = InterleavedSlice::new(sound, 1, sound.len()).unwrap();
    let mut resampler = whole(from_hz, to_hz).unwrap();
    resampler
        .process_all(&input, sound.len(), None)
        .unwrap()
        .take_data()
}

/// Amplitude of a tone in the middle of a sound, and of all else there, against 0.5; dB.
fn levels_db(sound: &[f32], hz: f64, rate_hz: u32) -> (f64, f64) {
    let middle = &sound[sound.len() / 4..sound.len() / 4 * 3];
    let step = std::f64::consts::TAU * hz / f64::from(rate_hz);
    // Least squares: the tone need not be whole periods long.
    let (mut cc, mut ss, mut cs, mut xc, mut xs) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, x) in middle.iter().enumerate() {
        let (sin, cos) = (step * n as f64).sin_cos();
        cc += cos * cos;
        ss += sin * sin;
        cs += cos * sin;
        xc += f64::from(*x) * cos;
        xs += f64::from(*x) * sin;
    }
    let det = cc * ss - cs * cs;
    let (a, b) = ((xc * ss - xs * cs) / det, (xs * cc - xc * cs) / det);
    let rest: f64 = middle
        .iter()
        .enumerate()
        .map(|(n, x)| {
            let (sin, cos) = (step * n as f64).sin_cos();
            (f64::from(*x) - a * cos - b * sin).powi(2)
        })
        .sum();
    let db = |amplitude: f64| 20.0 * (amplitude / 0.5).max(1e-12).log10();
    let rest = (2.0 * rest / middle.len() as f64).sqrt();
    (db(a.hypot(b)), db(rest))
}

#[test]
fn speech_band_is_flat_within_a_twentieth_of_a_decibel_and_clean() {
    for rate_hz in RATES {
        for hz in [300.0, 1000.0, 2500.0, 3400.0] {
            let out = resampled(&tone(hz, rate_hz, rate_hz as usize / 2), rate_hz, 8000);
            let (level, rest) = levels_db(&out, hz, 8000);
            assert!(level.abs() <= 0.05, "{rate_hz} Hz, {hz} Hz: {level:.3} dB");
            assert!(rest <= -100.0, "{rate_hz} Hz, {hz} Hz: rest {rest:.1} dB");
        }
    }
}

#[test]
fn what_lies_above_4_khz_is_100_db_down() {
    for rate_hz in RATES {
        let highest = f64::from(rate_hz) / 2.0;
        for hz in [
            4300.0, 5000.0, 7000.0, 7700.0, 11_000.0, 15_700.0, 23_000.0, 60_000.0,
        ] {
            if hz >= highest {
                break;
            }
            let out = resampled(&tone(hz, rate_hz, rate_hz as usize / 2), rate_hz, 8000);
            // No tone of it is left at all: everything counts as rest.
            let (_, rest) = levels_db(&out, 0.1, 8000);
            assert!(rest <= -100.0, "{rate_hz} Hz, {hz} Hz: {rest:.1} dB");
        }
    }
}

#[test]
fn stream_in_pieces_is_the_whole_at_once() {
    for rate_hz in [8000, 6000, 44_100, 48_000] {
        let sound = tone(700.0, rate_hz, 3 * rate_hz as usize + 77);
        let mut stretch = Stretch::new(rate_hz, 8000).unwrap();
        let mut out: Vec<f32> = Vec::new();
        for piece in sound.chunks(999) {
            stretch.pass(piece, |s| out.extend_from_slice(s)).unwrap();
        }
        stretch.finish(|s| out.extend_from_slice(s)).unwrap();
        let expected = if rate_hz == 8000 {
            sound
        } else {
            resampled(&sound, rate_hz, 8000)
        };
        assert_eq!(out.len(), expected.len(), "{rate_hz}");
        for (a, b) in out.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-6, "{rate_hz}: {a} {b}");
        }
    }
}
