//! The configuration: one TOML file, one tree of structs, all defaults here.
//! Unknown keys are refused; every fault names its key, line and remedy.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use helpline_core::calendar::Calendar;
use helpline_core::ivr::flow::Known;
use helpline_core::phone::{DialRules, PhoneNumber};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod agent;
mod check;
mod mail;
mod users;
mod voice;

pub use agent::{Agent, Agents, Mode};
pub use check::{ConfigFault, Loaded};
pub use mail::{Dkim, Imap, Mail, MailProof, OAuth2, Relay, RelayTls, Smtp};
pub use users::{USER_BYTES_MAX, Users, user_fault};
pub use voice::{
    CodecName, MediaRule, Phone, PhoneDigest, PortRange, SrtpUse, TransportName, Trunk, Voice,
};

/// The whole configuration. Every part has defaults: an empty file is a running daemon
/// on loopback with SQLite, mail written to a folder and no trunk.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who speaks: name, zone and language told to customers.
    pub site: Site,
    /// Where requests are kept.
    pub store: Store,
    /// What this daemon does, where several share a store.
    pub node: Node,
    /// The public web listener.
    pub http: Http,
    /// Health and metrics, for the operator only.
    pub ops: Ops,
    /// The SMTP receiver.
    pub smtp: Smtp,
    /// Outgoing mail.
    pub mail: Mail,
    /// SIP and RTP.
    pub voice: Voice,
    /// Flows and prompts.
    pub ivr: Ivr,
    /// Mailboxes for the messages of callers. One named `help` is always there, for the
    /// shipped flows.
    pub mailbox: Vec<Mailbox>,
    /// Which numbers may be called.
    pub dial: Dial,
    /// Named opening hours.
    pub calendar: BTreeMap<String, CalendarHours>,
    /// SIP trunks, tried in this order.
    pub trunk: Vec<Trunk>,
    /// Agents' telephones that register here; without any nobody can register.
    pub phone: Vec<Phone>,
    /// People who take calls.
    pub agent: Vec<Agent>,
    /// Queues; without any there is one named `help`.
    pub queue: Vec<Queue>,
    /// How the daemon stops.
    pub stop: Stop,
}

/// A length of time written as `"20s"`, `"500ms"`, `"5m"`, `"2h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(transparent)]
pub struct Period(
    #[schemars(with = "String", regex(pattern = r"^[0-9]{1,7}(ms|s|m|h|d)$"))] pub Duration,
);

/// Who speaks.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// Name told to customers.
    pub name: String,
    /// IANA zone in which times are told, `Europe/Berlin`.
    pub zone: String,
    /// Language of pages and mail when the customer's is unknown.
    pub language: String,
}

/// Where requests are kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Folder of the embedded database, recordings and the lock.
    pub dir: PathBuf,
    /// File that holds a PostgreSQL address (`postgres://...`); without it the embedded SQLite is used.
    pub postgres_url_file: Option<PathBuf>,
    /// MiB of memory for pages of the embedded database. More makes a long line faster.
    pub cache_mib: u32,
}

/// One of several daemons on one store.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// `all`, `intake` (web, mail; calls nobody) or `voice` (calls; takes requests from
    /// callers alone). Other than `all` needs `store.postgres_url_file`.
    pub role: Role,
}

/// Which part of the work a daemon does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    #[default]
    All,
    /// Takes requests by web and mail and shows how they stand; has no SIP socket.
    Intake,
    /// Calls and is called; has no public web listener and no SMTP receiver.
    Voice,
}

impl Role {
    /// Whether it takes requests by web and mail.
    #[must_use]
    pub const fn takes(self) -> bool {
        matches!(self, Role::All | Role::Intake)
    }

    /// Whether it calls and is called.
    #[must_use]
    pub const fn calls(self) -> bool {
        matches!(self, Role::All | Role::Voice)
    }
}

/// The public web listener.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// How customers reach it, without a final slash; links in mail begin with it.
    /// Default: `http://` and the listen address.
    pub public_url: Option<String>,
    /// Requests a minute from one address (form and JSON together).
    pub requests_per_minute: u32,
}

/// Health and metrics.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ops {
    /// Address of `/healthz`, `/readyz`, `/health`, `/metrics`.
    pub listen: SocketAddr,
}

/// Flows and prompts.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ivr {
    /// Folder whose flows override the built-in ones by file name.
    pub flows: Option<PathBuf>,
    /// Folder whose locales override the built-in prompts by file name, and whose other
    /// folders hold sound files: `hold/default.flac` is `hold/default` in a flow.
    pub prompts: Option<PathBuf>,
    /// Whether changed files are taken up by themselves, as after SIGHUP.
    pub watch: bool,
    /// Environment variables that flows may read as `env.NAME`.
    pub env: Vec<String>,
    /// Program that speaks what `tts` of a flow says: words come on its standard input, it
    /// writes WAV to its output; `{locale}` in an argument is replaced. No shell. Without
    /// it such items are left out.
    pub tts: Vec<String>,
    /// Hosts that flows may send requests to, `crm.example` or `crm.example:8443`.
    pub http_hosts: Vec<String>,
    /// CSV file of customers that `lookup` of a flow finds by `number` or `email`; its other
    /// columns are fields of the record.
    pub customers: Option<PathBuf>,
}

/// Where messages go that callers leave.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mailbox {
    /// Name in flows.
    pub name: String,
    /// Address that gets each message as a mail with its sound. Without one the messages
    /// stay in `recordings` under `store.dir`.
    pub to: Option<String>,
    /// Messages that may wait to be sent; further callers are told that it cannot be kept.
    #[serde(default = "default_messages_max")]
    pub messages_max: u32,
}

impl Default for Mailbox {
    fn default() -> Self {
        Mailbox {
            name: "help".into(),
            to: None,
            messages_max: default_messages_max(),
        }
    }
}

const fn default_messages_max() -> u32 {
    1_000
}

/// Which numbers may be called.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dial {
    /// Regions that may be called (ISO 3166). Everything else is refused.
    pub allow: Vec<String>,
    /// Region that completes national numbers.
    pub region: Option<String>,
    /// The operator's own numbers in E.164.
    pub own_numbers: Vec<String>,
    /// Further prefixes in E.164 never to call.
    pub refuse_prefixes: Vec<String>,
}

/// Opening hours in one zone.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CalendarHours {
    /// IANA zone, `Europe/Berlin`.
    pub zone: String,
    /// Weekday or range of weekdays (`mon`, `mon-thu`) to spans (`"08:00-18:00"`, `"22:00-06:00"`).
    pub week: BTreeMap<String, Vec<String>>,
    /// Single days (`2026-12-24`, or yearly `12-25`) to spans; an empty list is closed.
    pub days: BTreeMap<String, Vec<String>>,
}

/// A queue: one line of requests.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// Name in rows, addresses and metrics.
    pub name: String,
    /// Title shown to customers.
    pub title: String,
    /// Opening hours, a name of `[calendar.NAME]`; empty: always open.
    pub calendar: String,
    /// Flow on the customer's leg of a call-back.
    pub confirm_flow: String,
    /// The help channel after the customer accepted, where no agent is: a flow of its own.
    pub help_flow: String,
    /// Calls at once for this queue; with agents, as many as there are.
    pub max_calls: u32,
    /// How long the telephone rings.
    pub ring_limit: Period,
    /// Mean length of a call until enough calls taught a better one.
    pub mean_handling: Period,
    /// Waiting requests; beyond that new ones are refused.
    pub waiting_max: u32,
    /// Requests an hour by form or JSON, whose numbers anybody can type, that are called without
    /// further proof; who comes beyond that keys in four figures shown on the page.
    pub unproven_per_hour: u32,
    /// How agents take its calls.
    pub agents: Agents,
}

/// How the daemon stops.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// Calls in progress may go on for so long after SIGTERM.
    pub drain_limit: Period,
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Default for Site {
    fn default() -> Self {
        Site {
            name: "Help desk".into(),
            zone: "UTC".into(),
            language: "en".into(),
        }
    }
}
impl Default for Store {
    fn default() -> Self {
        Store {
            dir: "helpline-data".into(),
            postgres_url_file: None,
            cache_mib: 64,
        }
    }
}
impl Default for Http {
    fn default() -> Self {
        Http {
            listen: loopback(8080),
            public_url: None,
            requests_per_minute: 60,
        }
    }
}
impl Default for Ops {
    fn default() -> Self {
        Ops {
            listen: loopback(9464),
        }
    }
}
impl Default for Queue {
    fn default() -> Self {
        Queue {
            name: "help".into(),
            title: "Help".into(),
            calendar: String::new(),
            confirm_flow: "callback-confirm".into(),
            help_flow: "self-help".into(),
            max_calls: 4,
            ring_limit: Period(Duration::from_secs(40)),
            mean_handling: Period(Duration::from_secs(180)),
            waiting_max: 2_000,
            unproven_per_hour: 60,
            agents: Agents::default(),
        }
    }
}
impl Default for Stop {
    fn default() -> Self {
        Stop {
            drain_limit: Period(Duration::from_secs(300)),
        }
    }
}

impl Period {
    /// Reads `"20s"`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        Some(Period(Duration::from_millis(number.checked_mul(millis)?)))
    }
}

impl Serialize for Period {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let millis = self.0.as_millis();
        to.collect_str(&match millis {
            m if m % 1000 == 0 => format!("{}s", m / 1000),
            m => format!("{m}ms"),
        })
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Period::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} is no length of time; write it like \"20s\", \"500ms\", \"5m\" or \"2h\""
            ))
        })
    }
}

/// Where the recording of that name is.
#[must_use]
pub fn take_path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.wav"))
}

impl Config {
    /// The queue requests enter when they name none: the first one.
    #[must_use]
    pub fn default_queue(&self) -> &str {
        self.queue
            .first()
            .map_or("help", |queue| queue.name.as_str())
    }

    /// How many calls of a queue can be served at once: by its flow, or by agents.
    #[must_use]
    pub fn places(&self, queue: &Queue) -> u32 {
        if !queue.agents.are_people() {
            return queue.max_calls;
        }
        let serving = self.agent.iter().filter(|agent| agent.serves(&queue.name));
        u32::try_from(serving.count()).unwrap_or(u32::MAX)
    }

    /// How customers reach the web listener, without a final slash.
    #[must_use]
    pub fn public_url(&self) -> String {
        self.http.public_url.as_ref().map_or_else(
            || format!("http://{}", self.http.listen),
            |url| url.trim_end_matches('/').to_owned(),
        )
    }

    /// The rules every number passes before it is stored or dialled.
    #[must_use]
    pub fn dial_rules(&self) -> DialRules {
        let own = self
            .dial
            .own_numbers
            .iter()
            .chain(self.trunk.iter().map(|t| &t.caller_id));
        DialRules {
            allow: self.dial.allow.clone(),
            own: own
                .filter_map(|n| PhoneNumber::parse(n, None).ok())
                .collect(),
            refuse_prefixes: self.dial.refuse_prefixes.clone(),
            any_region: false,
        }
    }

    /// Folder for what callers say.
    #[must_use]
    pub fn recordings(&self) -> PathBuf {
        self.store.dir.join("recordings")
    }

    /// Folder for what `ivr.tts` has spoken.
    #[must_use]
    pub fn spoken(&self) -> PathBuf {
        self.store.dir.join("tts")
    }

    /// What flows read as `env`; a variable that is not set is not there.
    #[must_use]
    pub fn env(&self) -> BTreeMap<String, String> {
        let names = self.ivr.env.iter();
        names
            .filter_map(|name| Some((name.clone(), std::env::var(name).ok()?)))
            .collect()
    }

    /// What flows are checked against, but for sound files.
    #[must_use]
    pub fn known(&self) -> Known {
        Known {
            queues: Some(self.queue.iter().map(|queue| queue.name.clone()).collect()),
            mailboxes: Some(self.mailbox.iter().map(|m| m.name.clone()).collect()),
            // A queue without hours of its own is always open, and so is a flow.
            calendars: (!self.calendar.is_empty()).then(|| self.calendar.keys().cloned().collect()),
            env: Some(self.ivr.env.iter().cloned().collect()),
            hosts: Some(self.ivr.http_hosts.iter().cloned().collect()),
            starts: Some(
                std::iter::once(self.voice.inbound_flow.clone())
                    .chain(self.queue.iter().map(|queue| queue.confirm_flow.clone()))
                    .collect(),
            ),
            files: None,
        }
    }

    /// Opening hours of each queue by its name. The configuration has been checked.
    #[must_use]
    pub fn calendars(&self) -> BTreeMap<String, Calendar> {
        let of = |queue: &Queue| {
            let hours = self.calendar.get(&queue.calendar)?;
            Calendar::parse(&hours.zone, &hours.week, &hours.days).ok()
        };
        self.queue
            .iter()
            .map(|queue| {
                (
                    queue.name.clone(),
                    of(queue).unwrap_or_else(Calendar::always),
                )
            })
            .collect()
    }
}

/// Reads a secret: the file's text without its final line break. `credential:NAME`
/// names a file that systemd put into `$CREDENTIALS_DIRECTORY`.
///
/// # Errors
/// A sentence that names the file, never its content.
pub fn read_secret(path: &std::path::Path) -> anyhow::Result<String> {
    use anyhow::Context as _;
    let path = match path.to_str().and_then(|p| p.strip_prefix("credential:")) {
        Some(name) => {
            let dir = std::env::var_os("CREDENTIALS_DIRECTORY").with_context(|| {
                format!(
                    "{name}: there is no $CREDENTIALS_DIRECTORY; run as a service or name a file"
                )
            })?;
            // LoadCredential of a folder prefixes each name with the id of the credential.
            let dir = PathBuf::from(dir);
            let prefixed = dir.join(format!("helpline_{name}"));
            if prefixed.exists() {
                prefixed
            } else {
                dir.join(name)
            }
        }
        None => path.to_owned(),
    };
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(!secret.is_empty(), "{} is empty", path.display());
    Ok(secret.to_owned())
}
