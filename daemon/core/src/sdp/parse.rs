//! Reads a session description line by line and keeps only what a call needs.

use std::net::IpAddr;

use super::{Codec, Direction, FORMATS_MAX, MEDIA_MAX, SdpError, TEXT_BYTES_MAX};

/// A description as read. Text is borrowed from it.
#[derive(Debug, Default)]
pub(super) struct Session<'a> {
    /// Id and version of `o=`.
    pub(super) origin: Option<(u64, u64)>,
    /// Address of `c=`; the inner `None` is one we do not take (a host name).
    pub(super) connection: Option<Option<IpAddr>>,
    pub(super) direction: Option<Direction>,
    pub(super) media: Vec<Media<'a>>,
}

/// One `m=` line and its attributes.
#[derive(Debug)]
pub(super) struct Media<'a> {
    pub(super) kind: &'a str,
    pub(super) port: u16,
    pub(super) protocol: &'a str,
    pub(super) formats: Vec<&'a str>,
    pub(super) connection: Option<Option<IpAddr>>,
    pub(super) direction: Option<Direction>,
    maps: Vec<Map<'a>>,
}

/// What an `rtpmap` says of a payload type.
#[derive(Clone, Copy, Debug)]
struct Map<'a> {
    payload_type: u8,
    name: &'a str,
    clock_hz: u32,
    channels: u8,
}

impl<'a> Session<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Session<'a>, SdpError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(SdpError::TooLong);
        }
        let mut session = Session::default();
        for line in text.lines() {
            let Some((kind, value)) = line.trim_end_matches('\r').split_once('=') else {
                continue;
            };
            match kind {
                "m" => {
                    if session.media.len() == MEDIA_MAX {
                        return Err(SdpError::Malformed("number of media lines"));
                    }
                    session.media.push(Media::parse(value)?);
                }
                "c" => {
                    session.connection_slot().get_or_insert(connection(value));
                }
                "o" => session.origin = session.origin.or_else(|| origin(value)),
                "a" => session.attribute(value),
                _ => {}
            }
        }
        Ok(session)
    }

    /// Index of the stream we take: the first audio over plain RTP that is not turned down.
    pub(super) fn audio(&self) -> Option<usize> {
        self.media.iter().position(|m| {
            m.kind.eq_ignore_ascii_case("audio")
                && m.port != 0
                && (m.protocol.eq_ignore_ascii_case("RTP/AVP")
                    || m.protocol.eq_ignore_ascii_case("RTP/AVPF"))
        })
    }

    fn connection_slot(&mut self) -> &mut Option<Option<IpAddr>> {
        match self.media.last_mut() {
            Some(media) => &mut media.connection,
            None => &mut self.connection,
        }
    }

    fn attribute(&mut self, value: &'a str) {
        if let Some(direction) = direction(value.trim()) {
            let slot = match self.media.last_mut() {
                Some(media) => &mut media.direction,
                None => &mut self.direction,
            };
            slot.get_or_insert(direction);
        } else if let (Some(map), Some(media)) =
            (value.strip_prefix("rtpmap:"), self.media.last_mut())
        {
            media.map(map);
        }
    }
}

impl<'a> Media<'a> {
    fn parse(value: &'a str) -> Result<Media<'a>, SdpError> {
        let bad = SdpError::Malformed("m= line");
        // These words go back into our answer: nothing but visible characters may.
        let mut words = value.split_ascii_whitespace();
        let mut word = || {
            words
                .next()
                .filter(|w| w.bytes().all(|b| b.is_ascii_graphic()))
                .ok_or(bad)
        };
        let (kind, port, protocol) = (word()?, word()?, word()?);
        // `49170/2` asks for two ports; the first one will do.
        let port = port.split('/').next().unwrap_or(port);
        let port = port.parse().map_err(|_| bad)?;
        let formats: Vec<&str> = words
            .take(FORMATS_MAX)
            .take_while(|w| w.bytes().all(|b| b.is_ascii_graphic()))
            .collect();
        Ok(Media {
            kind,
            port,
            protocol,
            formats,
            connection: None,
            direction: None,
            maps: Vec::new(),
        })
    }

    /// Reads `0 PCMU/8000/1`. What cannot be read is as good as absent.
    fn map(&mut self, text: &'a str) {
        let Some((pt, encoding)) = text.trim().split_once(char::is_whitespace) else {
            return;
        };
        let mut parts = encoding.trim().split('/');
        let (Some(name), Some(clock)) = (parts.next(), parts.next()) else {
            return;
        };
        let channels = parts
            .next()
            .map_or(Ok(1), |channels| channels.trim().parse());
        let (Ok(payload_type), Ok(clock_hz), Ok(channels)) =
            (pt.parse::<u8>(), clock.trim().parse(), channels)
        else {
            return;
        };
        let known = self.mapped(payload_type).is_some();
        if payload_type < 128 && !known && self.maps.len() < FORMATS_MAX {
            self.maps.push(Map {
                payload_type,
                name,
                clock_hz,
                channels,
            });
        }
    }

    /// Formats we know in the order of the line, each codec once.
    pub(super) fn codecs(&self) -> Vec<(u8, Codec)> {
        let mut found: Vec<(u8, Codec)> = Vec::new();
        for pt in self.payload_types() {
            let codec = match self.mapped(pt) {
                Some(map) => Codec::ALL.into_iter().find(|codec| map.is(*codec)),
                // Static payload types need no rtpmap.
                None => Codec::ALL
                    .into_iter()
                    .find(|codec| codec.is_static() && codec.payload_type() == pt),
            };
            if let Some(codec) = codec
                && !found.iter().any(|(_, known)| *known == codec)
            {
                found.push((pt, codec));
            }
        }
        found
    }

    /// Payload type of telephone events at the clock of `codec`. Events at another clock
    /// would have their durations and timestamps misread.
    pub(super) fn events(&self, codec: Codec) -> Option<u8> {
        self.payload_types().find(|pt| {
            self.mapped(*pt).is_some_and(|map| {
                map.clock_hz == codec.clock_hz() && map.name.eq_ignore_ascii_case("telephone-event")
            })
        })
    }

    fn payload_types(&self) -> impl Iterator<Item = u8> {
        self.formats
            .iter()
            .filter_map(|f| f.parse::<u8>().ok())
            .filter(|pt| *pt < 128)
    }

    fn mapped(&self, pt: u8) -> Option<Map<'a>> {
        self.maps.iter().find(|map| map.payload_type == pt).copied()
    }
}

impl Map<'_> {
    fn is(&self, codec: Codec) -> bool {
        self.name.eq_ignore_ascii_case(codec.name())
            && self.clock_hz == codec.clock_hz()
            && self.channels == codec.channels()
    }
}

/// `IN IP4 192.0.2.1/127`: the address, or `None` for anything but an address.
fn connection(value: &str) -> Option<IpAddr> {
    let address = value.split_ascii_whitespace().nth(2)?;
    address.split('/').next()?.parse().ok()
}

/// `- 3724394400 3724394405 IN IP4 192.0.2.1`
fn origin(value: &str) -> Option<(u64, u64)> {
    let mut words = value.split_ascii_whitespace().skip(1);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn direction(name: &str) -> Option<Direction> {
    [
        Direction::SendRecv,
        Direction::SendOnly,
        Direction::RecvOnly,
        Direction::Inactive,
    ]
    .into_iter()
    .find(|direction| direction.name() == name)
}
