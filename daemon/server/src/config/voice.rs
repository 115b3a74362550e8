//! `[voice]`, `[[trunks]]` and `[[phones]]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Period, loopback};

/// SIP and RTP.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Voice {
    /// Address of the SIP socket (UDP).
    pub sip_listen: SocketAddr,
    /// Address for SIP over TCP; without it peers cannot open such streams.
    pub sip_tcp_listen: Option<SocketAddr>,
    /// Address for SIP over TLS; needs a certificate.
    pub sip_tls_listen: Option<SocketAddr>,
    /// Certificate chain for SIP over TLS (PEM).
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key (PEM).
    pub tls_key_file: Option<PathBuf>,
    /// DNS server that finds the trunks, `address:port`. Default: those of the system.
    pub dns: Option<SocketAddr>,
    /// Address told to peers in Contact and SDP. Default: the SIP listen address, which must then not be 0.0.0.0.
    pub public_address: Option<IpAddr>,
    /// Ports of RTP and RTCP, `"16384-32766"`.
    pub rtp_ports: PortRange,
    /// Media threads; 0 = one less than cores, at least one.
    pub media_threads: usize,
    /// Calls at once, both directions.
    pub max_calls: usize,
    /// Flow that answers a caller who phones in.
    pub inbound_flow: String,
    /// Calls are accepted from these addresses besides the trunks' (networks like `10.0.0.0/8` or single addresses).
    pub inbound_from: Vec<String>,
    /// A call without RTP for so long is ended.
    pub no_rtp_hangup: Period,
    /// Longest call.
    pub call_limit: Period,
    /// A call whose far end shows no sign of life for so long is ended (RFC 4028); at least 90s.
    pub session_expires: Period,
    /// How agents' telephones prove their password. Many of them give up when SHA-256 is so
    /// much as named, so `both` and `sha256` are for telephones known to speak it.
    pub phone_digest: PhoneDigest,
}

/// A range of UDP ports, written `"16384-32766"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct PortRange(
    #[schemars(with = "String", regex(pattern = r"^[0-9]{4,5}-[0-9]{4,5}$"))] pub (u16, u16),
);

/// A SIP trunk.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// Name in rows, logs and metrics.
    pub name: String,
    /// Where it is: a domain (SRV, else A and AAAA), `host:port` or `address:port`.
    pub target: String,
    /// How it is spoken to: `udp`, `tcp` or `tls`.
    #[serde(default)]
    pub transport: TransportName,
    /// Certificates that vouch for the trunk's (PEM). Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, if the trunk asks for one (PEM).
    pub cert_file: Option<PathBuf>,
    /// Its private key (PEM).
    pub key_file: Option<PathBuf>,
    /// Whether we register there, so that it sends us calls.
    #[serde(default)]
    pub register: bool,
    /// How long a registration is asked for.
    #[serde(default = "default_register_expires")]
    pub register_expires: Period,
    /// Encrypted media: `off`, `optional` or `required` (SDES, so only with `transport = "tls"`).
    #[serde(default)]
    pub srtp: SrtpUse,
    /// Allow SRTP keys over signalling that anyone on the path can read; for tests.
    #[serde(default)]
    pub srtp_over_plain_sip: bool,
    /// User name for digest authentication.
    pub username: Option<String>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// Realm the trunk must name before it gets an answer; empty: any realm, but only from the trunk's address.
    pub realm: Option<String>,
    /// Caller ID in E.164: a number that answers.
    pub caller_id: String,
    /// Calls at once.
    #[serde(default = "default_channels")]
    pub max_channels: u32,
    /// New calls a second.
    #[serde(default = "default_calls_per_second")]
    pub calls_per_second: f64,
    /// Minutes of calls in a day (UTC); past that the trunk is left alone until midnight.
    pub minutes_per_day: Option<u32>,
    /// Money that its calls of a day (UTC) may cost, by `rates`.
    pub cost_per_day: Option<f64>,
    /// Price of a minute by the begin of the number, the longest that fits: `{ "+49" = 0.02, "+" = 0.3 }`.
    #[serde(default)]
    pub rates: BTreeMap<String, f64>,
    /// Codecs in order of preference: `pcmu`, `pcma`, `g722`, `opus`.
    #[serde(default = "default_codecs")]
    pub codecs: Vec<CodecName>,
    /// From where its sound may come: `strict`, `address` or `nat`.
    #[serde(default)]
    pub media: MediaRule,
}

/// Parts of the unit of money in which prices are counted.
const PRICE_PARTS: f64 = 10_000.0;

impl Trunk {
    /// Price of a minute to a number in E.164, in ten-thousandths, rounded up.
    #[must_use]
    pub fn price(&self, number: &str) -> i64 {
        let fits = self
            .rates
            .iter()
            .filter(|(begin, _)| number.starts_with(begin.as_str()));
        let rate = fits.max_by_key(|(begin, _)| begin.len());
        rate.map_or(0, |(_, rate)| price_parts(*rate))
    }

    /// The cap on the cost of a day, in ten-thousandths.
    #[must_use]
    pub fn cost_max(&self) -> Option<i64> {
        self.cost_per_day.map(price_parts)
    }
}

#[allow(clippy::cast_possible_truncation)] // clamped; a price has few digits
fn price_parts(money: f64) -> i64 {
    (money * PRICE_PARTS).ceil().clamp(0.0, 1e12) as i64
}

/// How a trunk is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransportName {
    /// Datagrams.
    #[default]
    Udp,
    /// A stream.
    Tcp,
    /// An encrypted stream.
    Tls,
}

/// Whether media is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SrtpUse {
    /// Never.
    #[default]
    Off,
    /// Offered first and taken when offered; without it a call is still made.
    Optional,
    /// No call without it.
    Required,
}

/// A telephone of an agent. It registers over the SIP socket, may call in, and may
/// transfer its calls.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phone {
    /// User name it registers with, and under which it is called.
    pub username: String,
    /// File that holds its password.
    pub password_file: PathBuf,
}

/// Hashes of digest authentication offered to telephones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhoneDigest {
    /// MD5 (RFC 2617).
    Md5,
    /// SHA-256 (RFC 8760).
    Sha256,
    /// SHA-256 and MD5.
    Both,
}

/// An audio codec of a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CodecName {
    /// G.711 mu-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722: 16 kHz at 64 kbit/s.
    G722,
    /// Opus, in the telephone band.
    Opus,
}

/// From where a call's sound may come, and where ours goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MediaRule {
    /// The address and port in its SDP, nothing else.
    #[default]
    Strict,
    /// The address in its SDP; the port is learned once, from its packets.
    Address,
    /// Behind a router: the address its signalling comes from too; the port is learned once.
    Nat,
}

fn default_channels() -> u32 {
    10
}

fn default_calls_per_second() -> f64 {
    2.0
}

fn default_register_expires() -> Period {
    Period(Duration::from_secs(600))
}

fn default_codecs() -> Vec<CodecName> {
    vec![CodecName::Pcmu, CodecName::Pcma]
}

impl Default for Voice {
    fn default() -> Self {
        Voice {
            sip_listen: loopback(5060),
            sip_tcp_listen: None,
            sip_tls_listen: None,
            tls_cert_file: None,
            tls_key_file: None,
            dns: None,
            public_address: None,
            rtp_ports: PortRange((16_384, 32_766)),
            media_threads: 0,
            max_calls: 1_000,
            inbound_flow: "main-menu".into(),
            inbound_from: Vec::new(),
            no_rtp_hangup: Period(Duration::from_secs(30)),
            call_limit: Period(Duration::from_secs(3_600)),
            session_expires: Period(Duration::from_secs(1_800)),
            phone_digest: PhoneDigest::Md5,
        }
    }
}

impl Default for Trunk {
    /// A trunk without name, target and caller ID: a start for tests and the demo.
    fn default() -> Self {
        Trunk {
            name: String::new(),
            target: String::new(),
            transport: TransportName::Udp,
            ca_file: None,
            cert_file: None,
            key_file: None,
            register: false,
            register_expires: default_register_expires(),
            srtp: SrtpUse::Off,
            srtp_over_plain_sip: false,
            username: None,
            password_file: None,
            realm: None,
            caller_id: String::new(),
            max_channels: default_channels(),
            calls_per_second: default_calls_per_second(),
            minutes_per_day: None,
            cost_per_day: None,
            rates: BTreeMap::new(),
            codecs: default_codecs(),
            media: MediaRule::default(),
        }
    }
}

impl Serialize for PortRange {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}-{}", self.0.0, self.0.1))
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let range = text.split_once('-').and_then(|(low, high)| {
            let (low, high) = (low.parse::<u16>().ok()?, high.parse::<u16>().ok()?);
            (low >= 1024 && high > low).then_some((low, high))
        });
        range.map(PortRange).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} is no range of ports; write it like \"16384-32766\""
            ))
        })
    }
}
