//! The sockets: bound before anything is opened, served when everything is. Those that systemd
//! opened, told by name, take the place of the configured addresses: so ports below 1024 need
//! no right of ours, and who comes during a restart waits instead of being refused.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::{TcpListener, UnixListener};

use crate::config::Config;

/// Names a passed socket may have (`FileDescriptorName=`).
const NAMES: &str = "http, ops, smtp, submission, lmtp";

/// Sockets that systemd opened for this process.
pub struct Passed {
    /// Name of each; `None` once it is taken.
    names: Vec<Option<String>>,
    fds: ListenFd,
}

impl Passed {
    /// No sockets: all addresses are those of the configuration.
    #[must_use]
    pub fn none() -> Self {
        Passed {
            names: Vec::new(),
            fds: ListenFd::empty(),
        }
    }

    /// What the environment tells (`LISTEN_FDS`, `LISTEN_FDNAMES`); programs that this one
    /// starts see nothing of it.
    ///
    /// # Errors
    /// The environment contradicts itself.
    pub fn from_environment() -> anyhow::Result<Self> {
        let named = sd_notify::listen_fds_with_names().context("sockets of systemd")?;
        let names: Vec<_> = named.map(|(_, name)| Some(name)).collect();
        if names.is_empty() {
            return Ok(Passed::none());
        }
        let fds = ListenFd::from_env();
        Ok(Passed { names, fds })
    }

    /// Places of the sockets of that name, which are taken herewith.
    fn named(&mut self, name: &str) -> Vec<usize> {
        let names = self.names.iter_mut().enumerate();
        let hits = names.filter(|(_, held)| held.as_deref() == Some(name));
        hits.map(|(place, held)| {
            *held = None;
            place
        })
        .collect()
    }

    fn tcp(&mut self, name: &str) -> anyhow::Result<Vec<TcpListener>> {
        let cannot = || format!("the socket {name:?} of systemd must be a ListenStream= of TCP");
        let mut found = Vec::new();
        for place in self.named(name) {
            let listener = self.fds.take_tcp_listener(place).with_context(cannot)?;
            let listener = listener.with_context(cannot)?;
            anyhow::ensure!(getsockopt(&listener, sockopt::AcceptConn)?, accepts(name));
            listener.set_nonblocking(true)?;
            found.push(TcpListener::from_std(listener).with_context(cannot)?);
        }
        Ok(found)
    }

    fn local(&mut self, name: &str) -> anyhow::Result<Vec<UnixListener>> {
        let cannot = || format!("the socket {name:?} of systemd must be a ListenStream= of a path");
        let mut found = Vec::new();
        for place in self.named(name) {
            let listener = self.fds.take_unix_listener(place).with_context(cannot)?;
            let listener = listener.with_context(cannot)?;
            anyhow::ensure!(getsockopt(&listener, sockopt::AcceptConn)?, accepts(name));
            listener.set_nonblocking(true)?;
            found.push(UnixListener::from_std(listener).with_context(cannot)?);
        }
        Ok(found)
    }

    /// A socket that nobody serves would let its clients wait for ever.
    fn are_all_taken(&self) -> anyhow::Result<()> {
        if let Some(name) = self.names.iter().flatten().next() {
            anyhow::bail!(
                "systemd passed a socket {name:?} that nobody serves here: FileDescriptorName= is \
                 one of {NAMES}, and the configuration must not switch that part off"
            );
        }
        Ok(())
    }
}

fn accepts(name: &str) -> String {
    format!("the socket {name:?} of systemd does not listen: its unit needs Accept=no")
}

/// Everything that is listened on.
pub(super) struct Sockets {
    pub(super) http: Vec<TcpListener>,
    pub(super) ops: Vec<TcpListener>,
    pub(super) smtp: Vec<TcpListener>,
    pub(super) submission: Vec<TcpListener>,
    pub(super) lmtp: Vec<UnixListener>,
}

impl Sockets {
    /// Takes what was passed and binds the rest.
    pub(super) async fn bind(config: &Config, mut passed: Passed) -> anyhow::Result<Sockets> {
        let takes = config.node.role.takes();
        let mail = takes && config.smtp.enabled;
        let only_if = |on: bool, address| Some(address).filter(|_| on);
        let mut sockets = Sockets {
            http: Vec::new(),
            ops: Vec::new(),
            smtp: Vec::new(),
            submission: Vec::new(),
            lmtp: Vec::new(),
        };
        let submission = config.smtp.submission.filter(|_| mail);
        for (all, name, key, address) in [
            (
                &mut sockets.http,
                "http",
                "http.listen",
                only_if(takes, config.http.listen),
            ),
            (
                &mut sockets.ops,
                "ops",
                "ops.listen",
                Some(config.ops.listen),
            ),
            (
                &mut sockets.smtp,
                "smtp",
                "smtp.listen",
                only_if(mail, config.smtp.listen),
            ),
            (
                &mut sockets.submission,
                "submission",
                "smtp.submission",
                submission,
            ),
        ] {
            let Some(address) = address else { continue };
            *all = passed.tcp(name)?;
            if all.is_empty() {
                all.push(bind(key, address).await?);
            }
        }
        if let Some(path) = config.smtp.lmtp.as_deref().filter(|_| takes) {
            sockets.lmtp = passed.local("lmtp")?;
            if sockets.lmtp.is_empty() {
                sockets.lmtp.push(bind_local("smtp.lmtp", path)?);
            }
        }
        passed.are_all_taken()?;
        Ok(sockets)
    }
}

/// Where the first of them listens.
pub(super) fn address_of(all: &[TcpListener]) -> anyhow::Result<Option<SocketAddr>> {
    Ok(all.first().map(TcpListener::local_addr).transpose()?)
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{key}: {address} cannot be bound"))
}

/// A socket that an earlier process left is replaced, nothing else is. Its group may write:
/// the mail server in front is put into it.
fn bind_local(key: &str, path: &Path) -> anyhow::Result<UnixListener> {
    let is_socket = |meta: std::fs::Metadata| meta.file_type().is_socket();
    let left = std::fs::symlink_metadata(path).is_ok_and(is_socket);
    let cannot = || format!("{key}: {} cannot be bound", path.display());
    if left && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path).with_context(cannot)?;
    }
    let listener = UnixListener::bind(path).with_context(cannot)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).with_context(cannot)?;
    Ok(listener)
}
