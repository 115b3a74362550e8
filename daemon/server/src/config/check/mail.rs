//! Checks of `[smtp]` and `[mail]`.

use std::collections::BTreeSet;
use std::time::Duration;

use helpline_core::request::email::PLUS_LOCAL_MAX;
use helpline_core::sip::network::Network;

use super::{Check, Config, RelayTls, is_loopback};
use crate::config::mail::read_key;
use crate::config::{OAuth2, Smtp, Users};

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
        if config.mail.keep_days == 0 {
            self.fault("mail.keep_days", "keep_days", "must be at least 1");
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
        self.users(smtp);
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
        self.operator(config);
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

    fn operator(&mut self, config: &Config) {
        let Some(operator) = &config.mail.operator else {
            return;
        };
        let own = |address: &String| address.eq_ignore_ascii_case(operator);
        if operator.parse::<lettre::Address>().is_err() {
            let why = format!("{operator:?} is no mail address");
            self.fault("mail.operator", operator, &why);
        } else if config.smtp.addresses.iter().any(own) {
            let why = "is an address of smtp.addresses: the mail would come back here";
            self.fault("mail.operator", "operator", why);
        }
    }

    /// Who may log in. A password is never asked for in the clear.
    fn users(&mut self, smtp: &Smtp) {
        let without_tls = smtp.tls_cert_file.is_none();
        if let Some(file) = &smtp.users_file {
            if without_tls {
                let why = "logins are over TLS alone: name tls_cert_file and tls_key_file";
                self.fault("smtp.users_file", "users_file", why);
            }
            if let Err(error) = Users::load(file) {
                let near = file.display().to_string();
                self.fault("smtp.users_file", &near, &format!("{error:#}"));
            }
        } else if smtp.submission.is_some() {
            let why = "is for those who log in: name users_file";
            self.fault("smtp.submission", "submission", why);
        }
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
            self.secret("mail.imap.password_file", mailbox.password_file.as_deref());
            match (&mailbox.password_file, &mailbox.oauth2) {
                (Some(_), None) => {}
                (None, Some(oauth2)) => self.oauth2(oauth2),
                (Some(_), Some(_)) => {
                    let why = "password_file and oauth2 are two ways in: name one";
                    self.fault("mail.imap.oauth2", "oauth2", why);
                }
                (None, None) => {
                    let why = "needs password_file or oauth2";
                    self.fault("mail.imap.password_file", &mailbox.name, why);
                }
            }
        }
    }

    fn oauth2(&mut self, oauth2: &OAuth2) {
        let url = url::Url::parse(&oauth2.token_url).ok();
        let safe = url.as_ref().is_some_and(|url| {
            let here = url.host_str().is_some_and(is_loopback);
            url.scheme() == "https" || (url.scheme() == "http" && here)
        });
        let bare = |url: &url::Url| url.username().is_empty() && url.password().is_none();
        if !safe || !url.as_ref().is_some_and(bare) {
            let why = "must be https:// (http:// on loopback alone), without a user name";
            self.fault("mail.imap.oauth2.token_url", &oauth2.token_url, why);
        }
        if oauth2.client_id.is_empty() {
            self.fault(
                "mail.imap.oauth2.client_id",
                "client_id",
                "must not be empty",
            );
        }
        let secret = oauth2.client_secret_file.as_deref();
        self.secret("mail.imap.oauth2.client_secret_file", secret);
        let refresh = Some(oauth2.refresh_token_file.as_path());
        self.secret("mail.imap.oauth2.refresh_token_file", refresh);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let loaded = Config::parse(text, "helpline.toml");
        let Err(faults) = loaded else {
            return String::new();
        };
        faults.iter().map(|fault| format!("{fault}\n")).collect()
    }

    #[test]
    fn logins_need_tls_and_a_file_that_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        std::fs::write(&users, "ada:hunter2\n").unwrap();
        let found = faults(&format!("[smtp]\nusers_file = {users:?}\n"));
        assert!(
            found.contains(":2: smtp.users_file: logins are over TLS alone"),
            "{found}"
        );
        assert!(
            found.contains("users: line 1: this is no argon2 hash"),
            "{found}"
        );
        assert!(!found.contains("hunter2"), "{found}");
        let found = faults("[smtp]\nsubmission = \"127.0.0.1:587\"\n");
        assert!(
            found.contains(":2: smtp.submission: is for those who log in"),
            "{found}"
        );
        let found = faults("[smtp]\nsubmission = \"127.0.0.1:8080\"\n");
        assert!(found.contains("already the address of another"), "{found}");
        assert!(faults("[smtp]\nusers_file = 7\n").contains(":2: "));
    }

    #[test]
    fn the_operator_is_somebody_else() {
        let of = |address: &str| faults(&format!("[mail]\noperator = {address:?}\n"));
        assert_eq!(of("night@firm.test"), "");
        assert!(of("nobody").contains(":2: mail.operator: \"nobody\" is no mail address"));
        assert!(of("Help@localhost").contains(":2: mail.operator: is an address of smtp"));
        assert!(of("").contains("is no mail address"));
    }

    #[test]
    fn a_mailbox_has_one_way_in_and_a_safe_token_endpoint() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "s").unwrap();
        let of = |ways: &str| {
            let head = "[[mail.imap]]\nname = \"help\"\nhost = \"imap.test\"\nuser = \"u\"\n";
            faults(&format!("{head}{ways}"))
        };
        let oauth2 = |url: &str, id: &str| {
            format!(
                "[mail.imap.oauth2]\ntoken_url = {url:?}\nclient_id = {id:?}\nrefresh_token_file = {secret:?}\n"
            )
        };
        assert_eq!(of(&oauth2("https://login.test/token", "id")), "");
        assert_eq!(of(&oauth2("http://127.0.0.1:1/token", "id")), "");
        assert!(
            of("").contains(":2: mail.imap.password_file: needs"),
            "{}",
            of("")
        );
        let both = format!(
            "password_file = {secret:?}\n{}",
            oauth2("https://login.test", "id")
        );
        assert!(of(&both).contains("two ways in"), "{}", of(&both));
        for url in [
            "http://login.test/token",
            "ftp://127.0.0.1/",
            "login.test",
            "https://u:p@login.test",
        ] {
            let found = of(&oauth2(url, "id"));
            assert!(
                found.contains(":6: mail.imap.oauth2.token_url: must be https"),
                "{found}"
            );
        }
        assert!(of(&oauth2("https://login.test", "")).contains("client_id: must not be empty"));
        let missing = oauth2("https://login.test", "id").replace("secret", "nowhere");
        assert!(
            of(&missing).contains("refresh_token_file"),
            "{}",
            of(&missing)
        );
        let unknown = oauth2("https://login.test", "id") + "password = \"x\"\n";
        assert!(of(&unknown).contains("unknown field"), "{}", of(&unknown));
    }

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
