use super::*;
use crate::audio::Law;
use crate::audio::tone::burst;
use crate::rng::Rng;

fn tone(hz: f64, ms: u64) -> Vec<i16> {
    burst(&[(hz, -13.0)], Duration::from_millis(ms))
}

fn quiet(ms: usize) -> Vec<i16> {
    vec![0; ms * 8]
}

/// Something like a word: a voice of changing pitch with overtones and some noise.
fn word(ms: usize, rng: &mut Rng) -> Vec<i16> {
    let base = 100.0 + rng.unit() * 60.0;
    let mut phase = 0.0;
    (0..ms * 8)
        .map(|n| {
            let at = n as f64 / (ms * 8) as f64;
            phase += std::f64::consts::TAU * (base + 30.0 * at) / 8000.0;
            let voice: f64 = (1..10)
                .map(|h| (phase * f64::from(h)).sin() / f64::from(h))
                .sum();
            let shape = (std::f64::consts::PI * at).sin().sqrt();
            (shape * (2500.0 * voice + 300.0 * (rng.unit() - 0.5))) as i16
        })
        .collect()
}

fn greeting(words: &[usize]) -> Vec<i16> {
    let mut rng = Rng::new(5);
    let mut sound = quiet(300);
    for ms in words {
        sound.extend(word(*ms, &mut rng));
        sound.extend(quiet(90));
    }
    sound
}

/// Each output and when it came, ms.
fn told(sound: &[i16], ours: Option<&[i16]>) -> Vec<(Output, usize)> {
    let mut answering = Answering::new(Limits::default());
    let mut all = Vec::new();
    for (n, frame) in sound.chunks(160).enumerate() {
        if let Some(ours) = ours {
            let at = n * 160 % (ours.len() - 160);
            answering.ours(&ours[at..at + 160]);
        }
        let coded: Vec<i16> = frame
            .iter()
            .map(|s| Law::Mu.decode(Law::Mu.encode(*s)))
            .collect();
        answering.heard(&coded);
        while let Some(output) = answering.poll() {
            all.push((output, (n + 1) * 20));
        }
    }
    all
}

fn verdict(sound: &[i16]) -> (Answerer, usize) {
    match told(sound, None).first() {
        Some((Output::Verdict(who, _), ms)) => (*who, *ms),
        other => panic!("{other:?}"),
    }
}

#[test]
fn short_words_and_a_pause_are_a_human() {
    for words in [&[350][..], &[200, 400], &[300, 250, 400]] {
        let mut sound = greeting(words);
        sound.extend(quiet(3000));
        let (who, ms) = verdict(&sound);
        assert_eq!(who, Answerer::Human, "{words:?}");
        let spoken: usize = words.iter().map(|ms| ms + 90).sum();
        assert!(ms <= 300 + spoken + 900, "{words:?}: {ms}");
    }
}

#[test]
fn long_greeting_is_a_machine_and_its_beep_is_heard() {
    let mut sound = greeting(&[300, 400, 350, 500, 600, 400, 500]);
    let said = sound.len() / 8;
    sound.extend(quiet(400));
    sound.extend(tone(1000.0, 400));
    sound.extend(quiet(3000));
    let told = told(&sound, None);
    let (Output::Verdict(Answerer::Machine, features), ms) = told[0] else {
        panic!("{told:?}")
    };
    assert!(ms < 2300 && features.words >= 4, "{told:?}");
    assert!(features.silence >= Duration::from_millis(250));
    let beep_over = said + 800;
    assert_eq!(told[1].0, Output::Listens(true));
    assert!(
        (beep_over + 290..beep_over + 360).contains(&told[1].1),
        "{told:?} {beep_over}"
    );
    assert_eq!(told.len(), 2);
}

#[test]
fn machine_without_a_beep_listens_after_two_seconds_of_silence() {
    let mut sound = greeting(&[600, 700, 800]);
    sound.extend(quiet(2500));
    let told = told(&sound, None);
    assert_eq!(told[1].0, Output::Listens(false), "{told:?}");
}

#[test]
fn tones_are_told_at_once() {
    let mut calling = quiet(500);
    calling.extend(tone(1100.0, 500));
    let mut called = quiet(700);
    called.extend(tone(2100.0, 2600));
    let mut sit = quiet(200);
    for hz in [950.0, 1400.0, 1800.0] {
        sit.extend(tone(hz, 330));
    }
    sit.extend(quiet(500));
    let cases = [
        (calling, Answerer::Fax, 960),
        (called, Answerer::Fax, 1160),
        (sit, Answerer::OutOfService, 1120),
    ];
    for (sound, expected, by) in cases {
        let (who, ms) = verdict(&sound);
        assert_eq!(who, expected);
        assert!(ms <= by, "{expected:?} after {ms} ms");
    }
}

#[test]
fn silence_and_time_without_packets_are_unknown() {
    assert_eq!(verdict(&quiet(5000)), (Answerer::Unknown, 2520));
    let mut answering = Answering::new(Limits::default());
    answering.missing(Duration::from_secs(4));
    assert!(matches!(
        answering.poll(),
        Some(Output::Verdict(Answerer::Unknown, _))
    ));
    assert!(answering.is_done());
}

#[test]
fn echo_of_our_prompt_is_not_an_answer() {
    let mut rng = Rng::new(8);
    let prompt: Vec<i16> = (0..10).flat_map(|_| word(400, &mut rng)).collect();
    let echo: Vec<i16> = prompt.iter().map(|s| s / 5).collect();
    let told = told(&echo[..3000 * 8], Some(&prompt));
    assert!(
        matches!(told[0].0, Output::Verdict(Answerer::Unknown, _)),
        "{told:?}"
    );
}
