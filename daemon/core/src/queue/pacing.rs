//! How many calls may be started now.

/// A customer is called before an agent is free if one is so surely free when he answers.
pub const SURE: f64 = 0.97;

/// What limits new calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Calls at once for this queue.
    pub max_calls: u32,
    /// Calls of this queue that are up or about to be.
    pub up: u32,
    /// Bookings that fall due within the reservation time and are not yet called.
    pub bookings_soon: u32,
    /// Free channels on all usable trunks.
    pub free_channels: u32,
    /// Calls the node may still carry.
    pub node_room: u32,
}

/// How many calls may be started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// For bookings that are due.
    pub bookings: u32,
    /// Of these, so many may go to requests in the order received.
    pub anyone: u32,
}

/// How many calls may be started now. At most half of the queue's calls are kept free
/// for bookings that are nearly due; nothing is ever dialled ahead of a free place.
#[must_use]
pub fn start(view: &View) -> Start {
    let room = view
        .max_calls
        .saturating_sub(view.up)
        .min(view.free_channels)
        .min(view.node_room);
    let reserved = view.bookings_soon.min(view.max_calls / 2);
    Start {
        bookings: room,
        anyone: room.saturating_sub(reserved),
    }
}

/// Of how sure it is for each busy agent that he will be free in time: how many of them will be,
/// as surely as [`SURE`].
#[must_use]
pub fn surely_free(chances: &[f64]) -> u32 {
    // That exactly so many are, one agent after another.
    let mut exactly = vec![1.0];
    for chance in chances {
        let mut more = vec![0.0; exactly.len() + 1];
        for (many, share) in exactly.iter().enumerate() {
            for (at, factor) in [(many, 1.0 - chance), (many + 1, *chance)] {
                if let Some(sum) = more.get_mut(at) {
                    *sum += share * factor;
                }
            }
        }
        exactly = more;
    }
    let mut fewer = 0.0;
    let enough = exactly.iter().take_while(|share| {
        fewer += *share;
        fewer <= 1.0 - SURE
    });
    u32::try_from(enough.count()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: View = View {
        max_calls: 4,
        up: 0,
        bookings_soon: 0,
        free_channels: 10,
        node_room: 100,
    };

    #[test]
    fn the_smallest_limit_binds() {
        for (view, want) in [
            (FREE, 4),
            (View { up: 3, ..FREE }, 1),
            (View { up: 9, ..FREE }, 0),
            (
                View {
                    free_channels: 2,
                    ..FREE
                },
                2,
            ),
            (
                View {
                    node_room: 1,
                    ..FREE
                },
                1,
            ),
            (
                View {
                    max_calls: 0,
                    ..FREE
                },
                0,
            ),
        ] {
            assert_eq!(start(&view).anyone, want, "{view:?}");
        }
    }

    #[test]
    fn bookings_keep_at_most_half_of_the_calls() {
        let view = View {
            bookings_soon: 9,
            ..FREE
        };
        assert_eq!(
            start(&view),
            Start {
                bookings: 4,
                anyone: 2
            }
        );
        let one = View {
            max_calls: 1,
            ..view
        };
        assert_eq!(
            start(&one),
            Start {
                bookings: 1,
                anyone: 1
            }
        );
    }

    #[test]
    fn nobody_is_counted_on_who_may_well_stay() {
        for (chances, want) in [
            (&[][..], 0),
            (&[0.96], 0),
            (&[0.98], 1),
            (&[1.0, 1.0, 0.5], 2),
            (&[0.9, 0.9], 1),
            // One of ten that are even: 0.5^10 is that nobody is.
            (&[0.5; 10], 2),
        ] {
            assert_eq!(surely_free(chances), want, "{chances:?}");
        }
    }
}
