//! Agents, and how a queue calls its customers with them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Period;

/// A person who takes calls on a telephone that registers here.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Name in rows, commands and requests.
    pub name: String,
    /// Telephone, a `username` of `[[phone]]`.
    pub phone: String,
    /// Queues whose calls the agent takes; without any, those of all queues with agents.
    #[serde(default)]
    pub queues: Vec<String>,
    /// What the agent knows that a request may ask for.
    #[serde(default)]
    pub skills: Vec<String>,
}

/// Who takes the calls of a queue, and who is called first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A flow, `help_flow`; nobody is needed.
    #[default]
    Ivr,
    /// An agent is kept free for each call; the telephone rings as the customer answers.
    Reserved,
    /// The agent lifts first; then the customer is called.
    AgentFirst,
    /// The customer is called when an agent is free, or will almost surely be; who accepts gets
    /// the agent that is free longest.
    CustomerFirst,
}

/// How a queue works with its agents.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Agents {
    /// Who takes the calls, and who is called first.
    pub mode: Mode,
    /// How long an agent's telephone rings before the next one's does, at most 25s.
    pub ring: Period,
    /// Time for the work after a talk.
    pub wrap_up: Period,
    /// How long a request whose turn it is waits for the agent it prefers.
    pub prefer: Period,
}

impl Default for Agents {
    fn default() -> Self {
        Agents {
            mode: Mode::Ivr,
            ring: Period(Duration::from_secs(20)),
            wrap_up: Period(Duration::from_secs(30)),
            prefer: Period(Duration::from_secs(300)),
        }
    }
}

impl Agents {
    /// Whether people take the calls.
    #[must_use]
    pub fn are_people(&self) -> bool {
        self.mode != Mode::Ivr
    }
}

impl Agent {
    /// Whether the agent takes calls of this queue, if it has agents at all.
    #[must_use]
    pub fn serves(&self, queue: &str) -> bool {
        self.queues.is_empty() || self.queues.iter().any(|name| name == queue)
    }
}
