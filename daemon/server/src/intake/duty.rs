//! Agents who tell by a call from their telephone whether they take calls: they dial a code,
//! and hear by short tones what they do now.

use std::sync::Arc;
use std::time::Duration;

use helpline_core::agent::{State, Wish};
use helpline_core::ivr::io::{SayItem, ToneName};
use tokio::sync::oneshot;

use crate::config::Config;
use crate::desk::{AgentOrdered, Desk};
use crate::voice::{Call, CallCommand};

/// Words of a tone's rhythm are this far apart.
const BETWEEN: Duration = Duration::from_millis(200);
/// Before the first one, so that the telephone is at the ear.
const FIRST: Duration = Duration::from_millis(500);
/// The tones are over within this time.
const LIMIT: Duration = Duration::from_secs(10);

/// Whether what a telephone of ours dials is a code.
pub(super) fn is_code(dialled: &str) -> bool {
    dialled.starts_with('*')
}

/// What it asks for: `*1` calls, `*2` a break, `*0` to leave.
fn wish(dialled: &str) -> Option<Wish> {
    match dialled {
        "*1" => Some(Wish::Available),
        "*2" => Some(Wish::Break),
        "*0" => Some(Wish::Offline),
        _ => None,
    }
}

/// Does what an agent asks for; what the telephone plays.
async fn order(desk: &Desk, agent: Option<&str>, wish: Option<Wish>) -> Vec<SayItem> {
    let done = match (agent, wish) {
        (Some(name), Some(wish)) => desk.set_agent(name, wish).await,
        _ => Ok(AgentOrdered::NotFound),
    };
    let beeps = match done {
        Ok(AgentOrdered::Done(State::Break)) => 2,
        Ok(AgentOrdered::Done(State::Offline)) => 3,
        Ok(AgentOrdered::Done(_)) => 1,
        Ok(AgentOrdered::NoPhone | AgentOrdered::NotFound) | Err(_) => {
            return vec![SayItem::Pause(FIRST), SayItem::Tone(ToneName::Congestion)];
        }
    };
    let beep = [SayItem::Tone(ToneName::Beep), SayItem::Pause(BETWEEN)];
    let mut tones = vec![SayItem::Pause(FIRST)];
    tones.extend(std::iter::repeat_n(beep, beeps).flatten());
    tones
}

/// Serves the call of a telephone that dialled a code.
pub(super) async fn serve(
    (desk, config): (Arc<Desk>, Arc<Config>),
    phone: String,
    dialled: String,
    mut call: Call,
) {
    let agent = config.agent.iter().find(|agent| agent.phone == phone);
    let agent = agent.map(|agent| agent.name.as_str());
    let tones = order(&desk, agent, wish(&dialled)).await;
    let (said, is_said) = oneshot::channel();
    let say = CallCommand::Say(tones, said);
    if call.commands.send(say).await.is_ok() {
        // Tones that break off were heard as far as they could be.
        let _ = tokio::time::timeout(LIMIT, is_said).await;
    }
    call.hang_up().await;
    call.ends(LIMIT).await;
}
