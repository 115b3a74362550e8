//! `[smtp]` and `[mail]`: how mail comes in and goes out.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use helpline_core::queue::admission::Rule;
use helpline_core::request::email::Keys;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Period, loopback, read_secret};

/// The SMTP receiver.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Smtp {
    /// Whether mail is taken at all.
    pub enabled: bool,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Addresses mail is taken for; the first one is the sender of replies.
    pub addresses: Vec<String>,
    /// Largest message in bytes.
    pub message_bytes_max: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_address_max: usize,
    /// Messages of one connection.
    pub messages_per_connection_max: u32,
    /// Certificate chain (PEM) with which STARTTLS is offered.
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key (PEM).
    pub tls_key_file: Option<PathBuf>,
    /// No mail is taken in the clear.
    pub require_tls: bool,
    /// File of those who may log in (AUTH, over TLS alone): a line `NAME:HASH` each, as
    /// `helpline smtp-user` prints it. They too write to `addresses` only.
    pub users_file: Option<PathBuf>,
    /// A second address, for those who log in alone; usually port 587.
    pub submission: Option<SocketAddr>,
    /// UNIX socket on which LMTP is spoken, for a mail server in front.
    pub lmtp: Option<PathBuf>,
}

impl Default for Smtp {
    fn default() -> Self {
        Smtp {
            enabled: true,
            listen: loopback(2525),
            addresses: vec!["help@localhost".into()],
            message_bytes_max: 26_214_400,
            connections_max: 100,
            connections_per_address_max: 20,
            messages_per_connection_max: 100,
            tls_cert_file: None,
            tls_key_file: None,
            require_tls: false,
            users_file: None,
            submission: None,
            lmtp: None,
        }
    }
}

/// Outgoing mail.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mail {
    /// Folder that gets a file a message when there is no relay. Default: `mail` under `store.dir`.
    pub directory: Option<PathBuf>,
    /// The operator's SMTP relay.
    pub relay: Option<Relay>,
    /// Signatures on what we write (DKIM, RFC 6376). Default: none.
    pub dkim: Option<Dkim>,
    /// Folder whose templates override the built-in ones by file name.
    pub templates: Option<PathBuf>,
    /// Relays of the operator's whose `Authentication-Results` are believed, by their
    /// authserv-id (RFC 8601).
    pub authserv_ids: Vec<String>,
    /// Whether SPF, DKIM and DMARC of mail that comes by SMTP are checked by DNS. Mail by LMTP,
    /// from mailboxes and from `relays` never is.
    pub authenticate: bool,
    /// Networks of the operator's relays: they check what they pass on, we believe their headers
    /// by `authserv_ids`. Default: this machine and private networks.
    pub relays: Vec<String>,
    /// Mail that fails DMARC is refused (550) when its domain wants that (`p=reject`).
    pub reject_dmarc_fail: bool,
    /// What a request by mail has to show before its number is called.
    pub proof: MailProof,
    /// DNS server for these checks. Default: those of the system.
    pub dns: Option<SocketAddr>,
    /// Who is told by mail when a mailbox is out of order, a message was set aside, or no more
    /// replies may be sent; once a day about each at most.
    pub operator: Option<String>,
    /// Mailboxes from which mail is fetched.
    pub imap: Vec<Imap>,
    /// Days for which the bytes of mail are kept after it came; what became of it is kept longer.
    pub keep_days: u32,
    /// Answers go to `help+rTOKEN@...` and bounces to `help+bTOKEN@...`. Switch it off where
    /// mail to an address with a plus sign does not arrive.
    pub plus_addresses: bool,
    /// File with the key that signs our own mail (32 characters or more; `credential:NAME`).
    /// Default: a key made once and kept in the database.
    pub token_key_file: Option<PathBuf>,
    /// The key before it, believed while mail signed with it may still be answered.
    pub token_key_previous_file: Option<PathBuf>,
}

/// Fewest characters of a key.
const KEY_CHARS_MIN: usize = 32;

impl Mail {
    /// The keys of the operator; `None` where the database's own serves.
    ///
    /// # Errors
    /// A file that cannot be read, or a key that is too short.
    pub fn token_keys(&self) -> anyhow::Result<Option<Keys>> {
        let Some(file) = &self.token_key_file else {
            return Ok(None);
        };
        let current = read_key(file).context("mail.token_key_file")?;
        let previous = self.token_key_previous_file.as_deref();
        let previous = previous.map(read_key).transpose();
        let previous = previous.context("mail.token_key_previous_file")?;
        let previous = previous.as_ref().map(String::as_bytes);
        Ok(Some(Keys::new(current.as_bytes(), previous)))
    }
}

/// A key, if it is long enough.
pub(super) fn read_key(file: &Path) -> anyhow::Result<String> {
    let key = read_secret(file)?;
    let chars = key.trim().chars().count();
    anyhow::ensure!(
        chars >= KEY_CHARS_MIN,
        "{}: a key of {chars} characters is too short; make one with `openssl rand -hex 32`",
        file.display()
    );
    Ok(key.trim().to_owned())
}

impl Default for Mail {
    fn default() -> Self {
        Mail {
            directory: None,
            relay: None,
            dkim: None,
            templates: None,
            authserv_ids: Vec::new(),
            authenticate: true,
            relays: PRIVATE_NETWORKS.map(str::to_owned).to_vec(),
            reject_dmarc_fail: false,
            proof: MailProof::Press1,
            dns: None,
            operator: None,
            imap: Vec::new(),
            keep_days: 30,
            plus_addresses: true,
            token_key_file: None,
            token_key_previous_file: None,
        }
    }
}

/// Nobody can send to us from there but the operator's own servers (RFC 1122, 1918, 4193, 4291,
/// 6598).
const PRIVATE_NETWORKS: [&str; 8] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "::1",
    "fc00::/7",
    "fe80::/10",
];

/// A mailbox from which mail is fetched (IMAP, RFC 3501). What was dealt with is moved to the
/// folders Processed, Ignored and Failed beside it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Imap {
    /// Name in logs, `/readyz` and metrics.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    #[serde(default = "default_imap_port")]
    pub port: u16,
    /// `wrapped` (TLS from the start) or `none` (loopback only).
    #[serde(default = "default_imap_tls")]
    pub tls: RelayTls,
    /// Certificates that vouch for the server's (PEM). Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// User name.
    pub user: String,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// Tokens in place of a password (XOAUTH2).
    pub oauth2: Option<OAuth2>,
    /// Folder that is looked at.
    #[serde(default = "default_imap_folder")]
    pub folder: String,
    /// How often it is looked at when the server cannot tell by itself (IDLE, RFC 2177).
    #[serde(default = "default_imap_poll")]
    pub poll: Period,
}

/// How tokens for a mailbox are got (RFC 6749): with a refresh token, which consent gave once.
/// The ones that follow are kept in the store.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// Token endpoint, `https://...`; plain `http` on loopback alone.
    pub token_url: String,
    /// Name of the client.
    pub client_id: String,
    /// File that holds the client's secret, if it has one.
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for; without it the same as before.
    pub scope: Option<String>,
    /// File that holds the refresh token to begin with. A new one put there takes the place of
    /// those in the store.
    pub refresh_token_file: PathBuf,
}

const fn default_imap_port() -> u16 {
    993
}

const fn default_imap_tls() -> RelayTls {
    RelayTls::Wrapped
}

fn default_imap_folder() -> String {
    "INBOX".to_owned()
}

const fn default_imap_poll() -> Period {
    Period(Duration::from_secs(60))
}

/// An SMTP relay.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `required` (STARTTLS), `wrapped` (TLS from the start) or `none` (loopback only).
    #[serde(default)]
    pub tls: RelayTls,
    /// User name, when the relay asks for one.
    pub username: Option<String>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
}

/// How it is found out whether a request by mail is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum MailProof {
    /// The call itself asks: it begins with "press 1 if you asked for this call".
    #[default]
    #[serde(rename = "press_1")]
    Press1,
    /// Mail for which nothing vouches is answered with a link and waits until it was used; mail
    /// that fails SPF or DMARC waits for an operator.
    #[serde(rename = "link")]
    Link,
}

impl From<MailProof> for Rule {
    fn from(proof: MailProof) -> Self {
        match proof {
            MailProof::Press1 => Rule::Call,
            MailProof::Link => Rule::Link,
        }
    }
}

/// Signatures on our mail, for the domain of the first of `smtp.addresses`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dkim {
    /// Which of the domain's keys it is: receivers look for `SELECTOR._domainkey.DOMAIN`.
    pub selector: String,
    /// File that holds the private key as PEM: RSA of 2048 bits or more, or Ed25519.
    pub key_file: PathBuf,
}

/// How the relay connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RelayTls {
    /// STARTTLS before anything else.
    #[default]
    Required,
    /// TLS from the first byte.
    Wrapped,
    /// Plain text; refused unless the relay is on loopback.
    None,
}
