//! Checks of `[smtp]` and `[mail]`.

use std::collections::BTreeSet;
use std::time::Duration;

use helpline_core::sip::network::Network;

use super::{Check, Config, RelayTls, is_loopback};

impl Check<'_> {
    pub(super) fn mail(&mut self, config: &Config) {
        self.imap(config);
        self.dkim(config);
        for network in &config.mail.relays {
            if Network::parse(network).is_none() {
                let why = format!("{network:?} is no network; write it like \"192.0.2.0/24\"");
                self.fault("mail.relays", network, &why);
            }
        }
        if config.mail.reject_dmarc_fail && !config.mail.authenticate {
            let why = "needs authenticate = true";
            self.fault("mail.reject_dmarc_fail", "reject_dmarc_fail", why);
        }
        let smtp = &config.smtp;
        if smtp.tls_cert_file.is_some() != smtp.tls_key_file.is_some() {
            let why = "tls_cert_file and tls_key_file go together";
            self.fault("smtp.tls_cert_file", "tls_cert_file", why);
        }
        if smtp.require_tls && smtp.tls_cert_file.is_none() {
            let why = "needs tls_cert_file and tls_key_file";
            self.fault("smtp.require_tls", "require_tls", why);
        }
        if smtp.messages_per_connection_max == 0 {
            let key = "messages_per_connection_max";
            self.fault(
                "smtp.messages_per_connection_max",
                key,
                "must be at least 1",
            );
        }
        for address in &config.smtp.addresses {
            if address.parse::<lettre::Address>().is_err() {
                self.fault(
                    "smtp.addresses",
                    address,
                    &format!("{address:?} is no mail address"),
                );
            }
        }
        if config.smtp.enabled && config.smtp.addresses.is_empty() {
            self.fault(
                "smtp.addresses",
                "addresses",
                "name at least one address to take mail for",
            );
        }
        let Some(relay) = &config.mail.relay else {
            return;
        };
        let loopback = is_loopback(&relay.host);
        if relay.tls == RelayTls::None && !loopback {
            self.fault(
                "mail.relay.tls",
                "tls",
                "\"none\" is for a relay on loopback only; write \"required\" or \"wrapped\"",
            );
        }
        self.secret("mail.relay.password_file", relay.password_file.as_deref());
    }

    fn dkim(&mut self, config: &Config) {
        let Some(dkim) = &config.mail.dkim else {
            return;
        };
        let is_label = |label: &str| {
            let known = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(known)
        };
        let selector = dkim.selector.as_str();
        if selector.len() > 63 || !selector.split('.').all(is_label) {
            let why = format!("{selector:?} is no selector; write a word like \"h1\"");
            self.fault("mail.dkim.selector", selector, &why);
        }
        self.secret("mail.dkim.key_file", Some(&dkim.key_file));
    }

    fn imap(&mut self, config: &Config) {
        let mut names = BTreeSet::new();
        for mailbox in &config.mail.imap {
            if !names.insert(mailbox.name.as_str()) {
                let why = format!("two mailboxes are named {:?}", mailbox.name);
                self.fault("mail.imap.name", &mailbox.name, &why);
            }
            match mailbox.tls {
                RelayTls::Wrapped => {}
                RelayTls::None if is_loopback(&mailbox.host) => {}
                RelayTls::None => {
                    let why = "a password in the clear is for loopback only; use tls = \"wrapped\"";
                    self.fault("mail.imap.tls", &mailbox.host, why);
                }
                RelayTls::Required => {
                    let why = "STARTTLS is not spoken; use tls = \"wrapped\" and port 993";
                    self.fault("mail.imap.tls", "tls", why);
                }
            }
            if mailbox.poll.0 < Duration::from_secs(1) {
                self.fault("mail.imap.poll", "poll", "must be at least 1s");
            }
            self.secret("mail.imap.password_file", Some(&mailbox.password_file));
        }
    }
}
