use super::*;
use crate::rng::Rng;

fn local(codecs: &[Codec]) -> Local {
    Local {
        address: "192.0.2.1:20000".parse().unwrap(),
        session: 7,
        version: 1,
        codecs: codecs.to_vec(),
    }
}

fn both() -> Local {
    local(&[Codec::Pcmu, Codec::Pcma])
}

const OFFER: &str = "v=0\r\no=x 12 3 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\n\
    t=0 0\r\nm=audio 30000 RTP/AVP 18 8 0 96 101\r\na=rtpmap:96 telephone-event/48000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtpmap:31 LPC\r\n";

#[test]
fn answer_to_our_own_offer_negotiates_what_we_offered() {
    for codecs in [
        &[Codec::Pcmu, Codec::Pcma][..],
        &[Codec::Pcma, Codec::Pcmu],
        &[Codec::Pcma],
        &[Codec::G722, Codec::Pcmu],
        &[Codec::Opus, Codec::G722, Codec::Pcma],
        &[Codec::Opus],
        &[Codec::Pcmu, Codec::Opus],
    ] {
        let ours = offer(&local(codecs));
        let (text, theirs) = answer(&ours, &local(&Codec::ALL)).unwrap();
        assert_eq!(theirs.codec, codecs[0]);
        let events = match codecs[0] {
            Codec::Opus => EVENT_48K_PAYLOAD_TYPE,
            _ => EVENT_PAYLOAD_TYPE,
        };
        assert_eq!(theirs.event_payload_type, Some(events));
        let mine = accept_answer(&text, &ours).unwrap();
        assert_eq!(mine, theirs);
    }
}

#[test]
fn first_allowed_codec_and_the_events_of_its_clock_are_taken() {
    let (text, got) = answer(OFFER, &both()).unwrap();
    assert_eq!(
        got,
        Negotiated {
            remote: "198.51.100.7:30000".parse().unwrap(),
            codec: Codec::Pcma,
            payload_type: 8,
            event_payload_type: Some(101),
            direction: Direction::SendRecv,
        }
    );
    assert!(text.contains("m=audio 20000 RTP/AVP 8 101\r\n"), "{text}");
    assert!(text.contains("a=rtpmap:101 telephone-event/8000\r\n"));
    assert!(text.contains("a=rtcp:20001\r\n"));
    assert_eq!(origin(OFFER), Some((12, 3)));
    assert_eq!(origin(&text), Some((7, 1)));
}

#[test]
fn unwanted_streams_are_turned_down_in_their_place() {
    let offer = format!(
        "{}m=video 30002 RTP/AVP 99\r\nm=audio 30004 RTP/AVP 0\r\nm=image 5 udptl t38\r\n",
        OFFER.replace("m=audio", "m=application 9 TCP/BFCP *\r\nm=audio")
    );
    let (text, got) = answer(&offer, &both()).unwrap();
    let lines: Vec<_> = text.lines().filter(|l| l.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=application 0 TCP/BFCP *",
            "m=audio 20000 RTP/AVP 8 101",
            "m=video 0 RTP/AVP 99",
            "m=audio 0 RTP/AVP 0",
            "m=image 0 udptl t38",
        ]
    );
    assert_eq!(got.remote.port(), 30000);
}

#[test]
fn hold_is_read_and_answered() {
    let cases = [
        ("a=sendonly", Direction::RecvOnly, "a=recvonly\r\n"),
        ("a=recvonly", Direction::SendOnly, "a=sendonly\r\n"),
        ("a=inactive", Direction::Inactive, "a=inactive\r\n"),
        ("a=sendrecv", Direction::SendRecv, "a=sendrecv\r\n"),
    ];
    for (line, ours, told) in cases {
        let (text, got) = answer(&format!("{OFFER}{line}\r\n"), &both()).unwrap();
        assert_eq!(got.direction, ours, "{line}");
        assert!(text.ends_with(told), "{text}");
    }
    let old = OFFER.replace("c=IN IP4 198.51.100.7", "c=IN IP4 0.0.0.0");
    let (text, got) = answer(&old, &both()).unwrap();
    assert!(!got.direction.sends());
    assert!(text.ends_with("a=recvonly\r\n"));
}

#[test]
fn session_level_direction_holds_unless_the_stream_has_its_own() {
    let session = OFFER.replace("t=0 0", "t=0 0\r\na=sendonly");
    assert_eq!(
        answer(&session, &both()).unwrap().1.direction,
        Direction::RecvOnly
    );
    let own = format!("{session}a=sendrecv\r\n");
    assert_eq!(
        answer(&own, &both()).unwrap().1.direction,
        Direction::SendRecv
    );
}

#[test]
fn address_of_the_stream_wins_over_that_of_the_session() {
    let offer = OFFER.replace("a=fmtp", "c=IN IP6 2001:db8::7\r\na=fmtp");
    let (_, got) = answer(&offer, &both()).unwrap();
    assert_eq!(got.remote, "[2001:db8::7]:30000".parse().unwrap());
}

#[test]
fn what_cannot_work_is_refused_with_its_reason() {
    let cases = [
        (String::new(), SdpError::NoAudio),
        ("nonsense".into(), SdpError::NoAudio),
        (OFFER.replace("30000", "0"), SdpError::NoAudio),
        (OFFER.replace("RTP/AVP", "RTP/SAVP"), SdpError::NoAudio),
        (OFFER.replace("audio", "video"), SdpError::NoAudio),
        (OFFER.replace(" 8 0 ", " "), SdpError::NoCodec),
        (
            OFFER.replace("c=IN IP4 198.51.100.7", "c=IN IP4 pbx.example"),
            SdpError::Address,
        ),
        (
            OFFER.replace("c=IN IP4 198.51.100.7", "c=IN IP4 239.1.2.3/5"),
            SdpError::Address,
        ),
        (
            OFFER.replace("c=IN IP4 198.51.100.7\r\n", ""),
            SdpError::Address,
        ),
        (
            OFFER.replace("30000", "999999"),
            SdpError::Malformed("m= line"),
        ),
        (OFFER.replace("30000", "-1"), SdpError::Malformed("m= line")),
        (
            OFFER.replace("m=audio 30000 RTP/AVP 18 8 0 96 101", "m=audio"),
            SdpError::Malformed("m= line"),
        ),
        (
            "m=audio 1 RTP/AVP 0\r\n".repeat(17),
            SdpError::Malformed("number of media lines"),
        ),
        ("a".repeat(TEXT_BYTES_MAX + 1), SdpError::TooLong),
    ];
    for (text, expected) in cases {
        assert_eq!(answer(&text, &both()).unwrap_err(), expected, "{text:.80}");
    }
}

#[test]
fn codec_we_did_not_offer_is_not_accepted() {
    let ours = offer(&local(&[Codec::Pcmu]));
    let theirs =
        "v=0\no=- 1 1 IN IP4 198.51.100.7\nc=IN IP4 198.51.100.7\nm=audio 4000 RTP/AVP 8\n";
    assert_eq!(accept_answer(theirs, &ours), Err(SdpError::NoCodec));
    let theirs = theirs.replace("AVP 8", "AVP 0");
    let got = accept_answer(&theirs, &ours).unwrap();
    assert_eq!(got.event_payload_type, None);
    assert_eq!(got.codec, Codec::Pcmu);
}

#[test]
fn duplicate_formats_and_maps_count_once() {
    let offer = OFFER.replace("18 8 0 96 101", "0 0 8 8 101 101").replace(
        "a=rtpmap:31 LPC",
        "a=rtpmap:0 PCMU/8000\r\na=rtpmap:0 PCMA/8000\r\na=rtpmap:0",
    );
    let (_, got) = answer(&offer, &both()).unwrap();
    assert_eq!((got.codec, got.payload_type), (Codec::Pcmu, 0));
}

#[test]
fn dynamic_payload_type_may_carry_g711() {
    let offer = OFFER
        .replace("18 8 0 96 101", "97 101")
        .replace("a=rtpmap:31 LPC", "a=rtpmap:97 pcmu/8000/1");
    let (text, got) = answer(&offer, &both()).unwrap();
    assert_eq!((got.codec, got.payload_type), (Codec::Pcmu, 97));
    assert!(text.contains("a=rtpmap:97 PCMU/8000\r\n"));
}

#[test]
fn mutated_descriptions_never_break_the_answer() {
    let mut rng = Rng::new(20_261_124);
    for _ in 0..3000 {
        let mut bytes = OFFER.as_bytes().to_vec();
        for _ in 0..=rng.below(6) {
            let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
            match rng.below(3) {
                0 => bytes[at] = (rng.next_u32() & 0x7f) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, (rng.next_u32() & 0x7f) as u8),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok((ours, got)) = answer(&text, &both()) {
            // Whatever we say must be readable by a peer like us.
            assert_ne!(got.remote.port(), 0);
            let again = Session::parse(&ours).unwrap();
            assert!(again.audio().is_some(), "{text}\n{ours}");
        }
    }
}

/// An offer as browsers make it: both families, events at both clocks.
const BROWSER: &str = "v=0\r\no=- 1 2 IN IP4 198.51.100.7\r\nc=IN IP4 198.51.100.7\r\n\
    m=audio 30000 RTP/AVP 111 9 0 110 126\r\na=rtpmap:111 OPUS/48000/2\r\n\
    a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:9 G722/8000\r\n\
    a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n";

#[test]
fn events_have_the_clock_of_the_codec_taken() {
    let cases = [
        (
            &[Codec::Opus][..],
            Codec::Opus,
            111,
            110,
            "telephone-event/48000",
        ),
        (&[Codec::G722], Codec::G722, 9, 126, "telephone-event/8000"),
        (&[Codec::Pcmu], Codec::Pcmu, 0, 126, "telephone-event/8000"),
    ];
    for (allowed, codec, pt, events, line) in cases {
        let (text, got) = answer(BROWSER, &local(allowed)).unwrap();
        assert_eq!((got.codec, got.payload_type), (codec, pt));
        assert_eq!(got.event_payload_type, Some(events));
        assert!(
            text.contains(&format!("m=audio 20000 RTP/AVP {pt} {events}\r\n")),
            "{text}"
        );
        assert!(
            text.contains(&format!("a=rtpmap:{events} {line}\r\n")),
            "{text}"
        );
        assert_eq!(text.matches("telephone-event").count(), 1);
    }
    // Events only at another clock than the codec's are none.
    let wrong = BROWSER.replace("telephone-event/48000", "telephone-event/16000");
    let (_, got) = answer(&wrong, &local(&[Codec::Opus])).unwrap();
    assert_eq!(got.event_payload_type, None);
}

#[test]
fn opus_of_another_clock_or_without_its_map_is_not_opus() {
    for line in ["a=rtpmap:111 opus/16000/2", "a=rtpmap:111 opus/48000", ""] {
        let offer = BROWSER.replace("a=rtpmap:111 OPUS/48000/2", line);
        let got = answer(&offer, &local(&[Codec::Opus]));
        assert_eq!(got.unwrap_err(), SdpError::NoCodec, "{line}");
    }
}
