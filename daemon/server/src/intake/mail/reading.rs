//! Threads that read mail. The messages of a lot are read in turn on one thread; one that takes
//! long goes on by itself, and those behind it are given back to be read elsewhere. The thread
//! of a message beyond its time cannot be ended: it is left to finish and not waited for.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use helpline_core::phone::DialRules;
use helpline_core::request::email::{Keys, Reading};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::desk::{SpooledMail, locked};

/// By how much threads that read stand behind others: calls, requests and mail that comes in go
/// first, and what was taken can wait.
const NICE: i32 = 10;
/// So long the messages of a lot wait for one another.
const LOT_WAIT: Duration = Duration::from_millis(100);
/// Messages that may take long at once.
const LONG_AT_ONCE: usize = 16;
/// Longest work on one message. The reader's own limits keep it far below.
const READ_WAIT: Duration = Duration::from_secs(30);
/// Times a message is tried before it is set aside.
const ATTEMPTS_MAX: u32 = 3;

/// Reads one message: content hash and what it asks for.
pub type Reader = fn(&SpooledMail, &Config, &DialRules, &Keys) -> (String, Reading);

/// Why reading gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It breaks the reader, however often it is read.
    Panic,
    /// It took too long, for the last time.
    Timeout,
}

impl Broken {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Broken::Panic => "panic",
            Broken::Timeout => "timeout",
        }
    }
}

/// A message that was read.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) mail: Arc<SpooledMail>,
    pub(super) read: Result<(String, Reading), Broken>,
}

/// What messages are read with.
#[derive(Debug)]
pub(super) struct With {
    pub(super) config: Arc<Config>,
    pub(super) dial: DialRules,
    pub(super) keys: Arc<Keys>,
    pub(super) reader: Reader,
}

/// The threads.
#[derive(Debug)]
pub(super) struct Readers {
    with: Arc<With>,
    handle: Handle,
    own: Option<Runtime>,
    /// Lots read at once: one for each processor.
    places: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

/// What became of a lot.
pub(super) struct Lot {
    pub(super) read: Vec<Outcome>,
    /// It takes long.
    pub(super) late: Option<Late>,
    /// They stood behind it.
    pub(super) rest: Vec<Arc<SpooledMail>>,
}

/// A message that takes long.
pub(super) struct Late {
    lot: Arc<Mutex<Turn>>,
    thread: JoinHandle<()>,
    place: OwnedSemaphorePermit,
    long: Arc<Semaphore>,
}

/// A lot on its thread.
#[derive(Debug, Default)]
struct Turn {
    todo: std::vec::IntoIter<Arc<SpooledMail>>,
    now: Option<Arc<SpooledMail>>,
    read: Vec<Outcome>,
}

impl Readers {
    pub(super) fn start(with: With) -> Readers {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("mail-reader");
        builder.on_thread_start(|| {
            // Where it is not allowed, they go at the pace of the rest.
            let _ = rustix::process::nice(NICE);
        });
        let own = builder.build().inspect_err(|error| {
            tracing::warn!(%error, "mail is read by the threads of everything else");
        });
        let own = own.ok();
        let handle = own
            .as_ref()
            .map_or_else(Handle::current, |own| own.handle().clone());
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Readers {
            with: Arc::new(with),
            handle,
            own,
            places: Arc::new(Semaphore::new(processors)),
            long: Arc::new(Semaphore::new(LONG_AT_ONCE)),
        }
    }

    /// Reads messages in turn, until one takes long. `None`: the threads have ended.
    pub(super) async fn read(&self, lot: Vec<Arc<SpooledMail>>) -> Option<Lot> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let turn = Arc::new(Mutex::new(Turn {
            todo: lot.into_iter(),
            ..Turn::default()
        }));
        let (with, lot) = (Arc::clone(&self.with), Arc::clone(&turn));
        let mut thread = self
            .handle
            .spawn_blocking(move || read_in_turn(&lot, &with));
        let ended = tokio::time::timeout(LOT_WAIT, &mut thread).await;
        let mut lot = locked(&turn);
        let late = ended.is_err().then(|| Late {
            lot: Arc::clone(&turn),
            thread,
            place,
            long: Arc::clone(&self.long),
        });
        Some(Lot {
            read: std::mem::take(&mut lot.read),
            late,
            rest: std::mem::take(&mut lot.todo).collect(),
        })
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        if let Some(own) = self.own.take() {
            // A message beyond its time is not waited for.
            own.shutdown_background();
        }
    }
}

impl Late {
    /// Waits for it, and lets others have its place as soon as it has one of those that take
    /// long. `None`: it was read before it was called late, or is left to its lease and tried
    /// again later.
    pub(super) async fn end(self) -> Option<Outcome> {
        let Late {
            lot,
            mut thread,
            place,
            long,
        } = self;
        let patient = async {
            let _long = tokio::select! {
                _ = &mut thread => return,
                long = long.acquire() => long,
            };
            drop(place);
            // It cannot break: what it does is caught.
            let _ = thread.await;
        };
        let ended = tokio::time::timeout(READ_WAIT, patient).await;
        let mut lot = locked(&lot);
        if ended.is_ok() || !lot.read.is_empty() {
            return lot.read.pop();
        }
        let mail = lot.now.clone()?;
        tracing::warn!(mail.id = %mail.id, attempt = mail.attempts, "mail: reading takes too long");
        if mail.attempts < ATTEMPTS_MAX {
            // The lease is half gone and a thread is stuck: not now.
            return None;
        }
        let read = Err(Broken::Timeout);
        Some(Outcome { mail, read })
    }
}

fn read_in_turn(lot: &Mutex<Turn>, with: &With) {
    loop {
        let mail = {
            let mut lot = locked(lot);
            lot.now = lot.todo.next();
            lot.now.clone()
        };
        let Some(mail) = mail else { return };
        let read = read_patiently(&mail, with);
        locked(lot).read.push(Outcome { mail, read });
    }
}

/// Reads, again after a panic, until all attempts are used up.
fn read_patiently(mail: &SpooledMail, with: &With) -> Result<(String, Reading), Broken> {
    let With {
        config,
        dial,
        keys,
        reader,
    } = with;
    for attempt in mail.attempts.. {
        if let Ok(read) = catch_unwind(AssertUnwindSafe(|| reader(mail, config, dial, keys))) {
            return Ok(read);
        }
        tracing::warn!(mail.id = %mail.id, attempt, "mail: reading broke off");
        if attempt >= ATTEMPTS_MAX {
            break;
        }
    }
    Err(Broken::Panic)
}

#[cfg(test)]
mod tests {
    use helpline_core::id::MailInId;
    use helpline_core::time::Wall;
    use tokio::task::JoinSet;

    use super::super::read_mail;
    use super::*;

    /// Shut while a message shall take long.
    static GATE: Semaphore = Semaphore::const_new(0);

    fn reader(
        mail: &SpooledMail,
        config: &Config,
        dial: &DialRules,
        keys: &Keys,
    ) -> (String, Reading) {
        if mail.raw.starts_with(b"Long") {
            while GATE.available_permits() == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        read_mail(mail, config, dial, keys)
    }

    fn mail(raw: &str) -> Arc<SpooledMail> {
        Arc::new(SpooledMail {
            id: MailInId::from_text(raw),
            mail_from: None,
            rcpt: Vec::new(),
            raw: raw.as_bytes().to_vec(),
            fetched: false,
            sender: None,
            auth: None,
            submitted: false,
            received_at: Wall::from_millis(0),
            attempts: 1,
            epoch: 1,
        })
    }

    #[tokio::test]
    async fn one_that_takes_long_holds_nobody() {
        let readers = Readers::start(With {
            config: Arc::new(Config::default()),
            dial: DialRules::default(),
            keys: Arc::new(Keys::new(&[7; 32], None)),
            reader,
        });
        let (mut read, mut late) = (Vec::new(), JoinSet::new());
        let mut rest = ["a", "Long: 1", "b"].map(mail).to_vec();
        while !rest.is_empty() {
            let lot = readers.read(rest).await.unwrap();
            read.extend(lot.read);
            lot.late.map(|one| late.spawn(one.end()));
            rest = lot.rest;
        }
        // On a busy machine the others may be late too, but they come to their end.
        while read.len() < 2 {
            read.extend(late.join_next().await.unwrap().unwrap());
        }
        let mut ids: Vec<_> = read.iter().map(|o| o.mail.id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["a", "b"]);
        GATE.add_permits(1);
        let late: Vec<_> = late.join_all().await.into_iter().flatten().collect();
        assert_eq!(late.len(), 1);
        assert!(late[0].mail.id.as_str() == "Long: 1" && late[0].read.is_ok());
    }
}
