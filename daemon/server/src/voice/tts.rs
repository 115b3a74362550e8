//! Words that no recording has: a program of the operator speaks them, once; what it spoke
//! is kept in a folder and used again.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use helpline_core::audio::Clip;
use helpline_core::audio::codec::Codec;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::prompts::{PromptSource, Prompts};

/// The caller waits for it.
const LIMIT: Duration = Duration::from_secs(3);
/// Programs at once.
const PROGRAMS_MAX: usize = 2;
/// Half a minute of sound at 48 kHz.
const BYTES_MAX: u64 = 3_000_000;
/// What the folder may hold; beyond it the oldest use goes.
const FOLDER_BYTES_MAX: u64 = 200_000_000;

/// Speaks.
#[derive(Debug)]
pub(super) struct Tts {
    command: Vec<String>,
    folder: PathBuf,
    codecs: Vec<Codec>,
    programs: Semaphore,
}

impl Tts {
    /// `None` without a program.
    pub(super) fn new(
        command: Vec<String>,
        folder: PathBuf,
        codecs: Vec<Codec>,
    ) -> Option<Arc<Tts>> {
        let program = command.first().filter(|program| !program.is_empty());
        program.is_some().then(|| {
            Arc::new(Tts {
                command,
                folder,
                codecs,
                programs: Semaphore::new(PROGRAMS_MAX),
            })
        })
    }

    /// The sound of these words; `None` if the program failed or was late.
    pub(super) async fn clip(&self, locale: &str, text: &str) -> Option<Arc<Clip>> {
        let path = self.folder.join(format!("{}.wav", self.key(locale, text)));
        let bytes = match tokio::fs::read(&path).await {
            Ok(bytes) => {
                let used = path.clone();
                // Only the order in which files go depends on it.
                let _ = tokio::task::spawn_blocking(move || touch(&used)).await;
                bytes
            }
            Err(_) => {
                let spoken = tokio::time::timeout(LIMIT, self.speak(locale, text)).await;
                let bytes = match spoken {
                    Ok(Ok(bytes)) => bytes,
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "the program of ivr.tts failed");
                        return None;
                    }
                    Err(_) => {
                        tracing::warn!("the program of ivr.tts took more than three seconds");
                        return None;
                    }
                };
                self.keep(path, bytes.clone()).await;
                bytes
            }
        };
        let codecs = self.codecs.clone();
        let load = move || {
            let source = PromptSource {
                id: "tts".into(),
                name: "tts.wav".into(),
                bytes: Cow::Owned(bytes),
            };
            Prompts::load(vec![source], &codecs)
        };
        match tokio::task::spawn_blocking(load).await.ok()? {
            Ok(prompts) => prompts.get("tts"),
            Err(faults) => {
                let why = faults.first().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(why, "what the program of ivr.tts spoke cannot be used");
                None
            }
        }
    }

    fn key(&self, locale: &str, text: &str) -> String {
        let mut sha = Sha256::new();
        for part in [locale, text]
            .into_iter()
            .chain(self.command.iter().map(String::as_str))
        {
            sha.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            sha.update(part);
        }
        data_encoding::HEXLOWER.encode(&sha.finalize())
    }

    async fn speak(&self, locale: &str, text: &str) -> std::io::Result<Vec<u8>> {
        // Closed never: waits for a turn.
        let _turn = self.programs.acquire().await;
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().map_or("", String::as_str));
        command.args(words.map(|word| word.replace("{locale}", locale)));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(text.as_bytes()).await?;
        }
        let mut bytes = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(BYTES_MAX).read_to_end(&mut bytes).await?;
        }
        let status = child.wait().await?;
        if !status.success() {
            return Err(std::io::Error::other(format!("it ended with {status}")));
        }
        Ok(bytes)
    }

    /// Keeps what was spoken; a full disk only costs the next call another turn.
    async fn keep(&self, path: PathBuf, bytes: Vec<u8>) {
        let folder = self.folder.clone();
        let kept = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&folder)?;
            let part = path.with_extension("part");
            std::fs::write(&part, bytes)?;
            std::fs::rename(part, path)?;
            prune(&folder, FOLDER_BYTES_MAX)
        });
        if let Ok(Err(error)) = kept.await {
            tracing::warn!(%error, "what was spoken could not be kept");
        }
    }
}

fn touch(path: &Path) -> std::io::Result<()> {
    let file = std::fs::File::options().append(true).open(path)?;
    file.set_modified(SystemTime::now())
}

/// Deletes what was not used for the longest time.
fn prune(folder: &Path, bytes_max: u64) -> std::io::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        files.push((facts.modified()?, facts.len(), entry.path()));
    }
    let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
    files.sort();
    for (_, length, path) in files {
        if total <= bytes_max {
            break;
        }
        std::fs::remove_file(path)?;
        total -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tts(folder: &Path, script: &str) -> Arc<Tts> {
        let command = ["sh", "-c", script, "{locale}"].map(str::to_owned).to_vec();
        Tts::new(command, folder.to_owned(), Vec::new()).unwrap()
    }

    /// A second of sound.
    fn sound(folder: &Path) -> PathBuf {
        let mut wav =
            crate::voice::sound::wav::header(crate::voice::sound::wav::Coding::Linear, 1, 16_000);
        wav.extend((0..8_000_u16).flat_map(|n| (n % 16 * 500).to_le_bytes()));
        let path = folder.join("sound");
        std::fs::write(&path, wav).unwrap();
        path
    }

    #[tokio::test]
    async fn words_are_spoken_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (sound, log) = (sound(dir.path()), dir.path().join("log"));
        let script = format!(
            "(echo $0; cat) >> {}; cat {}",
            log.display(),
            sound.display()
        );
        let folder = dir.path().join("kept");
        for _ in 0..2 {
            let clip = tts(&folder, &script).clip("fr-FR", "Bonjour $(rm x)").await;
            assert!(clip.unwrap().duration() > Duration::from_millis(800));
        }
        let said = std::fs::read_to_string(&log).unwrap();
        assert_eq!(said, "fr-FR\nBonjour $(rm x)", "once, and nothing is run");
    }

    #[tokio::test]
    async fn a_program_that_fails_is_late_or_talks_nonsense_is_no_sound() {
        let dir = tempfile::tempdir().unwrap();
        for script in ["exit 3", "sleep 20", "echo no sound", "true"] {
            let clip = tts(dir.path(), script).clip("en-US", "Hello").await;
            assert!(clip.is_none(), "{script}");
        }
        let none = Tts::new(
            vec!["/no/such/program".into()],
            dir.path().into(),
            Vec::new(),
        );
        assert!(none.unwrap().clip("en-US", "x").await.is_none());
        assert!(Tts::new(Vec::new(), dir.path().into(), Vec::new()).is_none());
    }

    #[test]
    fn the_oldest_use_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for n in 0..4_u64 {
            let path = dir.path().join(format!("{n}.wav"));
            std::fs::write(&path, vec![0; 100]).unwrap();
            let file = std::fs::File::options().append(true).open(path).unwrap();
            file.set_modified(now - Duration::from_secs(n)).unwrap();
        }
        prune(dir.path(), 250).unwrap();
        let left = |n| dir.path().join(format!("{n}.wav")).exists();
        assert!(left(0) && left(1) && !left(2) && !left(3));
    }
}
