//! Reports of a leg: what it sends by RTCP, and what it hears.

use helpline_core::rtp::latch::Latch;
use helpline_core::rtp::packet::PACKET_BYTES_MAX;
use helpline_core::rtp::rtcp;
use helpline_core::time::Time;

use super::{DATAGRAMS_MAX, Leg, REPORT_EVERY, RTCP_SLOTS, realtime};

impl Leg {
    pub(super) fn rtcp(&mut self, now: Time) {
        if self.slots.is_multiple_of(RTCP_SLOTS) {
            self.receive_rtcp();
            self.count_loss();
        }
        if self.report_at.is_some_and(|at| at <= now) {
            self.report_at = Some(now + self.rng.jitter(REPORT_EVERY, 0.5));
            self.send_report(false);
        }
    }

    fn receive_rtcp(&mut self) {
        let mut buffer = [0; PACKET_BYTES_MAX];
        let peer = self.latch.as_ref().and_then(Latch::peer);
        for _ in 0..DATAGRAMS_MAX {
            let Ok((length, from)) = self.pair.rtcp.recv_from(&mut buffer) else {
                return;
            };
            if peer.is_none_or(|peer| peer.ip() != from.ip()) {
                continue;
            }
            let bytes = buffer.get(..length).unwrap_or(&[]);
            let opened = self.srtp.as_mut().map(|srtp| srtp.open_rtcp(bytes));
            let bytes = match &opened {
                None => bytes,
                Some(Some(bytes)) => bytes,
                Some(None) => continue,
            };
            // A bye, or no report at all, never ends a call: that is SIP's to say.
            if let Some(heard) = rtcp::read(bytes, self.sending.ssrc()) {
                self.stats.remote_lost.set(u64::from(heard.lost));
            }
        }
    }

    pub(super) fn send_report(&mut self, bye: bool) {
        let Some(mut to) = self.latch.as_ref().and_then(Latch::peer) else {
            return;
        };
        let Some(port) = to
            .port()
            .checked_add(1)
            .filter(|_| !to.ip().is_unspecified())
        else {
            return;
        };
        to.set_port(port);
        let sent = rtcp::Sent {
            ssrc: self.sending.ssrc(),
            wall: realtime::wall(),
            timestamp: self.sending.timestamp(),
            packets: self.sending.packets,
            bytes: self.sending.bytes,
        };
        let report = rtcp::report(&sent, &self.hearing.source.received(), self.name, bye);
        let sealed = self.srtp.as_mut().map(|srtp| srtp.seal_rtcp(&report));
        let report = match &sealed {
            None => &report[..],
            Some(Some(sealed)) => sealed,
            Some(None) => return,
        };
        // A report that gets lost is followed by another.
        let _ = self.pair.rtcp.send_to(report, to);
    }
}
