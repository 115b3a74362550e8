use helpline_core::audio::meter::tone_dbm0;
use helpline_core::audio::mix::{AGENT, CUSTOMER, Hears, Scene, THIRD};

use super::*;

/// A leg of ours and the far end it speaks with, which says one tone.
struct Line {
    near: MediaLeg,
    far: MediaLeg,
    path: PathBuf,
}

impl Line {
    fn new(media: &Media, dir: &Path, name: &str, codec: Codec, hz: f64) -> Line {
        let (near, far) = connected(media, codec);
        let path = dir.join(format!("{name}.wav"));
        far.record(theirs(&path));
        if hz > 0.0 {
            far.music(Some(sine(hz, 200)));
        }
        Line { near, far, path }
    }
}

fn theirs(path: &Path) -> RecordPlan {
    RecordPlan {
        path: path.to_owned(),
        ..RecordPlan::default()
    }
}

/// Level of a tone in the last `ms` of what was recorded, leaving out the very end.
fn level(samples: &[i16], ms: usize, hz: f64) -> f64 {
    let end = samples.len() - 800;
    tone_dbm0(&samples[end - ms * 8..end], hz / 8000.0)
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test]
async fn every_pairing_of_codecs_carries_both_voices() {
    let media = media_of(100, 1, Duration::from_secs(30));
    let dir = tempfile::tempdir().unwrap();
    let mut talks = Vec::new();
    for (n, a) in Codec::ALL.into_iter().enumerate() {
        for b in Codec::ALL.into_iter().skip(n) {
            let line = |name: &str, codec, hz| {
                let name = format!("{a:?}-{b:?}-{name}");
                Line::new(&media, dir.path(), &name, codec, hz)
            };
            let lines = [line("a", a, 500.0), line("b", b, 830.0)];
            let refs = [lines[0].near.leg_ref(), lines[1].near.leg_ref()];
            let bridge = media.bridge(&refs, &Hears::of(Scene::Talk)).await.unwrap();
            talks.push((a, b, lines, bridge));
        }
    }
    pause(1800).await;
    let heard = talks.into_iter().map(|(a, b, lines, bridge)| {
        drop(bridge);
        let [x, y] = lines.map(|line| line.path);
        (a, b, x, y)
    });
    let heard: Vec<_> = heard.collect();
    media.flush_recordings();
    for (a, b, x, y) in heard {
        let (x, y) = (samples(&x), samples(&y));
        let got = [level(&x, 600, 830.0), level(&y, 600, 500.0)];
        // A busy machine may lose a few of the 30 frames; levels to the tenth are judged in core.
        assert!(
            got.iter().all(|db| (db + 13.0).abs() < 3.0),
            "{a:?} {b:?}: {got:?} dBm0"
        );
        let own = [level(&x, 600, 500.0), level(&y, 600, 830.0)];
        assert!(
            own.iter().all(|db| *db < -45.0),
            "{a:?} {b:?}: echo of {own:?} dBm0"
        );
    }
    assert_eq!(media.counters().faults, 0);
}

#[tokio::test]
async fn scenes_decide_who_hears_whom() {
    let media = media();
    let dir = tempfile::tempdir().unwrap();
    let tones = [450.0, 700.0, 1000.0];
    let music = 1700.0;
    let codecs = [Codec::Pcmu, Codec::Pcma, Codec::G722];
    let lines: Vec<Line> = (0..3)
        .map(|n| Line::new(&media, dir.path(), &n.to_string(), codecs[n], tones[n]))
        .collect();
    lines[CUSTOMER].near.music(Some(sine(music, 200)));
    let refs: Vec<LegRef> = lines.iter().map(|line| line.near.leg_ref()).collect();
    let bridge = media.bridge(&refs, &Hears::of(Scene::Talk)).await.unwrap();
    let mut muted = Hears::of(Scene::Conference);
    muted.mute(AGENT);
    let scenes: [(Hears, [&[f64]; 3]); 4] = [
        (Hears::of(Scene::Hold), [&[1700.0], &[], &[]]),
        (
            Hears::of(Scene::Whisper),
            [&[700.0], &[450.0, 1000.0], &[450.0, 700.0]],
        ),
        (
            Hears::of(Scene::Listen),
            [&[700.0], &[450.0], &[450.0, 700.0]],
        ),
        (muted, [&[1000.0], &[450.0, 1000.0], &[450.0]]),
    ];
    for (n, (hears, _)) in scenes.iter().enumerate() {
        bridge.set_hears(hears);
        pause(250).await;
        for (place, line) in lines.iter().enumerate() {
            line.far
                .record(theirs(&dir.path().join(format!("{n}-{place}.wav"))));
        }
        pause(700).await;
        for line in &lines {
            line.far.stop_recording();
        }
    }
    pause(50).await;
    drop(lines);
    media.flush_recordings();
    for (n, (_, expected)) in scenes.iter().enumerate() {
        for (place, expected) in expected.iter().enumerate() {
            let heard = samples(&dir.path().join(format!("{n}-{place}.wav")));
            assert!(heard.len() > 4000, "{n} {place}: {}", heard.len());
            for hz in [450.0, 700.0, 1000.0, music] {
                let level = tone_dbm0(&heard[1600..4000], hz / 8000.0);
                let is_heard = expected.contains(&hz);
                let fits = if is_heard {
                    level > -15.0
                } else {
                    level < -50.0
                };
                assert!(fits, "scene {n}, place {place}: {hz} Hz at {level} dBm0");
            }
        }
    }
}

#[tokio::test]
async fn twenty_legs_in_ten_talks_hear_nobody_else() {
    let media = media_of(120, 2, Duration::from_secs(30));
    let dir = tempfile::tempdir().unwrap();
    let tone = |n: usize| 331.0 + 97.0 * n as f64;
    let mut talks = Vec::new();
    for n in 0..10 {
        let line = |k: usize| Line::new(&media, dir.path(), &k.to_string(), Codec::Pcma, tone(k));
        let (a, b) = (line(2 * n), line(2 * n + 1));
        let refs = [a.near.leg_ref(), b.near.leg_ref()];
        // Legs begin on the emptier thread: half of these have to move.
        let bridge = media.bridge(&refs, &Hears::of(Scene::Talk)).await.unwrap();
        talks.push((a, b, bridge));
    }
    pause(1700).await;
    drop(talks);
    media.flush_recordings();
    for n in 0..20 {
        let heard = samples(&dir.path().join(format!("{n}.wav")));
        let partner = n ^ 1;
        for k in 0..20 {
            // Full scale is 3.17 dB above 0 dBm0.
            let level = level(&heard, 800, tone(k)) - 3.17;
            if k == partner {
                assert!(level > -18.0, "{n} does not hear {k}: {level} dBFS");
            } else {
                assert!(level < -60.0, "{n} hears {k}: {level} dBFS");
            }
        }
    }
}

#[tokio::test]
async fn leg_that_fails_or_leaves_does_not_end_the_talk_of_the_others() {
    let media = media_of(40, 2, Duration::from_secs(30));
    let dir = tempfile::tempdir().unwrap();
    let line = |n: usize| {
        let hz = 450.0 + 250.0 * n as f64;
        Line::new(&media, dir.path(), &n.to_string(), Codec::Pcmu, hz)
    };
    let [a, b, mut c, d] = [0, 1, 2, 3].map(line);
    let refs = [&a, &b, &c, &d].map(|line| line.near.leg_ref());
    let bridge = media
        .bridge(&refs, &Hears::of(Scene::Conference))
        .await
        .unwrap();
    pause(200).await;
    c.near.order(thread::Order::Fault);
    assert!(matches!(next(&mut c.near).await, MediaEvent::Closed(_)));
    bridge.leave(&refs[3]);
    let late = bridge.join(&refs[2], THIRD).await;
    assert!(late.is_ok() || matches!(late, Err(MediaError::Gone)));
    pause(1000).await;
    drop((a, b, c, d));
    media.flush_recordings();
    let heard = samples(&dir.path().join("0.wav"));
    assert!(level(&heard, 500, 700.0) > -15.0);
    assert!(level(&heard, 500, 950.0) < -50.0 && level(&heard, 500, 1200.0) < -50.0);
    let alone = samples(&dir.path().join("3.wav"));
    assert!(level(&alone, 500, 450.0) < -50.0);
    assert_eq!(media.counters().faults, 1);
}

#[tokio::test]
async fn lost_and_late_packets_are_made_up_for_in_a_talk_and_told_to_no_detector() {
    let media = media();
    let dir = tempfile::tempdir().unwrap();
    let line = Line::new(&media, dir.path(), "far", Codec::Pcmu, 0.0);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let near = media.open().unwrap();
    near.connect(
        &negotiated(socket.local_addr().unwrap(), Codec::Pcmu),
        MediaSource::default(),
    );
    let refs = [near.leg_ref(), line.near.leg_ref()];
    let bridge = media.bridge(&refs, &Hears::of(Scene::Talk)).await.unwrap();
    let tone = sine(600.0, 80);
    // By the clock, however late this task runs.
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    for n in 0..80u16 {
        let packet = Packet {
            marker: n == 0,
            payload_type: 0,
            sequence: n,
            timestamp: u32::from(n) * 160,
            ssrc: 3,
            payload: tone.frame(Law::Mu, n.into()).unwrap(),
        };
        let mut bytes = [0; 200];
        let length = packet.write(&mut bytes).unwrap();
        // One in ten is lost.
        if n % 10 != 9 {
            socket.send_to(&bytes[..length], near.local).unwrap();
        }
        clock.tick().await;
    }
    pause(200).await;
    drop(bridge);
    pause(60).await;
    let concealed = near.report().frames_concealed;
    assert!((6..=60).contains(&concealed), "{concealed} frames made up");
    drop((near, line));
    media.flush_recordings();
    let heard = samples(&dir.path().join("far.wav"));
    let first = heard.iter().position(|s| s.abs() > 2000).unwrap();
    // Six packets of these were lost, twelve halves of a frame. A busy machine may make a
    // hole of its own.
    let halves = heard[first + 800..first + 10_000].chunks(80);
    let silent = halves.filter(|part| part.iter().all(|s| s.abs() < 1000));
    assert!(silent.count() <= 6, "holes in the tone");
}
