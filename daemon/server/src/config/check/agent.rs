//! What is wrong with the agents.

use std::collections::BTreeSet;

use super::Check;
use crate::config::Config;

/// A claimed request waits for its agent no longer than this.
const RING_SECONDS: std::ops::RangeInclusive<u64> = 5..=25;

impl Check<'_> {
    pub(super) fn agents(&mut self, config: &Config) {
        let (mut names, mut phones) = (BTreeSet::new(), BTreeSet::new());
        for agent in &config.agent {
            let name = agent.name.as_str();
            if !is_plain(name) {
                let why = format!("{name:?} must be 1 to 64 letters, digits, \"-\", \".\", \"_\"");
                self.fault("agent.name", name, &why);
            }
            if !names.insert(name) {
                let why = format!("two agents are named {name:?}");
                self.fault("agent.name", name, &why);
            }
            let phone = agent.phone.as_str();
            if !config.phone.iter().any(|known| known.username == phone) {
                let why = format!("{name:?}: there is no [[phone]] with username {phone:?}");
                self.fault("agent.phone", phone, &why);
            }
            if !phones.insert(phone) {
                let why = format!("two agents have the telephone {phone:?}");
                self.fault("agent.phone", phone, &why);
            }
            for queue in &agent.queues {
                if !config.queue.iter().any(|known| known.name == *queue) {
                    let why = format!("{name:?}: there is no queue {queue:?}");
                    self.fault("agent.queues", queue, &why);
                }
            }
            for skill in agent.skills.iter().filter(|skill| !is_plain(skill)) {
                let why = format!("{skill:?} must be 1 to 64 letters, digits, \"-\", \".\", \"_\"");
                self.fault("agent.skills", skill, &why);
            }
        }
        for queue in &config.queue {
            let agents = &queue.agents;
            if !RING_SECONDS.contains(&agents.ring.0.as_secs()) {
                self.fault("queue.agents.ring", "ring", "must be 5s to 25s");
            }
            let alone = !config.agent.iter().any(|agent| agent.serves(&queue.name));
            if agents.are_people() && alone {
                let why = format!(
                    "nobody takes the calls of {:?}; add an [[agent]]",
                    queue.name
                );
                self.fault("queue.agents.mode", "mode", &why);
            }
        }
    }
}

/// Whether a word may stand in rows, paths and commands.
fn is_plain(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (1..=64).contains(&word.len()) && word.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Mode};

    #[test]
    fn agents_have_a_telephone_of_their_own_and_queues_that_exist() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "s").unwrap();
        let phone = format!("[[phone]]\nusername = \"7001\"\npassword_file = {secret:?}\n");
        let queue =
            "[[queue]]\nname = \"help\"\nagents = { mode = \"reserved\", ring = \"20s\" }\n";
        let anna = "[[agent]]\nname = \"anna\"\nphone = \"7001\"\nskills = [\"tax\"]\n";
        let good = Config::parse(&format!("{phone}{queue}{anna}"), "t").unwrap();
        assert_eq!(good.config.queue[0].agents.mode, Mode::Reserved);
        for (text, want) in [
            (format!("{phone}{queue}"), "nobody takes the calls"),
            (
                format!("{queue}{anna}"),
                "no [[phone]] with username \"7001\"",
            ),
            (
                format!("{phone}{queue}{anna}{anna}"),
                "two agents are named",
            ),
            (
                format!("{phone}{queue}{anna}queues = [\"x\"]\n"),
                "there is no queue \"x\"",
            ),
            (
                format!("{phone}{queue}{}", anna.replace("tax", "t x")),
                "\"t x\" must be",
            ),
            (
                format!("{phone}{}{anna}", queue.replace("20s", "40s")),
                "5s to 25s",
            ),
        ] {
            let faults = Config::parse(&text, "t").unwrap_err();
            let told = faults.iter().any(|fault| fault.message.contains(want));
            assert!(told, "{want}: {faults:?}");
        }
    }
}
