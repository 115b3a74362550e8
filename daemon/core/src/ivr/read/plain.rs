//! Nodes that only decide and compute: `branch`, `set`, `subflow`.

use super::Reader;
use crate::ivr::model::{Act, Code, Target};
use crate::ivr::raw::{At, Entries, RawCase, RawNode, RawSave};

impl Reader<'_> {
    pub(super) fn branch(&mut self, raw: &RawNode) -> Option<Act> {
        let list = raw.cases.as_ref()?;
        if list.value.is_empty() {
            self.fault(list.at, "a branch node needs at least one case");
        }
        let mut cases = Vec::new();
        for case in &list.value {
            self.only(&case.value.keys, RawCase::KNOWN, "a case");
            if let Some(label) = &case.value.label {
                self.text(label);
            }
            let when = self
                .need(case.value.when.as_ref(), case.at, "when", "a case")
                .and_then(|w| self.code(w));
            let next = self
                .need(case.value.next.as_ref(), case.at, "next", "a case")
                .and_then(|n| self.target(n));
            if let (Some(when), Some(next)) = (when, next) {
                cases.push((
                    when,
                    next,
                    case.value.label.as_ref().map(|l| l.value.clone()),
                ));
            }
        }
        let otherwise = raw.otherwise.as_ref().and_then(|o| self.target(o))?;
        Some(Act::Branch { cases, otherwise })
    }

    pub(super) fn assignments(&mut self, raw: &At<Entries<At<String>>>) -> Vec<(Target, Code)> {
        if raw.value.0.is_empty() {
            self.fault(raw.at, "the map is empty: write `name: expression`");
        }
        let mut list = Vec::new();
        for (name, code) in &raw.value.0 {
            let to = self.target(name);
            let code = self.code(code);
            list.extend(to.zip(code));
        }
        list
    }

    pub(super) fn subflow(&mut self, raw: &RawNode) -> Option<Act> {
        let flow = raw
            .flow
            .as_ref()
            .filter(|f| self.dashed(f))
            .map(|f| Target {
                name: f.value.clone(),
                at: f.at,
            });
        let with = raw
            .with
            .as_ref()
            .map(|w| self.pairs(&w.value))
            .unwrap_or_default();
        let save = self.save_names(raw);
        let next = self.next(raw);
        Some(Act::Subflow {
            flow: flow?,
            with,
            save,
            next,
        })
    }

    /// `save` where it is a map of names and expressions.
    pub(super) fn save_names(&mut self, raw: &RawNode) -> Vec<(Target, Code)> {
        match raw.save.as_ref() {
            None => Vec::new(),
            Some(At {
                value: RawSave::Names(names),
                at,
            }) => self.assignments(&At {
                value: names.clone(),
                at: *at,
            }),
            Some(At { at, .. }) => {
                let message = "`save` of this node is a map: `{ name: expression }`";
                self.fault(*at, message);
                Vec::new()
            }
        }
    }

    pub(super) fn pairs(&mut self, raw: &Entries<At<String>>) -> Vec<(Target, Code)> {
        let mut list = Vec::new();
        for (name, code) in &raw.0 {
            let to = self.target(name);
            let code = self.code(code);
            list.extend(to.zip(code));
        }
        list
    }
}
