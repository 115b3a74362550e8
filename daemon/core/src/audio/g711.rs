//! G.711: A-law and mu-law, both directions, without tables of their own making:
//! the decision values of ITU-T G.711 follow from the segment rule.

/// The two companding laws of ITU-T G.711.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Law {
    /// Mu-law, RTP payload type 0 (PCMU).
    Mu,
    /// A-law with every second bit inverted, RTP payload type 8 (PCMA).
    A,
}

/// Added to a mu-law magnitude so that every segment starts at a power of two (16-bit scale).
const MU_BIAS: i32 = 132;
/// Largest magnitude that mu-law tells apart (16-bit scale).
const MU_CLIP: i32 = 32_635;
/// G.711 sends A-law with the even bits inverted.
const A_INVERT: u8 = 0x55;

const MU_DECODE: [i16; 256] = decode_table(Law::Mu);
const A_DECODE: [i16; 256] = decode_table(Law::A);

impl Law {
    /// The code of silence: mu-law 0xFF, A-law 0xD5.
    #[must_use]
    pub const fn silence(self) -> u8 {
        match self {
            Law::Mu => 0xff,
            Law::A => 0xd5,
        }
    }

    /// The code of a 16-bit linear sample, by the decision values of the standard.
    #[must_use]
    pub const fn encode(self, sample: i16) -> u8 {
        match self {
            Law::Mu => encode_mu(sample),
            Law::A => encode_a(sample),
        }
    }

    /// The 16-bit linear sample a code stands for.
    #[must_use]
    #[inline]
    pub fn decode(self, code: u8) -> i16 {
        let table = match self {
            Law::Mu => &MU_DECODE,
            Law::A => &A_DECODE,
        };
        // A table of 256 has an entry for every byte.
        table.get(usize::from(code)).copied().unwrap_or(0)
    }
}

#[allow(clippy::cast_possible_truncation)] // segment and step are masked to 3 and 4 bits
const fn encode_mu(sample: i16) -> u8 {
    // Negative samples count in one's complement (ITU-T G.191), so both zeroes are used.
    let (sign, magnitude) = split_sign(sample);
    let biased = if magnitude > MU_CLIP {
        MU_CLIP + MU_BIAS
    } else {
        magnitude + MU_BIAS
    };
    // Segment 0 begins at 128 = 2^7.
    let segment = 24 - biased.leading_zeros() as i32;
    let step = (biased >> (segment + 3)) & 0x0f;
    !(sign | ((segment as u8) << 4) | step as u8)
}

#[allow(clippy::cast_possible_truncation)] // as above
const fn encode_a(sample: i16) -> u8 {
    let (sign, magnitude) = split_sign(sample);
    // The lowest two segments share one step size.
    let (segment, step) = if magnitude < 256 {
        (0, magnitude >> 4)
    } else {
        let segment = 24 - magnitude.leading_zeros() as i32;
        (segment, (magnitude >> (segment + 3)) & 0x0f)
    };
    // In A-law the set bit means positive.
    ((sign ^ 0x80) | ((segment as u8) << 4) | step as u8) ^ A_INVERT
}

const fn split_sign(sample: i16) -> (u8, i32) {
    if sample < 0 {
        (0x80, !(sample as i32))
    } else {
        (0x00, sample as i32)
    }
}

#[allow(clippy::cast_possible_truncation)] // both laws stay within 16 bits
const fn decode_table(law: Law) -> [i16; 256] {
    let mut table = [0i16; 256];
    let mut code = 0usize;
    while code < 256 {
        #[allow(clippy::indexing_slicing)] // code < 256
        {
            table[code] = match law {
                Law::Mu => decode_mu(code as u8),
                Law::A => decode_a(code as u8),
            };
        }
        code += 1;
    }
    table
}

#[allow(clippy::cast_possible_truncation)]
const fn decode_mu(code: u8) -> i16 {
    let code = !code;
    let step = (code & 0x0f) as i32;
    let segment = ((code >> 4) & 7) as i32;
    let magnitude = (((step << 3) + MU_BIAS) << segment) - MU_BIAS;
    if code & 0x80 != 0 {
        -magnitude as i16
    } else {
        magnitude as i16
    }
}

#[allow(clippy::cast_possible_truncation)]
const fn decode_a(code: u8) -> i16 {
    let code = code ^ A_INVERT;
    let step = ((code & 0x0f) as i32) << 4;
    let segment = ((code >> 4) & 7) as i32;
    let magnitude = if segment == 0 {
        step + 8
    } else {
        (step + 0x108) << (segment - 1)
    };
    if code & 0x80 != 0 {
        magnitude as i16
    } else {
        -magnitude as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_codes_of_the_standard_decode() {
        // End points and first steps of G.711 tables 1 and 2, on the 16-bit scale.
        let mu = [
            (0x80, 32_124),
            (0x00, -32_124),
            (0xff, 0),
            (0x7f, 0),
            (0xfe, 8),
            (0xf0, 120),
            (0xef, 132),
            (0x8f, 16_764),
        ];
        for (code, sample) in mu {
            assert_eq!(Law::Mu.decode(code), sample, "mu {code:#x}");
        }
        let a = [
            (0xd5, 8),
            (0x55, -8),
            (0xaa, 32_256),
            (0x2a, -32_256),
            (0xd4, 24),
            (0xc5, 264),
            (0xa5, 16_896),
        ];
        for (code, sample) in a {
            assert_eq!(Law::A.decode(code), sample, "A {code:#x}");
        }
    }

    #[test]
    fn every_code_survives_decode_and_encode() {
        for law in [Law::Mu, Law::A] {
            for code in 0..=255u8 {
                let again = law.encode(law.decode(code));
                if law == Law::Mu && code == 0x7f {
                    // The two zeroes of mu-law are one sample.
                    assert_eq!(again, 0xff);
                } else {
                    assert_eq!(again, code, "{law:?}");
                }
            }
        }
    }

    #[test]
    fn every_sample_is_off_by_at_most_half_a_step_of_its_segment() {
        for (law, clip, finest) in [(Law::Mu, 32_635, 4), (Law::A, 32_767, 8)] {
            let mut last = i16::MIN;
            for sample in i16::MIN..=i16::MAX {
                let code = law.encode(sample);
                let inverted = if law == Law::Mu {
                    !code
                } else {
                    code ^ A_INVERT
                };
                let segment = i32::from((inverted >> 4) & 7);
                let segment = if law == Law::A {
                    (segment - 1).max(0)
                } else {
                    segment
                };
                let value = law.decode(code);
                let wanted = i32::from(sample).clamp(-clip - 1, clip);
                let off = (i32::from(value) - wanted).abs();
                assert!(off <= finest << segment, "{law:?} {sample}: off by {off}");
                assert!(value >= last, "{law:?} {sample}: not monotone");
                last = value;
            }
        }
    }

    #[test]
    fn segments_begin_at_the_decision_values_of_the_standard() {
        // Tables 1a and 2a of G.711, on the 16-bit scale: the code changes exactly here.
        let mu = [124, 380, 892, 1916, 3964, 8060, 16_252];
        for (segment, value) in mu.into_iter().enumerate() {
            assert_eq!(!Law::Mu.encode(value - 1) & 0x7f, (segment as u8) << 4 | 15);
            assert_eq!(!Law::Mu.encode(value) & 0x7f, (segment as u8 + 1) << 4);
        }
        let a = [256, 512, 1024, 2048, 4096, 8192, 16_384];
        for (segment, value) in a.into_iter().enumerate() {
            let code = |sample| (Law::A.encode(sample) ^ A_INVERT) & 0x7f;
            assert_eq!(code(value - 1), (segment as u8) << 4 | 15);
            assert_eq!(code(value), (segment as u8 + 1) << 4);
        }
    }

    #[test]
    fn silence_is_the_code_of_zero() {
        assert_eq!(Law::Mu.encode(0), Law::Mu.silence());
        assert_eq!(Law::A.encode(0), Law::A.silence());
    }

    #[test]
    fn round_trip_of_1020_hz_keeps_its_signal_to_noise_ratio() {
        for (level_dbm0, limit_db) in [(-10.0, 38.0), (-25.0, 35.0), (-40.0, 30.0)] {
            for law in [Law::Mu, Law::A] {
                let amplitude = 16_086.0 * 2f64.sqrt() * 10f64.powf(level_dbm0 / 20.0);
                let (mut signal, mut noise) = (0.0, 0.0);
                for n in 0..8000 {
                    let x =
                        amplitude * (std::f64::consts::TAU * 1020.0 * f64::from(n) / 8000.0).sin();
                    let y = f64::from(law.decode(law.encode(x.round() as i16)));
                    signal += x * x;
                    noise += (x - y) * (x - y);
                }
                let ratio_db = 10.0 * (signal / noise).log10();
                assert!(
                    ratio_db >= limit_db,
                    "{law:?} at {level_dbm0}: {ratio_db:.1} dB"
                );
            }
        }
    }
}
