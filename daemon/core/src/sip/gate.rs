//! What a SIP datagram must be before the stack sees it: a pure function and a table
//! of token buckets. The stack behind it is lenient; this gate is not. Faulty requests
//! get a stateless answer, faulty responses and ACKs are dropped without a word.

mod buckets;

use std::net::IpAddr;

use super::address::Address;
use super::guard::Guard;
use super::message::{self, Message, ShapeError, StartLine};
use crate::time::Time;

pub use buckets::Buckets;

/// Largest SIP datagram in bytes.
pub const DATAGRAM_BYTES_MAX: usize = 8_192;
/// Most Via and Route fields together.
const HOPS_MAX: usize = 70;
/// What we answer to and send.
pub const METHODS: [&str; 10] = [
    "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "UPDATE", "REFER", "NOTIFY", "PRACK",
];
/// Extensions a peer may insist on. Not `100rel`: we never send a provisional answer
/// reliably.
pub const EXTENSIONS: [&str; 2] = ["timer", "replaces"];
/// Seconds told to a caller who comes while no call is taken.
pub const RETRY_AFTER_SECONDS: u32 = 10;
/// Programs that only ever search for open relays.
const SCANNERS: [&str; 8] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sipcli",
    "sip-scan",
    "sipsak",
    "vaxsipuseragent",
    "pplsip",
];

/// What is known of the address a datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nothing.
    Stranger,
    /// It may call.
    Caller,
    /// A trunk: it may call, and challenge what we send to it.
    Trunk,
}

/// What is done with a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Give it to the stack.
    Pass,
    /// Forget it.
    Drop(Fault),
    /// Send these bytes to where it came from, and forget it.
    Answer(Fault, Vec<u8>),
    /// A stranger's request within a dialog: give it to the stack if there is such a
    /// dialog, else send the answer.
    Within(Dialog, Vec<u8>),
}

/// What names a dialog, seen from our side (RFC 3261 section 12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag; empty for a peer of RFC 2543.
    pub remote_tag: String,
}

/// For telephones of ours, which prove who they are.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    /// Makes challenges and knows its own nonces.
    pub guard: &'a Guard,
    /// Now.
    pub now: Time,
    /// Where the datagram came from.
    pub from: IpAddr,
}

/// Why a datagram did not pass; the words are label values of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Empty or too large.
    Size,
    /// Not the shape of a SIP message.
    Shape,
    /// A header field is missing, doubled or contradicts another.
    Header,
    /// Version is not SIP/2.0.
    Version,
    /// A method we do not serve.
    Method,
    /// The Request-URI is no `sip:`, `sips:` or `tel:` URI.
    Uri,
    /// An extension is required that we lack.
    Extension,
    /// Max-Forwards is used up.
    Hops,
    /// The body is encoded.
    Encoding,
    /// A request from an address that may not send it.
    Stranger,
    /// A request within a dialog that does not exist.
    Dialog,
    /// A proof of identity is asked for.
    Proof,
    /// No further call is taken now.
    Full,
    /// A known scanner.
    Scanner,
    /// A challenge from an address nothing was sent to.
    Challenge,
    /// The address sends too much.
    Rate,
}

impl Fault {
    /// The label value.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Fault::Size => "size",
            Fault::Shape => "shape",
            Fault::Header => "header",
            Fault::Version => "version",
            Fault::Method => "method",
            Fault::Uri => "uri",
            Fault::Extension => "extension",
            Fault::Hops => "hops",
            Fault::Encoding => "encoding",
            Fault::Stranger => "stranger",
            Fault::Dialog => "dialog",
            Fault::Proof => "proof",
            Fault::Full => "full",
            Fault::Scanner => "scanner",
            Fault::Challenge => "challenge",
            Fault::Rate => "rate",
        }
    }
}

/// An answer: status line, additional fields, reason to count.
struct Refusal(Fault, &'static str, String);

/// A request as the checks see it.
struct Asked<'a, 'm> {
    message: &'m Message<'a>,
    method: &'a str,
    uri: &'a str,
    /// It did not come from a stranger.
    known: bool,
}

/// What is known besides the datagram.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// Of the address it came from.
    pub source: Source,
    /// Becomes the To tag of an answer.
    pub tag: u64,
    /// No further call is taken now.
    pub full: bool,
    /// Without one nobody registers and no stranger calls; with one they are asked for
    /// proof, in the same words whoever they claim to be.
    pub door: Option<Door<'a>>,
}

/// Judges a datagram.
#[must_use]
pub fn check(datagram: &[u8], beside: &Beside<'_>) -> Verdict {
    let &Beside {
        source, tag, door, ..
    } = beside;
    let known = source != Source::Stranger;
    if datagram.is_empty() || datagram.len() > DATAGRAM_BYTES_MAX {
        return Verdict::Drop(Fault::Size);
    }
    if datagram.iter().all(|b| b"\r\n".contains(b)) {
        // Keep-alive (RFC 5626 section 3.5.1): for those we talk with.
        return if known {
            Verdict::Pass
        } else {
            Verdict::Drop(Fault::Stranger)
        };
    }
    let message = match message::read(datagram) {
        Ok(message) => message,
        Err((ShapeError::StartLine, _) | (_, None)) => return Verdict::Drop(Fault::Shape),
        Err((_, Some(partial))) => {
            let refusal = Refusal(Fault::Shape, "400 Bad Request", String::new());
            return answer(&partial, refusal, tag);
        }
    };
    match message.start {
        StartLine::Response { code } => check_response(&message, code, source),
        StartLine::Request {
            method,
            uri,
            version,
        } => {
            if !known && is_scanner(&message) {
                return Verdict::Drop(Fault::Scanner);
            }
            let asked = Asked {
                message: &message,
                method,
                uri,
                known,
            };
            let refusal = check_version(version)
                .and_then(|()| check_fields(&message, method))
                .and_then(|()| check_request(&asked, door.is_some()))
                .and_then(|()| check_right(&asked, tag, door))
                .and_then(|()| check_room(&asked, beside.full));
            if let Some(door) = door
                && message.first("Authorization", None).is_some()
                && door.guard.is_silenced(door.now, door.from)
            {
                return Verdict::Drop(Fault::Proof);
            }
            match refusal {
                // These two belong to a transaction the stack may still hold.
                Ok(()) if !known && !matches!(method, "ACK" | "CANCEL") => within(&message, tag),
                Ok(()) => Verdict::Pass,
                Err(refusal) => answer(&message, refusal, tag),
            }
        }
    }
}

fn check_response(message: &Message<'_>, code: u16, source: Source) -> Verdict {
    let method = message
        .first("CSeq", None)
        .and_then(|v| v.split_ascii_whitespace().nth(1))
        .unwrap_or_default();
    if check_fields(message, method).is_err() {
        return Verdict::Drop(Fault::Header);
    }
    // A password is proven only to those it was made for (CVE-2021-41158).
    if source != Source::Trunk && (code == 401 || code == 407) {
        return Verdict::Drop(Fault::Challenge);
    }
    Verdict::Pass
}

fn check_fields(message: &Message<'_>, method: &str) -> Result<(), Refusal> {
    let bad = |ok: bool| {
        let refuse = || Refusal(Fault::Header, "400 Bad Request", String::new());
        ok.then_some(()).ok_or_else(refuse)
    };
    for (long, short) in [
        ("Call-ID", Some("i")),
        ("CSeq", None),
        ("From", Some("f")),
        ("To", Some("t")),
    ] {
        let mut values = message.all(long, short);
        bad(values.next().is_some_and(|v| !v.is_empty()) && values.next().is_none())?;
    }
    bad(message.all("Max-Forwards", None).count() <= 1)?;
    bad(message.all("Content-Length", Some("l")).count() <= 1)?;
    bad(message.all("Content-Type", Some("c")).count() <= 1)?;
    let via = message.all("Via", Some("v")).count();
    bad(via > 0 && via + message.all("Route", None).count() <= HOPS_MAX)?;
    bad(cseq_fits(message, method))?;
    bad(body_fits(message))?;
    for (long, short) in [("From", Some("f")), ("To", Some("t"))] {
        let address = message.first(long, short).and_then(Address::parse);
        let has_tag = address.as_ref().and_then(|a| a.parameter("tag")).is_some();
        // RFC 3261 section 8.1.1.3: the stack would say nothing at all.
        bad(address.is_some() && (has_tag || long != "From"))?;
    }
    Ok(())
}

fn cseq_fits(message: &Message<'_>, method: &str) -> bool {
    let Some(cseq) = message.first("CSeq", None) else {
        return false;
    };
    let mut parts = cseq.split_ascii_whitespace();
    let number = parts
        .next()
        .filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
    // RFC 3261 section 8.1.1.5: below 2^31.
    number
        .and_then(|n| n.parse::<u32>().ok())
        .is_some_and(|n| n < 1 << 31)
        && parts.next() == Some(method)
        && parts.next().is_none()
}

fn body_fits(message: &Message<'_>) -> bool {
    match message.first("Content-Length", Some("l")) {
        Some(text) => {
            text.bytes().all(|b| b.is_ascii_digit())
                && text.parse::<usize>().is_ok_and(|n| n == message.body.len())
        }
        None => message.body.is_empty(),
    }
}

fn check_version(version: &str) -> Result<(), Refusal> {
    let known = version == "SIP/2.0";
    let refuse = || Refusal(Fault::Version, "505 Version Not Supported", String::new());
    known.then_some(()).ok_or_else(refuse)
}

fn check_request(asked: &Asked<'_, '_>, registers: bool) -> Result<(), Refusal> {
    let &Asked {
        message, method, ..
    } = asked;
    let refuse = |fault, line: &'static str| Refusal(fault, line, String::new());
    let known = METHODS.contains(&method) || (registers && method == "REGISTER");
    if !known {
        let allow = format!("Allow: {}\r\n", METHODS.join(", "));
        return Err(Refusal(Fault::Method, "405 Method Not Allowed", allow));
    }
    check_uri(asked.uri)?;
    match message.first("Max-Forwards", None).map(str::parse::<u8>) {
        Some(Err(_)) => return Err(refuse(Fault::Header, "400 Bad Request")),
        Some(Ok(0)) => return Err(refuse(Fault::Hops, "483 Too Many Hops")),
        Some(Ok(_)) | None => {}
    }
    check_contact(asked)?;
    check_extensions(asked)?;
    let encoding = message.first("Content-Encoding", Some("e"));
    if encoding.is_some_and(|e| !e.eq_ignore_ascii_case("identity")) {
        let accept = "Accept-Encoding: identity\r\n".to_owned();
        let line = "415 Unsupported Media Type";
        return Err(Refusal(Fault::Encoding, line, accept));
    }
    Ok(())
}

/// What the peer insists on and we lack (RFC 3261 section 8.2.2.3); neither field counts in
/// ACK and CANCEL.
fn check_extensions(asked: &Asked<'_, '_>) -> Result<(), Refusal> {
    if matches!(asked.method, "ACK" | "CANCEL") {
        return Ok(());
    }
    let wanted = asked.message.all("Require", None);
    let wanted = wanted.chain(asked.message.all("Proxy-Require", None));
    let alien: Vec<&str> = wanted
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|o| !o.is_empty() && !EXTENSIONS.iter().any(|e| e.eq_ignore_ascii_case(o)))
        .collect();
    if alien.is_empty() {
        return Ok(());
    }
    let unsupported = format!("Unsupported: {}\r\n", alien.join(", "));
    Err(Refusal(Fault::Extension, "420 Bad Extension", unsupported))
}

/// A dialog needs exactly one place to be reached at (RFC 3261 section 8.1.1.8).
fn check_contact(asked: &Asked<'_, '_>) -> Result<(), Refusal> {
    if asked.method != "INVITE" {
        return Ok(());
    }
    let mut contacts = asked.message.all("Contact", Some("m"));
    let one = contacts
        .next()
        .is_some_and(|c| c != "*" && Address::parse(c).is_some());
    let refuse = || Refusal(Fault::Header, "400 Bad Request", String::new());
    (one && contacts.next().is_none())
        .then_some(())
        .ok_or_else(refuse)
}

fn check_uri(uri: &str) -> Result<(), Refusal> {
    let refuse = |fault, line| Err(Refusal(fault, line, String::new()));
    // Header fields in it would be ours to send on (RFC 3261 section 19.1.5).
    if uri.contains(['<', '>', '"', '?']) {
        return refuse(Fault::Uri, "400 Bad Request");
    }
    let (scheme, rest) = uri.split_once(':').unwrap_or_default();
    if !["sip", "sips", "tel"]
        .iter()
        .any(|s| scheme.eq_ignore_ascii_case(s))
    {
        return refuse(Fault::Uri, "416 Unsupported URI Scheme");
    }
    if rest.is_empty() {
        return refuse(Fault::Uri, "400 Bad Request");
    }
    Ok(())
}

/// Whether the sender may send this at all. What is not within a dialog is for those we
/// know; a telephone of ours proves itself, whatever name it gives.
fn check_right(asked: &Asked<'_, '_>, tag: u64, door: Option<Door<'_>>) -> Result<(), Refusal> {
    let &Asked {
        message, method, ..
    } = asked;
    let in_dialog = message.first("To", Some("t")).is_some_and(has_tag);
    let proves = method == "REGISTER" || (method == "INVITE" && !in_dialog && !asked.known);
    if let Some(Door { guard, now, .. }) = door
        && proves
    {
        let mut proofs = message.all("Authorization", None);
        if proofs.any(|proof| guard.is_fresh(now, proof)) {
            return Ok(());
        }
        let given = message.first("Authorization", None).is_some();
        let challenges = guard.challenges(now, tag, given);
        let fields = challenges
            .iter()
            .map(|c| format!("WWW-Authenticate: {c}\r\n"));
        let fields = fields.collect::<String>();
        return Err(Refusal(Fault::Proof, "401 Unauthorized", fields));
    }
    if asked.known || in_dialog || matches!(method, "ACK" | "CANCEL") {
        return Ok(());
    }
    Err(Refusal(Fault::Stranger, "403 Forbidden", String::new()))
}

/// A new call while none is taken: answered here, so that a flood of calls costs no more
/// than a flood of anything else.
fn check_room(asked: &Asked<'_, '_>, full: bool) -> Result<(), Refusal> {
    let to = asked.message.first("To", Some("t"));
    if !full || asked.method != "INVITE" || to.is_some_and(has_tag) {
        return Ok(());
    }
    let retry = format!("Retry-After: {RETRY_AFTER_SECONDS}\r\n");
    Err(Refusal(Fault::Full, "503 Service Unavailable", retry))
}

/// A stranger's request within a dialog leaves the gate with the dialog's name.
fn within(message: &Message<'_>, tag: u64) -> Verdict {
    let get = |long, short| message.first(long, Some(short)).unwrap_or_default();
    let Some(local_tag) = tag_of(get("To", "t")) else {
        return Verdict::Pass;
    };
    let gone = Refusal(
        Fault::Dialog,
        "481 Call/Transaction Does Not Exist",
        String::new(),
    );
    let answer = match answer(message, gone, tag) {
        Verdict::Answer(_, bytes) => bytes,
        Verdict::Pass | Verdict::Drop(_) | Verdict::Within(..) => Vec::new(),
    };
    let dialog = Dialog {
        call_id: get("Call-ID", "i").to_owned(),
        local_tag: local_tag.to_owned(),
        remote_tag: tag_of(get("From", "f")).unwrap_or_default().to_owned(),
    };
    Verdict::Within(dialog, answer)
}

fn has_tag(address: &str) -> bool {
    tag_of(address).is_some()
}

fn tag_of(address: &str) -> Option<&str> {
    let after = address.rsplit_once('>').map_or(address, |(_, rest)| rest);
    after.split(';').skip(1).find_map(|p| {
        let (name, tag) = p.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("tag")
            .then_some(tag.trim())
    })
}

fn is_scanner(message: &Message<'_>) -> bool {
    let agent = message.first("User-Agent", None).unwrap_or_default();
    let agent = agent.to_ascii_lowercase();
    SCANNERS.iter().any(|s| agent.contains(s))
}

/// A stateless answer (RFC 3261 section 8.2.7): copies only, so it is hardly longer than the request.
fn answer(message: &Message<'_>, refusal: Refusal, tag: u64) -> Verdict {
    let Refusal(fault, line, more) = refusal;
    let is_ack = matches!(message.start, StartLine::Request { method: "ACK", .. });
    let is_request = matches!(message.start, StartLine::Request { .. });
    let parts = (
        message.first("From", Some("f")),
        message.first("To", Some("t")),
        message.first("Call-ID", Some("i")),
        message.first("CSeq", None),
    );
    let (Some(from), Some(to), Some(call_id), Some(cseq)) = parts else {
        return Verdict::Drop(fault);
    };
    if is_ack || !is_request || message.first("Via", Some("v")).is_none() {
        return Verdict::Drop(fault);
    }
    let mut text = format!("SIP/2.0 {line}\r\n");
    for via in message.all("Via", Some("v")) {
        text.push_str(&format!("Via: {via}\r\n"));
    }
    let tag = if has_tag(to) {
        String::new()
    } else {
        format!(";tag={tag:016x}")
    };
    text.push_str(&format!(
        "From: {from}\r\nTo: {to}{tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n{more}Content-Length: 0\r\n\r\n"
    ));
    Verdict::Answer(fault, text.into_bytes())
}

#[cfg(test)]
mod tests;
