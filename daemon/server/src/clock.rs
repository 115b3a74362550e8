//! The only caller of `now()`. [`Time`] follows tokio's clock, so a paused test clock
//! moves it; [`Wall`] is the system's clock, or, in tests, tokio's clock from a given start.

use std::time::{SystemTime, UNIX_EPOCH};

use helpline_core::time::{Time, Wall};
use tokio::time::Instant;

/// Gives the time. Cheap to clone; all clones share their zero.
#[derive(Clone, Debug)]
pub struct Clock {
    zero: Instant,
    wall_at_zero: Option<Wall>,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Clock {
            zero: Instant::now(),
            wall_at_zero: None,
        }
    }

    /// A clock whose wall time starts at `wall` and follows tokio's (paused) clock.
    #[must_use]
    pub fn following_tokio(wall: Wall) -> Self {
        Clock {
            zero: Instant::now(),
            wall_at_zero: Some(wall),
        }
    }

    /// Monotonic time since the clock was made.
    #[must_use]
    pub fn time(&self) -> Time {
        Time::ZERO + self.zero.elapsed()
    }

    /// UTC now.
    #[must_use]
    pub fn wall(&self) -> Wall {
        if let Some(start) = self.wall_at_zero {
            return start + self.zero.elapsed();
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Wall::from_millis(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Whether wall time follows tokio's clock (the store's clock then has to follow it too).
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        self.wall_at_zero.is_some()
    }
}
