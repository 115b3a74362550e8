//! Two lanes of waiting work: what somebody waits for, and what was promised already and can
//! stand behind it.

use tokio::sync::mpsc::{Receiver, Sender, channel};

/// While there are others, one of those that can wait is done in each turn, and one more for so
/// many of the others: they go on however much comes in. Most are larger than the others.
const OTHERS_FOR_ONE: usize = 32;

/// Which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Somebody waits for it.
    First,
    /// It can wait.
    Behind,
}

/// Where work is handed over.
#[derive(Debug)]
pub(super) struct Doors<T> {
    first: Sender<T>,
    behind: Sender<T>,
}

/// Where it is taken.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    first: Receiver<T>,
    behind: Receiver<T>,
    /// Taken in this turn.
    taken: Taken,
}

#[derive(Debug, Default)]
struct Taken {
    first: usize,
    behind: usize,
}

/// Lanes in each of which so much may wait.
pub(super) fn lanes<T>(waiting_max: usize) -> (Doors<T>, Lanes<T>) {
    let (to_first, first) = channel(waiting_max);
    let (to_behind, behind) = channel(waiting_max);
    let doors = Doors {
        first: to_first,
        behind: to_behind,
    };
    let taken = Taken::default();
    (
        doors,
        Lanes {
            first,
            behind,
            taken,
        },
    )
}

impl<T> Clone for Doors<T> {
    fn clone(&self) -> Self {
        Doors {
            first: self.first.clone(),
            behind: self.behind.clone(),
        }
    }
}

impl<T> Doors<T> {
    /// Hands something over once there is room; false if nobody takes it any more.
    pub(super) async fn send(&self, lane: Lane, work: T) -> bool {
        let to = match lane {
            Lane::First => &self.first,
            Lane::Behind => &self.behind,
        };
        to.send(work).await.is_ok()
    }
}

impl<T> Lanes<T> {
    /// Waits for work, with which a turn begins; `None` once every door is gone. Where the turn
    /// before had no time for what can wait, it begins with that.
    pub(super) async fn begin(&mut self) -> Option<T> {
        let Taken { first, behind } = std::mem::take(&mut self.taken);
        if first > 0
            && behind == 0
            && let Ok(work) = self.behind.try_recv()
        {
            self.count(Lane::Behind);
            return Some(work);
        }
        let (work, lane) = tokio::select! {
            biased;
            Some(work) = self.first.recv() => (work, Lane::First),
            Some(work) = self.behind.recv() => (work, Lane::Behind),
            else => return None,
        };
        self.count(lane);
        Some(work)
    }

    /// What waits already and may share the turn.
    pub(super) fn also(&mut self) -> Option<T> {
        if let Ok(work) = self.first.try_recv() {
            self.count(Lane::First);
            return Some(work);
        }
        let Taken { first, behind } = self.taken;
        if first > 0 && behind * OTHERS_FOR_ONE > first {
            return None;
        }
        let work = self.behind.try_recv().ok()?;
        self.count(Lane::Behind);
        Some(work)
    }

    fn count(&mut self, lane: Lane) {
        match lane {
            Lane::First => self.taken.first += 1,
            Lane::Behind => self.taken.behind += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn turn(lanes: &mut Lanes<u32>) -> Vec<u32> {
        let mut taken = Vec::from_iter(lanes.begin().await);
        taken.extend(std::iter::from_fn(|| lanes.also()));
        taken
    }

    #[tokio::test]
    async fn what_can_wait_goes_on_beside_the_others() {
        let (doors, mut lanes) = lanes(64);
        for work in 0..20 {
            assert!(doors.send(Lane::Behind, 100 + work).await);
        }
        for work in 0..40 {
            assert!(doors.send(Lane::First, work).await);
        }
        let first = turn(&mut lanes).await;
        assert_eq!(first[..40], (0..40).collect::<Vec<_>>());
        assert_eq!(first[40..], [100, 101]);
        assert!(doors.send(Lane::First, 40).await);
        assert_eq!(turn(&mut lanes).await, [40, 102]);
        assert_eq!(turn(&mut lanes).await, (103..120).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn one_that_comes_late_ends_the_turn_of_those_that_can_wait() {
        let (doors, mut lanes) = lanes(64);
        for work in 0..20 {
            assert!(doors.send(Lane::Behind, 100 + work).await);
        }
        assert_eq!(lanes.begin().await, Some(100));
        assert_eq!(lanes.also(), Some(101));
        assert!(doors.send(Lane::First, 0).await);
        assert_eq!(lanes.also(), Some(0));
        assert_eq!(lanes.also(), None);
    }

    #[tokio::test]
    async fn turns_that_end_early_leave_nothing_behind_for_ever() {
        let (doors, mut lanes) = lanes(64);
        for work in 0..4 {
            assert!(doors.send(Lane::First, work).await);
        }
        assert!(doors.send(Lane::Behind, 100).await);
        assert_eq!(lanes.begin().await, Some(0));
        assert_eq!(lanes.also(), Some(1));
        assert_eq!(lanes.begin().await, Some(100));
        assert_eq!(lanes.also(), Some(2));
        assert_eq!(lanes.begin().await, Some(3));
    }

    #[tokio::test]
    async fn all_is_taken_before_the_end() {
        let (doors, mut lanes) = lanes(64);
        assert!(doors.send(Lane::Behind, 100).await);
        assert!(doors.send(Lane::First, 0).await);
        drop(doors);
        assert_eq!(turn(&mut lanes).await, [0, 100]);
        assert!(turn(&mut lanes).await.is_empty());
    }
}
