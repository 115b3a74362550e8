//! Rooms: calls that hear each other as long as they are in one.

use std::collections::BTreeMap;

use helpline_core::audio::mix::{Hears, LEGS_MAX, Scene};
use helpline_core::ivr::io::{Role, Room, RoomReply};
use tokio::sync::{Mutex, mpsc};

use crate::voice::{CallCommand, EngineHandle, Talk};

/// The rooms of a node, by name. A room is there while somebody is in it.
#[derive(Debug, Default)]
pub(super) struct Rooms(Mutex<BTreeMap<String, Party>>);

/// Those in one room.
#[derive(Debug, Default)]
struct Party {
    members: Vec<Member>,
    /// Two and more hear each other.
    talk: Option<Talk>,
}

#[derive(Debug)]
struct Member {
    role: Role,
    commands: mpsc::Sender<CallCommand>,
}

impl Rooms {
    /// Brings a call into a room. It leaves it by ending.
    ///
    /// # Errors
    /// Why it is not in the room.
    pub(super) async fn enter(
        &self,
        engine: &EngineHandle,
        room: &Room,
        call: &mpsc::Sender<CallCommand>,
    ) -> Result<(), RoomReply> {
        let mut rooms = self.0.lock().await;
        for party in rooms.values_mut() {
            party.members.retain(|member| !member.commands.is_closed());
        }
        rooms.retain(|_, party| !party.members.is_empty());
        let party = rooms.entry(room.name.clone()).or_default();
        let most = usize::try_from(room.max_parties).unwrap_or(LEGS_MAX);
        if party.members.len() >= most.min(LEGS_MAX) {
            return Err(RoomReply::Full);
        }
        party.members.push(Member {
            role: room.role,
            commands: call.clone(),
        });
        let entered = party.join(engine).await;
        if entered.is_err() {
            party.members.pop();
        }
        entered
    }
}

impl Party {
    /// Joins all members anew: one that is in an older talk leaves it by that.
    async fn join(&mut self, engine: &EngineHandle) -> Result<(), RoomReply> {
        if self.members.len() < 2 {
            return Ok(());
        }
        let calls: Vec<_> = self.members.iter().map(|m| &m.commands).collect();
        let joined = engine.join(&calls, Scene::Conference).await;
        let talk = joined.map_err(|error| {
            tracing::warn!(%error, "a room could not be joined");
            RoomReply::Failed
        })?;
        let roles: Vec<Role> = self.members.iter().map(|m| m.role).collect();
        talk.set_hears(&hears(&roles));
        self.talk = Some(talk);
        Ok(())
    }
}

/// Who hears whom, by what each does: a listener is heard by nobody, a whisperer by the
/// second one alone.
fn hears(roles: &[Role]) -> Hears {
    let mut hears = Hears::of(Scene::Conference);
    for (speaker, role) in roles.iter().enumerate() {
        let heard_by = match role {
            Role::Talk => continue,
            Role::Listen => None,
            Role::Whisper => Some(1),
        };
        hears.mute(speaker);
        if let Some(listener) = heard_by {
            hears.set(listener, speaker, 1.0);
        }
    }
    hears
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_say_who_is_heard() {
        let mut wanted = Hears::of(Scene::Conference);
        wanted.mute(2);
        assert_eq!(hears(&[Role::Talk, Role::Talk, Role::Listen]), wanted);
        wanted.set(1, 2, 1.0);
        assert_eq!(hears(&[Role::Talk, Role::Talk, Role::Whisper]), wanted);
    }
}
