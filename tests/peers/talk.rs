//! Two calls of the engine joined: a baresip of any codec and our own test phone hear
//! each other, the recording has both, and on hold there is music.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use helpline::clock::Clock;
use helpline::config::{CodecName, Trunk};
use helpline::voice::media::{Media, MediaConfig, RecordEnd, RecordPlan, Sides};
use helpline::voice::phone::{Behaviour, PhoneConfig, TestPhone};
use helpline::voice::{Call, CallCommand, CallEvent};
use helpline_core::audio::meter::tone_dbm0;
use helpline_core::audio::mix::Scene;
use helpline_core::audio::tone::burst;
use helpline_core::audio::{Clip, Codec};
use tokio::time::{sleep, timeout};

use super::sip::{Baresip, LIMIT, World};
use crate::support::phone::wav;
use crate::support::process::free_run;

const BARESIP_HZ: f64 = 620.0;
const PHONE_HZ: f64 = 890.0;
const MUSIC_HZ: f64 = 1430.0;

fn tone(hz: f64) -> Vec<i16> {
    burst(&[(hz, -13.0)], Duration::from_secs(20))
}

fn clip(hz: f64) -> Arc<Clip> {
    Arc::new(Clip::from_pcm(&tone(hz)))
}

/// A phone of ours that answers, says its tone, and records what it hears.
async fn phone(dir: &Path, codec: Codec) -> TestPhone {
    let low = free_run(20);
    let media = Media::start(MediaConfig {
        address: "127.0.0.1".parse().unwrap(),
        ports: (low, low + 19),
        threads: 1,
        no_rtp: Duration::from_secs(20),
    });
    let config = PhoneConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        behaviour: Behaviour {
            codecs: vec![codec],
            says: Some(clip(PHONE_HZ)),
            record_to: Some(dir.to_owned()),
            ..Behaviour::default()
        },
        seed: 5,
    };
    let (phone, _) = TestPhone::start(config, media.unwrap(), Clock::system())
        .await
        .unwrap();
    phone
}

async fn answered(call: &mut Call) {
    loop {
        match timeout(LIMIT, call.events.recv()).await.unwrap().unwrap() {
            CallEvent::Answered => return,
            CallEvent::Ended(report) => panic!("not answered: {report:?}"),
            _ => {}
        }
    }
}

/// Sample rate and samples of channel `side` of a WAV file of 16 bits.
fn sound(path: &Path, side: usize) -> (f64, Vec<i16>) {
    let bytes = fs::read(path).unwrap();
    let rate = u32::from_le_bytes(bytes[24..28].try_into().unwrap());
    let channels = usize::from(bytes[22]);
    let samples = bytes[44..]
        .chunks_exact(2 * channels)
        .map(|s| i16::from_le_bytes([s[2 * side], s[2 * side + 1]]))
        .collect();
    (f64::from(rate), samples)
}

/// Tenths of a second in which this tone was clearly heard.
fn heard((rate, samples): &(f64, Vec<i16>), hz: f64) -> usize {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few thousand
    let tenth = (*rate / 10.0) as usize;
    let parts = samples.chunks_exact(tenth);
    parts
        .filter(|part| tone_dbm0(part, hz / rate) > -20.0)
        .count()
}

/// The tone in two channels: baresip wants as many as its codec tells.
fn two_channels(hz: f64) -> Vec<u8> {
    let doubled: Vec<i16> = tone(hz).iter().flat_map(|s| [*s, *s]).collect();
    let mut file = wav(&doubled);
    file[22] = 2;
    file[28..32].copy_from_slice(&32_000u32.to_le_bytes());
    file[32] = 4;
    file
}

async fn joined(codec: CodecName, config: &str, account: &str) {
    let phones = tempfile::tempdir().unwrap();
    let phone = phone(phones.path(), Codec::Pcma).await;
    let target = phone.address();
    let world = World::with(|engine, _, _| {
        engine.trunks[0].codecs = vec![codec];
        engine.trunks.push(Trunk {
            name: "phone".into(),
            target: target.to_string(),
            codecs: vec![CodecName::Pcma],
            ..engine.trunks[0].clone()
        });
    })
    .await;
    let baresip = Baresip::start(&world, config, account).await;
    let dir = world.dir.path();
    let says = match codec {
        CodecName::Opus => two_channels(BARESIP_HZ),
        _ => wav(&tone(BARESIP_HZ)),
    };
    fs::write(dir.join("tone.wav"), says).unwrap();
    let mut customer = world.place_on("t", "customer@test", "greet").await;
    let mut agent = world.place_on("phone", "agent@test", "greet").await;
    answered(&mut customer).await;
    answered(&mut agent).await;

    let calls = [&customer.commands, &agent.commands];
    let mut talk = world.engine.join(&calls, Scene::Talk).await.unwrap();
    let record = RecordPlan {
        op: 9,
        path: dir.join("both.wav"),
        sides: Sides::Both,
        ..RecordPlan::default()
    };
    let orders = [
        CallCommand::Record(record),
        CallCommand::Music(Some(clip(MUSIC_HZ))),
    ];
    for order in orders {
        customer.commands.send(order).await.unwrap();
    }
    sleep(Duration::from_millis(1800)).await;
    talk.set_scene(Scene::Hold);
    sleep(Duration::from_millis(900)).await;
    customer
        .commands
        .send(CallCommand::StopRecording)
        .await
        .unwrap();
    loop {
        let event = timeout(LIMIT, customer.events.recv()).await.unwrap();
        match event.expect("the recording ends before the call") {
            CallEvent::Recorded(9, Some(RecordEnd::Stopped), length) => {
                assert!((2500..3500).contains(&length.as_millis()), "{length:?}");
                break;
            }
            CallEvent::Ended(report) => panic!("{report:?}"),
            _ => {}
        }
    }
    for call in [&customer, &agent] {
        call.commands.send(CallCommand::HangUp).await.unwrap();
    }
    world.is_clean().await;
    phone.stop().await;
    baresip.end().await;

    let there = fs::read_dir(dir).unwrap().flatten().map(|e| e.path());
    let there: Vec<_> = there
        .filter(|f| f.to_string_lossy().ends_with("-dec.wav"))
        .collect();
    let customer = sound(there.last().expect("baresip records"), 0);
    assert!(
        heard(&customer, PHONE_HZ) >= 12,
        "the customer heard the agent"
    );
    assert!(
        heard(&customer, MUSIC_HZ) >= 5,
        "the customer heard music on hold"
    );
    let agent = fs::read_dir(phones.path())
        .unwrap()
        .flatten()
        .next()
        .unwrap();
    let agent = sound(&agent.path(), 0);
    let (hears, music) = (heard(&agent, BARESIP_HZ), heard(&agent, MUSIC_HZ));
    assert!(
        (12..=20).contains(&hears),
        "the agent heard the customer {hears} times"
    );
    assert_eq!(music, 0, "the agent heard the music");
    let both = dir.join("both.wav");
    assert!(
        heard(&sound(&both, 0), BARESIP_HZ) >= 20,
        "left the customer"
    );
    assert!(heard(&sound(&both, 1), PHONE_HZ) >= 12, "right the agent");
    assert!(heard(&sound(&both, 1), MUSIC_HZ) >= 5, "right the music");
    assert_eq!(heard(&sound(&both, 1), BARESIP_HZ), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_baresip_of_g722_and_an_a_law_phone_are_joined() {
    joined(
        CodecName::G722,
        "\nmodule g722.so",
        ";audio_codecs=G722/16000/1",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_baresip_of_opus_and_an_a_law_phone_are_joined() {
    joined(
        CodecName::Opus,
        "\nmodule opus.so",
        ";audio_codecs=opus/48000/2",
    )
    .await;
}
