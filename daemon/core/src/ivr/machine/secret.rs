//! What must not be told: in traces, or in what is stored of a call.

use super::{FlowMachine, State, key_text};
use crate::ivr::io::{Input, Key, Output};
use crate::ivr::model::{Act, Code};

impl FlowMachine {
    /// Whether what comes in now belongs to a secret and must not be stored as it is. Of a
    /// key that cuts an announcement it is known only afterwards: [`FlowMachine::began_secret`].
    #[must_use]
    pub fn keeps_secret(&self, input: &Input) -> bool {
        let Some((flow, index)) = self.node() else {
            return false;
        };
        let act = flow.nodes.get(index).map(|n| &n.act);
        match (input, act) {
            (Input::KeyDown(_) | Input::KeyUp(_), _) => {
                // Keyed ahead: nobody knows yet what for.
                let ahead = matches!(self.state, State::Working(_) | State::Resting(_));
                self.masked || (ahead && flow.decls.values().any(|d| d.secret))
            }
            (Input::Http(..), Some(Act::Http { request, save, .. })) => {
                request.codes().any(|code| self.is_secret(code))
                    || save.iter().any(|(to, _)| self.is_secret_name(&to.name))
            }
            (Input::Found(..), Some(Act::Lookup { value, save, .. })) => {
                self.is_secret(value) || self.is_secret_name(&save.name)
            }
            _ => false,
        }
    }

    /// Whether the latest key cut an announcement and was the first of a secret.
    #[must_use]
    pub fn began_secret(&self) -> bool {
        self.keys.began_secret
    }

    /// The key that is down.
    #[must_use]
    pub fn held(&self) -> Option<Key> {
        self.keys.held()
    }

    /// Whether a name of the flow on top is a secret.
    pub(super) fn is_secret_name(&self, name: &str) -> bool {
        let frame = self.frames.last();
        frame.is_some_and(|frame| frame.flow.decls.get(name).is_some_and(|d| d.secret))
    }

    /// Whether an expression reads a secret of the flow on top.
    pub(super) fn is_secret(&self, code: &Code) -> bool {
        let mut names = code.expr.names().iter();
        names.any(|name| self.is_secret_name(name))
    }

    /// A key that cut an announcement turns out to be the first of a secret.
    pub(super) fn mask_told(&mut self, key: Key) {
        self.keys.began_secret = true;
        let told = self.out.iter_mut().rev().find_map(|output| match output {
            Output::Trace(line) if line.kind == "key" => Some(line),
            _ => None,
        });
        if let Some(line) = told.filter(|line| line.data == key.char().to_string()) {
            line.data = key_text(key, true);
        }
    }
}
