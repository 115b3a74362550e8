//! What media counts: relaxed atomics that the threads write and anybody reads.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use helpline_core::rtp::digits::DigitSource;
use helpline_core::sdp::Codec;

/// Sums over all legs since the start, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaCounters {
    /// Legs open now.
    pub legs_open: u64,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP packets received from the negotiated source.
    pub packets_received: u64,
    /// RTP packets that never came.
    pub packets_lost: u64,
    /// Packets that were no RTP, too short, or of a payload type not negotiated.
    pub packets_bad: u64,
    /// Packets from any other address or port, dropped.
    pub wrong_source: u64,
    /// Sends the kernel refused.
    pub send_errors: u64,
    /// Slots that began more than 5 ms late.
    pub late_ticks: u64,
    /// The latest slot since the start, microseconds.
    pub tick_late_micros_max: u64,
    /// Frames left out because a thread was more than two frames behind.
    pub frames_skipped: u64,
    /// Events a leg's reader was too slow for.
    pub events_dropped: u64,
    /// Digits that came as telephone events.
    pub digits_rfc4733: u64,
    /// Digits that came as SIP INFO.
    pub digits_info: u64,
    /// Digits that came as sound.
    pub digits_inband: u64,
    /// Frames made up in bridges for packets that did not come in time.
    pub frames_concealed: u64,
    /// Packets of bridged legs that came after their turn.
    pub packets_late: u64,
    /// Frames of recordings the writer was too slow for (silence in the file).
    pub recorder_gaps: u64,
    /// Legs closed by a fault inside media.
    pub faults: u64,
}

/// How one leg was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaReport {
    /// The codec last negotiated.
    pub codec: Option<Codec>,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP packets received from the negotiated source.
    pub packets_received: u64,
    /// RTP packets that never came.
    pub packets_lost: u64,
    /// Packets from any other address or port, dropped.
    pub wrong_source: u64,
    /// Interarrival jitter at the end (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// Loss the peer told of its side, packets.
    pub remote_lost: u64,
    /// Digits that came as telephone events.
    pub digits_rfc4733: u64,
    /// Digits that came as SIP INFO.
    pub digits_info: u64,
    /// Digits that came as sound.
    pub digits_inband: u64,
    /// Frames made up in bridges for packets that did not come in time.
    pub frames_concealed: u64,
}

/// A counter written by media and read by anybody.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(super) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn raise_to(&self, n: u64) {
        self.0.fetch_max(n, Relaxed);
    }
}

/// Counters of the whole of media.
#[derive(Debug, Default)]
pub(super) struct Shared {
    leg_ids: Count,
    pub(super) legs_opened: Count,
    pub(super) legs_closed: Count,
    pub(super) packets_sent: Count,
    pub(super) packets_received: Count,
    pub(super) packets_lost: Count,
    pub(super) packets_bad: Count,
    pub(super) wrong_source: Count,
    pub(super) send_errors: Count,
    pub(super) late_ticks: Count,
    tick_late_micros_max: Count,
    pub(super) frames_skipped: Count,
    pub(super) events_dropped: Count,
    digits: [Count; 3],
    pub(super) frames_concealed: Count,
    pub(super) packets_late: Count,
    pub(super) recorder_gaps: Count,
    pub(super) faults: Count,
}

impl Shared {
    pub(super) fn next_leg(&self) -> u64 {
        self.leg_ids.0.fetch_add(1, Relaxed)
    }

    /// A slot began so late.
    pub(super) fn tick_was_late(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.tick_late_micros_max.raise_to(micros);
        if by > Duration::from_millis(5) {
            self.late_ticks.add(1);
        }
    }

    pub(super) fn digit(&self, source: DigitSource) {
        let [inband, info, rfc4733] = &self.digits;
        match source {
            DigitSource::Inband => inband.add(1),
            DigitSource::Info => info.add(1),
            DigitSource::Rfc4733 => rfc4733.add(1),
        }
    }

    pub(super) fn snapshot(&self) -> MediaCounters {
        let [inband, info, rfc4733] = &self.digits;
        MediaCounters {
            legs_open: self
                .legs_opened
                .get()
                .saturating_sub(self.legs_closed.get()),
            packets_sent: self.packets_sent.get(),
            packets_received: self.packets_received.get(),
            packets_lost: self.packets_lost.get(),
            packets_bad: self.packets_bad.get(),
            wrong_source: self.wrong_source.get(),
            send_errors: self.send_errors.get(),
            late_ticks: self.late_ticks.get(),
            tick_late_micros_max: self.tick_late_micros_max.get(),
            frames_skipped: self.frames_skipped.get(),
            events_dropped: self.events_dropped.get(),
            digits_rfc4733: rfc4733.get(),
            digits_info: info.get(),
            digits_inband: inband.get(),
            frames_concealed: self.frames_concealed.get(),
            packets_late: self.packets_late.get(),
            recorder_gaps: self.recorder_gaps.get(),
            faults: self.faults.get(),
        }
    }
}

/// Counters of one leg.
#[derive(Debug, Default)]
pub(super) struct LegStats {
    /// 0: none, else payload type + 1.
    codec: AtomicU8,
    pub(super) packets_sent: Count,
    pub(super) packets_received: Count,
    pub(super) packets_lost: Count,
    pub(super) wrong_source: Count,
    pub(super) jitter_micros: Count,
    pub(super) remote_lost: Count,
    pub(super) frames_concealed: Count,
    digits: [Count; 3],
}

impl LegStats {
    pub(super) fn codec(&self, codec: Codec) {
        self.codec.store(codec.payload_type() + 1, Relaxed);
    }

    /// The codec last negotiated.
    pub(super) fn codec_now(&self) -> Option<Codec> {
        let codec = self.codec.load(Relaxed);
        Codec::ALL
            .into_iter()
            .find(|c| c.payload_type() + 1 == codec)
    }

    pub(super) fn digit(&self, source: DigitSource) {
        let [inband, info, rfc4733] = &self.digits;
        match source {
            DigitSource::Inband => inband.add(1),
            DigitSource::Info => info.add(1),
            DigitSource::Rfc4733 => rfc4733.add(1),
        }
    }

    pub(super) fn report(&self) -> MediaReport {
        let [inband, info, rfc4733] = &self.digits;
        MediaReport {
            codec: self.codec_now(),
            packets_sent: self.packets_sent.get(),
            packets_received: self.packets_received.get(),
            packets_lost: self.packets_lost.get(),
            wrong_source: self.wrong_source.get(),
            jitter: Duration::from_micros(self.jitter_micros.get()),
            remote_lost: self.remote_lost.get(),
            frames_concealed: self.frames_concealed.get(),
            digits_rfc4733: rfc4733.get(),
            digits_info: info.get(),
            digits_inband: inband.get(),
        }
    }
}
