use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

use helpline_core::audio::{FRAME_SAMPLES, Law};
use helpline_core::rtp::packet::Packet;
use helpline_core::sdp::{Codec, Direction};

use super::*;

mod bridge;
mod recording;
mod secret;
mod source;

fn media() -> Media {
    media_of(40, 1, Duration::from_millis(300))
}

fn media_of(ports: u16, threads: usize, no_rtp: Duration) -> Media {
    let low = ports::free_range(ports);
    Media::start(MediaConfig {
        address: Ipv4Addr::LOCALHOST.into(),
        ports: (low, low + ports - 1),
        threads,
        no_rtp,
    })
    .unwrap()
}

fn negotiated(remote: SocketAddr, codec: Codec) -> Negotiated {
    Negotiated {
        remote,
        codec,
        payload_type: codec.payload_type(),
        event_payload_type: Some(101),
        direction: Direction::SendRecv,
    }
}

fn connected(media: &Media, codec: Codec) -> (MediaLeg, MediaLeg) {
    let (a, b) = (media.open().unwrap(), media.open().unwrap());
    a.connect(&negotiated(b.local, codec), MediaSource::default());
    b.connect(&negotiated(a.local, codec), MediaSource::default());
    (a, b)
}

/// The next event that is not about missing RTP.
async fn next(leg: &mut MediaLeg) -> MediaEvent {
    let wait = Duration::from_secs(5);
    loop {
        match tokio::time::timeout(wait, leg.events.recv()).await {
            Ok(Some(MediaEvent::NoRtp)) => {}
            Ok(Some(event)) => return event,
            Ok(None) => panic!("the leg ended"),
            Err(_) => panic!("no event in 5 s"),
        }
    }
}

fn keys(text: &str) -> Vec<Key> {
    text.chars().filter_map(Key::new).collect()
}

fn sine(hz: f64, frames: usize) -> Arc<Clip> {
    let parts = [(hz, -13.0)];
    let length = Duration::from_millis(20 * frames as u64);
    Arc::new(Clip::from_pcm(&tone::burst(&parts, length)))
}

fn samples(path: &std::path::Path) -> Vec<i16> {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..4], b"RIFF");
    let told = u32::from_le_bytes(bytes[40..44].try_into().unwrap());
    assert_eq!(
        told as usize,
        bytes.len() - 44,
        "the header tells the length"
    );
    bytes[44..]
        .chunks_exact(2)
        .map(|b| i16::from_le_bytes([b[0], b[1]]))
        .collect()
}

/// Power of one frequency in dB below the power of everything.
fn share_db(samples: &[i16], hz: f64) -> f64 {
    let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
    for (n, s) in samples.iter().enumerate() {
        let phase = std::f64::consts::TAU * hz * n as f64 / 8000.0;
        let x = f64::from(*s);
        re += x * phase.cos();
        im += x * phase.sin();
        all += x * x;
    }
    10.0 * (2.0 * (re * re + im * im) / samples.len() as f64 / all).log10()
}

/// Half a second of a tone that one leg plays, as the other one records it, and what that one
/// reports.
async fn recorded_tone(codec: Codec) -> (Vec<i16>, MediaReport) {
    let media = media();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heard.wav");
    let (mut a, b) = connected(&media, codec);
    b.record(RecordPlan {
        path: path.clone(),
        ..RecordPlan::default()
    });
    a.play(7, vec![PlayItem::Clip(sine(1000.0, 25))], Barge::Never);
    let why = PlayEnd::Done;
    assert_eq!(next(&mut a).await, MediaEvent::PlayEnded { op: 7, why });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let report = b.close();
    media.flush_recordings();
    assert_eq!(a.close().codec, Some(codec));
    (samples(&path), report)
}

#[tokio::test]
async fn what_one_leg_plays_the_other_records() {
    for codec in [Codec::Pcmu, Codec::Pcma] {
        // On a busy machine a packet comes too late for its slot, and the tone is stretched to
        // bridge it. Of five tries one is left alone, unless the fault is ours.
        let mut tries = 0;
        let (heard, first, last, report) = loop {
            let (heard, report) = recorded_tone(codec).await;
            let first = heard.iter().position(|s| s.abs() > 300).unwrap();
            let last = heard.iter().rposition(|s| s.abs() > 300).unwrap();
            tries += 1;
            if (3900..=4000).contains(&(last - first)) {
                break (heard, first, last, report);
            }
            assert!(tries < 5, "{codec:?}: {}", last - first);
        };
        let inside = &heard[first + 100..last - 100];
        assert!(
            share_db(inside, 1000.0) > -0.05,
            "{codec:?}: not one clean tone"
        );
        assert_eq!((report.codec, report.packets_lost), (Some(codec), 0));
        assert!(report.packets_received >= 25);
    }
}

#[tokio::test]
async fn digits_sent_as_events_are_heard_once_in_both_directions() {
    let media = media();
    let (mut a, mut b) = connected(&media, Codec::Pcmu);
    a.send_digits(keys("15#"), SendDigits::Rfc4733);
    b.send_digits(keys("*0"), SendDigits::Rfc4733);
    for key in keys("15#") {
        assert_eq!(
            next(&mut b).await,
            MediaEvent::KeyDown(key, DigitSource::Rfc4733)
        );
        assert_eq!(next(&mut b).await, MediaEvent::KeyUp(key));
    }
    for key in keys("*0") {
        assert_eq!(
            next(&mut a).await,
            MediaEvent::KeyDown(key, DigitSource::Rfc4733)
        );
        assert_eq!(next(&mut a).await, MediaEvent::KeyUp(key));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(media.counters().digits_rfc4733, 5);
    assert_eq!(b.close().digits_rfc4733, 3);
}

#[tokio::test]
async fn digits_sent_as_sound_are_heard_once() {
    let media = media();
    let (a, mut b) = connected(&media, Codec::Pcma);
    a.send_digits(keys("4711#"), SendDigits::Inband);
    for key in keys("4711#") {
        assert_eq!(
            next(&mut b).await,
            MediaEvent::KeyDown(key, DigitSource::Inband)
        );
        assert_eq!(next(&mut b).await, MediaEvent::KeyUp(key));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(media.counters().digits_inband, 5);
}

#[tokio::test]
async fn info_digit_goes_through_the_same_merge() {
    let media = media();
    let (a, mut b) = connected(&media, Codec::Pcmu);
    let five = Key::new('5').unwrap();
    b.other_digit(five, 60);
    assert_eq!(
        next(&mut b).await,
        MediaEvent::KeyDown(five, DigitSource::Info)
    );
    assert_eq!(next(&mut b).await, MediaEvent::KeyUp(five));
    // Once events were seen, INFO tells nothing new.
    a.send_digits(keys("6"), SendDigits::Rfc4733);
    assert!(matches!(
        next(&mut b).await,
        MediaEvent::KeyDown(_, DigitSource::Rfc4733)
    ));
    b.other_digit(Key::new('6').unwrap(), 60);
    assert!(matches!(next(&mut b).await, MediaEvent::KeyUp(_)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(b.events.try_recv().is_err());
}

#[tokio::test]
async fn key_stops_a_prompt_that_keys_may_stop_and_no_other() {
    let media = media();
    let (a, mut b) = connected(&media, Codec::Pcmu);
    let long = || vec![PlayItem::Clip(sine(500.0, 500))];
    let key = Key::new('1').unwrap();
    b.play(1, long(), Barge::Never);
    a.send_digits(vec![key], SendDigits::Rfc4733);
    assert!(matches!(next(&mut b).await, MediaEvent::KeyDown(..)));
    assert!(matches!(next(&mut b).await, MediaEvent::KeyUp(..)));
    b.play(2, long(), Barge::AnyKey);
    let why = PlayEnd::Replaced;
    assert_eq!(next(&mut b).await, MediaEvent::PlayEnded { op: 1, why });
    a.send_digits(vec![key], SendDigits::Rfc4733);
    assert!(matches!(next(&mut b).await, MediaEvent::KeyDown(..)));
    let why = PlayEnd::Digit;
    assert_eq!(next(&mut b).await, MediaEvent::PlayEnded { op: 2, why });
    assert!(matches!(next(&mut b).await, MediaEvent::KeyUp(..)));
    b.play(3, long(), Barge::AnyKey);
    b.stop(3);
    let why = PlayEnd::Stopped;
    assert_eq!(next(&mut b).await, MediaEvent::PlayEnded { op: 3, why });
}

/// Reads packets of a leg for a while, as a peer that only listens.
fn listen(socket: &UdpSocket, packets: usize) -> Vec<Vec<u8>> {
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut buffer = [0; 2000];
    (0..packets)
        .map(|_| {
            let length = socket.recv(&mut buffer).unwrap();
            buffer[..length].to_vec()
        })
        .collect()
}

#[test]
fn ten_items_leave_no_gap_in_sequence_timestamp_or_sound() {
    let media = media();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let leg = media.open().unwrap();
    let flat = |sample| Arc::new(Clip::from_pcm(&[sample; FRAME_SAMPLES * 2]));
    let items = (0..10).map(|_| PlayItem::Clip(flat(4000))).collect();
    leg.play(1, items, Barge::Never);
    leg.connect(
        &negotiated(peer.local_addr().unwrap(), Codec::Pcmu),
        MediaSource::default(),
    );
    let packets = listen(&peer, 30);
    let read: Vec<_> = packets.iter().map(|p| Packet::parse(p).unwrap()).collect();
    for (n, pair) in read.windows(2).enumerate() {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert!(!pair[1].marker, "packet {}", n + 1);
    }
    assert!(read[0].marker);
    for (n, packet) in read.iter().enumerate() {
        let code = if n < 20 {
            Law::Mu.encode(4000)
        } else {
            Law::Mu.silence()
        };
        assert!(packet.payload.iter().all(|c| *c == code), "packet {n}");
        assert_eq!(packet.payload.len(), FRAME_SAMPLES);
    }
}

#[test]
fn time_line_goes_on_across_hold_and_codec_change() {
    let media = media();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let leg = media.open().unwrap();
    let mut agreed = negotiated(peer.local_addr().unwrap(), Codec::Pcmu);
    leg.connect(&agreed, MediaSource::default());
    let before = listen(&peer, 3);
    agreed.direction = Direction::RecvOnly;
    leg.connect(&agreed, MediaSource::default());
    realtime::pause(Duration::from_millis(200));
    peer.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2000];
    let mut last = before.last().unwrap().clone();
    while let Ok(length) = peer.recv(&mut buffer) {
        last = buffer[..length].to_vec();
    }
    peer.set_nonblocking(false).unwrap();
    agreed.direction = Direction::SendRecv;
    agreed.codec = Codec::Pcma;
    agreed.payload_type = 8;
    leg.connect(&agreed, MediaSource::default());
    let after = listen(&peer, 1).remove(0);
    let (last, after) = (
        Packet::parse(&last).unwrap(),
        Packet::parse(&after).unwrap(),
    );
    assert_eq!(after.ssrc, last.ssrc);
    assert_eq!(after.sequence, last.sequence.wrapping_add(1));
    assert!(after.marker && after.payload_type == 8);
    let silent_ms = after.timestamp.wrapping_sub(last.timestamp) / 8;
    assert!((160..1000).contains(&silent_ms), "{silent_ms} ms");
}

#[tokio::test]
async fn packets_from_elsewhere_are_not_heard() {
    let media = media();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut leg = media.open().unwrap();
    let spray = |from: &UdpSocket| {
        for n in 0..5u16 {
            let packet = Packet {
                marker: true,
                payload_type: 101,
                sequence: n,
                timestamp: u32::from(n) * 8000,
                ssrc: 9,
                payload: &[1, 0x8a, 3, 32],
            };
            let mut bytes = [0; 16];
            packet.write(&mut bytes).unwrap();
            from.send_to(&bytes, leg.local).unwrap();
        }
    };
    spray(&stranger);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(leg.report().wrong_source, 5, "before the agreement");
    leg.connect(
        &negotiated(peer.local_addr().unwrap(), Codec::Pcmu),
        MediaSource::default(),
    );
    spray(&stranger);
    tokio::time::sleep(Duration::from_millis(100)).await;
    spray(&stranger);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(leg.events.try_recv().is_err(), "a stranger pressed a key");
    assert_eq!(leg.report().packets_received, 0);
    stranger.set_nonblocking(true).unwrap();
    assert!(
        stranger.recv(&mut [0; 100]).is_err(),
        "a stranger was sent to"
    );
    spray(&peer);
    for _ in 0..5 {
        assert!(matches!(next(&mut leg).await, MediaEvent::KeyDown(..)));
        assert!(matches!(next(&mut leg).await, MediaEvent::KeyUp(..)));
    }
}

#[tokio::test]
async fn silence_of_the_peer_is_told_and_hold_is_not() {
    let media = media();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut leg = media.open().unwrap();
    let mut agreed = negotiated(peer.local_addr().unwrap(), Codec::Pcmu);
    leg.connect(&agreed, MediaSource::default());
    let event = tokio::time::timeout(Duration::from_secs(2), leg.events.recv()).await;
    assert_eq!(event.unwrap(), Some(MediaEvent::NoRtp));
    agreed.direction = Direction::Inactive;
    leg.connect(&agreed, MediaSource::default());
    tokio::time::sleep(Duration::from_millis(50)).await;
    while leg.events.try_recv().is_ok() {}
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(leg.events.try_recv().is_err());
}

#[tokio::test]
async fn fault_in_one_leg_closes_it_and_no_other() {
    let media = media();
    let (mut a, b) = connected(&media, Codec::Pcmu);
    a.order(thread::Order::Fault);
    assert!(matches!(next(&mut a).await, MediaEvent::Closed(_)));
    assert!(a.events.recv().await.is_none());
    let before = b.report().packets_sent;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(b.report().packets_sent > before);
    assert_eq!(
        (media.counters().faults, media.counters().legs_open),
        (1, 1)
    );
}

#[tokio::test]
async fn closed_leg_gives_its_ports_back_and_threads_stay_fresh() {
    let media = media();
    for _ in 0..60 {
        // 20 pairs only: legs that were dropped must not keep theirs.
        drop(media.open().unwrap());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(media.counters().legs_open, 0);
    assert!(media.tick_age() < Duration::from_secs(1));
}

#[tokio::test]
async fn reader_that_never_reads_costs_nothing_but_its_events() {
    let media = media();
    let (_a, b) = connected(&media, Codec::Pcmu);
    for op in 0..400 {
        b.play(op, Vec::new(), Barge::Never);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(media.counters().events_dropped > 0);
    let before = b.report().packets_sent;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(b.report().packets_sent > before);
}

/// A peer with its two ports, as a telephone has them.
fn peer_pair() -> (UdpSocket, UdpSocket) {
    let mut rest = Vec::new();
    loop {
        let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = rtp.local_addr().unwrap().port();
        match UdpSocket::bind(("127.0.0.1", port.wrapping_add(1))) {
            Ok(rtcp) if port.is_multiple_of(2) => return (rtp, rtcp),
            _ => rest.push(rtp),
        }
    }
}

#[tokio::test]
async fn reports_are_read_and_the_end_is_told_over_rtcp() {
    use helpline_core::rtp::{rtcp, source::Received};
    let media = media();
    let (rtp, rtcp_socket) = peer_pair();
    let leg = media.open().unwrap();
    leg.connect(
        &negotiated(rtp.local_addr().unwrap(), Codec::Pcmu),
        MediaSource::default(),
    );
    let first = listen(&rtp, 1).remove(0);
    let ours = Packet::parse(&first).unwrap().ssrc;
    let about = rtcp::Sent {
        ssrc: 77,
        wall: helpline_core::time::Wall::from_millis(0),
        timestamp: 0,
        packets: 0,
        bytes: 0,
    };
    let received = Received {
        packets: 95,
        lost: 5,
        highest: 100,
        jitter: 8,
        ssrc: Some(ours),
    };
    let mut to = leg.local;
    to.set_port(to.port() + 1);
    let report = rtcp::report(&about, &received, 1, true);
    rtcp_socket.send_to(&report, to).unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    // The peer's good bye ends nothing.
    let before = leg.report();
    assert_eq!(before.remote_lost, 5);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(leg.report().packets_sent > before.packets_sent);
    drop(leg);
    rtcp_socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut buffer = [0; 1500];
    // The last of what comes is our own good bye (a report may come first).
    let bye = loop {
        let length = rtcp_socket.recv(&mut buffer).unwrap();
        let packet = &buffer[..length];
        assert_eq!(packet[1], 200, "a sender report leads");
        if packet[length - 7] == 203 {
            break packet.to_vec();
        }
    };
    assert_eq!(bye[4..8], ours.to_be_bytes());
}

#[test]
fn time_line_follows_the_clock() {
    let media = media();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let leg = media.open().unwrap();
    leg.connect(
        &negotiated(peer.local_addr().unwrap(), Codec::Pcmu),
        MediaSource::default(),
    );
    let first = listen(&peer, 1).remove(0);
    let begin = realtime::now();
    let last = listen(&peer, 60).pop().unwrap();
    let elapsed_ms = u32::try_from(realtime::now().since(begin).as_millis()).unwrap();
    let stamp = |bytes: &[u8]| Packet::parse(bytes).unwrap().timestamp;
    let told_ms = stamp(&last).wrapping_sub(stamp(&first)) / 8;
    // Holds however late the thread was run: frames are left out, never stretched.
    assert!(
        told_ms.abs_diff(elapsed_ms) < 100,
        "{told_ms} of {elapsed_ms} ms"
    );
}

#[tokio::test]
async fn many_legs_at_once_lose_nothing() {
    let media = media_of(300, 2, Duration::from_secs(30));
    let pairs: Vec<_> = (0..50).map(|_| connected(&media, Codec::Pcmu)).collect();
    for (a, b) in &pairs {
        a.play(1, vec![PlayItem::Clip(sine(800.0, 100))], Barge::Never);
        b.play(1, vec![PlayItem::Clip(sine(900.0, 100))], Barge::Never);
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let counters = media.counters();
    println!(
        "100 legs for 1.5 s, realtime {}: {counters:?}",
        media.realtime()
    );
    assert_eq!((counters.packets_lost, counters.packets_bad), (0, 0));
    assert_eq!((counters.wrong_source, counters.faults), (0, 0));
    for leg in pairs.iter().flat_map(|(a, b)| [a, b]) {
        assert!(leg.report().packets_received > 10);
    }
}

#[tokio::test]
async fn no_leg_hears_another_call() {
    let media = media();
    let dir = tempfile::tempdir().unwrap();
    let hz = |n: usize| 400.0 + 200.0 * n as f64;
    let pairs: Vec<_> = (0..8).map(|_| connected(&media, Codec::Pcmu)).collect();
    for (n, (a, b)) in pairs.iter().enumerate() {
        b.record(RecordPlan {
            path: dir.path().join(format!("{n}.wav")),
            ..RecordPlan::default()
        });
        a.play(1, vec![PlayItem::Clip(sine(hz(n), 60))], Barge::Never);
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    drop(pairs);
    media.flush_recordings();
    for n in 0..8 {
        let heard = samples(&dir.path().join(format!("{n}.wav")));
        let first = heard.iter().position(|s| s.abs() > 300).unwrap();
        let inside = &heard[first + 200..first + 200 + 4000];
        assert!(
            share_db(inside, hz(n)) > -0.05,
            "call {n} does not hear its own tone"
        );
        for other in (0..8).filter(|other| *other != n) {
            let share = share_db(inside, hz(other));
            assert!(share < -45.0, "call {n} hears call {other}: {share:.0} dB");
        }
    }
}
