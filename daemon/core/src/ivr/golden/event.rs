//! What happens to a call, by its words in tests.

use serde::Deserialize;

use crate::audio::answer::Answerer;
use crate::ivr::io::{Input, RoomReply, TransferReply, Why};
use crate::ivr::sim::{Answer, Sim};

pub(super) const NOT_IN_LINE: &str = "the call does not wait in a queue";
const NOT_AWAY: &str = "the call is not being transferred";
const NOT_TALKING: &str = "no agent has taken the call";
/// Who takes calls where no flow does.
const AGENT: &str = "agent";

/// What may happen to a call.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Happens {
    /// In line: the help channel takes the call.
    Answered,
    NoAgents,
    /// In line, or before a room.
    Full,
    /// Sound tells who answered.
    Human,
    Machine,
    Fax,
    /// The machine that answered records from now on.
    Beep,
    /// The agent is lost, and the caller waits in line again.
    TalkBroke,
    /// The one a call is transferred to.
    Busy,
    NoAnswer,
    /// That one, or the agent, has left.
    TalkEnded,
    /// The caller's side has taken the call over.
    Given,
}

/// Lets something happen to a call. `word` is that of a test's `event`; `help` the flow
/// that is the help channel, without which an agent is. `None`: there is no such event; an
/// error: the call is not where it could happen.
pub fn happen(sim: &mut Sim, word: &str, help: Option<&str>) -> Option<Result<(), String>> {
    let event: Happens = serde_json::from_value(word.into()).ok()?;
    Some(event.befall(sim, help))
}

/// The help channel takes a call.
pub(super) fn taken(help: Option<&str>) -> Answer {
    match help {
        Some(flow) => Answer::Joined(flow.to_owned()),
        None => Answer::Agent(AGENT.to_owned()),
    }
}

impl Happens {
    pub(super) fn befall(self, sim: &mut Sim, help: Option<&str>) -> Result<(), String> {
        let in_line = |sim: &mut Sim, answer| sim.join(answer).then_some(()).ok_or(NOT_IN_LINE);
        let away = |sim: &mut Sim, reply| sim.transfer(reply).then_some(()).ok_or(NOT_AWAY);
        match self {
            Happens::Answered => in_line(sim, taken(help))?,
            Happens::NoAgents => in_line(sim, Answer::Left(Why::NoAgents))?,
            Happens::Full if sim.leave_room(RoomReply::Full) => {}
            Happens::Full => in_line(sim, Answer::Left(Why::Full))?,
            Happens::Human => sim.hears(Answerer::Human),
            Happens::Machine => sim.hears(Answerer::Machine),
            Happens::Fax => sim.hears(Answerer::Fax),
            Happens::Beep => sim.input(Input::MachineListens),
            Happens::Busy => away(sim, TransferReply::Busy)?,
            Happens::NoAnswer => away(sim, TransferReply::NoAnswer)?,
            Happens::TalkBroke => sim.break_talk().then_some(()).ok_or(NOT_TALKING)?,
            Happens::TalkEnded if sim.end_talk() => {}
            Happens::TalkEnded => away(sim, TransferReply::Done)?,
            Happens::Given => away(sim, TransferReply::Given)?,
        }
        Ok(())
    }
}
