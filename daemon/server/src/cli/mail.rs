//! `helpline mail FILE.eml`: what helpline understands of a message.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use helpline_core::phone::DialRules;
use helpline_core::request::email::{Envelope, Keys, MailContext, ReportContext, report};
use helpline_core::time::Wall;
use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;

use crate::clock::Clock;
use crate::config::Config;
use crate::store::peek::Peek;

/// Arguments of `helpline mail`.
///
/// Prints one JSON object on one line (`helpline schema mail` describes it): what kind of mail
/// it is, the text apart from quotes and signature, telephone numbers with their source, the
/// time wanted. Nothing is sent or stored. With `--config` answers to our own mail are told by the
/// key that signs it, which is read from the database if no file holds it. Exit 0 whenever the file can be read,
/// also when the mail would be refused or is a machine's.
///
/// Example: helpline mail --region DE --tz Europe/Berlin request.eml
#[derive(Debug, clap::Args)]
pub(super) struct Mail {
    /// Zone, region, own addresses and numbers that may be called, from this configuration;
    /// without it: UTC, no region, every country.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// When the message came; default: its topmost Received, else its Date.
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    now: Option<(Wall, i32)>,
    /// Zone of the site (IANA), where nothing tells the writer's.
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    tz: Option<String>,
    /// Region that completes national numbers (ISO 3166).
    #[arg(long, value_name = "CC", value_parser = region)]
    region: Option<String>,
    /// An address of ours; may be given several times.
    #[arg(long, value_name = "ADDR")]
    own: Vec<String>,
    /// A relay whose Authentication-Results are believed; may be given several times.
    #[arg(long, value_name = "ID")]
    authserv_id: Vec<String>,
    /// Envelope sender; `<>` is nobody.
    #[arg(long, value_name = "ADDR")]
    envelope_from: Option<String>,
    /// Envelope recipient: counts as one of ours; may be given several times.
    #[arg(long, value_name = "ADDR")]
    envelope_to: Vec<String>,
    /// Many lines, for people.
    #[arg(long)]
    pretty: bool,
    /// The message; `-` reads the standard input.
    file: PathBuf,
}

impl Mail {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = match &self.config {
            Some(file) => match Config::load(Some(file)) {
                Ok(loaded) => Some(loaded.config),
                Err(faults) => {
                    for fault in faults {
                        eprintln!("{fault}");
                    }
                    return Ok(ExitCode::FAILURE);
                }
            },
            None => None,
        };
        let raw = self.read()?;
        let keys = match &config {
            Some(config) => keys(config).await?,
            None => None,
        };
        let text = self.report(&raw, config.as_ref(), keys)?;
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{text}") {
            // Whoever read has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            done => done?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn read(&self) -> anyhow::Result<Vec<u8>> {
        if self.file.as_os_str() == "-" {
            let mut raw = Vec::new();
            std::io::stdin().read_to_end(&mut raw)?;
            return Ok(raw);
        }
        std::fs::read(&self.file).with_context(|| self.file.display().to_string())
    }

    fn report(
        &self,
        raw: &[u8],
        config: Option<&Config>,
        keys: Option<Keys>,
    ) -> anyhow::Result<String> {
        let dial = match config {
            Some(config) => config.dial_rules(),
            None => DialRules {
                any_region: true,
                ..DialRules::default()
            },
        };
        let mut own = self.own.clone();
        own.extend(self.envelope_to.iter().cloned());
        own.extend(config.into_iter().flat_map(|c| c.smtp.addresses.clone()));
        let mut authserv_ids = self.authserv_id.clone();
        authserv_ids.extend(config.into_iter().flat_map(|c| c.mail.authserv_ids.clone()));
        let zone = self.tz.as_deref();
        let region = self.region.as_deref();
        let context = MailContext {
            own_addresses: &own,
            zone: zone
                .or(config.map(|c| c.site.zone.as_str()))
                .unwrap_or("UTC"),
            region: region.or(config.and_then(|c| c.dial.region.as_deref())),
            dial: &dial,
            queue: config.map_or("help", Config::default_queue),
            received: Wall::default(),
            envelope: match self.envelope_from.as_deref() {
                None => Envelope::Unknown,
                Some("" | "<>") => Envelope::Null,
                Some(address) => Envelope::From(address),
            },
            authserv_ids: &authserv_ids,
            recipients: &self.envelope_to,
            keys: keys.as_ref(),
            checked: None,
        };
        let how = ReportContext {
            now: self.now.map(|(at, _)| at),
            now_offset: self.now.map_or(0, |(_, offset)| offset),
            clock: Clock::system().wall(),
        };
        let report = report(raw, &context, &how);
        Ok(match self.pretty {
            true => serde_json::to_string_pretty(&report)?,
            false => serde_json::to_string(&report)?,
        })
    }
}

/// What signs our own mail: the operator's keys, or that of a database that is there.
async fn keys(config: &Config) -> anyhow::Result<Option<Keys>> {
    if let Some(keys) = config.mail.token_keys()? {
        return Ok(Some(keys));
    }
    // Without a database, or a daemon that used it, nothing was ever signed.
    let Ok(store) = Peek::open(&config.store).await else {
        return Ok(None);
    };
    let key = store.mail_key().await.unwrap_or_default();
    Ok(key.map(|key| Keys::new(key.as_bytes(), None)))
}

/// An instant, and the offset it was written in.
fn instant(text: &str) -> Result<(Wall, i32), String> {
    let refused = || format!("{text:?} is no instant; write it like 2026-11-23T10:00:00+01:00");
    let at: Timestamp = text.parse().map_err(|_| refused())?;
    let pieces = Pieces::parse(text).map_err(|_| refused())?;
    let offset = pieces.to_numeric_offset().map_or(0, |o| o.seconds());
    Ok((Wall::from_millis(at.as_millisecond()), offset))
}

fn zone(name: &str) -> Result<String, String> {
    helpline_core::calendar::zone_named(name).map(|_| name.to_owned())
}

fn region(code: &str) -> Result<String, String> {
    match code.len() == 2 && code.bytes().all(|b| b.is_ascii_alphabetic()) {
        true => Ok(code.to_ascii_uppercase()),
        false => Err(format!("{code:?} is no region; write two letters: DE, US")),
    }
}
