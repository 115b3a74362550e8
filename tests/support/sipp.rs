//! Scenarios of SIPp, written in the test they belong to: what is sent and what is
//! expected, without the header fields that every message has.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A description of SIPp's side; the words are the version in `o=` and the direction.
pub(crate) fn sdp(version: u32, direction: &str) -> String {
    format!(
        "v=0\no=- 7 {version} IN IP[local_ip_type] [local_ip]\ns=-\nc=IN IP[media_ip_type] [media_ip]\n\
         t=0 0\nm=audio [media_port] RTP/AVP 0 101\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\n\
         a=fmtp:101 0-16\na={direction}\n"
    )
}

/// A scenario under construction.
pub(crate) struct Script {
    xml: String,
    calls: bool,
    cseq: u32,
    checks: u32,
    user: String,
    /// A dialog exists: requests carry the peer's tag.
    stands: bool,
    caller_known: bool,
    uri: &'static str,
}

impl Script {
    /// SIPp calls, or registers, as this user.
    pub(crate) fn caller(user: &str) -> Script {
        Script {
            xml: String::new(),
            calls: true,
            cseq: 0,
            checks: 0,
            user: user.into(),
            stands: false,
            caller_known: false,
            uri: "sip:help@[remote_ip]:[remote_port]",
        }
    }

    /// SIPp is called.
    pub(crate) fn called() -> Script {
        let mut script = Script::caller("trunk");
        script.calls = false;
        script
    }

    /// Calls the daemon as such: the one URI for which SIPp makes proofs.
    pub(crate) fn calling_nobody(mut self) -> Script {
        self.uri = "sip:[remote_ip]:[remote_port]";
        self
    }

    /// A request outside or, after an answer, within the dialog, with further fields.
    pub(crate) fn send(mut self, method: &str, fields: &str, body: &str) -> Script {
        if !matches!(method, "ACK" | "CANCEL") {
            self.cseq += 1;
        }
        let (uri, from, to) = if self.calls {
            let from = format!(
                "<sip:{}@[local_ip]:[local_port]>;tag=[pid]uac[call_number]",
                self.user
            );
            let tag = if self.stands || method == "ACK" {
                "[peer_tag_param]"
            } else {
                ""
            };
            let to = format!("<sip:help@[remote_ip]:[remote_port]>{tag}");
            (self.uri, from, to)
        } else {
            let from = "<sip:trunk@[local_ip]:[local_port]>;tag=[pid]uas[call_number]";
            ("[$target]", from.to_owned(), "[$caller]".to_owned())
        };
        let (uri, to) = if method == "REGISTER" {
            let aor = format!("<sip:{}@[remote_ip]:[remote_port]>", self.user);
            ("sip:[remote_ip]:[remote_port]", aor)
        } else {
            (uri, to)
        };
        let cseq = self.cseq;
        let contact = if matches!(method, "INVITE" | "UPDATE" | "REFER") {
            format!("Contact: <sip:{}@[local_ip]:[local_port]>\n", self.user)
        } else {
            String::new()
        };
        let repeats = if method == "ACK" {
            ""
        } else {
            " retrans=\"500\""
        };
        let kind = kind_of(body);
        let _ = writeln!(
            self.xml,
            "<send{repeats}><![CDATA[\n\n{method} {uri} SIP/2.0\n\
             Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n\
             From: {from}\nTo: {to}\nCall-ID: [call_id]\nCSeq: {cseq} {method}\nMax-Forwards: 70\n\
             {contact}{fields}{kind}Content-Length: [len]\n\n{body}\n]]></send>"
        );
        self
    }

    /// Expects an answer; each pattern must be found in it.
    pub(crate) fn expect(mut self, code: u16, patterns: &[&str]) -> Script {
        if code >= 200 {
            let _ = writeln!(self.xml, "<recv response=\"100\" optional=\"true\" />");
        }
        self.stands |= code == 200;
        let auth = if code == 401 { " auth=\"true\"" } else { "" };
        let checks = self.checks_of(patterns);
        let _ = writeln!(self.xml, "<recv response=\"{code}\"{auth}>{checks}</recv>");
        self
    }

    /// Expects a request; each pattern must be found in it.
    pub(crate) fn await_request(mut self, method: &str, patterns: &[&str]) -> Script {
        let mut checks = self.checks_of(patterns);
        if method == "INVITE" && !self.calls && !self.stands {
            self.caller_known = true;
            checks += "<action><ereg regexp=\".*\" search_in=\"hdr\" header=\"From:\" assign_to=\"caller\" />\
                <ereg regexp=\"sip:[^&gt;]*\" search_in=\"hdr\" header=\"Contact:\" assign_to=\"target\" /></action>";
        }
        let checks = checks.replace("</action><action>", "");
        let _ = writeln!(self.xml, "<recv request=\"{method}\">{checks}</recv>");
        self
    }

    /// Answers the last request.
    pub(crate) fn answer(mut self, status: &str, fields: &str, body: &str) -> Script {
        let tag = if self.calls || self.stands {
            ""
        } else {
            ";tag=[pid]uas[call_number]"
        };
        self.stands |= status.starts_with("200");
        let kind = kind_of(body);
        let _ = writeln!(
            self.xml,
            "<send><![CDATA[\n\nSIP/2.0 {status}\n[last_Via:]\n[last_From:]\n[last_To:]{tag}\n[last_Call-ID:]\n\
             [last_CSeq:]\nContact: <sip:{}@[local_ip]:[local_port]>\n{fields}{kind}Content-Length: [len]\n\n{body}\n]]></send>",
            self.user
        );
        self
    }

    /// Waits.
    pub(crate) fn pause(mut self, millis: u32) -> Script {
        let _ = writeln!(self.xml, "<pause milliseconds=\"{millis}\" />");
        self
    }

    /// Answers a call with these fields.
    pub(crate) fn pick_up(self, fields: &str) -> Script {
        self.await_request("INVITE", &[])
            .answer("200 OK", fields, &sdp(1, "sendrecv"))
            .await_request("ACK", &[])
    }

    /// Ends the call.
    pub(crate) fn bye(self) -> Script {
        self.send("BYE", "", "").expect(200, &[])
    }

    /// Is hung up on.
    pub(crate) fn ended_by(self, patterns: &[&str]) -> Script {
        self.await_request("BYE", patterns).answer("200 OK", "", "")
    }

    /// Writes it; also whether SIPp calls.
    pub(crate) fn write(self, dir: &Path) -> (PathBuf, bool) {
        let mut variables: Vec<String> = (0..self.checks).map(|n| format!("found{n}")).collect();
        if self.caller_known {
            variables.extend(["caller".to_owned(), "target".to_owned()]);
        }
        let reference = if variables.is_empty() {
            String::new()
        } else {
            format!("<Reference variables=\"{}\" />\n", variables.join(","))
        };
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"us-ascii\"?>\n<scenario name=\"script\">\n{}{reference}</scenario>\n",
            self.xml
        );
        let path = dir.join("script.xml");
        fs::write(&path, text).unwrap();
        (path, self.calls)
    }

    fn checks_of(&mut self, patterns: &[&str]) -> String {
        let mut text = String::new();
        for pattern in patterns {
            let number = self.checks;
            self.checks += 1;
            let pattern = pattern.replace('<', "&lt;").replace('>', "&gt;");
            let _ = write!(
                text,
                "<ereg regexp=\"{pattern}\" search_in=\"msg\" check_it=\"true\" assign_to=\"found{number}\" />"
            );
        }
        if text.is_empty() {
            text
        } else {
            format!("<action>{text}</action>")
        }
    }
}

fn kind_of(body: &str) -> String {
    if body.is_empty() {
        String::new()
    } else if body.starts_with("v=") {
        "Content-Type: application/sdp\n".into()
    } else {
        "Content-Type: message/sipfrag\n".into()
    }
}

/// An INVITE as SIPp saw it.
#[derive(Debug)]
pub(crate) struct Invite {
    pub(crate) call_id: String,
    /// Since the begin of the month.
    pub(crate) at: Duration,
}

/// INVITEs by number, each Call-ID once, from SIPp's log of messages.
pub(crate) fn invites(messages: &Path) -> BTreeMap<String, Vec<Invite>> {
    let log = fs::read_to_string(messages).unwrap_or_default();
    let mut found: BTreeMap<String, Vec<Invite>> = BTreeMap::new();
    let (mut at, mut user) = (Duration::ZERO, None);
    for line in log.lines() {
        if let Some(stamp) = line.strip_prefix("-----------------------------------------------") {
            (at, user) = (moment(stamp).unwrap_or(at), None);
        } else if let Some(rest) = line.strip_prefix("INVITE sip:") {
            user = rest.split('@').next().map(str::to_owned);
        } else if let Some(id) = line
            .strip_prefix("Call-ID:")
            .or(line.strip_prefix("Call-Id:"))
            && let Some(user) = user.take()
        {
            let calls = found.entry(user).or_default();
            let call_id = id.trim().to_owned();
            if calls.iter().all(|call| call.call_id != call_id) {
                calls.push(Invite { call_id, at });
            }
        }
    }
    found
}

/// `2026-11-27 09:30:22.852047`, since the begin of the month.
fn moment(stamp: &str) -> Option<Duration> {
    let mut words = stamp.trim().split([' ', '\t']);
    let day: f64 = words.next()?.rsplit('-').next()?.parse().ok()?;
    let mut parts = words.next()?.split(':');
    let mut next = || parts.next()?.parse::<f64>().ok();
    let seconds = next()? * 3_600.0 + next()? * 60.0 + next()?;
    Some(Duration::from_secs_f64(day * 86_400.0 + seconds))
}
