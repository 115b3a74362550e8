use super::*;
use crate::audio::codec::Encoder;
use crate::audio::meter::{level_dbm0, sine};
use crate::rng::Rng;

/// A sender of one tone and its buffer, on a clock of milliseconds.
struct Line {
    playout: Playout,
    encoder: Encoder,
    sound: Vec<i16>,
    sent: u32,
    ssrc: u32,
    offset: u32,
    /// Packets under way: arrival (microseconds), timestamp, bytes.
    under_way: Vec<(u64, u32, Vec<u8>)>,
}

impl Line {
    fn new(codec: Codec) -> Line {
        let rate = codec.rate();
        Line {
            playout: Playout::new(codec),
            encoder: Encoder::new(codec),
            // 50 Hz multiples: every frame is the same, so that a shortened tone has no step.
            sound: sine(400.0, -15.0, rate, rate.frame_samples()),
            sent: 0,
            ssrc: 1,
            offset: u32::MAX - 40_000,
            under_way: Vec::new(),
        }
    }

    fn send(&mut self, arrives: u64) {
        let mut bytes = [0; crate::audio::codec::ENCODED_BYTES_MAX];
        let length = self.encoder.encode(&self.sound, &mut bytes);
        let timestamp = self.next_timestamp();
        self.under_way
            .push((arrives, timestamp, bytes[..length].to_vec()));
    }

    fn next_timestamp(&mut self) -> u32 {
        let units = self.playout.codec().frame_units();
        self.sent += 1;
        self.offset
            .wrapping_add((self.sent - 1).wrapping_mul(units))
    }

    fn frame(&mut self, at: u64) -> (Heard, Vec<i16>) {
        let mut due: Vec<_> = self.under_way.extract_if(.., |p| p.0 <= at).collect();
        due.sort_by_key(|p| p.0);
        for (arrived, timestamp, payload) in due {
            self.playout.push(
                Time::from_micros(arrived),
                &Packet {
                    marker: false,
                    payload_type: 0,
                    sequence: 0,
                    timestamp,
                    ssrc: self.ssrc,
                    payload: &payload,
                },
            );
        }
        let mut out = [0; WIDE_SAMPLES];
        let heard = self.playout.frame(Time::from_micros(at), &mut out);
        let count = self.playout.codec().rate().frame_samples();
        (heard, out[..count].to_vec())
    }

    fn delay_ms(&self) -> u128 {
        self.playout.delay().as_millis()
    }
}

const FRAME: u64 = 20_000;
/// Slots of ours lie somewhere between the sender's.
const PHASE: u64 = 7000;

#[test]
fn even_packets_of_every_codec_play_unbroken_at_the_least_delay() {
    for codec in Codec::ALL {
        let mut line = Line::new(codec);
        let mut loud = 0;
        for n in 0..300u64 {
            line.send(n * FRAME);
            let (heard, sound) = line.frame(n * FRAME + PHASE);
            if n > 5 {
                assert_eq!(heard, Heard::Sound, "{codec:?} frame {n}");
            }
            loud += u32::from((level_dbm0(&sound) + 15.0).abs() < 1.5);
        }
        assert!(loud > 290, "{codec:?}: {loud} loud frames");
        assert!((20..=50).contains(&line.delay_ms()));
        assert_eq!(line.playout.target(), TARGET_MIN);
    }
}

#[test]
fn each_lost_packet_is_made_up_in_its_place() {
    for codec in Codec::ALL {
        let mut line = Line::new(codec);
        let mut concealed = Vec::new();
        for n in 0..500u64 {
            if n > 50 && n % 40 == 0 {
                line.next_timestamp(); // lost
            } else {
                line.send(n * FRAME);
            }
            let (heard, sound) = line.frame(n * FRAME + PHASE);
            if n > 50 && heard != Heard::Sound {
                concealed.push(n);
                // A held tone goes on through the gap; Opus lets a pure one sink.
                let least = if codec == Codec::Opus { -40.0 } else { -19.0 };
                assert!(
                    level_dbm0(&sound) > least,
                    "{codec:?}: {}",
                    level_dbm0(&sound)
                );
            }
        }
        // One made-up frame each, no more, so the time line holds.
        assert_eq!(concealed.len(), 11, "{codec:?}: {concealed:?}");
        assert_eq!(line.playout.played().late, 0);
    }
}

#[test]
fn delay_follows_the_jitter_up_at_once_and_down_slowly() {
    let mut rng = Rng::new(77);
    let mut line = Line::new(Codec::Pcmu);
    let mut concealed = 0;
    for n in 0..1500u64 {
        let late = if (300..800).contains(&n) {
            rng.below(90_000)
        } else {
            0
        };
        line.send(n * FRAME + late);
        let (heard, _) = line.frame(n * FRAME + PHASE);
        if (500..800).contains(&n) {
            concealed += u32::from(heard != Heard::Sound);
            assert!((80..=230).contains(&line.delay_ms()));
        }
    }
    assert!(
        concealed <= 20,
        "{concealed} of 300 frames concealed at 90 ms of jitter"
    );
    let at_last = line.delay_ms();
    assert!((20..=50).contains(&at_last), "{at_last} ms");
    assert!(line.playout.played().shortened <= 15);
}

#[test]
fn drift_of_200_ppm_for_half_an_hour_is_mended_unheard() {
    for ppm in [-200i64, 200] {
        let mut line = Line::new(Codec::Pcmu);
        let mut broken = 0;
        for n in 0..90_000u64 {
            let at = n * FRAME + PHASE;
            loop {
                let sent = i64::from(line.sent) * i64::try_from(FRAME).unwrap();
                let sent = u64::try_from(sent + sent * ppm / 1_000_000).unwrap();
                if sent > at {
                    break;
                }
                line.send(sent);
            }
            let (heard, _) = line.frame(at);
            if n > 100 {
                broken += u32::from(heard != Heard::Sound);
                let delay = line.delay_ms();
                assert!(
                    (19..=51).contains(&delay),
                    "{ppm} ppm: {delay} ms at frame {n}"
                );
            }
        }
        // 360 ms in all: 18 frames made up for a slow sender, none for a fast one.
        let expected = if ppm > 0 { 17..=20 } else { 0..=0 };
        assert!(
            expected.contains(&broken),
            "{ppm} ppm: {broken} frames made up"
        );
        let played = line.playout.played();
        assert_eq!((played.late, played.dropped), (0, 0), "{ppm} ppm");
        assert!(ppm > 0 || played.shortened >= 18, "{played:?}");
    }
}

#[test]
fn pause_of_the_sender_is_silence_and_then_the_delay_is_there_again() {
    let mut line = Line::new(Codec::Pcma);
    for n in 0..200u64 {
        if (100..150).contains(&n) {
            line.next_timestamp();
        } else {
            line.send(n * FRAME);
        }
        let (heard, sound) = line.frame(n * FRAME + PHASE);
        match n {
            110..150 => assert_eq!((heard, level_dbm0(&sound) < -90.0), (Heard::Nothing, true)),
            155.. => assert_eq!(heard, Heard::Sound, "frame {n}"),
            _ => {}
        }
    }
    assert!((20..=50).contains(&line.delay_ms()));
}

#[test]
fn new_source_and_jumps_of_the_time_line_play_on() {
    let mut line = Line::new(Codec::Pcmu);
    for n in 0..400u64 {
        match n {
            100 => line.ssrc = 2,
            200 => line.offset = line.offset.wrapping_add(1_000_000),
            300 => line.offset = line.offset.wrapping_sub(2_000_000),
            _ => {}
        }
        line.send(n * FRAME);
        let (heard, _) = line.frame(n * FRAME + PHASE);
        if n > 5 && n % 100 > 5 {
            assert_eq!(heard, Heard::Sound, "frame {n}");
        }
    }
}

#[test]
fn burst_after_a_stall_does_not_leave_a_long_delay() {
    let mut line = Line::new(Codec::Pcmu);
    for n in 0..300u64 {
        let arrives = if (100..140).contains(&n) {
            140 * FRAME
        } else {
            n * FRAME
        };
        line.send(arrives);
        line.frame(n * FRAME + PHASE);
        if n >= 142 {
            assert!(line.delay_ms() <= 450, "frame {n}");
        }
    }
}

#[test]
fn longer_packets_play_as_20_ms_each() {
    // 60 ms of G.711 in one packet.
    let mut playout = Playout::new(Codec::Pcmu);
    let payload = [0x80; 480];
    for n in 0..300u32 {
        let now = Time::from_millis(u64::from(n) * 20);
        if n % 3 == 0 {
            let packet = Packet {
                marker: false,
                payload_type: 0,
                sequence: 0,
                timestamp: n * 160,
                ssrc: 9,
                payload: &payload,
            };
            playout.push(now, &packet);
        }
        let heard = playout.frame(now, &mut [0; WIDE_SAMPLES]);
        assert!(n < 10 || heard == Heard::Sound, "frame {n}");
    }
}

#[test]
fn hostile_packets_never_break_it() {
    let mut rng = Rng::new(20_261_125);
    for codec in Codec::ALL {
        let mut playout = Playout::new(codec);
        let mut now = 0;
        for _ in 0..3000 {
            now += rng.below(30_000);
            for _ in 0..rng.below(4) {
                let mut payload = vec![0; usize::try_from(rng.below(700)).unwrap()];
                rng.fill(&mut payload);
                let timestamp = match rng.below(3) {
                    0 => rng.next_u32(),
                    _ => (now / 125) as u32,
                };
                let packet = Packet {
                    marker: false,
                    payload_type: 0,
                    sequence: 0,
                    timestamp,
                    ssrc: 1 + u32::from(rng.below(20) == 0),
                    payload: &payload,
                };
                playout.push(Time::from_micros(now), &packet);
            }
            playout.frame(Time::from_micros(now), &mut [0; WIDE_SAMPLES]);
        }
        assert!(playout.played().concealed > 0);
    }
}
