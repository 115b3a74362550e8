//! Calls of this engine that hear each other: talk, hold, whisper, conference. The calls
//! go on by themselves when the talk is dropped.

use helpline_core::audio::mix::{Hears, LEGS_MAX, Scene};
use tokio::sync::{mpsc, oneshot};

use super::media::{Bridge, LegRef, Media, MediaError};
use super::{CallCommand, VoiceError};

/// Calls that are joined, by their places: customer, agent, then who joined later.
#[derive(Debug)]
pub struct Talk {
    bridge: Bridge,
    legs: Vec<LegRef>,
    scene: Scene,
    muted: [bool; LEGS_MAX],
}

impl Talk {
    /// Joins answered calls. One that is in another talk leaves it.
    pub(super) async fn begin(
        media: &Media,
        calls: &[&mpsc::Sender<CallCommand>],
        scene: Scene,
    ) -> Result<Talk, VoiceError> {
        if calls.len() > LEGS_MAX {
            return Err(VoiceError::NoChannel);
        }
        let mut legs = Vec::with_capacity(LEGS_MAX);
        for call in calls {
            legs.push(lent(call).await?);
        }
        let bridge = media.bridge(&legs, &Hears::of(scene)).await?;
        Ok(Talk {
            bridge,
            legs,
            scene,
            muted: [false; LEGS_MAX],
        })
    }

    /// Adds an answered call; the place it has.
    ///
    /// # Errors
    /// [`VoiceError::NoChannel`] if the talk is full, [`VoiceError::Internal`] if the
    /// call has ended.
    pub async fn add(&mut self, call: &mpsc::Sender<CallCommand>) -> Result<usize, VoiceError> {
        let place = self.legs.len();
        if place >= LEGS_MAX {
            return Err(VoiceError::NoChannel);
        }
        let leg = lent(call).await?;
        self.bridge.join(&leg, place).await?;
        self.legs.push(leg);
        Ok(place)
    }

    /// Who hears whom from now on, place by place, whatever the scene says.
    pub fn set_hears(&self, hears: &Hears) {
        self.bridge.set_hears(hears);
    }

    /// Who hears whom from now on. Those who are muted stay so.
    pub fn set_scene(&mut self, scene: Scene) {
        self.scene = scene;
        self.tell();
    }

    /// Nobody hears the leg at `place`, or everybody again whom the scene lets.
    pub fn mute(&mut self, place: usize, is_muted: bool) {
        if let Some(muted) = self.muted.get_mut(place) {
            *muted = is_muted;
            self.tell();
        }
    }

    /// The leg at `place` goes on by itself; the others keep their places.
    pub fn remove(&mut self, place: usize) {
        if let Some(leg) = self.legs.get(place) {
            self.bridge.leave(leg);
        }
    }

    fn tell(&self) {
        let mut hears = Hears::of(self.scene);
        for (place, muted) in self.muted.iter().enumerate() {
            if *muted {
                hears.mute(place);
            }
        }
        self.bridge.set_hears(&hears);
    }
}

impl From<MediaError> for VoiceError {
    fn from(error: MediaError) -> Self {
        VoiceError::Internal(error.to_string())
    }
}

/// The leg of a call that is up.
async fn lent(call: &mpsc::Sender<CallCommand>) -> Result<LegRef, VoiceError> {
    let over = || VoiceError::Internal("the call has ended, or was not answered".into());
    let (to, leg) = oneshot::channel();
    let sent = call.send(CallCommand::Lend(to)).await;
    sent.map_err(|_| over())?;
    leg.await.map_err(|_| over())
}
