//! Whom a leg hears and whom it answers: RTP bleed and injection.

use helpline_core::rtp::latch::Mode;

use super::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A socket at 127.0.0.N.
fn socket(last: u8) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn source(mode: Mode) -> MediaSource {
    MediaSource {
        mode,
        signalled: Some(PEER),
    }
}

/// What a sender says: a digit as an event, then sound.
fn say(from: &UdpSocket, to: SocketAddr, sequence: u16, ssrc: u32) {
    let event = sequence % 20 < 5;
    let packet = Packet {
        marker: sequence.is_multiple_of(20),
        payload_type: if event { 101 } else { 0 },
        sequence,
        timestamp: if event {
            u32::from(sequence / 20) * 3200
        } else {
            u32::from(sequence) * 160
        },
        ssrc,
        payload: if event { &[7, 10, 1, 64] } else { &[0x40; 160] },
    };
    let mut bytes = [0; 200];
    let length = packet.write(&mut bytes).unwrap();
    from.send_to(&bytes[..length], to).unwrap();
}

fn count(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 2000];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
}

fn digits(leg: &mut MediaLeg) -> usize {
    let events = std::iter::from_fn(|| leg.events.try_recv().ok());
    events
        .filter(|e| matches!(e, MediaEvent::KeyDown(..)))
        .count()
}

/// Sprays an open port from four other addresses and ports, before, during and after the
/// peer is learned: nothing goes out to them, nothing of theirs is heard or recorded.
#[test]
fn sprayed_packets_change_nothing_and_earn_none_back() {
    for mode in [Mode::Strict, Mode::Address, Mode::Nat] {
        let media = media();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("heard.wav");
        let (peer, told) = (socket(2), socket(3));
        let others: Vec<_> = [2, 3, 4, 4].into_iter().map(socket).collect();
        let mut leg = media.open().unwrap();
        leg.record(RecordPlan {
            path: file.clone(),
            ..RecordPlan::default()
        });
        let spray = |round: u16| {
            for (n, other) in others.iter().enumerate() {
                // Never two in sequence: a port of the peer's own address could prove
                // itself otherwise, as it may.
                say(other, leg.local, round * 40 + 2 * n as u16, 90 + n as u32);
            }
        };
        // More than is read in one slot: some of it still waits when the peer is agreed on.
        (0..30).for_each(spray);
        let told_address = match mode {
            Mode::Strict => peer.local_addr().unwrap(),
            Mode::Address => SocketAddr::new(PEER, told.local_addr().unwrap().port()),
            Mode::Nat => told.local_addr().unwrap(),
        };
        leg.connect(&negotiated(told_address, Codec::Pcmu), source(mode));
        for round in 30..55 {
            spray(round);
            realtime::pause(Duration::from_millis(5));
        }
        // The peer is silent but for its proof: sound that would be heard is the others'.
        let silence = [0xff; 160];
        for n in 0..8u16 {
            let packet = Packet {
                marker: false,
                payload_type: 0,
                sequence: n,
                timestamp: u32::from(n) * 160,
                ssrc: 7,
                payload: &silence,
            };
            let mut bytes = [0; 200];
            let length = packet.write(&mut bytes).unwrap();
            peer.send_to(&bytes[..length], leg.local).unwrap();
            realtime::pause(Duration::from_millis(5));
        }
        for round in 55..85 {
            spray(round);
            realtime::pause(Duration::from_millis(5));
        }
        assert!(count(&peer) > 3, "{mode:?}: the peer hears us");
        for other in &others {
            assert_eq!(count(other), 0, "{mode:?}: nothing goes anywhere else");
        }
        assert_eq!(digits(&mut leg), 0, "{mode:?}");
        assert!(leg.report().packets_received >= 3, "{mode:?}");
        drop(leg);
        media.flush_recordings();
        assert!(samples(&file).iter().all(|s| s.abs() < 64), "{mode:?}");
    }
}

#[test]
fn peer_behind_a_router_is_found_and_found_again_after_its_port_changed() {
    let media = media();
    let mut leg = media.open().unwrap();
    // What its SDP says is an address of its own net: nobody can reach it.
    let told = "192.0.2.9:4000".parse().unwrap();
    leg.connect(&negotiated(told, Codec::Pcmu), source(Mode::Nat));
    let mut sequence = 0;
    let mut talk = |from: &UdpSocket, packets: u16| {
        for _ in 0..packets {
            say(from, leg.local, sequence, 7);
            sequence += 1;
            realtime::pause(Duration::from_millis(20));
        }
    };
    let first = socket(2);
    talk(&first, 25);
    assert!(count(&first) > 10);
    // Not at once: a second sender is no rebinding while the first one speaks.
    let second = socket(2);
    talk(&second, 8);
    assert_eq!(count(&second), 0);
    realtime::pause(Duration::from_millis(2_100));
    talk(&second, 25);
    assert!(count(&second) > 10);
    count(&first);
    realtime::pause(Duration::from_millis(100));
    assert_eq!(count(&first), 0, "the old port hears nothing any more");
    // The first of them began before the proof was complete.
    assert_eq!(digits(&mut leg), 3);
}

#[test]
fn replayed_packets_are_heard_once() {
    let media = media();
    let (peer, mut leg) = (socket(2), media.open().unwrap());
    let agreed = negotiated(peer.local_addr().unwrap(), Codec::Pcmu);
    leg.connect(&agreed, source(Mode::Strict));
    for _ in 0..4 {
        for sequence in 0..10 {
            say(&peer, leg.local, sequence, 7);
        }
        realtime::pause(Duration::from_millis(60));
    }
    realtime::pause(Duration::from_millis(500));
    assert_eq!(digits(&mut leg), 1);
}
