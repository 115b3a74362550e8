//! Flows and prompts that change by themselves: the folders are looked at, since not every
//! file system tells of changes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the folders are looked at.
const EVERY: Duration = Duration::from_secs(2);
/// An editor or a copy is done when nothing has changed for so long.
const SETTLED: Duration = Duration::from_millis(500);
/// Folders in folders that are looked into.
const DEPTH_MAX: u32 = 3;

/// Watches folders and files.
pub(super) struct Watch {
    paths: Vec<PathBuf>,
    seen: Option<u64>,
}

impl Watch {
    /// Of these folders; none: nothing ever changes.
    pub(super) fn new(paths: Vec<PathBuf>) -> Watch {
        Watch { paths, seen: None }
    }

    /// Returns when something has changed and settled. May be dropped at any time.
    pub(super) async fn changed(&mut self) {
        if self.paths.is_empty() {
            std::future::pending::<()>().await;
        }
        let seen = match self.seen {
            Some(seen) => seen,
            None => *self.seen.insert(stamp(&self.paths)),
        };
        loop {
            tokio::time::sleep(EVERY).await;
            let mut now = stamp(&self.paths);
            if now == seen {
                continue;
            }
            loop {
                tokio::time::sleep(SETTLED).await;
                let again = stamp(&self.paths);
                if again == now {
                    break;
                }
                now = again;
            }
            self.seen = Some(now);
            return;
        }
    }
}

/// A number for the names, times and sizes of all files.
fn stamp(paths: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in paths {
        facts(path, &mut hasher);
        look(path, DEPTH_MAX, &mut hasher);
    }
    hasher.finish()
}

fn look(folder: &Path, depth: u32, hasher: &mut DefaultHasher) {
    // A folder that cannot be read just now is one without files.
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        path.hash(hasher);
        if facts(&path, hasher) && depth > 0 {
            look(&path, depth - 1, hasher);
        }
    }
}

/// Size and time; true of a folder.
fn facts(path: &Path, hasher: &mut DefaultHasher) -> bool {
    let Ok(facts) = std::fs::metadata(path) else {
        return false;
    };
    facts.len().hash(hasher);
    facts.modified().ok().hash(hasher);
    facts.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_once_when_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.flow.yaml");
        std::fs::write(&file, "1").unwrap();
        let mut watch = Watch::new(vec![dir.path().to_owned()]);
        let quiet = tokio::time::timeout(Duration::from_millis(2_500), watch.changed());
        assert!(quiet.await.is_err(), "nothing has changed");
        std::fs::write(&file, "22").unwrap();
        let changed = tokio::time::timeout(Duration::from_secs(10), watch.changed());
        changed.await.expect("a change");
        let quiet = tokio::time::timeout(Duration::from_millis(2_500), watch.changed());
        assert!(quiet.await.is_err(), "it was told");
    }
}
