//! A media thread: twenty milliseconds cut into ten phases of two, each leg in one of
//! them, so that work and packets are spread. Deadlines are absolute; a thread that is
//! late runs at once, one that is far behind leaves frames out instead of sending bursts.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use helpline_core::audio::answer::Answering;
use helpline_core::audio::codec::{Decoder, Encoder};
use helpline_core::audio::dtmf::Digit;
use helpline_core::audio::mix::Hears;
use helpline_core::audio::player::Item;
use helpline_core::audio::{Clip, Rate};
use helpline_core::sdp::Negotiated;
use helpline_core::time::Time;
use tokio::sync::oneshot;

use super::bridge::{Member, Mix};
use super::counters::Shared;
use super::inbox::Inbox;
use super::leg::Leg;
use super::realtime::{self, PHASE};
use super::recording::Recording;
use super::srtp::Srtp;
use super::{MediaError, MediaSource, SendDigits};

/// Commands that may wait for one thread.
const COMMANDS_MAX: usize = 256;
/// Phases of 2 ms in a frame of 20.
const PHASES: usize = 10;
const FRAME: Duration = Duration::from_millis(20);
/// Behind by more than this, frames are left out.
const BEHIND_MAX: Duration = Duration::from_millis(40);
/// How long a thread without legs sleeps before it stamps its loop again.
const IDLE: Duration = Duration::from_millis(100);

/// What a thread is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Take this leg.
    Open(Box<Leg>),
    /// Something for one leg.
    Order(u64, Order),
    /// Close a leg.
    Close(u64),
    /// Give a leg away, to another thread.
    Release(u64, oneshot::Sender<Box<Leg>>),
    /// Take a leg that another thread gave away.
    Take(Box<Leg>),
    /// Take this mix.
    Bridge(Box<Mix>),
    /// Put a leg into a mix, at a place.
    Join {
        bridge: u64,
        leg: u64,
        place: usize,
        member: Box<Member>,
    },
    /// Who hears whom in a mix.
    Hears(u64, Hears),
    /// Take a leg out of a mix.
    Leave(u64, u64),
    /// End a mix; its legs go on by themselves.
    Apart(u64),
    /// Answer when everything before is done.
    Sync(SyncSender<()>),
}

/// What a leg is told.
#[derive(Debug)]
pub(super) enum Order {
    Connect(Negotiated, MediaSource, Box<Codecs>),
    Secure(Option<Box<Srtp>>),
    Play {
        op: u32,
        items: Vec<Item>,
        any_key_stops: bool,
    },
    Stop(u32),
    Other(Digit, Duration),
    SendDigits(Vec<Digit>, SendDigits),
    Music(Option<Arc<Clip>>),
    Record(Box<Recording>),
    StopRecording,
    PauseRecording(bool),
    Detect(Box<Answering>),
    /// Makes the leg's next slot fail, to prove that only the leg dies of it.
    #[cfg(test)]
    Fault,
}

/// Both halves of a codec, made where allocating does no harm.
#[derive(Debug)]
pub(super) struct Codecs {
    pub(super) encoder: Encoder,
    pub(super) decoder: Decoder,
}

/// Whose turn it is in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Leg(u64),
    Bridge(u64),
}

/// Handle to a running thread.
#[derive(Debug)]
pub(super) struct Thread {
    to: SyncSender<Command>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    legs: AtomicUsize,
    /// Clock at the last turn of the loop, microseconds.
    stamp: AtomicU64,
    realtime: AtomicBool,
}

impl Thread {
    pub(super) fn start(index: usize, shared: &Arc<Shared>) -> Result<Thread, MediaError> {
        let (to, from) = sync_channel(COMMANDS_MAX);
        let state = Arc::new(State::default());
        state.stamp.store(realtime::now().micros(), Relaxed);
        let mut engine = Engine {
            from,
            state: Arc::clone(&state),
            shared: Arc::clone(shared),
            legs: HashMap::new(),
            bridges: HashMap::new(),
            phases: Default::default(),
        };
        // Known before `start` returns, so that `Media::realtime` never guesses.
        let (ready, is_ready) = sync_channel(1);
        std::thread::Builder::new()
            .name(format!("media-{index}"))
            .spawn(move || {
                let allowed = realtime::raise_priority(realtime::PRIORITY);
                engine.state.realtime.store(allowed, Relaxed);
                if !allowed && index == 0 {
                    tracing::warn!(
                        "media threads run without real-time priority: sound may stutter under load"
                    );
                }
                // The receiver waits for this one message; it cannot be gone.
                let _ = ready.send(());
                engine.run(&mut Inbox::new());
            })
            .map_err(MediaError::Thread)?;
        is_ready.recv().map_err(|_| MediaError::Stopped)?;
        Ok(Thread { to, state })
    }

    /// False when the thread is gone.
    pub(super) fn send(&self, command: Command) -> bool {
        if matches!(command, Command::Open(_) | Command::Take(_)) {
            self.state.legs.fetch_add(1, Relaxed);
        }
        self.to.send(command).is_ok()
    }

    /// Waits until every command sent before is obeyed.
    pub(super) fn sync(&self) {
        let (done, is_done) = sync_channel(1);
        if self.send(Command::Sync(done)) {
            // An error means that the thread is gone, and its legs with it.
            let _ = is_done.recv();
        }
    }

    pub(super) fn legs(&self) -> usize {
        self.state.legs.load(Relaxed)
    }

    pub(super) fn is_realtime(&self) -> bool {
        self.state.realtime.load(Relaxed)
    }

    pub(super) fn stamp(&self) -> Time {
        Time::from_micros(self.state.stamp.load(Relaxed))
    }
}

/// What runs on the thread.
struct Engine {
    from: Receiver<Command>,
    state: Arc<State>,
    shared: Arc<Shared>,
    legs: HashMap<u64, Box<Leg>>,
    bridges: HashMap<u64, Box<Mix>>,
    /// Whose turn it is in each phase; a bridged leg has no turn of its own.
    phases: [Vec<Turn>; PHASES],
}

impl Engine {
    fn run(&mut self, inbox: &mut Inbox) {
        while self.wait_for_leg() {
            self.run_frames(inbox);
        }
    }

    /// Sleeps while there is nothing to do; false when nobody can ask for anything more.
    fn wait_for_leg(&mut self) -> bool {
        while self.legs.is_empty() {
            self.stamp(realtime::now());
            match self.from.recv_timeout(IDLE) {
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }

    /// Frame after frame until the last leg is closed.
    fn run_frames(&mut self, inbox: &mut Inbox) {
        let mut start = realtime::now();
        while !self.legs.is_empty() {
            let mut skipped = 0;
            let behind = realtime::now().since(start);
            if behind > BEHIND_MAX {
                skipped = u32::try_from(behind.as_millis() / FRAME.as_millis()).unwrap_or(u32::MAX);
                start = start + FRAME.saturating_mul(skipped);
            }
            for phase in 0..PHASES {
                let due = start + PHASE.saturating_mul(u32::try_from(phase).unwrap_or(0));
                self.run_phase(phase, due, skipped, inbox);
            }
            start = start + FRAME;
        }
    }

    fn run_phase(&mut self, phase: usize, due: Time, skipped: u32, inbox: &mut Inbox) {
        if self.phases.get(phase).is_none_or(Vec::is_empty) {
            return;
        }
        realtime::sleep_until(due);
        self.obey_all();
        let now = realtime::now();
        self.stamp(now);
        self.shared.tick_was_late(now.since(due));
        let turns = self.phases.get_mut(phase).map(std::mem::take);
        let mut turns = turns.unwrap_or_default();
        let mut kept = 0;
        for index in 0..turns.len() {
            self.bring_near(turns.get(index + 1));
            let lives = match turns.get(index) {
                Some(Turn::Leg(id)) => self.guard(*id, |leg| leg.slot(now, skipped, inbox)),
                Some(Turn::Bridge(id)) => self.run_bridge(*id, (now, skipped), inbox),
                None => false,
            };
            // Whoever is no more leaves the list.
            if lives {
                turns.swap(kept, index);
                kept += 1;
            }
        }
        turns.truncate(kept);
        // Legs that `obey` opened meanwhile went to this phase's new list.
        if let Some(list) = self.phases.get_mut(phase) {
            turns.append(list);
            *list = turns;
        }
    }

    /// The leg whose turn is next comes into the cache while this one works: since its last
    /// turn all other legs have pushed it out.
    fn bring_near(&self, turn: Option<&Turn>) {
        if let Some(Turn::Leg(id)) = turn
            && let Some(leg) = self.legs.get(id)
        {
            leg.bring_near();
        }
    }

    /// All legs of a mix: first everybody says what he says, then everybody hears.
    fn run_bridge(&mut self, id: u64, at: (Time, u32), inbox: &mut Inbox) -> bool {
        let Some(mut mix) = self.bridges.remove(&id) else {
            return false;
        };
        let Mix {
            legs, mixer, said, ..
        } = &mut *mix;
        mixer.set_rate(self.rate_of(legs));
        let rate = mixer.rate();
        for (place, said) in legs.iter_mut().zip(said.iter_mut()) {
            if let Some(leg) = *place
                && !self.guard(leg, |leg| leg.say(at, inbox, rate, said))
            {
                *place = None;
                said.fill(0);
            }
        }
        for (place, leg) in legs.iter_mut().enumerate() {
            if let Some(id) = *leg
                && !self.guard(id, |leg| leg.hear(at.0, mixer, place, said))
            {
                *leg = None;
            }
        }
        self.bridges.insert(id, mix);
        true
    }

    /// 16 kHz is worth it when two legs can hear it.
    fn rate_of(&self, legs: &[Option<u64>]) -> Rate {
        let codecs = legs.iter().flatten().filter_map(|id| self.legs.get(id));
        let wide = codecs.filter(|leg| leg.codec().rate() == Rate::Wide);
        if wide.count() >= 2 {
            Rate::Wide
        } else {
            Rate::Narrow
        }
    }

    /// Lets a leg act; false when it is no more. A fault in one leg must not silence the
    /// others on this thread.
    fn guard(&mut self, id: u64, act: impl FnOnce(&mut Leg)) -> bool {
        let Some(leg) = self.legs.get_mut(&id) else {
            return false;
        };
        let fine = catch_unwind(AssertUnwindSafe(|| act(leg))).is_ok();
        if !fine {
            self.shared.faults.add(1);
            if let Some(leg) = self.legs.remove(&id) {
                leg.failed();
                self.closed();
            }
        }
        fine
    }

    fn obey_all(&mut self) {
        for _ in 0..COMMANDS_MAX {
            match self.from.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Open(leg) => {
                self.shared.legs_opened.add(1);
                self.take(leg);
            }
            Command::Take(leg) => self.take(leg),
            Command::Release(id, to) => self.release(id, to),
            Command::Bridge(mix) => {
                self.give_turn(Turn::Bridge(mix.id));
                self.bridges.insert(mix.id, mix);
            }
            Command::Join {
                bridge,
                leg,
                place,
                member,
            } => self.join(bridge, leg, place, member),
            Command::Hears(bridge, hears) => {
                if let Some(mix) = self.bridges.get_mut(&bridge) {
                    mix.mixer.set(&hears);
                }
            }
            Command::Leave(bridge, leg) => self.leave(bridge, leg),
            Command::Apart(bridge) => {
                let legs = self.bridges.get(&bridge).map(|mix| mix.legs);
                for leg in legs.into_iter().flatten().flatten() {
                    self.leave(bridge, leg);
                }
                self.bridges.remove(&bridge);
                self.take_turn(Turn::Bridge(bridge));
            }
            Command::Order(id, order) => {
                self.guard(id, |leg| leg.order(realtime::now(), order));
            }
            Command::Close(id) => {
                if let Some(leg) = self.legs.remove(&id) {
                    leg.close();
                    self.closed();
                }
                self.forget(id);
            }
            Command::Sync(done) => {
                // Whoever asked may have given up waiting; the ring holds one answer.
                let _ = done.try_send(());
            }
        }
    }

    fn take(&mut self, leg: Box<Leg>) {
        self.give_turn(Turn::Leg(leg.id()));
        self.legs.insert(leg.id(), leg);
    }

    fn release(&mut self, id: u64, to: oneshot::Sender<Box<Leg>>) {
        let Some(mut leg) = self.legs.remove(&id) else {
            return; // whoever asked learns it by the closed channel
        };
        self.forget(id);
        leg.leave();
        match to.send(leg) {
            Ok(()) => drop(self.state.legs.fetch_sub(1, Relaxed)),
            Err(leg) => self.take(leg),
        }
    }

    fn join(&mut self, bridge: u64, id: u64, place: usize, member: Box<Member>) {
        self.forget(id);
        self.guard(id, Leg::leave);
        let free = self.bridges.get_mut(&bridge).and_then(|mix| {
            let place = mix.legs.get_mut(place);
            place.filter(|place| place.is_none())
        });
        let Some(place) = free else {
            self.give_turn(Turn::Leg(id));
            return;
        };
        *place = Some(id);
        self.guard(id, |leg| leg.join(member));
    }

    /// A leg leaves a mix and has its turn in the mix's phase.
    fn leave(&mut self, bridge: u64, id: u64) {
        let is_member = |mix: &&mut Box<Mix>| mix.legs.contains(&Some(id));
        let Some(mix) = self.bridges.get_mut(&bridge).filter(is_member) else {
            return;
        };
        mix.leave(id);
        if self.guard(id, Leg::leave) {
            let turn = Turn::Bridge(bridge);
            match self.phases.iter_mut().find(|turns| turns.contains(&turn)) {
                Some(turns) => turns.push(Turn::Leg(id)),
                None => self.give_turn(Turn::Leg(id)),
            }
        }
    }

    /// A leg has no turn and no part in a mix any more.
    fn forget(&mut self, id: u64) {
        self.take_turn(Turn::Leg(id));
        for mix in self.bridges.values_mut() {
            mix.leave(id);
        }
    }

    fn give_turn(&mut self, turn: Turn) {
        if let Some(turns) = self.phases.iter_mut().min_by_key(|turns| turns.len()) {
            turns.push(turn);
        }
    }

    fn take_turn(&mut self, turn: Turn) {
        for turns in &mut self.phases {
            turns.retain(|known| *known != turn);
        }
    }

    fn closed(&self) {
        self.shared.legs_closed.add(1);
        self.state.legs.fetch_sub(1, Relaxed);
    }

    fn stamp(&self, now: Time) {
        self.state.stamp.store(now.micros(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::sync::mpsc;

    use super::super::counters::LegStats;
    use super::super::leg::Opening;
    use super::super::ports::{Ports, free_range};
    use super::*;

    fn engine() -> Engine {
        Engine {
            from: sync_channel(1).1,
            state: Arc::default(),
            shared: Arc::default(),
            legs: HashMap::new(),
            bridges: HashMap::new(),
            phases: Default::default(),
        }
    }

    fn open(engine: &mut Engine, ports: &Arc<Ports>, id: u64) {
        let pair = ports.bind(Ipv4Addr::LOCALHOST.into()).unwrap();
        let leg = Leg::new(Opening {
            id,
            pair,
            seed: id,
            no_rtp: Duration::from_secs(30),
            events: mpsc::channel(8).0,
            stats: Arc::new(LegStats::default()),
            shared: Arc::clone(&engine.shared),
        });
        engine.state.legs.fetch_add(1, Relaxed);
        engine.obey(Command::Open(Box::new(leg)));
    }

    #[test]
    fn legs_are_spread_over_the_phases_and_fill_the_places_of_closed_ones() {
        let mut engine = engine();
        let low = free_range(100);
        let ports = Arc::new(Ports::new((low, low + 99)));
        for id in 0..20 {
            open(&mut engine, &ports, id);
        }
        assert!(engine.phases.iter().all(|ids| ids.len() == 2));
        let phase = engine
            .phases
            .iter()
            .position(|turns| turns.contains(&Turn::Leg(7)))
            .unwrap();
        engine.obey(Command::Close(7));
        engine.obey(Command::Close(7)); // twice is once
        assert_eq!(engine.phases[phase].len(), 1);
        open(&mut engine, &ports, 100);
        assert!(engine.phases[phase].contains(&Turn::Leg(100)));
        assert_eq!(
            (engine.legs.len(), engine.state.legs.load(Relaxed)),
            (20, 20)
        );
    }

    #[test]
    fn orders_for_a_leg_that_is_gone_are_nothing() {
        let mut engine = engine();
        engine.obey(Command::Order(5, Order::Stop(1)));
        engine.obey(Command::Close(5));
        assert_eq!(engine.shared.snapshot().legs_open, 0);
    }

    #[test]
    fn late_phase_runs_at_once_and_is_counted() {
        let mut engine = engine();
        let low = free_range(10);
        let ports = Arc::new(Ports::new((low, low + 9)));
        open(&mut engine, &ports, 1);
        let phase = engine
            .phases
            .iter()
            .position(|ids| !ids.is_empty())
            .unwrap();
        let begin = realtime::now();
        let due = Time::from_micros(begin.micros().saturating_sub(30_000));
        engine.run_phase(phase, due, 3, &mut Inbox::new());
        assert!(realtime::now().since(begin) < Duration::from_millis(500));
        let counted = engine.shared.snapshot();
        assert_eq!((counted.late_ticks, counted.frames_skipped), (1, 3));
        assert!(counted.tick_late_micros_max >= 30_000);
    }
}
