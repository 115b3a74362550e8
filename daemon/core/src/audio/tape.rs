//! Both sides of a leg on one time line: what it hears put in place by the peer's
//! timestamps, what we send by our own clock, given out together 200 ms later.

use super::frame::FRAME_SAMPLES;

/// How long after its time sound may still take its place.
const BEHIND: usize = 10 * FRAME_SAMPLES;
/// How long before.
const AHEAD: usize = 5 * FRAME_SAMPLES;
const LENGTH: usize = BEHIND + AHEAD;

/// 20 ms of both sides, 8 kHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Both {
    /// What the leg sent us.
    pub theirs: [i16; FRAME_SAMPLES],
    /// What we sent it.
    pub ours: [i16; FRAME_SAMPLES],
}

/// The last 200 ms of one leg, and room for 100 more. Never allocates.
#[derive(Clone, Debug)]
pub struct Tape {
    theirs: [i16; LENGTH],
    ours: [i16; LENGTH],
    /// Source and the sample, from the begin of the tape, at which its timestamp 0 is.
    anchor: Option<(u32, u32)>,
    /// Samples given out, modulo 2^32.
    begin: u32,
}

impl Default for Tape {
    fn default() -> Self {
        Tape {
            theirs: [0; LENGTH],
            ours: [0; LENGTH],
            anchor: None,
            begin: 0,
        }
    }
}

/// Where now is on the tape.
#[allow(clippy::cast_possible_truncation)] // thousands
const NOW: u32 = (BEHIND - FRAME_SAMPLES) as u32;

impl Tape {
    /// Sound of a packet; its timestamp counts samples of 8 kHz. What is out of reach by
    /// drift moves the line by one frame, by a jump to now.
    pub fn heard(&mut self, ssrc: u32, timestamp: u32, samples: &[i16]) {
        let zero = match self.anchor {
            Some((from, zero)) if from == ssrc => zero,
            _ => self.anchor_at(ssrc, timestamp, NOW),
        };
        let place = zero.wrapping_add(timestamp).wrapping_sub(self.begin);
        let frame = u32::try_from(FRAME_SAMPLES).unwrap_or(0);
        let last = u32::try_from(LENGTH).unwrap_or(0) - frame;
        let place = if place <= last {
            place
        } else if place.wrapping_sub(last) <= frame {
            self.anchor_at(ssrc, timestamp, last - frame);
            last - frame
        } else if place.wrapping_neg() <= frame {
            self.anchor_at(ssrc, timestamp, frame);
            frame
        } else {
            self.anchor_at(ssrc, timestamp, NOW);
            NOW
        };
        put(&mut self.theirs, place, samples);
    }

    /// Sound that is heard now, already in pace with us.
    pub fn heard_now(&mut self, samples: &[i16]) {
        self.anchor = None;
        put(&mut self.theirs, NOW, samples);
    }

    /// 20 ms that we send now; gives out the 20 ms of both sides that are 200 ms old.
    pub fn turn(&mut self, ours: &[i16; FRAME_SAMPLES]) -> Both {
        put(&mut self.ours, NOW, ours);
        let mut both = Both {
            theirs: [0; FRAME_SAMPLES],
            ours: [0; FRAME_SAMPLES],
        };
        take(&mut self.theirs, &mut both.theirs);
        take(&mut self.ours, &mut both.ours);
        let frame = u32::try_from(FRAME_SAMPLES).unwrap_or(0);
        self.begin = self.begin.wrapping_add(frame);
        both
    }

    fn anchor_at(&mut self, ssrc: u32, timestamp: u32, place: u32) -> u32 {
        let zero = self.begin.wrapping_add(place).wrapping_sub(timestamp);
        self.anchor = Some((ssrc, zero));
        zero
    }
}

fn put(tape: &mut [i16], place: u32, samples: &[i16]) {
    let room = tape.iter_mut().skip(usize::try_from(place).unwrap_or(0));
    for (to, from) in room.zip(samples) {
        *to = *from;
    }
}

fn take(tape: &mut [i16], out: &mut [i16]) {
    for (to, from) in out.iter_mut().zip(tape.iter()) {
        *to = *from;
    }
    tape.copy_within(FRAME_SAMPLES.., 0);
    for sample in tape.iter_mut().rev().take(FRAME_SAMPLES) {
        *sample = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns the tape; what came out, one number a frame (all samples are alike).
    fn turn(tape: &mut Tape, ours: i16) -> (i16, i16) {
        let both = tape.turn(&[ours; FRAME_SAMPLES]);
        assert!(both.theirs.iter().all(|s| *s == both.theirs[0]));
        (both.theirs[0], both.ours[0])
    }

    #[test]
    fn late_and_swapped_packets_stand_where_they_belong() {
        let mut tape = Tape::default();
        let mut out = Vec::new();
        // Frame 2 comes two frames late, 4 and 5 swapped, 7 never.
        let arrivals: [&[u32]; 10] = [&[0], &[1], &[], &[3], &[2, 5], &[4], &[6], &[], &[8], &[9]];
        for (n, came) in arrivals.iter().enumerate() {
            for frame in *came {
                let sound = [100 + *frame as i16; FRAME_SAMPLES];
                tape.heard(1, 4_294_967_000u32.wrapping_add(frame * 160), &sound);
            }
            out.push(turn(&mut tape, n as i16 + 1));
        }
        for _ in 0..9 {
            out.push(turn(&mut tape, 0));
        }
        let heard: Vec<i16> = out.iter().map(|o| o.0).collect();
        assert_eq!(
            heard[9..19],
            [100, 101, 102, 103, 104, 105, 106, 0, 108, 109]
        );
        let ours: Vec<i16> = out.iter().map(|o| o.1).collect();
        assert_eq!(ours[9..19], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn drift_and_jumps_lose_at_most_a_moment() {
        for units in [158u32, 162] {
            let mut tape = Tape::default();
            let mut silent = 0;
            for n in 0..1000u32 {
                // A very wrong clock: more than 1 %.
                let stamp = n * units + if n > 500 { 9_000_000 } else { 0 };
                tape.heard(1 + n / 800, stamp, &[5; FRAME_SAMPLES]);
                let both = tape.turn(&[0; FRAME_SAMPLES]);
                silent += usize::from(n > 20 && both.theirs.iter().all(|s| *s == 0));
            }
            assert!(silent <= 20, "{units}: {silent} frames lost");
        }
    }

    #[test]
    fn paced_sound_stands_beside_ours() {
        let mut tape = Tape::default();
        tape.heard_now(&[7; FRAME_SAMPLES]);
        assert_eq!(turn(&mut tape, 9), (0, 0));
        for _ in 0..8 {
            turn(&mut tape, 0);
        }
        assert_eq!(turn(&mut tape, 0), (7, 9));
    }
}
