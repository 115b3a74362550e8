//! Names of things: each id is a `UUIDv7` (RFC 9562), so ids sort by the time they were made.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::rng::Rng;
use crate::time::Wall;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A new id made at `now`.
            #[must_use]
            pub fn new(now: Wall, rng: &mut Rng) -> Self {
                $name(uuid_v7(now, rng))
            }

            /// An id read back from a row or a path.
            #[must_use]
            pub fn from_text(text: &str) -> Self {
                $name(text.to_owned())
            }

            /// The id as text: 36 characters, lower case.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A help request and its row in the queue.
    RequestId
);
id!(
    /// One try to call a customer.
    AttemptId
);
id!(
    /// A telephone call: legs and what joins them.
    CallId
);
id!(
    /// A received message in the mail spool.
    MailInId
);
id!(
    /// One incarnation of a daemon process.
    NodeId
);

impl MailInId {
    /// Sorts below every id made at `at` or later, and above those made before.
    #[must_use]
    pub fn floor(at: Wall) -> Self {
        let millis = u64::try_from(at.millis()).unwrap_or(0);
        MailInId(format!("{:08x}-{:04x}", millis >> 16, millis & 0xffff))
    }
}

fn uuid_v7(now: Wall, rng: &mut Rng) -> String {
    let mut bytes = [0; 10];
    rng.fill(&mut bytes);
    let millis = u64::try_from(now.millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &bytes)
        .into_uuid()
        .hyphenated()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let mut rng = Rng::new(1);
        let early = RequestId::new(Wall::from_millis(1000), &mut rng);
        let late = RequestId::new(Wall::from_millis(2000), &mut rng);
        assert!(early < late);
        assert_eq!(early.as_str().len(), 36);
    }

    #[test]
    fn a_floor_parts_the_ids_of_two_moments() {
        let mut rng = Rng::new(3);
        for at in [0, 1, 65_535, 65_536, 1_795_773_600_000] {
            let floor = MailInId::floor(Wall::from_millis(at));
            assert!(floor < MailInId::new(Wall::from_millis(at), &mut rng));
            assert!(MailInId::new(Wall::from_millis(at - 1), &mut rng) < floor || at == 0);
        }
    }
}
