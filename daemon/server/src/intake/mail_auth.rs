//! Where mail that comes by SMTP really comes from: SPF (RFC 7208), DKIM (RFC 6376) and
//! DMARC (RFC 9989), asked of DNS. What they come to is decided in core.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use helpline_core::request::email::{Authentication, Proof, is_aligned};
use helpline_core::sip::network::Network;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcOutput, DmarcResult, MessageAuthenticator,
    Parameters, SpfOutput, SpfResult,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Config;
use crate::desk::Sender;
use crate::dns::resolver;

/// Messages whose origin is asked for at once.
const AT_ONCE: usize = 64;
/// Signatures of one message that are looked at; each may cost a question to DNS.
const SIGNATURES_MAX: usize = 10;
/// Answers of DNS that are kept for their time to live.
const ANSWERS_KEPT: u64 = 4_096;

/// How long DNS may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// One question, one try.
    query: Duration,
    /// Everything about one message.
    message: Duration,
}

const LIMITS: Limits = Limits {
    query: Duration::from_secs(5),
    message: Duration::from_secs(15),
};

/// Asks DNS about mail.
pub struct Authenticator {
    dns: MessageAuthenticator,
    relays: Vec<Network>,
    /// Our name, for SPF macros.
    host: String,
    limits: Limits,
    places: Arc<Semaphore>,
    counts: Counts,
}

/// Messages by what the checks came to.
#[derive(Debug, Default)]
struct Counts {
    pass: AtomicU64,
    none: AtomicU64,
    fail: AtomicU64,
    temperror: AtomicU64,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("relays", &self.relays)
            .finish_non_exhaustive()
    }
}

/// What is found out about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The results.
    pub auth: Authentication,
    /// The domain wants mail like this refused (DMARC `p=reject`, and it fails).
    pub is_unwanted: bool,
}

impl Authenticator {
    /// Asks the name server of `[mail]`, or those of the system; `None` when mail is not checked.
    ///
    /// # Errors
    /// The name servers of the system are not known.
    pub fn new(config: &Config) -> anyhow::Result<Option<Arc<Self>>> {
        if !config.mail.authenticate {
            return Ok(None);
        }
        Self::with_limits(config, LIMITS).map(Some)
    }

    fn with_limits(config: &Config, limits: Limits) -> anyhow::Result<Arc<Self>> {
        let dns = resolver(config.mail.dns, limits.query, ANSWERS_KEPT)
            .context("no name server; set mail.dns, or mail.authenticate = false")?;
        let relays = config.mail.relays.iter();
        let address = config.smtp.addresses.first();
        let host = address.and_then(|a| a.rsplit_once('@'));
        Ok(Arc::new(Authenticator {
            dns: MessageAuthenticator(dns),
            relays: relays.filter_map(|text| Network::parse(text)).collect(),
            host: host.map_or("localhost", |(_, domain)| domain).to_owned(),
            limits,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            counts: Counts::default(),
        }))
    }

    /// Whether mail of this peer is checked here: a relay of the operator's is no sender, it
    /// checks itself.
    #[must_use]
    pub fn concerns(&self, peer: IpAddr) -> bool {
        !self.relays.iter().any(|relay| relay.contains(peer))
    }

    /// A place among the messages that are asked about at once; `None` never comes while the
    /// daemon runs.
    pub async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Asks about a message, for 15 s at most, on a thread where hashing a large one troubles
    /// nobody. Gives the message back; `None`: it broke the library.
    pub async fn check(
        self: &Arc<Self>,
        sender: Sender,
        mail_from: Option<String>,
        raw: Vec<u8>,
    ) -> Option<(Vec<u8>, Checked)> {
        let this = Arc::clone(self);
        let runtime = tokio::runtime::Handle::current();
        let checking = tokio::task::spawn_blocking(move || {
            let asking = this.ask(&sender, mail_from.as_deref(), &raw);
            let asking = async { tokio::time::timeout(this.limits.message, asking).await };
            let checked = runtime.block_on(asking).unwrap_or_else(|_| Checked {
                auth: all("temperror"),
                is_unwanted: false,
            });
            (raw, checked)
        });
        checking.await.ok()
    }

    /// Counts what a message's checks came to.
    pub fn note(&self, proof: Proof) {
        let counter = match proof {
            Proof::Pass => &self.counts.pass,
            Proof::None => &self.counts.none,
            Proof::Fail => &self.counts.fail,
            Proof::TempError => &self.counts.temperror,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// `helpline_mail_auth_total`: result and how many.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            (Proof::Pass.word(), read(&self.counts.pass)),
            (Proof::None.word(), read(&self.counts.none)),
            (Proof::Fail.word(), read(&self.counts.fail)),
            (Proof::TempError.word(), read(&self.counts.temperror)),
        ]
    }

    async fn ask(&self, sender: &Sender, mail_from: Option<&str>, raw: &[u8]) -> Checked {
        let Some(mut message) = AuthenticatedMessage::parse(raw) else {
            return Checked {
                auth: all("none"),
                is_unwanted: false,
            };
        };
        message.dkim_headers.truncate(SIGNATURES_MAX);
        let (host, helo) = (self.host.as_str(), sender.helo.as_str());
        // Without a sender the name of the client stands for it (RFC 7208 section 2.4).
        let spf = match mail_from {
            Some(from) => SpfParameters::verify_mail_from(sender.peer, helo, host, from),
            None => SpfParameters::verify_ehlo(sender.peer, helo, host),
        };
        let (spf, dkim) = tokio::join!(
            self.dns.verify_spf(Parameters::new(spf)),
            self.dns.verify_dkim(Parameters::new(&message))
        );
        let domain = mail_from.and_then(|from| from.rsplit_once('@'));
        let parameters = DmarcParameters {
            message: &message,
            dkim_output: &dkim,
            dkim2_output: None,
            rfc5321_mail_from_domain: domain.map_or(helo, |(_, domain)| domain),
            spf_output: &spf,
        };
        let dmarc = self.dns.verify_dmarc(Parameters::new(parameters)).await;
        results(&message, &spf, &dkim, &dmarc)
    }
}

fn all(word: &str) -> Authentication {
    Authentication {
        spf: word.to_owned(),
        dkim: word.to_owned(),
        dmarc: word.to_owned(),
        method: "dns",
        is_aligned: false,
    }
}

/// The results in the words of RFC 8601.
fn results(
    message: &AuthenticatedMessage<'_>,
    spf: &SpfOutput,
    dkim: &[DkimOutput<'_>],
    dmarc: &DmarcOutput,
) -> Checked {
    let from = message.from.first().map_or("", String::as_str);
    let signs = |output: &&DkimOutput<'_>| {
        let signer = output.signature().map_or("", |s| s.d.as_str());
        *output.result() == DkimResult::Pass && is_aligned(signer, from)
    };
    let decided = dmarc.result();
    let auth = Authentication {
        spf: spf_word(spf.result()).to_owned(),
        dkim: dkim_word(dkim).to_owned(),
        dmarc: dmarc_word(&decided).to_owned(),
        method: "dns",
        // The domain's own rule of alignment, where it has one, is the one that counts.
        is_aligned: match dmarc.dmarc_record() {
            Some(_) => *dmarc.dkim_result() == DmarcResult::Pass,
            None => dkim.iter().any(|output| signs(&output)),
        },
    };
    let is_unwanted = matches!(decided, DmarcResult::Fail(_)) && dmarc.policy() == Policy::Reject;
    if has_several_writers(message) {
        // DMARC exempts them; a second From above a signed one would pass for it.
        return Checked {
            auth: Authentication {
                dmarc: "fail".to_owned(),
                is_aligned: false,
                ..auth
            },
            is_unwanted: false,
        };
    }
    Checked { auth, is_unwanted }
}

fn has_several_writers(message: &AuthenticatedMessage<'_>) -> bool {
    let headers = message.headers.iter();
    let count = headers.filter(|(name, _)| name.trim_ascii().eq_ignore_ascii_case(b"from"));
    count.count() > 1 || message.from.len() > 1
}

const fn spf_word(result: SpfResult) -> &'static str {
    match result {
        SpfResult::Pass => "pass",
        SpfResult::Fail => "fail",
        SpfResult::SoftFail => "softfail",
        SpfResult::Neutral => "neutral",
        SpfResult::TempError => "temperror",
        SpfResult::PermError => "permerror",
        SpfResult::None => "none",
    }
}

/// One signature that holds is enough; else what is not known yet counts most.
fn dkim_word(outputs: &[DkimOutput<'_>]) -> &'static str {
    let word = |output: &DkimOutput<'_>| match output.result() {
        DkimResult::Pass => "pass",
        DkimResult::TempError(_) => "temperror",
        DkimResult::Fail(_) => "fail",
        DkimResult::Neutral(_) => "neutral",
        DkimResult::PermError(_) => "permerror",
        DkimResult::None => "none",
    };
    let found: Vec<&str> = outputs.iter().map(word).collect();
    let order = ["pass", "temperror", "fail", "neutral", "permerror"];
    let first = order.into_iter().find(|word| found.contains(word));
    first.unwrap_or("none")
}

const fn dmarc_word(result: &DmarcResult) -> &'static str {
    match result {
        DmarcResult::Pass => "pass",
        DmarcResult::Fail(_) => "fail",
        DmarcResult::TempError(_) => "temperror",
        DmarcResult::PermError(_) => "permerror",
        DmarcResult::None => "none",
    }
}

#[cfg(test)]
mod dns;
#[cfg(test)]
mod tests;
