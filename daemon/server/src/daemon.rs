//! The wiring: open, check, bind, start, stop, in this order. Read this file first.
//!
//! Nothing is served before everything is ready: a daemon that cannot do its whole work
//! says why and ends.

mod alarms;
mod notify_systemd;
mod observe;
mod parts;
mod sockets;
mod telephony;
mod watch;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::Config;
use crate::desk::Desk;
use crate::dispatch::Dispatch;
use crate::intake;
use crate::intake::imap::Mailboxes;
use crate::intake::mail_auth::Authenticator;
use crate::intake::smtp::{Listener, Protocol, Receiver};
use crate::notify::Notifier;
use crate::notify::mail::{Letterhead, Mailer};
use crate::page::{self, Pages};
use crate::services::Services;
use crate::store::Store;
use crate::voice::flows::Flows;
use crate::voice::prompts::PromptTable;
use crate::web;

use sockets::{Sockets, address_of};
use telephony::{Telephony, Ties};

pub use parts::{Parts, check};
pub use sockets::Passed;

/// How long the outbox may take to be flushed at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// Where the daemon listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Web listener for customers, if this node takes requests.
    pub http: Option<SocketAddr>,
    /// Health and metrics.
    pub ops: SocketAddr,
    /// SMTP receiver, if there is one.
    pub smtp: Option<SocketAddr>,
    /// SMTP receiver for those who log in, if there is one.
    pub submission: Option<SocketAddr>,
    /// SIP socket, if this node carries calls.
    pub sip: Option<SocketAddr>,
}

/// A running daemon.
pub struct Daemon {
    addresses: Addresses,
    store: Store,
    desk: Arc<Desk>,
    telephony: Option<Telephony>,
    notifier: Arc<Notifier>,
    services: Arc<Services>,
    config: Arc<Config>,
    flows: Arc<Flows>,
    prompts: PromptTable,
    clock: Clock,
    drain_limit: Duration,
    /// Ends intake and claims.
    stop: CancellationToken,
    /// Ends calls.
    cut: CancellationToken,
    /// Ends health and mail, last.
    end: CancellationToken,
    calls: TaskTracker,
    dialler: JoinHandle<()>,
    intakes: TaskTracker,
    rest: TaskTracker,
}

impl Daemon {
    /// Starts a daemon; when this returns it serves.
    ///
    /// # Errors
    /// Names the key, file or address that stands in the way. Nothing is left running.
    pub async fn start(config: Config, clock: Clock) -> anyhow::Result<Daemon> {
        Daemon::start_on(config, clock, Passed::none()).await
    }

    /// Starts a daemon on sockets that were opened for it.
    ///
    /// # Errors
    /// As [`Daemon::start`]; also a socket that nobody serves.
    pub async fn start_on(config: Config, clock: Clock, passed: Passed) -> anyhow::Result<Daemon> {
        let config = Arc::new(config);
        let Parts {
            flows,
            prompts,
            templates,
            customers,
        } = Parts::load(&config).await?;
        let sockets = Sockets::bind(&config, passed).await?;
        let store = Store::open(&config.store, &clock).await.context("store")?;
        let calendars = config.calendars();
        let mut desk = Desk::new(
            store.clone(),
            Arc::clone(&config),
            calendars,
            clock.clone(),
            seed()?,
        );
        if let Some(keys) = config.mail.token_keys()? {
            desk.sign_with(keys);
        }
        let desk = Arc::new(desk);
        desk.know(customers);
        desk.start()
            .await
            .context("store: the line could not be taken over")?;

        if flows.current().reads_queues() {
            // The first call shall find the lines seen.
            desk.look_at_lines().await.context("store")?;
        }

        let recordings = config.recordings();
        std::fs::create_dir_all(&recordings)
            .with_context(|| format!("store.dir: folder {}", recordings.display()))?;
        let (stop, cut, end) = (
            CancellationToken::new(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let calls = TaskTracker::new();
        let services = Arc::new(Services::new(&config, clock.clone()).context("ivr.http_hosts")?);
        let ties = Ties {
            config: &config,
            flows: &flows,
            prompts: &prompts,
            desk: &desk,
            services: &services,
            clock: &clock,
            calls: &calls,
            cut: &cut,
        };
        let (telephony, means) = match config.node.role.calls() {
            true => ties
                .start()
                .await
                .map(|(t, means)| (Some(t), Some(means)))?,
            false => (None, None),
        };
        let dispatch = Dispatch::new(
            Arc::clone(&desk),
            means,
            Arc::clone(&config),
            clock.clone(),
            calls.clone(),
            stop.clone(),
            cut.clone(),
        );
        let dialler = tokio::spawn(dispatch.run());
        let notifier = Notifier::new(
            store.clone(),
            templates,
            Letterhead::new(&config, &config.public_url(), Arc::clone(desk.keys()))?,
            (Mailer::open(&config)?, Arc::clone(&services)),
            config.recordings(),
            clock.clone(),
            seed()?,
        );
        let addresses = Addresses {
            http: address_of(&sockets.http)?,
            ops: address_of(&sockets.ops)?.context("ops.listen")?,
            smtp: address_of(&sockets.smtp)?,
            submission: address_of(&sockets.submission)?,
            sip: telephony.as_ref().map(|t| t.engine.sip_address()),
        };
        let mut daemon = Daemon {
            addresses,
            store,
            desk,
            telephony,
            notifier,
            services,
            config: Arc::clone(&config),
            flows,
            prompts,
            clock,
            drain_limit: config.stop.drain_limit.0,
            stop,
            cut,
            end,
            calls,
            dialler,
            intakes: TaskTracker::new(),
            rest: TaskTracker::new(),
        };
        daemon.serve(&config, sockets)?;
        Ok(daemon)
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until `asked` comes, or a part that must not end does; then stops in order.
    /// A second `asked` cuts the calls.
    ///
    /// # Errors
    /// A part ended by itself.
    pub async fn run<F: Future<Output = ()>>(
        mut self,
        asked: impl Fn() -> F,
    ) -> anyhow::Result<()> {
        let watchdog = tokio::spawn(notify_systemd::watchdog(
            self.store.clone(),
            self.telephony.clone(),
            self.end.clone(),
        ));
        // Before READY: a SIGHUP that nobody handles would end the process.
        let mut reload = hangup_signal()?;
        let mut watched = self.flows.folders();
        watched.extend(self.config.ivr.customers.clone());
        watched.retain(|_| self.config.ivr.watch);
        let mut watch = watch::Watch::new(watched);
        notify_systemd::ready();
        let mut fault = None;
        loop {
            tokio::select! {
                () = asked() => break,
                () = reload.next() => self.reload().await,
                () = watch.changed() => self.reload().await,
                ended = &mut self.dialler => {
                    fault = Some(anyhow::anyhow!("the dialler ended: {ended:?}"));
                    break;
                }
            }
        }
        notify_systemd::stopping();
        let cut = self.cut.clone();
        let drain_limit = self.drain_limit;
        let stopping = self.stop(drain_limit);
        tokio::pin!(stopping);
        tokio::select! {
            () = &mut stopping => {}
            () = asked() => {
                tracing::warn!("asked again: ending calls now");
                cut.cancel();
                stopping.await;
            }
        }
        watchdog.abort();
        fault.map_or(Ok(()), Err)
    }

    /// Stops in order: no new requests, no new calls, calls end, mail leaves, store closes.
    pub async fn stop(self, drain_limit: Duration) {
        tracing::info!("stopping: no new requests and calls");
        self.stop.cancel();
        self.intakes.close();
        self.intakes.wait().await;
        if let Some(Telephony { engine, .. }) = &self.telephony {
            // The second order to stop ends the draining at once.
            tokio::select! {
                () = engine.drain(drain_limit) => {}
                () = self.cut.cancelled() => engine.drain(Duration::ZERO).await,
            }
        }
        self.cut.cancel();
        self.calls.close();
        self.calls.wait().await;
        if tokio::time::timeout(FLUSH_LIMIT, self.notifier.flush())
            .await
            .is_err()
        {
            tracing::warn!("mail is left in the outbox for the next start");
        }
        self.end.cancel();
        self.rest.close();
        self.rest.wait().await;
        if let Err(error) = self.desk.stop().await {
            tracing::warn!(%error, "the line was not handed back; leases will expire");
        }
        self.store.close().await;
        tracing::info!("stopped");
    }

    /// Flows and prompts are read anew; a faulty set is refused and the old one stays.
    async fn reload(&self) {
        notify_systemd::reloading();
        let (config, flows) = (Arc::clone(&self.config), Arc::clone(&self.flows));
        let (prompts, desk) = (Arc::clone(&self.prompts), Arc::clone(&self.desk));
        let work = move || parts::reload(&config, &flows, &prompts, &desk);
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => tracing::info!("flows and prompts were read again"),
            Ok(Err(faults)) => {
                tracing::error!("the old flows and prompts stay:\n{}", faults.join("\n"))
            }
            Err(error) => tracing::error!(%error, "the old flows and prompts stay"),
        }
        notify_systemd::ready();
    }

    /// Spawns everything that listens or loops.
    fn serve(&mut self, config: &Arc<Config>, sockets: Sockets) -> anyhow::Result<()> {
        let metrics = web::metrics::Metrics::default();
        let http = match sockets.http.is_empty() {
            false => Some(self.serve_customers(config, sockets.http, &metrics)?),
            true => None,
        };
        let authenticator = match sockets.smtp.is_empty() {
            false => Authenticator::new(config)?,
            true => None,
        };
        let refuses = authenticator.clone();
        let refuses = refuses.filter(|_| config.mail.reject_dmarc_fail);
        self.receive(config, (Protocol::Smtp, refuses), sockets.smtp)?;
        self.receive(config, (Protocol::Submission, None), sockets.submission)?;
        self.receive(config, (Protocol::Lmtp, None), sockets.lmtp)?;
        let mut mailboxes = None;
        if config.node.role.takes() {
            mailboxes = Some(Mailboxes::start(
                &config.mail.imap,
                config.smtp.message_bytes_max,
                &self.desk,
                (&self.clock, &self.services),
                &self.intakes,
                &self.stop,
            ));
            self.intakes.spawn(intake::mail::work(
                Arc::clone(&self.desk),
                Arc::clone(config),
                authenticator.clone(),
                self.stop.clone(),
            ));
        }
        self.rest
            .spawn(Arc::clone(&self.notifier).run(self.end.clone()));
        if config.mail.operator.is_some() {
            let (desk, mailboxes) = (Arc::clone(&self.desk), mailboxes.clone());
            self.rest
                .spawn(alarms::watch(desk, mailboxes, self.end.clone()));
        }
        let seen = observe::Seen {
            desk: Arc::clone(&self.desk),
            store: self.store.clone(),
            telephony: self.telephony.clone(),
            notifier: Arc::clone(&self.notifier),
            http,
            mailboxes,
            authenticator,
            flows: Arc::clone(&self.flows),
            trunks: config.trunk.iter().map(|t| t.name.clone()).collect(),
            stop: self.stop.clone(),
        };
        let flows = Arc::clone(&self.flows);
        self.rest.spawn(
            Arc::clone(&self.desk)
                .keep_board(move || flows.current().reads_queues(), self.end.clone()),
        );
        self.rest
            .spawn(Arc::clone(&self.desk).keep_promises(self.end.clone()));
        let control = web::control::bind(&config.store.dir)
            .with_context(|| format!("store.dir: {}", config.store.dir.display()))?;
        self.rest.spawn(web::control::serve(
            control,
            Arc::clone(&self.desk),
            self.end.clone(),
        ));
        self.rest.spawn(observe::refresh(
            seen.clone(),
            metrics.clone(),
            self.end.clone(),
        ));
        let health =
            web::health::Health::new(observe::readiness(&seen), metrics, self.clock.clone());
        for listener in sockets.ops {
            self.rest.spawn(web::serve(
                listener,
                health.router(),
                web::Limits::default(),
                self.end.clone(),
            ));
        }
        Ok(())
    }

    /// Spawns one receiver of mail behind all its listeners; who checks what it takes, if
    /// anything may be refused for its origin.
    fn receive(
        &self,
        config: &Config,
        (protocol, refuses): (Protocol, Option<Arc<Authenticator>>),
        listeners: Vec<impl Into<Listener>>,
    ) -> anyhow::Result<()> {
        if listeners.is_empty() {
            return Ok(());
        }
        let (desk, clock) = (Arc::clone(&self.desk), self.clock.clone());
        let receiver =
            Receiver::new(&config.smtp, protocol, desk, clock, refuses).context("smtp")?;
        for listener in listeners {
            let receiver = Arc::clone(&receiver);
            self.intakes
                .spawn(receiver.serve(listener.into(), self.stop.clone()));
        }
        Ok(())
    }

    /// Spawns the public web listener: form, API and status pages.
    fn serve_customers(
        &self,
        config: &Config,
        listeners: Vec<TcpListener>,
        metrics: &web::metrics::Metrics,
    ) -> anyhow::Result<Arc<intake::http::HttpIntake>> {
        let pages = Arc::new(Pages::new(&config.site, &config.public_url())?);
        let http = intake::http::HttpIntake::new(
            config,
            Arc::clone(&pages),
            self.clock.clone(),
            Arc::clone(&self.desk),
        )?;
        let status = web::status::StatusPage::new(
            pages,
            self.clock.clone(),
            &config.site.zone,
            Arc::clone(&self.desk),
        );
        let routes = Router::new()
            .merge(http.router())
            .merge(status.router())
            .merge(page::assets());
        let routes = page::secure(routes, config.public_url().starts_with("https:"));
        let routes = web::health::instrument(routes, metrics, &self.clock);
        for listener in listeners {
            let (routes, limits) = (routes.clone(), web::Limits::default());
            self.intakes
                .spawn(web::serve(listener, routes, limits, self.stop.clone()));
        }
        Ok(http)
    }
}

/// A seed from the operating system; everything random that guards nothing derives from one.
fn seed() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// SIGHUP, as a stream of one thing.
struct Hangup(tokio::signal::unix::Signal);

fn hangup_signal() -> anyhow::Result<Hangup> {
    let kind = tokio::signal::unix::SignalKind::hangup();
    Ok(Hangup(tokio::signal::unix::signal(kind)?))
}

impl Hangup {
    async fn next(&mut self) {
        // The stream of a signal never ends.
        let _ = self.0.recv().await;
    }
}
