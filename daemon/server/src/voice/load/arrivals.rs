//! When packets came: lateness against each stream's own clock, gaps and digits.

use std::time::Duration;

/// What lines heard during a measurement.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Lines that were measured.
    pub lines: u64,
    /// Packets that came.
    pub packets: u64,
    /// Packets that a stream without a fault sends in the time measured.
    pub expected: u64,
    /// Steps of the sequence number other than one, or of the timestamp other than 160.
    pub gaps: u64,
    /// Lateness of each packet in microseconds, sorted: against the stream's own clock of
    /// 20 ms, set by the packet of the stream that was earliest.
    pub late_micros: Vec<u32>,
    /// Keys pressed.
    pub pressed: u64,
    /// Keys answered by the far end.
    pub heard: u64,
    /// Answers beyond one a key.
    pub doubled: u64,
}

impl Heard {
    /// Lateness in milliseconds at `share` (0.5 = median).
    #[must_use]
    pub fn late_ms(&self, share: f64) -> f64 {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss
        )] // a share of a length is a whole number
        let at = (self.late_micros.len().saturating_sub(1) as f64 * share).round() as usize;
        let micros = self.late_micros.get(at).copied().unwrap_or(0);
        f64::from(micros) / 1_000.0
    }

    pub(super) fn add(&mut self, arrivals: &Arrivals, measured: Duration) {
        self.lines += 1;
        self.packets += u64::try_from(arrivals.deviations.len()).unwrap_or(0);
        self.expected += u64::try_from(measured.as_millis() / 20).unwrap_or(0);
        self.gaps += arrivals.gaps;
        self.pressed += arrivals.pressed;
        self.heard += arrivals.heard;
        self.doubled += arrivals.doubled;
        let Some(earliest) = arrivals.deviations.iter().min() else {
            return;
        };
        let late = arrivals.deviations.iter().map(|d| d - earliest);
        self.late_micros
            .extend(late.map(|d| u32::try_from(d).unwrap_or(u32::MAX)));
    }
}

/// What one line heard.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    last: Option<(u16, u32)>,
    /// Timestamp and arrival of the first packet, the origin of the stream's clock.
    origin: Option<(u32, i64)>,
    /// Arrival minus the packet's place on the stream's clock, microseconds.
    deviations: Vec<i64>,
    gaps: u64,
    pressed: u64,
    heard: u64,
    doubled: u64,
    /// Answers since the last key.
    answers: u64,
}

impl Arrivals {
    /// Forgets what was measured, not where the stream stands.
    pub(super) fn restart(&mut self) {
        *self = Arrivals {
            last: self.last,
            ..Arrivals::default()
        };
    }

    /// A packet came at `micros` of the machine's wall clock.
    pub(super) fn packet(&mut self, sequence: u16, timestamp: u32, micros: i64) {
        if let Some((last, stamp)) = self.last {
            let step = sequence.wrapping_sub(last);
            if step != 1 || timestamp.wrapping_sub(stamp) != 160 {
                self.gaps += 1;
            }
        }
        self.last = Some((sequence, timestamp));
        let (zero, begun) = *self.origin.get_or_insert((timestamp, micros));
        let place = i64::from(timestamp.wrapping_sub(zero).cast_signed()) * 125;
        self.deviations.push(micros - begun - place);
    }

    /// A key was pressed.
    pub(super) fn pressed(&mut self) {
        self.pressed += 1;
        self.answers = 0;
    }

    /// The far end answered a key.
    pub(super) fn answered(&mut self) {
        self.answers += 1;
        if self.answers == 1 && self.pressed > 0 {
            self.heard += 1;
        } else {
            self.doubled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_counted_from_the_earliest_packet() {
        let mut arrivals = Arrivals::default();
        for (n, late) in [(0u16, 300), (1, 0), (2, 5_000), (4, 100)] {
            arrivals.packet(n, u32::from(n) * 160, i64::from(n) * 20_000 + late);
        }
        let mut heard = Heard::default();
        heard.add(&arrivals, Duration::from_millis(100));
        heard.late_micros.sort_unstable();
        assert_eq!(heard.late_micros, [0, 100, 300, 5_000]);
        assert_eq!((heard.packets, heard.expected, heard.gaps), (4, 5, 1));
        assert!((heard.late_ms(1.0) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn second_answer_to_a_key_is_doubled_and_so_is_one_without_a_key() {
        let mut arrivals = Arrivals::default();
        arrivals.answered();
        arrivals.pressed();
        arrivals.answered();
        arrivals.answered();
        arrivals.pressed();
        let mut heard = Heard::default();
        heard.add(&arrivals, Duration::ZERO);
        assert_eq!((heard.pressed, heard.heard, heard.doubled), (2, 1, 2));
    }
}
