//! The header of a WAV file at 8 kHz (Multimedia Programming Interface and Data
//! Specifications 1.0; for formats besides PCM with the later `cbSize` and `fact`).

use helpline_core::audio::SAMPLE_RATE_HZ;

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
    let mut chunks = Vec::with_capacity(64);
    chunks.extend(b"WAVEfmt ");
    chunks.extend(if coding == Coding::Linear { 16u32 } else { 18 }.to_le_bytes());
    chunks.extend(format.to_le_bytes());
    chunks.extend(channels.to_le_bytes());
    chunks.extend(SAMPLE_RATE_HZ.to_le_bytes());
    chunks.extend((SAMPLE_RATE_HZ * u32::from(block)).to_le_bytes());
    chunks.extend(block.to_le_bytes());
    chunks.extend((bytes * 8).to_le_bytes());
    if coding == Coding::MuLaw {
        // Not all readers take the shorter form.
        chunks.extend(0u16.to_le_bytes());
        chunks.extend(b"fact");
        chunks.extend(4u32.to_le_bytes());
        chunks.extend((data / u32::from(block.max(1))).to_le_bytes());
    }
    chunks.extend(b"data");
    chunks.extend(data.to_le_bytes());
    let rest = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    let mut header = b"RIFF".to_vec();
    header.extend(data.saturating_add(rest).to_le_bytes());
    header.extend(chunks);
    header
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::voice::prompts::{PromptSource, Prompts};

    #[test]
    fn what_is_recorded_can_be_played() {
        for coding in [Coding::Linear, Coding::MuLaw] {
            let sound: Vec<u8> = (0..16_000u32).map(|n| (n * 37 % 251) as u8).collect();
            let mut bytes = header(coding, 1, 16_000);
            let told = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
            bytes.extend(&sound);
            assert_eq!(told as usize, bytes.len() - 8, "{coding:?}");
            let source = PromptSource {
                id: "take".into(),
                name: "take.wav".into(),
                bytes: Cow::Owned(bytes),
            };
            let read = Prompts::load(vec![source], &[]);
            assert!(read.is_ok_and(|p| p.get("take").is_some()), "{coding:?}");
        }
    }
}
