use std::f64::consts::TAU;
use std::time::Duration;

use helpline_core::audio::FRAME_SAMPLES;

use super::*;

/// A 16-bit WAV file of interleaved samples.
fn wav(rate_hz: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
    let data = u32::try_from(samples.len() * 2).unwrap();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate_hz.to_le_bytes());
    bytes.extend((rate_hz * 2 * u32::from(channels)).to_le_bytes());
    bytes.extend((2 * channels).to_le_bytes());
    bytes.extend(16u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(data.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    bytes
}

fn sine(hz: f64, rate_hz: u32, seconds: f64, amplitude: f64) -> Vec<i16> {
    let count = (seconds * f64::from(rate_hz)) as usize;
    (0..count)
        .map(|n| (amplitude * (TAU * hz * n as f64 / f64::from(rate_hz)).sin()) as i16)
        .collect()
}

fn source(id: &str, name: &str, bytes: Vec<u8>) -> PromptSource {
    PromptSource {
        id: id.into(),
        name: name.into(),
        bytes: Cow::Owned(bytes),
    }
}

fn load(name: &str, bytes: Vec<u8>) -> Result<Arc<Clip>, String> {
    Prompts::load(vec![source("x", name, bytes)], &[])
        .map(|prompts| prompts.get("x").unwrap())
        .map_err(|faults| faults[0].to_string())
}

fn rms(samples: &[i16]) -> f64 {
    let sum: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    (sum / samples.len() as f64).sqrt()
}

#[test]
fn every_rate_and_level_becomes_the_same_prompt() {
    for rate in [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000] {
        for amplitude in [800.0, 8000.0] {
            let clip = load("a.wav", wav(rate, 1, &sine(1000.0, rate, 1.0, amplitude))).unwrap();
            assert_eq!(clip.duration(), Duration::from_secs(1), "{rate} Hz");
            let level_db = 20.0 * (rms(&clip.pcm()[400..7600]) / 2600.0).log10();
            assert!(
                level_db.abs() < 1.0,
                "{rate} Hz at {amplitude}: {level_db:.2} dB"
            );
        }
    }
}

#[test]
fn silence_at_the_ends_is_cut_to_20_ms() {
    let mut samples = vec![0; 16_000];
    samples.extend(sine(1000.0, 16_000, 0.5, 5000.0));
    samples.extend(vec![0; 32_000]);
    let clip = load("a.wav", wav(16_000, 1, &samples)).unwrap();
    // 500 ms of sound and 20 ms at each end; the filter's tail may add one frame.
    assert!((27..=28).contains(&clip.frames()), "{}", clip.frames());
    assert!(rms(&clip.pcm()[..FRAME_SAMPLES]) < 600.0);
}

#[test]
fn peaks_stay_below_full_scale_and_quiet_files_gain_at_most_20_db() {
    // A short loud click over quiet sound: the peak holds the gain back.
    let mut samples = sine(1000.0, 8000, 1.0, 300.0);
    samples[4000..4010].fill(30_000);
    let clip = load("a.wav", wav(8000, 1, &samples)).unwrap();
    let peak = clip.pcm().iter().map(|s| s.unsigned_abs()).max().unwrap();
    assert!(peak < 24_000, "{peak}");
    let clip = load("b.wav", wav(8000, 1, &sine(1000.0, 8000, 1.0, 60.0))).unwrap();
    let level = rms(&clip.pcm()[400..7600]);
    assert!((380.0..460.0).contains(&level), "{level}");
}

#[test]
fn channels_are_mixed_and_what_cancels_out_is_told() {
    let one = sine(1000.0, 8000, 0.4, 5000.0);
    let both: Vec<i16> = one.iter().flat_map(|s| [*s, *s]).collect();
    assert_eq!(load("a.wav", wav(8000, 2, &both)).unwrap().frames(), 20);
    let against: Vec<i16> = one.iter().flat_map(|s| [*s, -*s]).collect();
    let fault = load("b.wav", wav(8000, 2, &against)).unwrap_err();
    assert_eq!(fault, "b.wav: it holds nothing but silence");
}

#[test]
fn nothing_above_4_khz_comes_through_as_something_else() {
    let mut samples = sine(1000.0, 48_000, 0.5, 4000.0);
    for (s, high) in samples.iter_mut().zip(sine(7000.0, 48_000, 0.5, 12_000.0)) {
        *s += high;
    }
    let pcm = load("a.wav", wav(48_000, 1, &samples)).unwrap().pcm();
    // Were 7 kHz folded to 1 kHz, the level measured would be made of both; look for
    // anything that is not the 1 kHz tone.
    let inside = &pcm[800..2400];
    let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
    for (n, s) in inside.iter().enumerate() {
        let (x, phase) = (f64::from(*s), TAU * n as f64 / 8.0);
        re += x * phase.cos();
        im += x * phase.sin();
        all += x * x;
    }
    let share = 2.0 * (re * re + im * im) / inside.len() as f64 / all;
    assert!(share > 0.99, "{share}");
    let level = rms(inside);
    assert!((level - 2600.0).abs() < 200.0, "{level}");
}

#[test]
fn broken_and_absurd_files_are_refused_by_name_and_reason() {
    let good = wav(8000, 1, &sine(1000.0, 8000, 0.5, 5000.0));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "empty"),
        (b"hello".to_vec(), "no WAV, FLAC, Ogg Vorbis or MP3"),
        (vec![0; 10_000], "no WAV, FLAC, Ogg Vorbis or MP3"),
        (good[..20].to_vec(), ""),
        (wav(8000, 1, &[]), "no sound"),
        (wav(8000, 1, &[0; 8000]), "silence"),
        (wav(4000, 1, &sine(500.0, 4000, 0.5, 5000.0)), "4000 Hz"),
        (wav(400_000, 1, &[5000; 4000]), "400000 Hz"),
        (wav(8000, 9, &[5000; 9000]), ""),
        (wav(8000, 0, &[5000; 9000]), ""),
        (wav(0, 1, &[5000; 9000]), ""),
        (wav(8000, 1, &vec![5000; 8000 * 601]), "10 minutes"),
        (vec![0; 50_000_001], "50 MB"),
    ];
    for (n, (bytes, why)) in cases.into_iter().enumerate() {
        let fault = load("en/bad.wav", bytes).unwrap_err();
        assert!(fault.starts_with("en/bad.wav: "), "case {n}: {fault}");
        assert!(fault.contains(why), "case {n}: {fault}");
    }
}

#[test]
fn mutated_files_never_end_the_loader() {
    let mut rng = helpline_core::rng::Rng::new(11);
    let good = wav(16_000, 2, &sine(700.0, 16_000, 0.05, 5000.0));
    for _ in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..4 {
            let at = usize::try_from(rng.below(60)).unwrap();
            bytes[at] = rng.next_u32() as u8;
        }
        // Either a clip or a reason.
        if let Err(why) = load("m.wav", bytes) {
            assert!(why.len() > 8);
        }
    }
}

#[test]
fn all_faults_are_told_at_once_in_order_and_an_id_is_unique() {
    let good = wav(8000, 1, &sine(1000.0, 8000, 0.5, 5000.0));
    let faults = Prompts::load(
        vec![
            source("a", "a.wav", good.clone()),
            source("b", "b.wav", Vec::new()),
            source("a", "again.wav", good.clone()),
            source("c", "c.wav", b"x".to_vec()),
        ],
        &[],
    )
    .unwrap_err();
    let names: Vec<_> = faults.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["b.wav", "again.wav", "c.wav"]);
    let prompts = Prompts::load(vec![source("a", "a.wav", good)], &[]).unwrap();
    assert_eq!((prompts.len(), prompts.cache_bytes()), (1, 8000));
    assert!(prompts.get("b").is_none());
}

#[test]
fn every_format_gives_the_same_prompt() {
    // Half a second of 1 kHz, 22 050 Hz stereo (the last one 8 kHz mono).
    let files: [(&str, &[u8]); 4] = [
        (
            "tone.flac",
            include_bytes!("../../../../../tests/golden/sound/tone.flac"),
        ),
        (
            "tone.ogg",
            include_bytes!("../../../../../tests/golden/sound/tone.ogg"),
        ),
        (
            "tone.mp3",
            include_bytes!("../../../../../tests/golden/sound/tone.mp3"),
        ),
        (
            "tone-mulaw.wav",
            include_bytes!("../../../../../tests/golden/sound/tone-mulaw.wav"),
        ),
    ];
    for (name, bytes) in files {
        let clip = load(name, bytes.to_vec()).unwrap();
        // The lossy ones may ring a little beyond the ends.
        assert!(
            (25..=27).contains(&clip.frames()),
            "{name}: {}",
            clip.frames()
        );
        let level_db = 20.0 * (rms(&clip.pcm()[400..3600]) / 2600.0).log10();
        assert!(level_db.abs() < 1.0, "{name}: {level_db:.2} dB");
        // A wrong ending does not mislead the reader, and a cut file is told or shorter.
        assert_eq!(
            load("tone.wav", bytes.to_vec()).unwrap().frames(),
            clip.frames()
        );
        match load(name, bytes[..bytes.len() / 2].to_vec()) {
            Ok(half) => assert!(half.frames() < clip.frames(), "{name}"),
            Err(why) => assert!(why.starts_with(name), "{why}"),
        }
    }
}

#[test]
fn samples_that_are_no_numbers_are_refused() {
    // 32-bit float WAV.
    let mut bytes = wav(8000, 1, &[0; 8000]);
    bytes[20] = 3;
    bytes[34] = 32;
    bytes[28..32].copy_from_slice(&32_000u32.to_le_bytes());
    bytes[32] = 4;
    for (n, sample) in bytes[44..].chunks_exact_mut(4).enumerate() {
        let value = if n == 100 {
            f32::NAN
        } else {
            0.1 * (n as f32).sin()
        };
        sample.copy_from_slice(&value.to_le_bytes());
    }
    assert_eq!(
        load("a.wav", bytes).unwrap_err(),
        "a.wav: it holds samples that are no numbers"
    );
}

#[test]
fn many_prompts_load_on_two_threads_and_none_is_mixed_up() {
    let sources = (1..=24)
        .map(|n| {
            let seconds = f64::from(n) * 0.1;
            let bytes = wav(16_000, 1, &sine(440.0, 16_000, seconds, 6000.0));
            source(&format!("en/{n}"), "a.wav", bytes)
        })
        .collect();
    let prompts = Prompts::load(sources, &[]).unwrap();
    for n in 1..=24 {
        let clip = prompts.get(&format!("en/{n}")).unwrap();
        assert_eq!(clip.frames(), n * 5);
    }
}

#[test]
fn frames_of_wide_codecs_go_with_those_of_g711() {
    use helpline_core::audio::codec::{Codec, Decoder};
    for rate_hz in [8000, 16_000, 44_100] {
        // Silence before and behind, cut off alike in all codecs.
        let mut sound = vec![0; rate_hz as usize / 5];
        sound.extend(sine(1000.0, rate_hz, 1.0, 9000.0));
        sound.resize(sound.len() + rate_hz as usize / 7, 0);
        let sources = vec![source("x", "a.wav", wav(rate_hz, 1, &sound))];
        let prompts = Prompts::load(sources, &[Codec::G722, Codec::Opus]).unwrap();
        let clip = prompts.get("x").unwrap();
        assert!((51..=53).contains(&clip.frames()), "{}", clip.frames());
        assert!(prompts.cache_bytes() > clip.frames() * 3 * 160);
        for codec in Codec::ALL {
            let mut decoder = Decoder::new(codec);
            let mut heard = Vec::new();
            for index in 0..clip.frames() {
                let mut out = [0; 960];
                let count = decoder.decode(clip.payload(codec, index).unwrap(), &mut out);
                heard.extend_from_slice(&out[..count]);
            }
            let quarter = heard.len() / 4;
            let level_db = 20.0 * (rms(&heard[quarter..3 * quarter]) / 2600.0).log10();
            assert!(
                level_db.abs() < 1.0,
                "{codec:?}, {rate_hz} Hz: {level_db:.2} dB"
            );
            // The sound begins 20 ms after the trimmed start everywhere; Opus has 6.5 ms of
            // its own.
            let rate = heard.len() as f64 / clip.frames() as f64 * 50.0;
            let loud = heard.iter().position(|s| s.unsigned_abs() > 1500).unwrap();
            let begins_ms = loud as f64 / rate * 1000.0;
            assert!(
                (18.0..30.0).contains(&begins_ms),
                "{codec:?}: {begins_ms} ms"
            );
        }
    }
}
