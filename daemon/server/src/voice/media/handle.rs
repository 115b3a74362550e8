//! Ways to legs and bridges: which thread a leg is on, and the orders that wait while it
//! moves to another.

use std::sync::{Arc, Mutex, PoisonError};

use helpline_core::audio::Codec;
use helpline_core::audio::mix::Hears;
use tokio::sync::oneshot;

use super::bridge::{Member, Mix};
use super::counters::LegStats;
use super::thread::Command;
use super::{Media, MediaError};

/// A leg, to be bridged; does not keep it open.
#[derive(Clone, Debug)]
pub struct LegRef {
    route: Arc<Route>,
}

#[derive(Debug)]
struct Route {
    media: Media,
    id: u64,
    stats: Arc<LegStats>,
    state: Mutex<State>,
}

/// Where a leg is.
#[derive(Debug)]
struct State {
    thread: usize,
    /// Orders given while it moves.
    held: Option<Vec<Command>>,
}

/// Legs that hear each other. Dropping it sets them apart.
#[derive(Debug)]
pub struct Bridge {
    media: Media,
    thread: usize,
    id: u64,
}

impl LegRef {
    pub(super) fn new(media: Media, thread: usize, id: u64, stats: Arc<LegStats>) -> LegRef {
        let state = Mutex::new(State { thread, held: None });
        LegRef {
            route: Arc::new(Route {
                media,
                id,
                stats,
                state,
            }),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.route.id
    }

    pub(super) fn media(&self) -> &Media {
        &self.route.media
    }

    pub(super) fn stats(&self) -> &LegStats {
        &self.route.stats
    }

    /// Whether the thread took it. Waits only if 256 commands are queued, which a running
    /// thread clears within 20 ms.
    pub(super) fn order(&self, command: Command) -> bool {
        let mut state = self.state();
        if let Some(held) = &mut state.held {
            held.push(command);
            return true;
        }
        self.route.media.send(state.thread, command)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        let state = self.route.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the leg to `thread`. Its packets of one slot may be late.
    async fn move_to(&self, thread: usize) -> Result<(), MediaError> {
        let (to, leg) = oneshot::channel();
        {
            let mut state = self.state();
            if state.thread == thread || state.held.is_some() {
                return Ok(());
            }
            let release = Command::Release(self.id(), to);
            if !self.route.media.send(state.thread, release) {
                return Err(MediaError::Stopped);
            }
            state.held = Some(Vec::new());
        }
        // Should whoever waits here give up, the orders must not be held for ever.
        let mut moving = Moving {
            leg: self,
            thread: None,
        };
        let leg = leg.await.map_err(|_| MediaError::Gone)?;
        if self.route.media.send(thread, Command::Take(leg)) {
            moving.thread = Some(thread);
            Ok(())
        } else {
            Err(MediaError::Stopped)
        }
    }
}

/// Ends a move, however it went.
struct Moving<'a> {
    leg: &'a LegRef,
    thread: Option<usize>,
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        let mut state = self.leg.state();
        state.thread = self.thread.unwrap_or(state.thread);
        for command in state.held.take().into_iter().flatten() {
            self.leg.route.media.send(state.thread, command);
        }
    }
}

impl Media {
    /// Lets legs hear each other as `hears` says; their places are those of `legs`, at
    /// most [`helpline_core::audio::mix::LEGS_MAX`]. A leg that is in another bridge
    /// leaves it. May take the time of a frame.
    ///
    /// # Errors
    /// [`MediaError::Gone`] if a leg is closed, [`MediaError::Stopped`].
    pub async fn bridge(&self, legs: &[LegRef], hears: &Hears) -> Result<Bridge, MediaError> {
        let thread = legs.first().map_or(0, |leg| leg.state().thread);
        let bridge = Bridge {
            media: self.clone(),
            thread,
            id: self.inner.shared.next_leg(),
        };
        let mix = Box::new(Mix::new(bridge.id, hears));
        if !self.send(thread, Command::Bridge(mix)) {
            return Err(MediaError::Stopped);
        }
        for (place, leg) in legs.iter().enumerate() {
            bridge.join(leg, place).await?;
        }
        Ok(bridge)
    }
}

impl Bridge {
    /// Adds a leg at a free place.
    ///
    /// # Errors
    /// As [`Media::bridge`].
    pub async fn join(&self, leg: &LegRef, place: usize) -> Result<(), MediaError> {
        leg.move_to(self.thread).await?;
        let codec = leg.stats().codec_now().unwrap_or(Codec::Pcmu);
        let joined = self.send(Command::Join {
            bridge: self.id,
            leg: leg.id(),
            place,
            member: Box::new(Member::new(codec)),
        });
        if joined {
            Ok(())
        } else {
            Err(MediaError::Stopped)
        }
    }

    /// Takes a leg out; it goes on by itself.
    pub fn leave(&self, leg: &LegRef) {
        self.send(Command::Leave(self.id, leg.id()));
    }

    /// Changes who hears whom, over 5 ms.
    pub fn set_hears(&self, hears: &Hears) {
        self.send(Command::Hears(self.id, *hears));
    }

    fn send(&self, command: Command) -> bool {
        self.media.send(self.thread, command)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.send(Command::Apart(self.id));
    }
}
