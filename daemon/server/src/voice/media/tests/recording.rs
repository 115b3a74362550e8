use helpline_core::audio::answer::{Answerer, Limits};
use helpline_core::audio::meter::{level_dbm0, tone_dbm0};

use super::*;

/// Both channels, and the format in the header.
fn both(path: &Path) -> (Vec<i16>, Vec<i16>, u16) {
    let bytes = std::fs::read(path).unwrap();
    let format = u16::from_le_bytes([bytes[20], bytes[21]]);
    let all: Vec<i16> = match format {
        7 => bytes[58..].iter().map(|b| Law::Mu.decode(*b)).collect(),
        _ => samples(path),
    };
    let side = |n: usize| all.iter().skip(n).step_by(2).copied().collect();
    (side(0), side(1), format)
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

async fn recorded(leg: &mut MediaLeg) -> (u32, RecordEnd, Duration) {
    loop {
        if let MediaEvent::Recorded { op, why, length } = next(leg).await {
            return (op, why, length);
        }
    }
}

#[tokio::test]
async fn both_sides_stand_left_and_right_at_the_same_time() {
    let media = media();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("both.wav");
    let (mut near, far) = connected(&media, Codec::Pcmu);
    pause(100).await;
    near.record(RecordPlan {
        op: 5,
        path: path.clone(),
        sides: Sides::Both,
        samples: Samples::MuLaw,
        ..RecordPlan::default()
    });
    far.play(1, vec![PlayItem::Clip(sine(600.0, 40))], Barge::Never);
    near.play(1, vec![PlayItem::Clip(sine(1000.0, 40))], Barge::Never);
    pause(1000).await;
    near.stop_recording();
    let (op, why, length) = recorded(&mut near).await;
    assert_eq!((op, why), (5, RecordEnd::Stopped));
    media.flush_recordings();
    let (left, right, format) = both(&path);
    assert_eq!(format, 7);
    assert_eq!(left.len(), right.len());
    assert_eq!(u128::try_from(left.len()).unwrap(), length.as_millis() * 8);
    let begin = |side: &[i16]| side.iter().position(|s| s.abs() > 1000).unwrap();
    let (l, r) = (begin(&left), begin(&right));
    assert!(
        l.abs_diff(r) < 8 * 80,
        "sides are {} ms apart",
        l.abs_diff(r) / 8
    );
    assert!(tone_dbm0(&left[l + 400..l + 4400], 600.0 / 8000.0) > -14.0);
    assert!(tone_dbm0(&right[r + 400..r + 4400], 1000.0 / 8000.0) > -14.0);
    assert!(tone_dbm0(&left[l + 400..l + 4400], 1000.0 / 8000.0) < -50.0);
}

#[tokio::test]
async fn pause_blanks_and_mixed_has_both() {
    let media = media();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mixed.wav");
    let (near, far) = connected(&media, Codec::Pcma);
    far.music(Some(sine(600.0, 300)));
    near.music(Some(sine(1000.0, 300)));
    pause(200).await;
    near.record(RecordPlan {
        path: path.clone(),
        sides: Sides::Mixed,
        ..RecordPlan::default()
    });
    pause(600).await;
    near.pause_recording(true);
    pause(600).await;
    near.pause_recording(false);
    pause(600).await;
    drop(near);
    media.flush_recordings();
    let heard = samples(&path);
    assert!((12_500..16_500).contains(&heard.len()), "{}", heard.len());
    for part in [
        &heard[800..3600],
        &heard[heard.len() - 3600..heard.len() - 800],
    ] {
        assert!(tone_dbm0(part, 600.0 / 8000.0) > -14.0);
        assert!(tone_dbm0(part, 1000.0 / 8000.0) > -14.0);
    }
    let middle = heard.len() / 2;
    assert!(level_dbm0(&heard[middle - 1200..middle + 1200]) < -90.0);
}

#[tokio::test]
async fn voice_mail_ends_by_key_silence_and_length() {
    let media = media();
    let dir = tempfile::tempdir().unwrap();
    let hash = Key::new('#').unwrap();
    let plan = |op: u32, name: &str| RecordPlan {
        op,
        path: dir.path().join(name),
        finish: vec![hash],
        ..RecordPlan::default()
    };
    let (mut near, far) = connected(&media, Codec::Pcmu);
    near.record(plan(1, "key.wav"));
    far.play(1, vec![PlayItem::Clip(sine(600.0, 30))], Barge::Never);
    pause(900).await;
    // As sound: its tone must not be left at the end.
    far.send_digits(vec![hash], SendDigits::Inband);
    let (op, why, length) = recorded(&mut near).await;
    assert_eq!((op, why), (1, RecordEnd::Key(hash)));
    assert!((700..1000).contains(&length.as_millis()), "{length:?}");

    near.record(RecordPlan {
        silence: Some(Duration::from_millis(500)),
        ..plan(2, "silence.wav")
    });
    far.play(2, vec![PlayItem::Clip(sine(600.0, 30))], Barge::Never);
    let (op, why, length) = recorded(&mut near).await;
    assert_eq!((op, why), (2, RecordEnd::Silence));
    assert!((1050..1300).contains(&length.as_millis()), "{length:?}");

    near.record(RecordPlan {
        limit: Some(Duration::from_millis(300)),
        ..plan(3, "limit.wav")
    });
    let told = recorded(&mut near).await;
    assert_eq!(told, (3, RecordEnd::Limit, Duration::from_millis(300)));

    media.flush_recordings();
    let heard = samples(&dir.path().join("key.wav"));
    let end = &heard[heard.len() - 400..];
    assert!(
        level_dbm0(end) < -60.0,
        "the key is left: {}",
        level_dbm0(end)
    );
    assert_eq!(samples(&dir.path().join("limit.wav")).len(), 2400);
}

#[tokio::test]
async fn nothing_is_recorded_before_it_was_announced() {
    let media = media();
    let dir = tempfile::tempdir().unwrap();
    let plan = |op: u32, name: &str| RecordPlan {
        op,
        path: dir.path().join(name),
        announced_by: Some(7),
        ..RecordPlan::default()
    };
    let (mut near, far) = connected(&media, Codec::Pcmu);
    far.music(Some(sine(600.0, 300)));
    near.record(plan(1, "told.wav"));
    near.play(7, vec![PlayItem::Clip(sine(1000.0, 20))], Barge::Never);
    pause(1000).await;
    near.stop_recording();
    let (_, why, length) = recorded(&mut near).await;
    assert_eq!(why, RecordEnd::Stopped);
    assert!((400..700).contains(&length.as_millis()), "{length:?}");
    near.record(plan(2, "untold.wav"));
    near.play(7, vec![PlayItem::Clip(sine(1000.0, 200))], Barge::Never);
    pause(100).await;
    near.stop(7);
    let told = recorded(&mut near).await;
    assert_eq!(told, (2, RecordEnd::Unannounced, Duration::ZERO));
    media.flush_recordings();
    assert!(samples(&dir.path().join("untold.wav")).is_empty());
}

#[tokio::test]
async fn who_answered_is_told_beside_the_prompt() {
    let media = media();
    let (mut near, far) = connected(&media, Codec::Pcmu);
    near.play(1, vec![PlayItem::Clip(sine(440.0, 400))], Barge::Never);
    near.detect(Limits::default());
    pause(100).await;
    far.play(1, vec![PlayItem::Clip(sine(1100.0, 40))], Barge::Never);
    let MediaEvent::Answerer(who, features) = next(&mut near).await else {
        panic!("no verdict")
    };
    assert_eq!(who, Answerer::Fax);
    assert!((1089..=1111).contains(&features.tone_hz), "{features:?}");
    // Nothing is heard: time passes all the same.
    drop(far);
    near.detect(Limits {
        verdict: Duration::from_millis(400),
        ..Limits::default()
    });
    assert!(matches!(
        next(&mut near).await,
        MediaEvent::Answerer(Answerer::Unknown, _)
    ));
}
