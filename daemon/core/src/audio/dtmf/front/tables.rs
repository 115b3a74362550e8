//! Frequencies, and their waves and turns, computed once.

use std::array::from_fn;
use std::f64::consts::TAU;
use std::sync::LazyLock;

use super::HOP;
use crate::audio::dtmf::fit::Complex;
use crate::audio::dtmf::{COLUMNS_HZ, ROWS_HZ};

/// Angular frequency of row 0-3 or column 4-7, radians a sample.
pub(in crate::audio::dtmf) fn omega(tone: usize) -> f64 {
    TAU * hz(tone) / 8000.0
}

/// Frequency of row 0-3 or column 4-7.
pub(in crate::audio::dtmf) fn hz(tone: usize) -> f64 {
    if tone < 4 {
        ROWS_HZ[tone & 3]
    } else {
        COLUMNS_HZ[tone & 3]
    }
}

/// Where a tone stands among the correlations of a hop: each row before the column of the
/// same place, so that a vector holds both.
pub(super) const fn slot(tone: usize) -> usize {
    2 * (tone & 3) + tone / 4
}

/// The tone that stands there.
const fn tone_at(slot: usize) -> usize {
    4 * (slot & 1) + slot / 2
}

/// cos and sin of each frequency, by slot, over the first half of a hop, from its middle: the
/// second half mirrors it.
pub(super) struct Waves {
    pub(super) cos: [[f32; 8]; HOP / 2],
    pub(super) sin: [[f32; 8]; HOP / 2],
}

/// The same for eight channels side by side: eight times a row's, then eight times its column's.
pub(super) struct WideWaves {
    pub(super) cos: [[Wide; 4]; HOP / 2],
    pub(super) sin: [[Wide; 4]; HOP / 2],
}

/// A line of the processor's cache.
#[repr(align(64))]
pub(super) struct Wide(pub(super) [f32; 16]);

/// cos and sin of what each tone, by slot, turned by since hop 0, backwards.
pub(super) type Turns = [(f32, f32); 8];

/// Hops after which all tones are where they began: frequencies are whole Hz, hops 1/200 s.
pub(super) const PERIOD: usize = 200;

#[allow(clippy::cast_possible_truncation)] // tables of single precision
pub(super) static WAVES: LazyLock<Waves> = LazyLock::new(|| {
    let angle = |n, slot| omega(tone_at(slot)) * (to_f64(HOP - 1) / 2.0 - to_f64(n));
    Waves {
        cos: from_fn(|n| from_fn(|slot| angle(n, slot).cos() as f32)),
        sin: from_fn(|n| from_fn(|slot| angle(n, slot).sin() as f32)),
    }
});

pub(super) static WIDE_WAVES: LazyLock<WideWaves> = LazyLock::new(|| {
    let wide = |of: &[[f32; 8]; HOP / 2]| {
        from_fn(|n| from_fn(|at| Wide(from_fn(|lane| of[n][2 * at + lane / 8]))))
    };
    WideWaves {
        cos: wide(&WAVES.cos),
        sin: wide(&WAVES.sin),
    }
});

#[allow(clippy::cast_possible_truncation)]
pub(super) static TURNS: LazyLock<[Turns; PERIOD]> = LazyLock::new(|| {
    from_fn(|hop| {
        let angle = |slot| -omega(tone_at(slot)) * to_f64(HOP * hop);
        from_fn(|slot| (angle(slot).cos() as f32, angle(slot).sin() as f32))
    })
});

/// cos of turns of the rows, and of the columns; and sin.
pub(super) type ByPart = [[[f32; 4]; 2]; 2];

/// What a tone's phase turns by, radians, as a table.
#[allow(clippy::cast_possible_truncation)]
fn by_part(angle: impl Fn(usize) -> f64) -> ByPart {
    let of = |part: fn(f64) -> f64| {
        from_fn(|group| from_fn(|tone| part(angle(4 * group + tone)) as f32))
    };
    [of(f64::cos), of(f64::sin)]
}

/// What a phase of each tone, counted from the middle of hop 0, turns by to count from the
/// middle of the last four hops, for each place of the newest one.
pub(super) static MIDDLES: LazyLock<[ByPart; PERIOD]> = LazyLock::new(|| {
    from_fn(|newest| by_part(|tone| omega(tone) * to_f64(HOP) * (to_f64(newest) - 1.5)))
});

/// What each tone turns by over half a sample, backwards.
pub(super) static HALF_SAMPLE: LazyLock<[Complex; 8]> =
    LazyLock::new(|| from_fn(|tone| Complex::turn(-omega(tone) / 2.0)));

/// What the quick look knows of the tones.
pub(super) struct Tones {
    /// The limit of the offset, 3.5 % + 6 Hz, as cos of the turn in a hop.
    pub(super) limit: [[f32; 4]; 2],
    /// Turns over two hops, and over half a sample.
    pub(super) window: ByPart,
    pub(super) sample: ByPart,
}

pub(super) static TONES: LazyLock<Tones> = LazyLock::new(|| Tones {
    limit: by_part(|tone| TAU * (0.035 * hz(tone) + 6.0) / 200.0)[0],
    window: by_part(|tone| omega(tone) * 2.0 * to_f64(HOP)),
    sample: by_part(|tone| omega(tone) / 2.0),
});

/// Rows and columns as vectors hold them.
pub(super) const NUMBERS: [[f32; 4]; 2] = [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]];

#[allow(clippy::cast_precision_loss)] // small counts
pub(in crate::audio::dtmf) fn to_f64(count: usize) -> f64 {
    count as f64
}
