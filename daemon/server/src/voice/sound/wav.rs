//! The header of a WAV file at 8 kHz.

use helpline_core::audio::SAMPLE_RATE_HZ;

/// Bytes of a header.
const HEADER_BYTES: u32 = 44;

/// How samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// 16 bits.
    Linear,
    MuLaw,
}

/// The header before so many bytes of sound.
pub(crate) fn header(coding: Coding, channels: u16, data: u32) -> Vec<u8> {
    let (format, bytes): (u16, u16) = match coding {
        Coding::Linear => (1, 2),
        Coding::MuLaw => (7, 1),
    };
    let block = channels * bytes;
    let mut header = Vec::with_capacity(44);
    header.extend(b"RIFF");
    header.extend(data.saturating_add(HEADER_BYTES - 8).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16u32.to_le_bytes());
    header.extend(format.to_le_bytes());
    header.extend(channels.to_le_bytes());
    header.extend(SAMPLE_RATE_HZ.to_le_bytes());
    header.extend((SAMPLE_RATE_HZ * u32::from(block)).to_le_bytes());
    header.extend(block.to_le_bytes());
    header.extend((bytes * 8).to_le_bytes());
    header.extend(b"data");
    header.extend(data.to_le_bytes());
    header
}
