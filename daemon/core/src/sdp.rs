//! Audio offers and answers (RFC 3264, RFC 8866): one stream, one codec, telephone
//! events at its clock. Tolerant: what it does not know it skips, and only what it
//! cannot do without makes it refuse. Never sees a socket.

mod parse;
pub mod sdes;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use parse::{Media, Session};

pub use crate::audio::Codec;

/// Longest description read, bytes.
pub const TEXT_BYTES_MAX: usize = 8192;
/// Most media lines in a description.
pub const MEDIA_MAX: usize = 16;
/// Most formats in a media line; further ones are not looked at.
pub const FORMATS_MAX: usize = 64;
/// Payload type under which we offer telephone events at 8000 Hz.
pub const EVENT_PAYLOAD_TYPE: u8 = 101;
/// The same at 48,000 Hz, for Opus.
pub const EVENT_48K_PAYLOAD_TYPE: u8 = 102;
/// Asks Opus peers for what we decode: telephone band, mono, no more bits than it needs
/// (RFC 7587 §6.1).
const OPUS_PARAMETERS: &str = "maxplaybackrate=8000;maxaveragebitrate=24000;stereo=0";

/// Who may send, seen from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both.
    SendRecv,
    /// Only we: the peer does not speak.
    SendOnly,
    /// Only the peer: it does not listen (we are on hold).
    RecvOnly,
    /// Nobody.
    Inactive,
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Where the peer wants its packets, and the only source we listen to.
    pub remote: SocketAddr,
    /// The one codec.
    pub codec: Codec,
    /// Its payload type.
    pub payload_type: u8,
    /// Payload type of telephone events at the codec's clock (RFC 4733), if both know
    /// them.
    pub event_payload_type: Option<u8>,
    /// Who may send, seen from our side.
    pub direction: Direction,
}

/// Our side of a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Where we receive RTP, as told to the peer; RTCP is the port above it.
    pub address: SocketAddr,
    /// Id in `o=`, fixed for the dialog.
    pub session: u64,
    /// Version in `o=`: one more each time our description changes.
    pub version: u64,
    /// Codecs we allow, the preferred one first.
    pub codecs: Vec<Codec>,
}

/// Why a description cannot be used. Maps to 488, except `Malformed` and `TooLong`: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// More than [`TEXT_BYTES_MAX`] bytes.
    #[error("the description is longer than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// A line we need cannot be read.
    #[error("the description has a bad {0}")]
    Malformed(&'static str),
    /// No audio stream over plain RTP, or it was turned down (port 0).
    #[error("no audio stream over RTP/AVP")]
    NoAudio,
    /// No codec is in it that we know and allow.
    #[error("no common audio codec")]
    NoCodec,
    /// No connection address, a host name, or an address that is nobody's (multicast).
    #[error("no usable connection address")]
    Address,
}

impl Direction {
    /// The same, seen from the other side.
    #[must_use]
    pub const fn reversed(self) -> Direction {
        match self {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            Direction::SendRecv | Direction::Inactive => self,
        }
    }

    /// Whether we may send audio.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// The attribute's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    const fn new(sends: bool, receives: bool) -> Direction {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }
}

/// Our offer: the codecs of `local` in its order, and telephone events at their clocks.
#[must_use]
pub fn offer(local: &Local) -> String {
    let mut text = head(local);
    let port = local.address.port();
    let mut formats: Vec<u8> = local.codecs.iter().map(|c| c.payload_type()).collect();
    let events = events_offered(&local.codecs);
    formats.extend(events.iter().map(|(pt, _)| *pt));
    let _ = write!(text, "m=audio {port} RTP/AVP"); // a String takes all
    for pt in &formats {
        let _ = write!(text, " {pt}");
    }
    text.push_str("\r\n");
    for codec in &local.codecs {
        audio_map(&mut text, codec.payload_type(), *codec);
    }
    for (pt, clock_hz) in events {
        events_map(&mut text, pt, clock_hz);
    }
    tail(&mut text, Direction::SendRecv, port);
    text
}

/// Payload type and clock of telephone events, one for each clock among `codecs`.
fn events_offered(codecs: &[Codec]) -> Vec<(u8, u32)> {
    [(EVENT_PAYLOAD_TYPE, 8000), (EVENT_48K_PAYLOAD_TYPE, 48_000)]
        .into_iter()
        .filter(|(_, hz)| codecs.iter().any(|codec| codec.clock_hz() == *hz))
        .collect()
}

/// Answers an offer: the first of its codecs that we allow, telephone events under its
/// number, every other stream turned down.
///
/// # Errors
/// [`SdpError`]; the call, or the re-INVITE, is then refused.
pub fn answer(offer_text: &str, local: &Local) -> Result<(String, Negotiated), SdpError> {
    let session = Session::parse(offer_text)?;
    let chosen = session.audio().ok_or(SdpError::NoAudio)?;
    let media = session.media.get(chosen).ok_or(SdpError::NoAudio)?;
    let negotiated = negotiate(&session, media, &local.codecs)?;
    let mut text = head(local);
    for (at, media) in session.media.iter().enumerate() {
        if at == chosen {
            accepted(&mut text, local, &negotiated);
        } else {
            // A stream is turned down by port 0, and must keep its place (RFC 3264 §6).
            let format = media.formats.first().copied().unwrap_or("0");
            let _ = write!(text, "m={} 0 {} {format}\r\n", media.kind, media.protocol);
        }
    }
    Ok((text, negotiated))
}

/// Reads the answer to `our_offer`, the text made by [`offer`].
///
/// # Errors
/// [`SdpError`]: the call cannot have media and has to end.
pub fn accept_answer(answer_text: &str, our_offer: &str) -> Result<Negotiated, SdpError> {
    let ours = Session::parse(our_offer)?;
    let offered = ours.audio().and_then(|at| ours.media.get(at));
    let codecs = offered.map(Media::codecs).unwrap_or_default();
    let session = Session::parse(answer_text)?;
    let chosen = session.audio().ok_or(SdpError::NoAudio)?;
    let media = session.media.get(chosen).ok_or(SdpError::NoAudio)?;
    let codecs: Vec<Codec> = codecs.into_iter().map(|(_, codec)| codec).collect();
    let mut negotiated = negotiate(&session, media, &codecs)?;
    let codec = negotiated.codec;
    if offered.and_then(|media| media.events(codec)).is_none() {
        negotiated.event_payload_type = None;
    }
    Ok(negotiated)
}

/// Id and version of the `o=` line. The same pair in a later description of the peer
/// means that nothing changed.
#[must_use]
pub fn origin(text: &str) -> Option<(u64, u64)> {
    Session::parse(text).ok()?.origin
}

fn negotiate(
    session: &Session<'_>,
    media: &Media<'_>,
    allowed: &[Codec],
) -> Result<Negotiated, SdpError> {
    let (payload_type, codec) = media
        .codecs()
        .into_iter()
        .find(|(_, codec)| allowed.contains(codec))
        .ok_or(SdpError::NoCodec)?;
    let address = media
        .connection
        .or(session.connection)
        .ok_or(SdpError::Address)?
        .ok_or(SdpError::Address)?;
    if is_nobodys(address) {
        return Err(SdpError::Address);
    }
    let theirs = media
        .direction
        .or(session.direction)
        .unwrap_or(Direction::SendRecv);
    let ours = theirs.reversed();
    // The old way to hold a call (RFC 3264 §8.4): the peer has no place to send to.
    let listens = !address.is_unspecified();
    let receives = matches!(ours, Direction::SendRecv | Direction::RecvOnly);
    Ok(Negotiated {
        remote: SocketAddr::new(address, media.port),
        codec,
        payload_type,
        event_payload_type: media.events(codec).filter(|pt| *pt != payload_type),
        direction: Direction::new(ours.sends() && listens, receives),
    })
}

fn is_nobodys(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

fn head(local: &Local) -> String {
    let ip = local.address.ip();
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    let (session, version) = (local.session, local.version);
    format!(
        "v=0\r\no=- {session} {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n"
    )
}

fn accepted(text: &mut String, local: &Local, negotiated: &Negotiated) {
    let port = local.address.port();
    let _ = write!(text, "m=audio {port} RTP/AVP {}", negotiated.payload_type);
    if let Some(events) = negotiated.event_payload_type {
        let _ = write!(text, " {events}");
    }
    text.push_str("\r\n");
    audio_map(text, negotiated.payload_type, negotiated.codec);
    if let Some(events) = negotiated.event_payload_type {
        events_map(text, events, negotiated.codec.clock_hz());
    }
    tail(text, negotiated.direction, port);
}

fn audio_map(text: &mut String, pt: u8, codec: Codec) {
    let (name, clock) = (codec.name(), codec.clock_hz());
    match codec {
        Codec::Opus => {
            // Two channels are always told, however many are sent (RFC 7587 §7).
            let _ = write!(text, "a=rtpmap:{pt} {name}/{clock}/2\r\n");
            let _ = write!(text, "a=fmtp:{pt} {OPUS_PARAMETERS}\r\n");
        }
        Codec::Pcmu | Codec::Pcma | Codec::G722 => {
            let _ = write!(text, "a=rtpmap:{pt} {name}/{clock}\r\n");
        }
    }
}

fn events_map(text: &mut String, pt: u8, clock_hz: u32) {
    let _ = write!(text, "a=rtpmap:{pt} telephone-event/{clock_hz}\r\n");
    let _ = write!(text, "a=fmtp:{pt} 0-16\r\n");
}

fn tail(text: &mut String, direction: Direction, port: u16) {
    let (rtcp, direction) = (port.saturating_add(1), direction.name());
    let _ = write!(text, "a=ptime:20\r\na=rtcp:{rtcp}\r\na={direction}\r\n");
}

#[cfg(test)]
mod tests;
