//! The estimated wait, and the promise made of it.
//!
//! An estimate simulates the line forward, with handling times, agents, shifts, breaks,
//! bookings, retries and withdrawals as they were seen ([`Experience`]); its bounds are kept
//! honest by what came of earlier ones. The daemon takes the line as its rows stand;
//! [`Learner`] follows one by a trace of events, for `helpline ewt replay`. Erlang's formula
//! ([`queue_length`]) is what the simulation is held against.

mod bound;
mod experience;
mod handling;
mod learner;
mod paths;
mod promise;
mod queue_length;

pub use experience::{Experience, Forecast, LiveLine, Outlook, Place, Serving, marks};
pub use learner::{Event, Learner};
pub use paths::{Doing, Skills, Standing};
pub use promise::{Hours, Kept, Promise, PromiseKind};
pub use queue_length::queue_length;
