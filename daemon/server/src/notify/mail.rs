//! One mail: its headers, its bytes, and the way out (the operator's relay or a folder).
//! Every string from outside is cleaned here once more, because the library that writes
//! headers panics on a line break in a display name.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use helpline_core::request::clean_text;
use helpline_core::request::email::Keys;
use helpline_core::time::Wall;
use lettre::address::Envelope;
use lettre::message::header::ContentType;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart};
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::dkim::Signer;
use super::template::MailText;
use crate::config::{Config, Relay, RelayTls, read_secret};
use crate::store::outbox::OutboxRow;

/// Most ids in `References`.
const REFERENCES_MAX: usize = 20;
/// Most bytes of `References`.
const REFERENCES_BYTES_MAX: usize = 2_048;
/// One command of the relay may take so long.
const RELAY_TIME: Duration = Duration::from_secs(60);
/// Connections to the relay at once.
const RELAY_CONNECTIONS_MAX: u32 = 4;

/// Who writes: the same on every mail.
#[derive(Clone, Debug)]
pub struct Letterhead {
    /// Own address: sender, and where answers and bounces go that need no token.
    pub address: Address,
    /// What makes tokens.
    pub keys: Arc<Keys>,
    /// Answers and bounces go to addresses with a token behind a plus sign.
    pub plus_addresses: bool,
    /// Name of the site.
    pub site_name: String,
    /// How customers reach the pages, without a final slash.
    pub public_url: String,
    /// Signs what is written.
    pub signer: Option<Arc<Signer>>,
}

impl Letterhead {
    /// The first address of the SMTP receiver writes; answers to it come back to us.
    ///
    /// # Errors
    /// There is no such address, or it is none; the key for signatures cannot be used.
    pub fn new(config: &Config, public_url: &str, keys: Arc<Keys>) -> anyhow::Result<Self> {
        let address = config.smtp.addresses.first();
        let address = address.context("smtp.addresses is empty: mail needs a sender")?;
        Ok(Letterhead {
            address: address
                .parse()
                .with_context(|| format!("smtp.addresses: {address:?} is no address"))?,
            keys,
            plus_addresses: config.mail.plus_addresses,
            site_name: config.site.name.clone(),
            public_url: public_url.trim_end_matches('/').to_owned(),
            signer: Signer::open(config)?.map(Arc::new),
        })
    }
}

impl Letterhead {
    /// Where an answer to this mail goes: if it is about a request, to an address that names it.
    fn reply_to(&self, row: &OutboxRow) -> Address {
        let own: &str = self.address.as_ref();
        let is_request = row.body.request_tag.is_some();
        self.or_plain(|keys| is_request.then(|| keys.reply_address(own, &row.about))?)
    }

    /// Where bounces of this mail go (VERP): the address names what it is about.
    fn envelope_sender(&self, row: &OutboxRow) -> Address {
        let own: &str = self.address.as_ref();
        self.or_plain(|keys| keys.bounce_address(own, &row.about))
    }

    fn or_plain(&self, make: impl FnOnce(&Keys) -> Option<String>) -> Address {
        let made = self.plus_addresses.then(|| make(&self.keys)).flatten();
        let made = made.and_then(|address| address.parse().ok());
        made.unwrap_or_else(|| self.address.clone())
    }
}

/// A recording that goes along with a mail.
#[derive(Clone, Debug)]
pub struct Sound {
    /// Name of the file.
    pub name: String,
    /// A WAV file.
    pub bytes: Vec<u8>,
}

/// The bytes of a mail, as they are sent in every try, with our signature.
///
/// # Errors
/// The recipient is no address; the mail cannot be signed.
pub fn compose(
    from: &Letterhead,
    row: &OutboxRow,
    mail: &MailText,
    sound: Option<Sound>,
    now: Wall,
) -> anyhow::Result<Vec<u8>> {
    let to: Address = row.to_addr.parse().context("recipient is no address")?;
    let name = clean_text(&from.site_name, 100, false);
    let date = UNIX_EPOCH + Duration::from_millis(u64::try_from(now.millis()).unwrap_or(0));
    let message_id = message_id(from, row);
    let mut message = Message::builder()
        .from(Mailbox::new(name.clone(), from.address.clone()))
        .reply_to(Mailbox::new(name, from.reply_to(row)))
        .to(Mailbox::new(None, to))
        .date(date)
        .message_id(Some(format!("<{message_id}>")))
        .subject(subject(mail, row));
    if let Some(id) = row
        .body
        .in_reply_to
        .as_deref()
        .filter(|id| is_message_id(id))
    {
        message = message.in_reply_to(format!("<{id}>"));
    }
    if let Some(references) = references(row) {
        message = message.references(references);
    }
    let mark = from.keys.loop_mark(&message_id);
    for (name, value) in [
        // RFC 3834 §5: no robot shall answer this.
        ("Auto-Submitted", "auto-replied"),
        ("X-Auto-Response-Suppress", "All"),
        ("X-Helpline-Loop", mark.as_str()),
        ("Content-Language", mail.locale.as_str()),
    ] {
        let value = HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned());
        message = message.raw_header(value);
    }
    let body = MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone());
    let body = match sound {
        None => body,
        Some(sound) => {
            let kind = ContentType::parse("audio/wav")?;
            let part = Attachment::new(sound.name).body(sound.bytes, kind);
            MultiPart::mixed().multipart(body).singlepart(part)
        }
    };
    let bytes = message.multipart(body)?.formatted();
    match &from.signer {
        Some(signer) => signer.sign(&bytes),
        None => Ok(bytes),
    }
}

/// The row's id, or one made of the row, should the row hold nonsense.
fn message_id(from: &Letterhead, row: &OutboxRow) -> String {
    if is_message_id(&row.message_id) {
        return row.message_id.clone();
    }
    let plain: String = row.id.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{plain}@{}", from.address.domain())
}

/// Fixed words and the tag that finds the request again: `[#7KQ2-9F4M]`.
fn subject(mail: &MailText, row: &OutboxRow) -> String {
    let tag = row.body.request_tag.as_deref().filter(|tag| {
        (1..=20).contains(&tag.len()) && tag.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    });
    match tag {
        Some(tag) => format!("{} [#{tag}]", mail.subject),
        None => mail.subject.clone(),
    }
}

/// `References`: the newest ids that fit, oldest first, the answered one last.
fn references(row: &OutboxRow) -> Option<String> {
    let mut ids: Vec<&str> = Vec::new();
    let answered = row.body.in_reply_to.as_deref();
    let known = row.body.references.iter().map(String::as_str);
    for id in known.chain(answered) {
        if is_message_id(id) && !ids.contains(&id) {
            ids.push(id);
        }
    }
    let mut bytes = 0;
    let mut kept: Vec<String> = ids
        .into_iter()
        .rev()
        .take(REFERENCES_MAX)
        .take_while(|id| {
            bytes += id.len() + 3;
            bytes <= REFERENCES_BYTES_MAX
        })
        .map(|id| format!("<{id}>"))
        .collect();
    kept.reverse();
    (!kept.is_empty()).then(|| kept.join(" "))
}

/// `[!-~]+@[!-~]+` without angle brackets: nothing that could end or open a header.
fn is_message_id(text: &str) -> bool {
    text.len() <= 250
        && text
            .bytes()
            .all(|c| (b'!'..=b'~').contains(&c) && !b"<>".contains(&c))
        && text
            .split_once('@')
            .is_some_and(|(left, right)| !left.is_empty() && !right.is_empty())
}

/// Why a mail was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Trying again may help.
    #[error("{0}")]
    Transient(String),
    /// It will never go.
    #[error("{0}")]
    Permanent(String),
}

/// The way out.
pub enum Mailer {
    /// The operator's relay. Mail exchangers are its job, not ours.
    Smtp(Box<AsyncSmtpTransport<Tokio1Executor>>),
    /// A folder that gets a file a message.
    Directory(PathBuf),
}

impl Mailer {
    /// The relay of the configuration, or its folder.
    ///
    /// # Errors
    /// Plain text to a relay that is not on loopback; a password file that cannot be read; a
    /// folder that cannot be made.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        if let Some(relay) = &config.mail.relay {
            return Ok(Mailer::Smtp(Box::new(relay_transport(relay)?)));
        }
        let default = || config.store.dir.join("mail");
        let folder = config.mail.directory.clone().unwrap_or_else(default);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("folder for mail {}", folder.display()))?;
        Ok(Mailer::Directory(folder))
    }

    /// Sends `bytes` to the one recipient of `row`, whose id names the file in a folder.
    ///
    /// # Errors
    /// What the relay or the file system says, and whether another try may help.
    pub async fn send(
        &self,
        from: &Letterhead,
        row: &OutboxRow,
        bytes: &[u8],
    ) -> Result<(), SendError> {
        match self {
            Mailer::Smtp(transport) => {
                let to: Address = row
                    .to_addr
                    .parse()
                    .map_err(|_| SendError::Permanent("recipient is no address".to_owned()))?;
                let envelope = Envelope::new(Some(from.envelope_sender(row)), vec![to])
                    .map_err(|error| SendError::Permanent(error.to_string()))?;
                let sent = transport.send_raw(&envelope, bytes).await;
                sent.map(|_| ())
                    .map_err(|error| match error.is_permanent() {
                        true => SendError::Permanent(told(&error)),
                        false => SendError::Transient(told(&error)),
                    })
            }
            Mailer::Directory(folder) => write_file(folder.clone(), &row.id, bytes.to_vec())
                .await
                .map_err(|error| SendError::Transient(format!("{error:#}"))),
        }
    }
}

/// What the relay said, with its causes, short enough for a row.
fn told(error: &lettre::transport::smtp::Error) -> String {
    let text = format!("{:#}", anyhow::anyhow!(error.to_string()));
    clean_text(&text, 300, false).unwrap_or_default()
}

fn relay_transport(relay: &Relay) -> anyhow::Result<AsyncSmtpTransport<Tokio1Executor>> {
    type Transport = AsyncSmtpTransport<Tokio1Executor>;
    let builder = match relay.tls {
        RelayTls::Required => Transport::starttls_relay(&relay.host)?,
        RelayTls::Wrapped => Transport::relay(&relay.host)?,
        RelayTls::None => {
            let address = relay.host.parse::<std::net::IpAddr>();
            let loopback = relay.host == "localhost" || address.is_ok_and(|ip| ip.is_loopback());
            anyhow::ensure!(
                loopback,
                "mail.relay.tls = \"none\" is for a relay on loopback only, {} is not",
                relay.host
            );
            Transport::builder_dangerous(&relay.host)
        }
    };
    let mut builder = builder
        .port(relay.port)
        .timeout(Some(RELAY_TIME))
        .pool_config(PoolConfig::new().max_size(RELAY_CONNECTIONS_MAX));
    if let Some(username) = &relay.username {
        let file = relay.password_file.as_deref();
        let file = file.context("mail.relay.username needs a password_file")?;
        let password = read_secret(file).context("mail.relay.password_file")?;
        builder = builder.credentials(Credentials::new(username.clone(), password));
    }
    Ok(builder.build())
}

/// Writes `ID.eml` whole or not at all; a second try writes the same file again.
async fn write_file(folder: PathBuf, id: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
    let name: String = id
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
        .skip_while(|c| *c == '.') // no hidden file, no way up
        .take(100)
        .collect();
    anyhow::ensure!(!name.is_empty(), "a mail without an id");
    tokio::task::spawn_blocking(move || write_whole(&folder, &name, &bytes)).await?
}

fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;

    let part = folder.join(format!(".{name}.part"));
    let mut file =
        std::fs::File::create(&part).with_context(|| format!("mail file {}", part.display()))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&part, folder.join(format!("{name}.eml")))?;
    // The name is durable only with its folder.
    std::fs::File::open(folder)?.sync_all()?;
    Ok(())
}
