//! Checks of `[smtp]` and `[mail]`.

use std::collections::BTreeSet;
use std::time::Duration;

use helpline_core::request::email::PLUS_LOCAL_MAX;
use helpline_core::sip::network::Network;

use super::{Check, Config, RelayTls, is_loopback};
use crate::config::mail::read_key;

impl Check<'_> {
    pub(super) fn mail(&mut self, config: &Config) {
        self.imap(config);
        self.tokens(config);
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

    /// Keys that sign our own mail, and room for what they sign.
    fn tokens(&mut self, config: &Config) {
        let mail = &config.mail;
        let (current, previous) = (&mail.token_key_file, &mail.token_key_previous_file);
        for (key, file) in [
            ("mail.token_key_file", current),
            ("mail.token_key_previous_file", previous),
        ] {
            if let Some(Err(why)) = file.as_deref().map(read_key) {
                let near = key.trim_start_matches("mail.");
                self.fault(key, near, &format!("{why:#}"));
            }
        }
        if current.is_none() && previous.is_some() {
            let why = "needs token_key_file, the key that is used now";
            self.fault(
                "mail.token_key_previous_file",
                "token_key_previous_file",
                why,
            );
        }
        let first = config.smtp.addresses.first();
        let local = first.and_then(|address| address.rsplit_once('@'));
        if let Some((local, _)) = local.filter(|(local, _)| local.len() > PLUS_LOCAL_MAX)
            && mail.plus_addresses
        {
            self.warnings.push(format!(
                "smtp.addresses: {local:?} leaves no room for a token behind a plus sign \
                 (at most {PLUS_LOCAL_MAX} characters), so answers and bounces are told by their \
                 headers alone; use a shorter first address, or set mail.plus_addresses = false"
            ));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_tokens_are_files_with_enough_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (good, short) = (
            file("good", &"k".repeat(32)),
            file("short", "31 characters and no more here!\n"),
        );
        let (empty, absent) = (
            file("empty", "\n"),
            folder.path().join("absent").display().to_string(),
        );
        let faults = |text: &str| match Config::parse(text, "helpline.toml") {
            Ok(loaded) => {
                assert!(loaded.config.mail.token_keys().is_ok());
                Vec::new()
            }
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        };
        let current = |path: &str| format!("[mail]\ntoken_key_file = {path:?}\n");
        assert!(faults(&current(&good)).is_empty());
        for (path, why) in [
            (&short, "too short; make one"),
            (&empty, "is empty"),
            (&absent, "cannot be read"),
        ] {
            let found: Vec<String> = faults(&current(path));
            assert!(
                found[0].starts_with("helpline.toml:2: mail.token_key_file: "),
                "{found:?}"
            );
            assert!(
                found[0].contains(why) && !found[0].contains("no more here"),
                "{found:?}"
            );
            let both = format!("{}token_key_previous_file = {path:?}\n", current(&good));
            let found: Vec<String> = faults(&both);
            assert!(
                found[0].contains("mail.token_key_previous_file: "),
                "{found:?}"
            );
        }
        let alone: Vec<String> = faults(&format!("[mail]\ntoken_key_previous_file = {good:?}\n"));
        assert!(alone[0].contains("needs token_key_file"), "{alone:?}");
        let wrong: Vec<String> = faults("[mail]\ntoken_key_file = 7\n");
        assert!(wrong[0].starts_with("helpline.toml:2: "), "{wrong:?}");
        let twice: Vec<String> = faults("[mail]\nplus_addresses = true\nplus_addresses = false\n");
        assert!(twice[0].contains("duplicate key"), "{twice:?}");
    }

    #[test]
    fn a_first_address_without_room_for_a_token_is_warned_of() {
        let warnings = |local: usize, more: &str| {
            let address = format!("{}@help.test", "a".repeat(local));
            let text = format!("[smtp]\naddresses = [{address:?}]\n{more}");
            let mut warnings = Config::parse(&text, "x").unwrap().warnings;
            warnings.retain(|warning| warning.starts_with("smtp.addresses: "));
            warnings
        };
        assert!(warnings(PLUS_LOCAL_MAX, "").is_empty());
        let told = warnings(PLUS_LOCAL_MAX + 1, "");
        assert!(told[0].contains("mail.plus_addresses = false"), "{told:?}");
        assert!(warnings(PLUS_LOCAL_MAX + 1, "[mail]\nplus_addresses = false\n").is_empty());
    }
}
