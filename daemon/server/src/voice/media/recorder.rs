//! Recordings: media threads push frames into a bounded ring, one writer thread turns
//! them into WAV files. The header is mended every ten seconds, so a crash leaves a file
//! that plays.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use helpline_core::audio::{FRAME_SAMPLES, SAMPLE_RATE_HZ};

use super::MediaError;
use super::counters::Shared;

/// Messages that may wait for the writer: 2 s of some twenty recordings.
const RING: usize = 2048;
/// Longest recording, samples (60 minutes).
const SAMPLES_MAX: u64 = 60 * 60 * SAMPLE_RATE_HZ as u64;
/// The header is mended after so many samples (10 s).
const MEND_SAMPLES: u64 = 10 * SAMPLE_RATE_HZ as u64;
const HEADER_BYTES: u32 = 44;

// Sound stays in line: a box would make the media thread allocate.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
enum Message {
    Open(u64, PathBuf),
    Sound(u64, u16, [i16; FRAME_SAMPLES]),
    Silence(u64, u32),
    Close(u64),
    Flush(SyncSender<()>),
}

/// Handle to the writer thread.
#[derive(Debug)]
pub(super) struct Recorder {
    to: SyncSender<Message>,
    next: AtomicU64,
    shared: Arc<Shared>,
}

/// One recording, held by the leg that is recorded; ends when dropped.
#[derive(Debug)]
pub(super) struct Tap {
    id: u64,
    to: SyncSender<Message>,
    shared: Arc<Shared>,
    /// Samples the ring had no room for: written as silence before the next sound.
    owed: u32,
}

impl Recorder {
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Recorder, MediaError> {
        let (to, from) = sync_channel(RING);
        std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || write_all(&from))
            .map_err(MediaError::Thread)?;
        Ok(Recorder {
            to,
            next: AtomicU64::new(0),
            shared: Arc::clone(shared),
        })
    }

    /// Begins a recording. A file that cannot be written is logged by the writer.
    pub(super) fn open(&self, path: PathBuf) -> Tap {
        let id = self.next.fetch_add(1, Relaxed);
        // Not on a media thread: this may wait for the writer. A writer that is gone
        // makes a tap into nothing.
        let _ = self.to.send(Message::Open(id, path));
        Tap {
            id,
            to: self.to.clone(),
            shared: Arc::clone(&self.shared),
            owed: 0,
        }
    }

    /// Waits until everything pushed before is written.
    pub(super) fn flush(&self) {
        let (done, is_done) = sync_channel(1);
        if self.to.send(Message::Flush(done)).is_ok() {
            // An error means that the writer is gone: nothing is left to wait for.
            let _ = is_done.recv();
        }
    }
}

impl Tap {
    /// Up to 20 ms of sound. Never waits.
    pub(super) fn sound(&mut self, samples: &[i16]) {
        if self.owed > 0 {
            let owed = std::mem::take(&mut self.owed);
            self.silence(owed);
        }
        for chunk in samples.chunks(FRAME_SAMPLES) {
            let mut frame = [0; FRAME_SAMPLES];
            for (to, from) in frame.iter_mut().zip(chunk) {
                *to = *from;
            }
            let count = u16::try_from(chunk.len()).unwrap_or(0);
            self.push(Message::Sound(self.id, count, frame), u32::from(count));
        }
    }

    /// So many samples of silence. Never waits.
    pub(super) fn silence(&mut self, samples: u32) {
        self.push(Message::Silence(self.id, samples), samples);
    }

    fn push(&mut self, message: Message, samples: u32) {
        if self.to.try_send(message).is_err() {
            self.owed = self.owed.saturating_add(samples);
            self.shared.recorder_gaps.add(1);
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // With a full ring the file is closed when the writer ends; its header was
        // mended at most ten seconds ago.
        let _ = self.to.try_send(Message::Close(self.id));
    }
}

/// The writer thread.
fn write_all(from: &Receiver<Message>) {
    let mut files: HashMap<u64, Wav> = HashMap::new();
    while let Ok(message) = from.recv() {
        match message {
            Message::Open(id, path) => match Wav::create(&path) {
                Ok(wav) => drop(files.insert(id, wav)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a recording cannot be written");
                }
            },
            Message::Sound(id, count, frame) => {
                let sound = frame.get(..usize::from(count)).unwrap_or(&frame);
                write(&mut files, id, |wav| wav.sound(sound));
            }
            Message::Silence(id, count) => write(&mut files, id, |wav| wav.silence(count)),
            Message::Close(id) => {
                write(&mut files, id, Wav::mend);
                files.remove(&id);
            }
            Message::Flush(done) => {
                // Whoever asked may have given up waiting.
                let _ = done.send(());
            }
        }
    }
    for wav in files.values_mut() {
        if let Err(error) = wav.mend() {
            tracing::warn!(%error, "a recording could not be closed");
        }
    }
}

/// Writes, and gives a file up at its first error.
fn write(
    files: &mut HashMap<u64, Wav>,
    id: u64,
    act: impl FnOnce(&mut Wav) -> std::io::Result<()>,
) {
    if let Some(wav) = files.get_mut(&id)
        && let Err(error) = act(wav)
    {
        tracing::warn!(%error, "a recording ends early");
        files.remove(&id);
    }
}

/// A WAV file, 8 kHz 16-bit mono.
struct Wav {
    file: std::io::BufWriter<File>,
    samples: u64,
    mended_at: u64,
}

impl Wav {
    fn create(path: &PathBuf) -> std::io::Result<Wav> {
        let mut file = std::io::BufWriter::new(File::create(path)?);
        file.write_all(&header(0))?;
        Ok(Wav {
            file,
            samples: 0,
            mended_at: 0,
        })
    }

    fn sound(&mut self, samples: &[i16]) -> std::io::Result<()> {
        for sample in samples {
            if self.samples >= SAMPLES_MAX {
                break;
            }
            self.file.write_all(&sample.to_le_bytes())?;
            self.samples += 1;
        }
        if self.samples - self.mended_at >= MEND_SAMPLES {
            self.mend()?;
        }
        Ok(())
    }

    fn silence(&mut self, mut samples: u32) -> std::io::Result<()> {
        while samples > 0 {
            let count = samples.min(160);
            let frame = [0; FRAME_SAMPLES];
            self.sound(
                frame
                    .get(..usize::try_from(count).unwrap_or(0))
                    .unwrap_or(&[]),
            )?;
            samples -= count;
        }
        Ok(())
    }

    /// Makes the header tell the present length.
    fn mend(&mut self) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let bytes = u32::try_from(self.samples * 2).unwrap_or(u32::MAX);
        self.file.write_all(&header(bytes))?;
        self.file.seek(SeekFrom::End(0))?;
        self.mended_at = self.samples;
        Ok(())
    }
}

fn header(data_bytes: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(44);
    bytes.extend(b"RIFF");
    bytes.extend((data_bytes.saturating_add(HEADER_BYTES - 8)).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend(1u16.to_le_bytes()); // linear PCM
    bytes.extend(1u16.to_le_bytes()); // mono
    bytes.extend(SAMPLE_RATE_HZ.to_le_bytes());
    bytes.extend((SAMPLE_RATE_HZ * 2).to_le_bytes());
    bytes.extend(2u16.to_le_bytes());
    bytes.extend(16u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(data_bytes.to_le_bytes());
    bytes
}
