//! One leg on its media thread: its sockets, what it hears and what it sends, in slots
//! of 20 ms. Nothing here waits, opens a file or writes a log line.

mod reports;

use std::borrow::Cow;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::audio::answer;
use helpline_core::audio::mix::{LEGS_MAX, Mixer, Sound};
use helpline_core::audio::rate::WIDE_SAMPLES;
use helpline_core::audio::{Codec, FRAME_SAMPLES, Rate};
use helpline_core::ivr::io::Key;
use helpline_core::rng::Rng;
use helpline_core::rtp::digits::{self, DigitSource};
use helpline_core::rtp::latch::{Latch, Verdict};
use helpline_core::rtp::packet::PACKET_BYTES_MAX;
use helpline_core::sdp::{Direction, Negotiated};
use helpline_core::time::Time;
use tokio::sync::mpsc;

use super::bridge::Member;
use super::counters::{LegStats, Shared};
use super::hearing::Hearing;
use super::inbox::{DATAGRAMS_MAX, Inbox};
use super::ports::Pair;
use super::realtime;
use super::sending::{Narrow, Sending, Source};
use super::srtp::Srtp;
use super::thread::{Codecs, Order};
use super::{MediaEvent, MediaSource};

/// A socket is emptied at least every so many slots; else one packet is read.
const DRAIN_SLOTS: u64 = 32;
/// More datagrams than a socket's buffer has room for.
const WAITING_MAX: usize = 4_096;
/// RTCP is read every so many slots.
const RTCP_SLOTS: u64 = 12;
/// Between two reports, times 0.5 to 1.5 (RFC 3550 §6.2).
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// The first packet may take less long than any later pause.
const FIRST_RTP: Duration = Duration::from_secs(10);

/// What a leg is made of.
pub(super) struct Opening {
    pub(super) id: u64,
    pub(super) pair: Pair,
    /// From the operating system: source, sequence and time line come from it.
    pub(super) seed: u64,
    pub(super) no_rtp: Duration,
    pub(super) events: mpsc::Sender<MediaEvent>,
    pub(super) stats: Arc<LegStats>,
    pub(super) shared: Arc<Shared>,
}

/// A leg.
#[derive(Debug)]
pub(super) struct Leg {
    id: u64,
    pair: Pair,
    rng: Rng,
    /// Name of our end in RTCP.
    name: u64,
    negotiated: Option<Negotiated>,
    /// Whom we listen and speak to, once something was negotiated.
    latch: Option<Latch>,
    /// The kernel lets only the peer's packets in.
    is_filtered: bool,
    /// Whether the socket was found empty since then: what waited before is of anybody.
    is_swept: bool,
    /// More than one packet may wait: none came in a slot, or several the last time.
    has_backlog: bool,
    /// Packets are encrypted.
    srtp: Option<Box<Srtp>>,
    hearing: Hearing,
    sending: Sending,
    /// While it is bridged.
    member: Option<Box<Member>>,
    slots: u64,
    no_rtp: Duration,
    /// When [`MediaEvent::NoRtp`] is due.
    no_rtp_at: Option<Time>,
    report_at: Option<Time>,
    events: mpsc::Sender<MediaEvent>,
    stats: Arc<LegStats>,
    shared: Arc<Shared>,
    /// Loss already added to the sums.
    lost_told: u64,
    #[cfg(test)]
    fails: bool,
}

impl Leg {
    pub(super) fn new(opening: Opening) -> Leg {
        let mut rng = Rng::new(opening.seed);
        Leg {
            id: opening.id,
            pair: opening.pair,
            name: rng.next_u64(),
            negotiated: None,
            latch: None,
            is_filtered: false,
            is_swept: false,
            has_backlog: false,
            srtp: None,
            hearing: Hearing::default(),
            member: None,
            sending: Sending::new(&mut rng),
            rng,
            slots: 0,
            no_rtp: opening.no_rtp,
            no_rtp_at: None,
            report_at: None,
            events: opening.events,
            stats: opening.stats,
            shared: opening.shared,
            lost_told: 0,
            #[cfg(test)]
            fails: false,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Takes an order; its effect is heard in the next slot.
    pub(super) fn order(&mut self, now: Time, order: Order) {
        match order {
            Order::Connect(negotiated, source, codecs) => {
                self.connect(now, negotiated, source, *codecs);
            }
            Order::Secure(srtp) => self.srtp = srtp,
            Order::Play {
                op,
                items,
                any_key_stops,
            } => self.sending.player.play(op, items, any_key_stops),
            Order::Stop(op) => self.sending.player.stop(op),
            Order::Other(digit, length) => {
                let input = digits::Input::Other(digit, length);
                self.hearing.digit(now, input);
            }
            Order::SendDigits(digits, how) => self.sending.digits(digits, how),
            Order::Music(clip) => self.sending.music.set(clip),
            Order::Record(recording) => {
                self.stop_recording();
                self.hearing.record(recording);
            }
            Order::StopRecording => self.stop_recording(),
            Order::PauseRecording(is_paused) => {
                if let Some(recording) = self.hearing.recording() {
                    recording.pause(is_paused);
                }
            }
            Order::Detect(answering) => self.hearing.detect(answering),
            #[cfg(test)]
            Order::Fault => self.fails = true,
        }
    }

    /// Reads what the leg's slot will wait for, all at once: one wait on memory instead of
    /// one for each.
    pub(super) fn bring_near(&self) {
        std::hint::black_box((
            self.slots,
            self.latch.is_some(),
            self.stats.packets_sent.get(),
            self.hearing.bring_near(),
            self.sending.bring_near(),
        ));
    }

    /// The leg's 20 ms; `skipped` frames before it were left out.
    pub(super) fn slot(&mut self, now: Time, skipped: u32, inbox: &mut Inbox) {
        self.listen(now, skipped, inbox);
        self.speak(now, Source::Own);
    }

    /// Takes in what came.
    pub(super) fn listen(&mut self, now: Time, skipped: u32, inbox: &mut Inbox) {
        #[cfg(test)]
        assert!(!self.fails, "a fault made by a test");
        if skipped > 0 {
            self.sending.skip(skipped);
            self.shared.frames_skipped.add(u64::from(skipped));
        }
        self.receive(now, inbox);
        self.hearing.tick(now);
        self.tell_digits();
    }

    fn speak(&mut self, now: Time, source: Source<'_>) {
        self.send(source);
        self.tell_ends();
        self.tell_answerer();
        self.tell_recorded();
        self.rtcp(now);
        self.watch(now);
        self.slots += 1;
    }

    /// From now on its sound goes into a mix and comes out of one.
    pub(super) fn join(&mut self, mut member: Box<Member>) {
        // A re-INVITE may have changed the codec while the bridge was made.
        if member.playout.codec() != self.codec() {
            *member = Member::new(self.codec());
        }
        self.hearing.bridged(true);
        self.member = Some(member);
    }

    /// On its own again.
    pub(super) fn leave(&mut self) {
        self.count_played();
        self.hearing.bridged(false);
        self.member = None;
    }

    /// Codec agreed on; before that, that of every telephone.
    pub(super) fn codec(&self) -> Codec {
        self.negotiated.map_or(Codec::Pcmu, |n| n.codec)
    }

    /// Listens, and gives what the leg says in this slot into a mix at `rate`.
    pub(super) fn say(
        &mut self,
        (now, skipped): (Time, u32),
        inbox: &mut Inbox,
        rate: Rate,
        out: &mut Sound,
    ) {
        self.listen(now, skipped, inbox);
        let Some(member) = &mut self.member else {
            return;
        };
        let mut own = [0; WIDE_SAMPLES];
        let heard = member.says(now, rate, &mut own, out);
        self.hearing.paced(now, heard, &own);
    }

    /// Hears its part of the mix: place, and what all say.
    pub(super) fn hear(
        &mut self,
        now: Time,
        mixer: &mut Mixer,
        place: usize,
        said: &[Sound; LEGS_MAX],
    ) {
        let own_rate = self.codec().rate();
        let plays = self.sending.own();
        let Some(member) = &mut self.member else {
            return;
        };
        let rate = mixer.rate();
        let (prompt, music) = member.plays(rate, plays);
        let mut mixed = [0; WIDE_SAMPLES];
        mixer.mix(place, said, &prompt, &music, &mut mixed);
        let mut heard = [0; WIDE_SAMPLES];
        member.hears(rate, own_rate, &mixed, &mut heard);
        self.speak(now, Source::Mix(&heard));
    }

    /// Ends the leg in good order.
    pub(super) fn close(mut self: Box<Self>) {
        self.stop_recording();
        self.count_played();
        self.count_loss();
        self.send_report(true);
    }

    /// Ends the leg after a fault.
    pub(super) fn failed(self: Box<Self>) {
        let report = self.stats.report();
        self.tell(MediaEvent::Closed(report));
    }

    fn connect(&mut self, now: Time, negotiated: Negotiated, source: MediaSource, codecs: Codecs) {
        self.stats.codec(negotiated.codec);
        self.hearing.connect(now, &negotiated, codecs.decoder);
        self.sending.connect(negotiated.codec, codecs.encoder);
        let remote = negotiated.remote;
        if self.negotiated.is_none_or(|old| old.remote != remote) {
            let signalled = source.signalled.unwrap_or(remote.ip());
            self.latch = Some(Latch::new(now, source.mode, remote, signalled));
            self.filter(now);
            self.sweep(now);
            self.no_rtp_at = None;
        }
        if negotiated.direction != Direction::SendRecv {
            self.no_rtp_at = None; // held: silence is what was agreed on
        } else if self.no_rtp_at.is_none() {
            self.no_rtp_at = Some(now + self.no_rtp.min(FIRST_RTP));
        }
        if self.report_at.is_none() {
            self.report_at = Some(now + self.rng.jitter(REPORT_EVERY, 0.5));
        }
        self.negotiated = Some(negotiated);
        if let Some(member) = self.member.take() {
            self.join(member);
        }
    }

    /// Once the peer is known the kernel drops what comes from anywhere else, at no
    /// cost. Where it cannot (no route yet), each datagram is judged here.
    fn filter(&mut self, now: Time) {
        let peer = match &self.latch {
            Some(latch) if !latch.is_open(now) => latch.peer(),
            _ => None,
        };
        match peer.filter(|peer| !peer.ip().is_unspecified()) {
            Some(peer) => {
                self.is_filtered = self.pair.rtp.connect(peer).is_ok();
                self.is_swept = false;
            }
            None if self.is_filtered => {
                self.is_filtered = !realtime::disconnect(&self.pair.rtp);
            }
            None => {}
        }
    }

    fn receive(&mut self, now: Time, inbox: &mut Inbox) {
        if self
            .latch
            .as_ref()
            .is_some_and(|latch| latch.is_open(now) == self.is_filtered)
        {
            self.filter(now);
        }
        if !self.is_filtered || !self.is_swept {
            self.is_swept = self.receive_any(now);
            return;
        }
        // One packet a slot is what comes; asking whether there is another costs as much
        // as the packet. Several wait after a slot in which none came; what a fast clock
        // piles up is found within 640 ms.
        let count = if self.has_backlog || self.slots.is_multiple_of(DRAIN_SLOTS) {
            inbox.read(&self.pair.rtp)
        } else {
            inbox.read_one(&self.pair.rtp)
        };
        self.has_backlog = count != 1;
        for index in 0..count {
            match open(&mut self.srtp, inbox.datagram(index)) {
                Some(bytes) => self.datagram(now, &bytes),
                None => self.shared.packets_bad.add(1),
            }
        }
    }

    /// Judges everything that came before an agreement, however much of it is of nobody: it
    /// must not stand before what comes now.
    fn sweep(&mut self, now: Time) {
        for _ in 0..WAITING_MAX / DATAGRAMS_MAX {
            if self.receive_any(now) {
                return;
            }
        }
    }

    /// Reads a socket at which anybody's datagrams may wait; whether it is empty now.
    fn receive_any(&mut self, now: Time) -> bool {
        let mut buffer = [0; PACKET_BYTES_MAX + 1];
        for _ in 0..DATAGRAMS_MAX {
            let (length, from) = match self.pair.rtp.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                // An answer "port unreachable" to what we sent, told here by the kernel.
                Err(_) => continue,
            };
            // A packet that does not prove the key counts for nothing, wherever it is from.
            let Some(bytes) = open(&mut self.srtp, buffer.get(..length).unwrap_or(&[])) else {
                self.shared.packets_bad.add(1);
                continue;
            };
            let packet = self.hearing.packet(&bytes);
            // Before an agreement nobody is the right source.
            let verdict = match &mut self.latch {
                Some(latch) => latch.judge(now, from, packet.as_ref()),
                None => Verdict::Refuse,
            };
            match verdict {
                Verdict::Take => self.datagram(now, &bytes),
                Verdict::Lock(_) => {
                    self.filter(now);
                    self.datagram(now, &bytes);
                }
                Verdict::Wait => {}
                Verdict::Refuse => {
                    self.stats.wrong_source.add(1);
                    self.shared.wrong_source.add(1);
                }
            }
        }
        false
    }

    /// A datagram of the peer.
    fn datagram(&mut self, now: Time, bytes: &[u8]) {
        let playout = self.member.as_mut().map(|member| &mut member.playout);
        if !self.hearing.datagram(now, bytes, playout) {
            self.shared.packets_bad.add(1);
            return;
        }
        if let Some(latch) = &mut self.latch {
            latch.heard(now, self.hearing.source.received().ssrc);
        }
        self.stats.packets_received.add(1);
        self.shared.packets_received.add(1);
        if self.no_rtp_at.is_some() {
            self.no_rtp_at = Some(now + self.no_rtp);
        }
    }

    fn tell_digits(&mut self) {
        while let Some(output) = self.hearing.poll_digit() {
            match output {
                digits::Output::Down(digit, source) => {
                    self.count_digit(source);
                    if let Some(key) = Key::new(digit.char()) {
                        self.tell(MediaEvent::KeyDown(key, source));
                        self.hearing.key(key, source);
                    }
                    // At once, here: no round trip to whoever started the prompt.
                    self.sending.player.key();
                }
                digits::Output::Up(digit) => {
                    if let Some(key) = Key::new(digit.char()) {
                        self.tell(MediaEvent::KeyUp(key));
                    }
                }
            }
        }
    }

    fn send(&mut self, source: Source<'_>) {
        let mut told = [0; FRAME_SAMPLES];
        let wanted = self.hearing.wants_ours();
        self.send_packet(source, wanted.then_some(&mut told));
        if wanted {
            self.hearing.ours(&told);
        }
    }

    fn send_packet(&mut self, source: Source<'_>, told: Option<&mut Narrow>) {
        let (Some(negotiated), Some(latch)) = (self.negotiated, &self.latch) else {
            return;
        };
        let Some(packet) = self.sending.packet(&negotiated, source, told) else {
            return;
        };
        // Nothing goes to an address that is not known to be the peer's; the time line
        // goes on.
        let Some(peer) = latch.peer() else {
            return;
        };
        let sealed = match &mut self.srtp {
            None => None,
            Some(srtp) => match srtp.seal(packet) {
                Some(sealed) => Some(sealed),
                // Nothing goes out in the clear.
                None => return,
            },
        };
        let packet = sealed.as_deref().unwrap_or(packet);
        let sent = if self.is_filtered {
            self.pair.rtp.send(packet)
        } else {
            self.pair.rtp.send_to(packet, peer)
        };
        if sent.is_ok() {
            self.stats.packets_sent.add(1);
            self.shared.packets_sent.add(1);
        } else {
            // Unreachable for the moment or for good: the time line goes on either way.
            self.shared.send_errors.add(1);
        }
    }

    fn tell_ends(&mut self) {
        while let Some(ended) = self.sending.player.poll() {
            self.hearing.played(&ended);
            self.tell(MediaEvent::PlayEnded {
                op: ended.op,
                why: ended.why,
            });
        }
    }

    fn tell_answerer(&mut self) {
        while let Some(output) = self.hearing.poll_answerer() {
            self.tell(match output {
                answer::Output::Verdict(who, features) => MediaEvent::Answerer(who, features),
                answer::Output::Listens(after_beep) => MediaEvent::MachineListens { after_beep },
            });
        }
    }

    fn tell_recorded(&mut self) {
        if let Some((op, why, length)) = self.hearing.recorded() {
            self.tell(MediaEvent::Recorded { op, why, length });
        }
    }

    fn stop_recording(&mut self) {
        if let Some(recording) = self.hearing.recording() {
            recording.stop();
            self.tell_recorded();
        }
    }

    /// What the jitter buffer of a bridge did.
    fn count_played(&mut self) {
        if let Some(member) = &self.member {
            let played = member.playout.played();
            self.shared.frames_concealed.add(played.concealed);
            self.shared.packets_late.add(played.late);
            self.stats.frames_concealed.add(played.concealed);
        }
    }

    /// Tells of a leg on which nothing comes.
    fn watch(&mut self, now: Time) {
        if self.no_rtp_at.is_some_and(|at| at <= now) {
            self.no_rtp_at = Some(now + self.no_rtp);
            self.tell(MediaEvent::NoRtp);
        }
    }

    fn count_loss(&mut self) {
        let received = self.hearing.source.received();
        let jitter = self.hearing.source.jitter().as_micros();
        self.stats.packets_lost.set(received.lost);
        self.stats
            .jitter_micros
            .set(u64::try_from(jitter).unwrap_or(u64::MAX));
        // A packet that comes late takes its loss back; the sum only grows.
        self.shared
            .packets_lost
            .add(received.lost.saturating_sub(self.lost_told));
        self.lost_told = self.lost_told.max(received.lost);
    }

    fn count_digit(&self, source: DigitSource) {
        self.stats.digit(source);
        self.shared.digit(source);
    }

    fn tell(&self, event: MediaEvent) {
        if self.events.try_send(event).is_err() {
            self.shared.events_dropped.add(1);
        }
    }
}

/// The RTP packet in a datagram: itself, or what it decrypts to.
fn open<'a>(srtp: &mut Option<Box<Srtp>>, datagram: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    match srtp {
        None => Some(Cow::Borrowed(datagram)),
        Some(srtp) => srtp.open(datagram).map(|plain| Cow::Owned(plain.to_vec())),
    }
}
