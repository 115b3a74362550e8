//! One connection to one mailbox.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_imap::Client;
use async_imap::error::Error as ImapError;
use async_imap::types::Fetch;
use futures_util::TryStreamExt as _;
use helpline_core::time::Wall;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::Mailboxes;
use super::login::{Login, XOAuth2};
use super::meter::{Allowance, Metered};
use crate::config::{Imap, RelayTls};
use crate::desk::{Aside, Desk, Folder, Message, SpoolError, StoreError};
use crate::intake::Wire;
use crate::tls::TlsClient;

/// Longest wait for a connection, and for its encryption.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for a greeting.
const GREETING_WAIT: Duration = Duration::from_secs(30);
/// Longest wait for an answer to a command.
const ANSWER_WAIT: Duration = Duration::from_secs(45);
/// Longest wait for messages.
const FETCH_WAIT: Duration = Duration::from_secs(300);
/// How long the server may be left to tell by itself; routers forget a silent connection.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Between two signs that this node still looks after the mailbox.
const KEEP_EVERY: Duration = Duration::from_secs(20);
/// Longest wait for the end of an IDLE.
const DONE_WAIT: Duration = Duration::from_secs(15);
/// While messages of ours are being worked on, the spool is looked at this often.
const WORK_PAUSE: Duration = Duration::from_millis(500);
/// Messages and bytes fetched by one command.
const CHUNK_MESSAGES: usize = 100;
const CHUNK_BYTES: usize = 32 << 20;
/// Numbers asked about by one command.
const CHUNK_NUMBERS: usize = 500;
/// What a server may send beside messages.
const TALK_BYTES: usize = 8 << 20;
/// Longest header block kept of a message that is too large.
const HEADER_BYTES_MAX: usize = 128 << 10;

/// Why a mailbox is not looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The connection, the server or the store failed: later again.
    #[error("{0}")]
    Broken(String),
    /// Our user name or password is not taken: somebody has to look.
    #[error("refused: {0}")]
    Refused(String),
    /// There are no tokens to be had any more: nothing is tried until somebody gives new ones.
    #[error("refused: {0}")]
    Revoked(String),
}

impl From<ImapError> for Fault {
    fn from(error: ImapError) -> Self {
        // A parse error holds what the server sent, perhaps a message.
        Fault::Broken(match error {
            ImapError::Parse(_) => "the server's answer was not understood".to_owned(),
            other => other.to_string(),
        })
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Fault::Broken(format!("store: {error}"))
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Fault::Broken(error.to_string())
    }
}

/// Everything a connection needs.
pub(super) struct Session {
    pub(super) mailbox: Imap,
    pub(super) message_bytes_max: usize,
    pub(super) desk: Arc<Desk>,
    pub(super) all: Arc<Mailboxes>,
    pub(super) stop: CancellationToken,
}

type Imap4 = async_imap::Session<Metered>;

/// A mailbox that is open.
struct Open {
    imap: Imap4,
    left: Allowance,
    folder: Folder,
    can: Can,
}

/// What the server can do.
#[derive(Clone, Copy, Debug)]
struct Can {
    move_away: bool,
    expunge_one: bool,
    idle: bool,
}

impl Session {
    /// Looks at the mailbox until `stop`, a fault, or the end of the login.
    pub(super) async fn run(self, login: &Login) -> Result<(), Fault> {
        let mut open = self.open(login).await?;
        tracing::info!(mailbox = self.mailbox.name, ?open.can, "imap: connected");
        let is_over = || {
            login
                .until()
                .is_some_and(|until| self.all.clock.wall() >= until)
        };
        while !self.stop.is_cancelled() && !is_over() {
            self.keep().await?;
            let fetched = self.fetch(&mut open).await?;
            self.all.looked(&self.mailbox.name, fetched);
            let working = self.put_aside(&mut open).await?;
            open = self.wait(open, working).await?;
        }
        let _ = tokio::time::timeout(DONE_WAIT, open.imap.logout()).await;
        Ok(())
    }

    /// Keeps the mailbox ours: the node's hold on it is short.
    async fn keep(&self) -> Result<(), Fault> {
        match self.desk.watch_mailbox(&self.mailbox.name).await? {
            true => Ok(()),
            false => Err(Fault::Broken("another node has taken the mailbox".into())),
        }
    }

    async fn open(&self, login: &Login) -> Result<Open, Fault> {
        let left = Allowance::new(TALK_BYTES);
        let inner = within(CONNECT_WAIT, self.connect()).await?;
        let stream = Metered {
            inner,
            left: left.clone(),
        };
        let mut client = Client::new(stream);
        let greeting = within(GREETING_WAIT, async { Ok(client.read_response().await?) }).await?;
        if greeting.is_none() {
            return Err(Fault::Broken("the server said nothing".into()));
        }
        let mut imap = within(ANSWER_WAIT, self.log_in(client, login)).await?;
        let has = within(ANSWER_WAIT, async { Ok(imap.capabilities().await?) }).await?;
        let can = Can {
            move_away: has.has_str("MOVE"),
            expunge_one: has.has_str("UIDPLUS"),
            idle: has.has_str("IDLE"),
        };
        for aside in [Aside::Processed, Aside::Ignored, Aside::Failed] {
            // It may be there; if it cannot be made, moving tells.
            let _ = within(ANSWER_WAIT, async { Ok(imap.create(aside.folder()).await) }).await?;
        }
        let selected = async { Ok(imap.select(&self.mailbox.folder).await?) };
        let selected = within(ANSWER_WAIT, selected).await?;
        let folder = Folder {
            mailbox: self.mailbox.name.clone(),
            // A server that does not say keeps its numbers, as far as anybody can know.
            validity: selected.uid_validity.unwrap_or(0),
        };
        Ok(Open {
            imap,
            left,
            folder,
            can,
        })
    }

    async fn log_in(&self, client: Client<Metered>, login: &Login) -> Result<Imap4, Fault> {
        let user = &self.mailbox.user;
        let logged_in = match login {
            Login::Password(password) => client.login(user, password).await,
            Login::Token { access, .. } => {
                let words = XOAuth2::new(user, access);
                client.authenticate("XOAUTH2", words).await
            }
        };
        logged_in.map_err(|(error, _)| match error {
            // Never the whole text of the exchange: it holds the password.
            ImapError::No(why) => Fault::Refused(why),
            other => other.into(),
        })
    }

    async fn connect(&self) -> Result<Box<dyn Wire>, Fault> {
        let Imap { host, port, .. } = &self.mailbox;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        if self.mailbox.tls == RelayTls::None {
            return Ok(Box::new(stream));
        }
        let client = TlsClient::new(host, self.mailbox.ca_file.as_deref(), None);
        let client = client.map_err(|error| Fault::Refused(error.to_string()))?;
        let connector = TlsConnector::from(Arc::clone(&client.config));
        Ok(Box::new(
            connector.connect(client.name.clone(), stream).await?,
        ))
    }

    /// Spools what is new; how many that was.
    async fn fetch(&self, open: &mut Open) -> Result<usize, Fault> {
        open.left.set(TALK_BYTES);
        let found = async { Ok(open.imap.uid_search("UNDELETED").await?) };
        let found: BTreeSet<u32> = within(ANSWER_WAIT, found).await?.into_iter().collect();
        let Some(first) = found.first() else {
            return Ok(0);
        };
        let known = self.desk.fetched(&open.folder, *first).await?;
        let known: BTreeSet<u32> = known.into_iter().collect();
        let new: Vec<u32> = found.difference(&known).copied().collect();
        let mut fetched = 0;
        for numbers in new.chunks(CHUNK_NUMBERS) {
            let sizes = self.sizes(open, numbers).await?;
            for chunk in chunks(&sizes, self.message_bytes_max) {
                self.keep().await?;
                fetched += self.fetch_chunk(open, &chunk).await?;
                if self.stop.is_cancelled() {
                    return Ok(fetched);
                }
            }
        }
        Ok(fetched)
    }

    async fn sizes(&self, open: &mut Open, uids: &[u32]) -> Result<BTreeMap<u32, usize>, Fault> {
        open.left.set(TALK_BYTES);
        let answers = ask(&mut open.imap, &set(uids), "(UID RFC822.SIZE)").await?;
        let size = |answer: &Fetch| Some((answer.uid?, answer.size? as usize));
        // One that is not answered was taken away meanwhile, or is asked for again next time.
        let sizes = answers.iter().filter_map(size);
        Ok(sizes.filter(|(uid, _)| uids.contains(uid)).collect())
    }

    /// Fetches and spools some messages, all of them or, of one that is too large, its headers.
    async fn fetch_chunk(&self, open: &mut Open, chunk: &Chunk) -> Result<usize, Fault> {
        let wanted = match chunk.headers_only {
            false => "(UID INTERNALDATE BODY.PEEK[])",
            true => "(UID INTERNALDATE BODY.PEEK[HEADER])",
        };
        open.left.set(chunk.bytes + chunk.bytes / 10 + TALK_BYTES);
        let answers = ask(&mut open.imap, &set(&chunk.uids), wanted).await?;
        let mut messages = Vec::new();
        for answer in &answers {
            let bytes = match chunk.headers_only {
                false => answer.body(),
                true => answer.header(),
            };
            let (Some(uid), Some(raw)) = (answer.uid.filter(|u| chunk.uids.contains(u)), bytes)
            else {
                continue;
            };
            let kept = match chunk.headers_only {
                true => raw.len().min(HEADER_BYTES_MAX),
                false => raw.len(),
            };
            messages.push(Message {
                uid,
                received_at: answer
                    .internal_date()
                    .map(|at| Wall::from_millis(at.timestamp_millis())),
                raw: raw.get(..kept).unwrap_or_default().to_vec(),
                is_too_large: chunk.headers_only,
            });
        }
        let count = messages.len();
        // The command's end is not looked at by the library: what is missing tells.
        if count == 0 {
            return Err(Fault::Broken("the server keeps back its messages".into()));
        }
        match self.desk.spool_fetched(&open.folder, messages).await {
            Ok(()) => Ok(count),
            Err(SpoolError::Full) => {
                tracing::warn!(mailbox = self.mailbox.name, "imap: the spool is full");
                Ok(0)
            }
            Err(error @ SpoolError::Unknown) => Err(Fault::Broken(error.to_string())),
        }
    }

    /// Moves what is dealt with; whether anything is still being worked on.
    async fn put_aside(&self, open: &mut Open) -> Result<bool, Fault> {
        let rows = self.desk.open_in(&open.folder).await?;
        let working = rows.iter().any(|(_, aside)| aside.is_none());
        let mut by_folder: BTreeMap<Aside, Vec<u32>> = BTreeMap::new();
        for (uid, aside) in rows {
            if let Some(aside) = aside {
                by_folder.entry(aside).or_default().push(uid);
            }
        }
        for (aside, uids) in by_folder {
            for uids in uids.chunks(CHUNK_NUMBERS) {
                self.keep().await?;
                open.left.set(TALK_BYTES);
                within(ANSWER_WAIT, open.move_to(&set(uids), aside)).await?;
                self.desk.put_aside(&open.folder, uids.to_vec()).await?;
            }
        }
        Ok(working)
    }

    /// Waits for new mail, for work to be done, or for `stop`.
    async fn wait(&self, open: Open, working: bool) -> Result<Open, Fault> {
        let poll = match (working, open.can.idle) {
            (true, _) => WORK_PAUSE,
            (false, false) => self.mailbox.poll.0,
            (false, true) => return self.idle(open).await,
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(poll) => {}
        }
        Ok(open)
    }

    async fn idle(&self, open: Open) -> Result<Open, Fault> {
        let Open {
            imap,
            left,
            folder,
            can,
        } = open;
        left.set(TALK_BYTES);
        let mut handle = imap.idle();
        within(ANSWER_WAIT, async { Ok(handle.init().await?) }).await?;
        // The library's own limit begins anew with each line the server says.
        let until = Instant::now() + IDLE_MAX.min(self.mailbox.poll.0 * 10);
        {
            let (waiting, _interrupt) = handle.wait();
            tokio::pin!(waiting);
            while Instant::now() < until {
                tokio::select! {
                    () = self.stop.cancelled() => break,
                    ended = &mut waiting => {
                        ended?;
                        break;
                    }
                    () = tokio::time::sleep(KEEP_EVERY.min(until - Instant::now())) => {
                        self.keep().await?;
                    }
                }
            }
        }
        let imap = within(DONE_WAIT, async { Ok(handle.done().await?) }).await?;
        Ok(Open {
            imap,
            left,
            folder,
            can,
        })
    }
}

impl Open {
    /// Moves messages; where the server cannot, they are copied and deleted one by one, and
    /// where it cannot do that either they stay and are known by their numbers.
    async fn move_to(&mut self, uids: &str, aside: Aside) -> Result<(), Fault> {
        if self.can.move_away {
            return Ok(self.imap.uid_mv(uids, aside.folder()).await?);
        }
        if !self.can.expunge_one {
            return Ok(());
        }
        self.imap.uid_copy(uids, aside.folder()).await?;
        let marked = self
            .imap
            .uid_store(uids, "+FLAGS.SILENT (\\Deleted)")
            .await?;
        marked.try_collect::<Vec<_>>().await?;
        let gone = self.imap.uid_expunge(uids).await?;
        gone.try_collect::<Vec<_>>().await?;
        Ok(())
    }
}

async fn ask(imap: &mut Imap4, uids: &str, what: &str) -> Result<Vec<Fetch>, Fault> {
    let asking = async {
        let answers = imap.uid_fetch(uids, what).await?;
        Ok(answers.try_collect::<Vec<_>>().await?)
    };
    within(FETCH_WAIT, asking).await
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(Fault::Broken("the server does not answer".into())))
}

/// Messages that are fetched by one command.
#[derive(Debug, PartialEq, Eq)]
struct Chunk {
    uids: Vec<u32>,
    bytes: usize,
    headers_only: bool,
}

/// Parts messages by count and bytes; each that is too large stands alone.
fn chunks(sizes: &BTreeMap<u32, usize>, message_bytes_max: usize) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    for (uid, size) in sizes {
        if *size > message_bytes_max {
            chunks.push(Chunk {
                uids: vec![*uid],
                bytes: HEADER_BYTES_MAX,
                headers_only: true,
            });
            continue;
        }
        match chunks.last_mut() {
            Some(last)
                if !last.headers_only
                    && last.uids.len() < CHUNK_MESSAGES
                    && last.bytes + size <= CHUNK_BYTES =>
            {
                last.uids.push(*uid);
                last.bytes += size;
            }
            _ => chunks.push(Chunk {
                uids: vec![*uid],
                bytes: *size,
                headers_only: false,
            }),
        }
    }
    chunks
}

/// Numbers as a command writes them: `1:3,7`.
fn set(uids: &[u32]) -> String {
    let mut sorted: Vec<u32> = uids.to_vec();
    sorted.sort_unstable();
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for uid in sorted {
        match runs.last_mut() {
            Some((_, end)) if uid <= end.saturating_add(1) => *end = uid,
            _ => runs.push((uid, uid)),
        }
    }
    let run = |(from, to): &(u32, u32)| match from == to {
        true => from.to_string(),
        false => format!("{from}:{to}"),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_runs() {
        assert_eq!(set(&[7, 1, 2, 3, 9, 10]), "1:3,7,9:10");
        assert_eq!(set(&[4]), "4");
        assert_eq!(set(&[u32::MAX, u32::MAX - 1]), "4294967294:4294967295");
    }

    #[test]
    fn messages_are_fetched_by_count_and_bytes() {
        let sizes: BTreeMap<u32, usize> = (1..=250).map(|uid| (uid, 1_000)).collect();
        let counts: Vec<usize> = chunks(&sizes, 10_000)
            .iter()
            .map(|c| c.uids.len())
            .collect();
        assert_eq!(counts, [100, 100, 50]);
        let sizes = BTreeMap::from([(1, 20 << 20), (2, 20 << 20), (3, 30 << 20), (4, 10)]);
        let chunks = chunks(&sizes, 26_214_400);
        let shape: Vec<_> = chunks
            .iter()
            .map(|c| (c.uids.clone(), c.headers_only))
            .collect();
        let expected = [
            (vec![1], false),
            (vec![2], false),
            (vec![3], true),
            (vec![4], false),
        ];
        assert_eq!(shape, expected);
    }
}
