//! Reading and checking a configuration file: every fault at once, each with its
//! key, its line where it is known, and what would be right.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use helpline_core::calendar::{Calendar, zone_named};
use helpline_core::phone::PhoneNumber;
use helpline_core::sip::place::Place;

use super::{Config, Mailbox, Queue, RelayTls, SrtpUse, TransportName, Trunk};

mod agent;
mod mail;
mod store;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration, with a queue in it.
    pub config: Config,
    /// Things that work but are probably not meant.
    pub warnings: Vec<String>,
}

/// One fault of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// The file, as it was named.
    pub file: String,
    /// Line, when known.
    pub line: Option<usize>,
    /// Key and remedy.
    pub message: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl Config {
    /// Reads and checks `path`; without a path the defaults.
    ///
    /// # Errors
    /// Every fault found.
    pub fn load(path: Option<&Path>) -> Result<Loaded, Vec<ConfigFault>> {
        let Some(path) = path else {
            return Self::parse("", "(defaults)");
        };
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![ConfigFault {
                file: file.clone(),
                line: None,
                message: format!("cannot be read: {error}"),
            }]
        })?;
        Self::parse(&text, &file)
    }

    /// Reads and checks a configuration text; `file` is its name in faults.
    ///
    /// # Errors
    /// Every fault found.
    pub fn parse(text: &str, file: &str) -> Result<Loaded, Vec<ConfigFault>> {
        let mut config: Config = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map(|span| text.get(..span.start).unwrap_or("").matches('\n').count() + 1);
            vec![ConfigFault {
                file: file.to_owned(),
                line,
                message: error.message().to_owned(),
            }]
        })?;
        if config.queue.is_empty() {
            config.queue.push(Queue::default());
        }
        let mut check = Check {
            text,
            file,
            faults: Vec::new(),
            warnings: Vec::new(),
        };
        check.all(&config);
        if check.faults.is_empty() {
            let warnings = check.warnings;
            let fallback = Mailbox::default();
            if !config.mailbox.iter().any(|m| m.name == fallback.name) {
                config.mailbox.push(fallback);
            }
            return Ok(Loaded { config, warnings });
        }
        Err(check.faults)
    }
}

struct Check<'a> {
    text: &'a str,
    file: &'a str,
    faults: Vec<ConfigFault>,
    warnings: Vec<String>,
}

impl Check<'_> {
    fn all(&mut self, config: &Config) {
        self.site(config);
        self.store(config);
        self.addresses(config);
        self.mail(config);
        self.numbers(config);
        self.trunks(config);
        self.phones(config);
        if !(90..=86_400).contains(&config.voice.session_expires.0.as_secs()) {
            let why = "must be 90s to 1d (RFC 4028)";
            self.fault("voice.session_expires", "session_expires", why);
        }
        self.queues(config);
        self.agents(config);
        self.mailboxes(config);
        for hours in config.calendar.values() {
            if let Err(reason) = Calendar::parse(&hours.zone, &hours.week, &hours.days) {
                self.fault("calendar", "", &reason);
            }
        }
    }

    fn mailboxes(&mut self, config: &Config) {
        let mut names = BTreeSet::new();
        for mailbox in &config.mailbox {
            let name = &mailbox.name;
            if !names.insert(name) {
                let why = format!("two mailboxes are named {name:?}");
                self.fault("mailbox.name", name, &why);
            }
            match &mailbox.to {
                None => self.warnings.push(format!(
                    "mailbox {name:?} has no `to`: its messages stay in the folder recordings under store.dir"
                )),
                Some(to) if to.parse::<lettre::Address>().is_err() => {
                    self.fault("mailbox.to", to, &format!("{to:?} is no mail address"));
                }
                Some(_) => {}
            }
        }
        for host in &config.ivr.http_hosts {
            if host.is_empty() || host.contains(['/', '@', ' ']) {
                let why = format!("{host:?} is no host; write it like \"crm.example:8443\"");
                self.fault("ivr.http_hosts", host, &why);
            }
        }
    }

    fn site(&mut self, config: &Config) {
        if let Err(reason) = zone_named(&config.site.zone) {
            self.fault("site.zone", "zone", &reason);
        }
        if let Some(url) = &config.http.public_url
            && helpline_core::request::clean_page(url).is_none()
        {
            self.fault(
                "http.public_url",
                "public_url",
                "write how customers reach this daemon, like \"https://help.example\"",
            );
        }
    }

    fn addresses(&mut self, config: &Config) {
        let unspecified = config.voice.sip_listen.ip().is_unspecified();
        if unspecified && config.voice.public_address.is_none() {
            self.fault(
                "voice.public_address",
                "sip_listen",
                "is needed when sip_listen is not one address: peers must be told where to answer",
            );
        }
        let addresses = [
            ("http.listen", config.http.listen),
            ("ops.listen", config.ops.listen),
            ("smtp.listen", config.smtp.listen),
        ];
        let streams = [
            ("smtp.submission", config.smtp.submission),
            ("voice.sip_tcp_listen", config.voice.sip_tcp_listen),
            ("voice.sip_tls_listen", config.voice.sip_tls_listen),
        ];
        let streams = streams.into_iter().filter_map(|(k, a)| Some((k, a?)));
        let mut seen = BTreeSet::new();
        for (key, address) in addresses.into_iter().chain(streams) {
            if address.port() != 0 && !seen.insert(address) {
                self.fault(
                    key,
                    "listen",
                    &format!("{address} is already the address of another listener"),
                );
            }
        }
        let (chain, key) = (&config.voice.tls_cert_file, &config.voice.tls_key_file);
        if config.voice.sip_tls_listen.is_some() && (chain.is_none() || key.is_none()) {
            self.fault(
                "voice.sip_tls_listen",
                "sip_tls_listen",
                "needs tls_cert_file and tls_key_file",
            );
        }
        for network in &config.voice.inbound_from {
            if parse_network(network).is_none() {
                self.fault(
                    "voice.inbound_from",
                    network,
                    &format!("{network:?} is no network; write \"10.0.0.0/8\" or one address"),
                );
            }
        }
    }

    fn numbers(&mut self, config: &Config) {
        if config.dial.allow.is_empty() {
            self.warnings.push(
                "dial.allow is empty: every number is refused; name the regions that may be called, like allow = [\"DE\"]".into(),
            );
        }
        for region in config.dial.allow.iter().chain(&config.dial.region) {
            if region.len() != 2 || !region.bytes().all(|b| b.is_ascii_uppercase()) {
                self.fault(
                    "dial",
                    region,
                    &format!(
                        "{region:?} is no region; write its two ISO 3166 letters, like \"DE\""
                    ),
                );
            }
        }
        for number in &config.dial.own_numbers {
            if PhoneNumber::parse(number, None).is_err() {
                self.fault(
                    "dial.own_numbers",
                    number,
                    &format!("{number:?} is no E.164 number"),
                );
            }
        }
    }

    fn trunks(&mut self, config: &Config) {
        if config.node.role.calls() && config.trunk.is_empty() {
            self.warnings
                .push("no [[trunk]] is configured: requests wait and nobody is called".into());
        }
        let mut names = BTreeSet::new();
        for trunk in &config.trunk {
            if !names.insert(trunk.name.as_str()) {
                self.fault(
                    "trunk.name",
                    &trunk.name,
                    &format!("two trunks are named {:?}", trunk.name),
                );
            }
            self.trunk_way(trunk);
            if !is_caller_id(&trunk.caller_id) {
                self.fault(
                    "trunk.caller_id",
                    &trunk.caller_id,
                    &format!("{:?} is no E.164 number", trunk.caller_id),
                );
            }
            if trunk.max_channels == 0 {
                self.fault("trunk.max_channels", "max_channels", "must be at least 1");
            }
            if !(trunk.calls_per_second > 0.0 && trunk.calls_per_second <= 1000.0) {
                self.fault(
                    "trunk.calls_per_second",
                    "calls_per_second",
                    "must be more than 0 and at most 1000",
                );
            }
            if trunk.codecs.is_empty() {
                self.fault(
                    "trunk.codecs",
                    "codecs",
                    "name at least one: \"pcmu\", \"pcma\"",
                );
            }
            if trunk.username.is_some() != trunk.password_file.is_some() {
                self.fault(
                    "trunk.username",
                    "username",
                    "username and password_file go together",
                );
            }
            self.secret("trunk.password_file", trunk.password_file.as_deref());
            self.trunk_cost(trunk);
        }
    }

    /// A cap on money needs the price of every call.
    fn trunk_cost(&mut self, trunk: &Trunk) {
        let is_money = |money: f64| (0.0..=1e6).contains(&money);
        for (begin, rate) in &trunk.rates {
            let digits = begin.strip_prefix('+');
            if !digits.is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit())) {
                let why = format!("{begin:?} begins no number; write \"+49\", or \"+\" for all");
                self.fault("trunk.rates", begin, &why);
            }
            if !is_money(*rate) {
                self.fault("trunk.rates", begin, "a price is 0 to 1000000");
            }
        }
        let Some(cost) = trunk.cost_per_day else {
            return;
        };
        if !is_money(cost) {
            self.fault("trunk.cost_per_day", "cost_per_day", "must be 0 to 1000000");
        }
        if !trunk.rates.contains_key("+") {
            let why = "needs the price of every number: rates = { \"+\" = 0.3 }";
            self.fault("trunk.cost_per_day", "cost_per_day", why);
        }
    }

    /// Where a trunk is and how it is spoken to.
    fn trunk_way(&mut self, trunk: &Trunk) {
        if Place::parse(&trunk.target, 5060).is_none() {
            self.fault(
                "trunk.target",
                &trunk.target,
                &format!(
                    "{:?} is no target; write a domain, \"host:port\" or \"address:port\"",
                    trunk.target
                ),
            );
        }
        if trunk.cert_file.is_some() != trunk.key_file.is_some() {
            let remedy = "cert_file and key_file go together";
            self.fault("trunk.cert_file", "_file", remedy);
        }
        let tls = trunk.transport == TransportName::Tls;
        if trunk.srtp != SrtpUse::Off && !tls && !trunk.srtp_over_plain_sip {
            self.fault(
                "trunk.srtp",
                "srtp",
                "keys travel in SIP, so this needs transport = \"tls\"",
            );
        }
        if trunk.register && trunk.username.is_none() {
            let remedy = "a registration needs username and password_file";
            self.fault("trunk.register", "register", remedy);
        }
        if !(60..=86_400).contains(&trunk.register_expires.0.as_secs()) {
            let remedy = "must be 60s to 1d";
            self.fault("trunk.register_expires", "register_expires", remedy);
        }
    }

    fn queues(&mut self, config: &Config) {
        let mut names = BTreeSet::new();
        for queue in &config.queue {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if queue.name.is_empty() || queue.name.len() > 40 || !queue.name.chars().all(plain) {
                self.fault(
                    "queue.name",
                    &queue.name,
                    &format!(
                        "{:?}: use small letters, digits and hyphens, at most 40",
                        queue.name
                    ),
                );
            }
            if !names.insert(queue.name.as_str()) {
                self.fault(
                    "queue.name",
                    &queue.name,
                    &format!("two queues are named {:?}", queue.name),
                );
            }
            if !queue.calendar.is_empty() && !config.calendar.contains_key(&queue.calendar) {
                self.fault(
                    "queue.calendar",
                    &queue.calendar,
                    &format!("there is no [calendar.{}]", queue.calendar),
                );
            }
            if queue.max_calls == 0 {
                self.fault("queue.max_calls", "max_calls", "must be at least 1");
            }
            if !(15..=60).contains(&queue.ring_limit.0.as_secs()) {
                self.warnings.push(format!(
                    "queue.ring_limit of {:?}: usual are 15s to 60s",
                    queue.name
                ));
            }
            if queue.mean_handling.0.is_zero() {
                self.fault(
                    "queue.mean_handling",
                    "mean_handling",
                    "must be longer than 0s",
                );
            }
        }
    }

    fn phones(&mut self, config: &Config) {
        let mut names = BTreeSet::new();
        for phone in &config.phone {
            let name = phone.username.as_str();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
                let why = format!("{name:?} must be 1 to 64 letters, digits, \"-\", \".\", \"_\"");
                self.fault("phone.username", name, &why);
            }
            if !names.insert(name) {
                let why = format!("two telephones are named {name:?}");
                self.fault("phone.username", name, &why);
            }
            self.secret("phone.password_file", Some(&phone.password_file));
        }
    }

    fn secret(&mut self, key: &str, file: Option<&Path>) {
        if let Some(file) = file
            && let Err(error) = super::read_secret(file)
        {
            self.fault(key, &file.display().to_string(), &error.to_string());
        }
    }

    /// A fault of `key`; its line is the first that holds `near`.
    fn fault(&mut self, key: &str, near: &str, reason: &str) {
        let line = (!near.is_empty())
            .then(|| self.text.lines().position(|line| line.contains(near)))
            .flatten()
            .map(|index| index + 1);
        self.faults.push(ConfigFault {
            file: self.file.to_owned(),
            line,
            message: format!("{key}: {reason}"),
        });
    }
}

/// Caller IDs may be short or private, so only their form is checked.
/// Whether a host is this machine.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
}

fn is_caller_id(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (3..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Reads `10.0.0.0/8` or one address as (network, prefix length).
pub(crate) fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => length.parse().ok().filter(|l| *l <= longest)?,
        None => longest,
    };
    Some((address, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        Config::parse(text, "helpline.toml")
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_empty_file_is_a_daemon_on_loopback() {
        let config = Config::parse("", "x").unwrap().config;
        assert!(config.http.listen.ip().is_loopback());
        assert!(config.smtp.listen.ip().is_loopback());
        assert!(config.voice.sip_listen.ip().is_loopback());
        assert!(config.ops.listen.ip().is_loopback());
        assert_eq!(config.default_queue(), "help");
    }

    #[test]
    fn an_unknown_key_names_its_line() {
        let found = faults("[http]\nlisten = \"127.0.0.1:1\"\nlisten_port = 3\n");
        assert!(found[0].starts_with("helpline.toml:3: "), "{found:?}");
        assert!(found[0].contains("listen_port"), "{found:?}");
    }

    #[test]
    fn each_bad_value_names_key_and_line() {
        for (text, key, line) in [
            ("[site]\nzone = \"Mars/Olympus\"", "site.zone", 2),
            ("[node]\nrole = \"voice\"", "node.role", 2),
            ("[queue]\n", "sequence", 1),
            ("[[queue]]\nname = \"Help Desk\"", "queue.name", 2),
            ("[[queue]]\ncalendar = \"office\"", "queue.calendar", 2),
            ("[stop]\ndrain_limit = \"5 minutes\"", "length of time", 2),
            ("[voice]\nrtp_ports = \"9-1\"", "range of ports", 2),
            (
                "[voice]\nsip_listen = \"0.0.0.0:5060\"",
                "voice.public_address",
                2,
            ),
            ("[dial]\nallow = [\"germany\"]", "dial", 2),
            (
                "[smtp]\naddresses = [\"not an address\"]",
                "smtp.addresses",
                2,
            ),
            (
                "[mail.dkim]\nselector = \"h 1\"\nkey_file = \"/nonexistent\"",
                "mail.dkim.selector",
                2,
            ),
            (
                "[mail.dkim]\nselector = \"h1\"\nkey_file = \"/nonexistent\"",
                "mail.dkim.key_file",
                3,
            ),
            ("[mail.dkim]\nselector = \"h1\"", "key_file", 1),
            ("[mail]\nrelays = [\"10.0.0.0/40\"]", "mail.relays", 2),
            (
                "[mail]\nauthenticate = false\nreject_dmarc_fail = true",
                "mail.reject_dmarc_fail",
                3,
            ),
            (
                "[[trunk]]\nname=\"a\"\ntarget=\"127.0.0.1:5070\"\ncaller_id=\"x1\"",
                "trunk.caller_id",
                4,
            ),
            (
                "[[trunk]]\nname=\"a\"\ntarget=\"sip:a@b\"\ncaller_id=\"+15550100\"",
                "trunk.target",
                3,
            ),
            (
                "[[trunk]]\nname=\"a\"\ntarget=\"a.test\"\ncaller_id=\"+15550100\"\nregister=true",
                "trunk.register",
                5,
            ),
            (
                "[[trunk]]\nname=\"a\"\ntarget=\"a.test\"\ncaller_id=\"+15550100\"\nsrtp=\"required\"",
                "trunk.srtp",
                5,
            ),
            (
                "[voice]\nsip_tls_listen = \"127.0.0.1:5061\"",
                "voice.sip_tls_listen",
                2,
            ),
            (
                "[voice]\nsip_tcp_listen = \"127.0.0.1:8080\"",
                "voice.sip_tcp_listen",
                2,
            ),
        ] {
            let found = faults(text);
            let hit = found
                .iter()
                .any(|f| f.contains(key) && f.starts_with(&format!("helpline.toml:{line}: ")));
            assert!(hit, "{text}: {found:?}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let found = faults("[site]\nzone = \"x\"\n[[queue]]\nname = \"A B\"\nmax_calls = 0");
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn a_missing_secret_names_its_file() {
        let found = faults(
            "[[trunk]]\nname=\"a\"\ntarget=\"127.0.0.1:5070\"\ncaller_id=\"+15550100\"\nusername=\"u\"\npassword_file=\"/nonexistent/pw\"",
        );
        assert!(found[0].contains("/nonexistent/pw"), "{found:?}");
    }
}
