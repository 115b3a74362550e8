//! A daemon in a process of its own, and what it uses.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::Scratch;
use crate::cli::client::get;
use crate::cli::demo;
use crate::config::{self, Config};
use crate::store::peek::Peek;

/// The flow that answers the bench: it plays without a pause, and a beep for each key.
const FLOW: &str = include_str!("bench.flow.yaml");
/// How long the daemon may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long mail that was taken may wait to be filed.
const FILED_LIMIT: Duration = Duration::from_secs(600);

/// A running daemon; ended when dropped.
pub(super) struct Process {
    /// Its SIP address.
    pub(super) sip: SocketAddr,
    /// Its web address.
    pub(super) http: SocketAddr,
    ops: SocketAddr,
    store: config::Store,
    child: Child,
    _scratch: Scratch,
}

impl Process {
    /// Starts a daemon that takes `calls` calls from this machine, its configuration changed
    /// besides, and waits until it is ready.
    pub(super) async fn start(
        name: &str,
        calls: u32,
        change: impl FnOnce(&mut Config),
    ) -> anyhow::Result<Process> {
        let calls = usize::try_from(calls)?;
        Self::start_with(name, |config| {
            config.voice.max_calls = calls + 100;
            config.voice.inbound_flow = "bench".into();
            config.voice.inbound_from = vec!["127.0.0.0/8".into()];
            config.voice.rtp_ports.0 = (10_000, 32_766);
            change(config);
        })
        .await
    }

    /// Starts a daemon without a trunk whose configuration was changed, and waits until it
    /// is ready. Its log goes to a file that is shown if it does not start.
    pub(super) async fn start_with(
        name: &str,
        change: impl FnOnce(&mut Config),
    ) -> anyhow::Result<Process> {
        let scratch = Scratch::new(name)?;
        let mut config = demo::config(&scratch.0, "127.0.0.1:9".parse()?)?;
        config.trunk.clear();
        config.ops.listen = demo::free_tcp()?;
        change(&mut config);
        let flows = scratch.0.join("flows");
        std::fs::create_dir_all(&flows)?;
        std::fs::write(flows.join("bench.flow.yaml"), FLOW)?;
        config.ivr.flows = Some(flows);
        let file = scratch.0.join("helpline.toml");
        std::fs::write(&file, toml::to_string(&config)?)?;
        let log = scratch.0.join("log");
        let child = Command::new(std::env::current_exe()?)
            .args(["serve", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()?;
        let process = Process {
            sip: config.voice.sip_listen,
            http: config.http.listen,
            ops: config.ops.listen,
            store: config.store,
            child,
            _scratch: scratch,
        };
        if let Err(error) = process.ready().await {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            bail!("{error:#}\n{said}");
        }
        Ok(process)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The sum of a metric over its labels.
    pub(super) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let answer = get(&format!("http://{}/metrics", self.ops)).await?;
        ensure!(answer.status == 200, "/metrics: {}", answer.status);
        let text = answer.text();
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let is_whole = rest.starts_with(['{', ' ']);
            let value = rest.rsplit_once(' ')?.1.parse::<f64>().ok();
            value.filter(|_| is_whole)
        });
        Ok(values.sum())
    }

    /// Requests that stand in its line.
    pub(super) async fn standing(&self) -> anyhow::Result<f64> {
        // The numbers are read every two seconds.
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.metric("helpline_queue_depth").await
    }

    /// Waits until all mail that was taken is filed.
    pub(super) async fn mail_is_filed(&self) -> anyhow::Result<()> {
        let store = Peek::open(&self.store).await?;
        let began = std::time::Instant::now();
        while store.mail_waiting().await? > 0 {
            let limit = FILED_LIMIT;
            ensure!(began.elapsed() < limit, "mail waits longer than {limit:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let url = format!("http://{}/readyz", self.ops);
        let began = std::time::Instant::now();
        while began.elapsed() < READY_LIMIT {
            if get(&url).await.is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the daemon was not ready within {READY_LIMIT:?}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; its files go with the scratch folder.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process used so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// CPU time, user and system.
    pub(super) cpu: Duration,
    /// Resident memory, kB.
    pub(super) rss_kb: f64,
}

impl Usage {
    /// Reads `/proc`.
    pub(super) fn of(pid: u32) -> anyhow::Result<Usage> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("no process {pid}"))?;
        let after_name = stat.rsplit_once(')').context("odd stat")?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let field =
            |n: usize| -> anyhow::Result<u64> { Ok(fields.get(n).context("short stat")?.parse()?) };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let rss = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .context("no VmRSS")?;
        // Fields 14 and 15, in ticks of 10 ms.
        let ticks = field(11)? + field(12)?;
        Ok(Usage {
            cpu: Duration::from_millis(ticks * 10),
            rss_kb: rss.parse()?,
        })
    }
}
