//! Mail fetched from mailboxes (IMAP4rev1, RFC 3501): one task a mailbox, none of which can hold
//! up another. A message is moved away only after it is in the spool and was dealt with; a
//! crash in between finds it again, by its number or by its content.

mod login;
mod meter;
mod session;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use helpline_core::rng::Rng;
use helpline_core::time::Time;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::Imap;
use crate::desk::Desk;
use crate::services::Services;

use login::{Login, Logins};
use session::{Fault, Session};

/// A mailbox that was not looked at for so long is out of order.
pub const SILENT_MAX: Duration = Duration::from_secs(900);
/// Pauses after faults, doubled up to the second.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// A server that refuses the password is asked again after this.
const REFUSED_PAUSE: Duration = Duration::from_secs(900);
/// Without tokens, whether somebody gave new ones is looked at so often.
const REVOKED_PAUSE: Duration = Duration::from_secs(15);
/// While another node looks after the mailbox.
const ELSEWHERE_PAUSE: Duration = Duration::from_secs(20);

/// How the mailboxes are doing.
#[derive(Debug)]
pub struct Mailboxes {
    clock: Clock,
    state: Mutex<BTreeMap<String, Seen>>,
}

#[derive(Clone, Debug)]
struct Seen {
    ok: Time,
    fault: Option<String>,
    /// The fault is one that only people can end.
    refused: bool,
    fetched: u64,
}

/// What an operator is told of a mailbox.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Since it was last looked at without a fault.
    pub age: Duration,
    /// The last fault, if it is not over.
    pub fault: Option<String>,
    /// The fault is one that only people can end.
    pub refused: bool,
    /// Messages fetched since the start.
    pub fetched: u64,
}

impl Condition {
    /// Somebody has to look after it.
    #[must_use]
    pub fn is_out_of_order(&self) -> bool {
        self.refused || self.age > SILENT_MAX
    }

    /// What is wrong, for people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let fault = self.fault.as_deref().unwrap_or("no answer");
        match self.age > SILENT_MAX {
            true => format!("not looked at for {} min: {fault}", self.age.as_secs() / 60),
            false => fault.to_owned(),
        }
    }
}

impl Mailboxes {
    /// Starts a task for each mailbox; they end with `stop`.
    #[must_use]
    pub fn start(
        mailboxes: &[Imap],
        message_bytes_max: usize,
        desk: &Arc<Desk>,
        (clock, services): (&Clock, &Arc<Services>),
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Arc<Mailboxes> {
        let seen = |mailbox: &Imap| {
            let seen = Seen {
                ok: clock.time(),
                fault: None,
                refused: false,
                fetched: 0,
            };
            (mailbox.name.clone(), seen)
        };
        let all = Arc::new(Mailboxes {
            clock: clock.clone(),
            state: Mutex::new(mailboxes.iter().map(seen).collect()),
        });
        for (number, mailbox) in (0..).zip(mailboxes) {
            let task = Watch {
                mailbox: mailbox.clone(),
                message_bytes_max,
                desk: Arc::clone(desk),
                all: Arc::clone(&all),
                services: Arc::clone(services),
                logins: Logins::default(),
                rng: Rng::new(number),
            };
            tasks.spawn(task.run(stop.clone()));
        }
        all
    }

    /// How each is doing, by name.
    #[must_use]
    pub fn conditions(&self) -> BTreeMap<String, Condition> {
        let now = self.clock.time();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let condition = |seen: &Seen| Condition {
            age: now.since(seen.ok),
            fault: seen.fault.clone(),
            refused: seen.refused,
            fetched: seen.fetched,
        };
        state
            .iter()
            .map(|(name, seen)| (name.clone(), condition(seen)))
            .collect()
    }

    fn change<T>(&self, name: &str, change: impl FnOnce(&mut Seen) -> T) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.get_mut(name).map(change)
    }

    /// A look without a fault, in which so many messages were fetched.
    fn looked(&self, name: &str, fetched: usize) {
        let now = self.clock.time();
        self.change(name, |seen| {
            seen.ok = now;
            seen.fault = None;
            seen.refused = false;
            seen.fetched += fetched as u64;
        });
    }
}

/// Looks after one mailbox.
struct Watch {
    mailbox: Imap,
    message_bytes_max: usize,
    desk: Arc<Desk>,
    all: Arc<Mailboxes>,
    services: Arc<Services>,
    logins: Logins,
    rng: Rng,
}

impl Watch {
    async fn run(mut self, stop: CancellationToken) {
        let mut pause = PAUSE;
        while !stop.is_cancelled() {
            let name = self.mailbox.name.clone();
            let rest = match self.desk.watch_mailbox(&name).await {
                Ok(false) => {
                    // Whoever has it tells of its faults.
                    self.all.looked(&name, 0);
                    ELSEWHERE_PAUSE
                }
                Err(error) => {
                    tracing::warn!(mailbox = name, %error, "imap: the store does not answer");
                    PAUSE_MAX.min(pause)
                }
                Ok(true) => {
                    let since = self.all.clock.time();
                    let ended = self.serve(&stop).await;
                    if self.all.clock.time().since(since) > PAUSE_MAX {
                        pause = PAUSE;
                    }
                    match ended {
                        Ok(()) => continue,
                        Err(fault) => self.note(&fault, pause),
                    }
                }
            };
            pause = (pause * 2).min(PAUSE_MAX);
            let rest = self.rng.jitter(rest, 0.2);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// One connection, in a task of its own: whatever breaks there ends that task alone.
    async fn serve(&mut self, stop: &CancellationToken) -> Result<(), Fault> {
        let (clock, services) = (&self.all.clock, &self.services);
        let login = self.logins.get(&self.mailbox, &self.desk, services, clock);
        let login = login.await?;
        let is_old = matches!(
            login,
            Login::Token {
                is_fresh: false,
                ..
            }
        );
        let session = Session {
            mailbox: self.mailbox.clone(),
            message_bytes_max: self.message_bytes_max,
            desk: Arc::clone(&self.desk),
            all: Arc::clone(&self.all),
            stop: stop.clone(),
        };
        let ended = tokio::spawn(async move { session.run(&login).await }).await;
        match ended {
            Ok(Err(Fault::Refused(why))) => {
                self.logins.refused();
                // A new token may be taken at once.
                Err(match is_old {
                    true => Fault::Broken(format!("refused: {why}")),
                    false => Fault::Refused(why),
                })
            }
            Ok(ended) => ended,
            Err(error) => Err(Fault::Broken(format!("the task ended: {error}"))),
        }
    }

    /// Tells of a fault; how long to rest.
    fn note(&self, fault: &Fault, pause: Duration) -> Duration {
        let name = &self.mailbox.name;
        let text = fault.to_string();
        let told = self.all.change(name, |seen| {
            seen.refused = matches!(fault, Fault::Refused(_) | Fault::Revoked(_));
            seen.fault.replace(text.clone())
        });
        let is_new = told.flatten().as_ref() != Some(&text);
        match fault {
            Fault::Revoked(_) if is_new => {
                tracing::error!(mailbox = name, fault = text, "imap: not looked at any more");
            }
            Fault::Revoked(_) => {}
            Fault::Refused(_) | Fault::Broken(_) => {
                tracing::warn!(mailbox = name, fault = text, "imap: not looked at");
            }
        }
        match fault {
            Fault::Refused(_) => REFUSED_PAUSE,
            Fault::Revoked(_) => REVOKED_PAUSE,
            Fault::Broken(_) => pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_out_of_order_when_it_is_silent_or_refuses() {
        let seen = |age: u64, fault: Option<&str>, refused| Condition {
            age: Duration::from_secs(age),
            fault: fault.map(str::to_owned),
            refused,
            fetched: 0,
        };
        assert!(!seen(900, None, false).is_out_of_order());
        assert!(!seen(900, Some("no route"), false).is_out_of_order());
        let silent = seen(960, None, false);
        assert!(silent.is_out_of_order());
        assert_eq!(silent.in_words(), "not looked at for 16 min: no answer");
        let refused = seen(1, Some("refused: no"), true);
        assert!(refused.is_out_of_order());
        assert_eq!(refused.in_words(), "refused: no");
    }
}
