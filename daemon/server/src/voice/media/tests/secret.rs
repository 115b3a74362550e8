//! Legs whose packets are encrypted.

use helpline_core::rtp::telephone_event::Sender;
use helpline_core::sdp::sdes::{SrtpKey, SrtpKeys};

use super::super::srtp::Srtp;
use super::*;

fn keys_of(ours: u8, theirs: u8) -> SrtpKeys {
    SrtpKeys {
        ours: SrtpKey::new([ours; 30]),
        theirs: SrtpKey::new([theirs; 30]),
    }
}

#[tokio::test]
async fn two_legs_hear_each_other_only_with_the_right_keys() {
    for (near, far, heard) in [
        (Some(keys_of(1, 2)), Some(keys_of(2, 1)), true),
        (Some(keys_of(1, 2)), Some(keys_of(2, 3)), false),
        (None, Some(keys_of(1, 2)), false),
    ] {
        let media = media();
        let (a, mut b) = (media.open().unwrap(), media.open().unwrap());
        assert!(a.secure(near.as_ref()) && b.secure(far.as_ref()));
        a.connect(&negotiated(b.local, Codec::Pcmu), MediaSource::default());
        b.connect(&negotiated(a.local, Codec::Pcmu), MediaSource::default());
        a.send_digits(keys("7"), SendDigits::Rfc4733);
        let wait = Duration::from_millis(600);
        let mut down = false;
        while let Ok(Some(event)) = tokio::time::timeout(wait, b.events.recv()).await {
            down |= matches!(event, MediaEvent::KeyDown(..));
            if down {
                break;
            }
        }
        assert_eq!(down, heard, "{near:?} {far:?}");
        let received = b.close().packets_received;
        assert!(heard || received == 0, "{received}");
    }
}

#[tokio::test]
async fn forged_packets_earn_nothing_and_the_call_goes_on() {
    let media = media();
    let mut leg = media.open().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut far = Srtp::new(&keys_of(2, 1)).unwrap();
    assert!(leg.secure(Some(&keys_of(1, 2))));
    let agreed = negotiated(peer.local_addr().unwrap(), Codec::Pcmu);
    leg.connect(&agreed, MediaSource::default());
    let mut rng = helpline_core::rng::Rng::new(5);
    let packet = |ssrc, sequence, pt, payload: &[u8]| {
        let packet = Packet {
            marker: false,
            payload_type: pt,
            sequence,
            timestamp: 160 * u32::from(sequence),
            ssrc,
            payload,
        };
        let mut buffer = [0; 200];
        let length = packet.write(&mut buffer).unwrap();
        buffer[..length].to_vec()
    };
    for n in 0..2_000u32 {
        // Keys that nobody pressed, under a tag that is made up.
        let ssrc = if n % 2 == 0 { 77 } else { rng.next_u32() };
        let sequence = u16::try_from(n % 65_536).unwrap();
        let mut forged = packet(ssrc, sequence, 101, &[9, 0x8a, 0, 160]);
        let mut tag = [0; 10];
        rng.fill(&mut tag);
        forged.extend(tag);
        peer.send_to(&forged, leg.local).unwrap();
        // A leg reads sixteen a slot.
        if n % 16 == 15 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // The true peer presses a key.
    let mut sender = Sender::default();
    sender.send(["5".parse::<char>().unwrap()].map(|c| Digit::from_char(c).unwrap()));
    for sequence in 100..110 {
        let event = sender.next(16_000, 160);
        let bytes = match &event {
            Some(event) => packet(77, sequence, 101, &event.payload),
            None => packet(77, sequence, 0, &[0xff; 160]),
        };
        peer.send_to(&far.seal(&bytes).unwrap(), leg.local).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let five = Key::new('5').unwrap();
    let source = DigitSource::Rfc4733;
    assert_eq!(next(&mut leg).await, MediaEvent::KeyDown(five, source));
    // What the leg sends is for the peer alone.
    let mut buffer = [0; 400];
    let length = peer.recv(&mut buffer).unwrap();
    let opened = far.open(&buffer[..length]).expect("our tag is right");
    assert_eq!(Packet::parse(&opened).unwrap().payload.len(), FRAME_SAMPLES);
    assert!(media.counters().packets_bad > 1_000);
    assert!(leg.close().packets_received <= 10);
}
