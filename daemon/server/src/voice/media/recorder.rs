//! The writer of recordings: media threads push frames into a bounded ring, one thread
//! turns them into WAV files. Header and data are on disk every ten seconds, so a crash
//! leaves a file that plays.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use helpline_core::audio::tape::Both;
use helpline_core::audio::{FRAME_SAMPLES, Law, SAMPLE_RATE_HZ};

use super::MediaError;
use super::counters::Shared;
use super::recording::{RecordPlan, Samples, Sides};
use crate::voice::sound::wav::{Coding, header};

/// Messages that may wait for the writer: 2 s of some twenty recordings.
const RING: usize = 2048;
/// Frames between two times that the file is made whole (10 s).
const MEND_FRAMES: u32 = 500;

// Sound stays in line: a box would make the media thread allocate.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
enum Message {
    Open(u64, Box<RecordPlan>),
    Sound(u64, Both),
    /// Frames for which the ring had no room.
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

/// One file, held by the leg that is recorded; ends when dropped.
#[derive(Debug)]
pub(super) struct Tap {
    id: u64,
    to: SyncSender<Message>,
    shared: Arc<Shared>,
    /// Frames the ring had no room for: written as silence before the next sound.
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

    /// Begins a file. One that cannot be written is logged by the writer.
    pub(super) fn open(&self, plan: &RecordPlan) -> Tap {
        let id = self.next.fetch_add(1, Relaxed);
        // Not on a media thread: this may wait for the writer. A writer that is gone
        // makes a tap into nothing.
        let _ = self.to.send(Message::Open(id, Box::new(plan.clone())));
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
    /// 20 ms. Never waits.
    pub(super) fn push(&mut self, both: &Both) {
        if self.owed > 0 && self.try_push(Message::Silence(self.id, self.owed)) {
            self.owed = 0;
        }
        if self.owed > 0 || !self.try_push(Message::Sound(self.id, *both)) {
            self.owed = self.owed.saturating_add(1);
            self.shared.recorder_gaps.add(1);
        }
    }

    fn try_push(&self, message: Message) -> bool {
        self.to.try_send(message).is_ok()
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
            Message::Open(id, plan) => match Wav::create(&plan) {
                Ok(wav) => drop(files.insert(id, wav)),
                Err(error) => {
                    let path = plan.path.display();
                    tracing::warn!(%path, %error, "a recording cannot be written");
                }
            },
            Message::Sound(id, both) => write(&mut files, id, |wav| wav.frame(&both)),
            Message::Silence(id, frames) => write(&mut files, id, |wav| wav.silence(frames)),
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

/// A WAV file at 8 kHz.
struct Wav {
    file: BufWriter<File>,
    sides: Sides,
    samples: Samples,
    frames: u32,
    mended_at: u32,
}

impl Wav {
    fn create(plan: &RecordPlan) -> std::io::Result<Wav> {
        let path: &Path = &plan.path;
        let mut wav = Wav {
            file: BufWriter::new(File::create(path)?),
            sides: plan.sides,
            samples: plan.samples,
            frames: 0,
            mended_at: 0,
        };
        let header = wav.header();
        wav.file.write_all(&header)?;
        Ok(wav)
    }

    fn frame(&mut self, both: &Both) -> std::io::Result<()> {
        for (theirs, ours) in both.theirs.iter().zip(&both.ours) {
            match self.sides {
                Sides::Theirs => self.sample(*theirs)?,
                Sides::Mixed => self.sample(theirs.saturating_add(*ours))?,
                Sides::Both => {
                    self.sample(*theirs)?;
                    self.sample(*ours)?;
                }
            }
        }
        self.frames += 1;
        if self.frames - self.mended_at >= MEND_FRAMES {
            self.mend()?;
        }
        Ok(())
    }

    fn sample(&mut self, sample: i16) -> std::io::Result<()> {
        match self.samples {
            Samples::Linear => self.file.write_all(&sample.to_le_bytes()),
            Samples::MuLaw => self.file.write_all(&[Law::Mu.encode(sample)]),
        }
    }

    fn silence(&mut self, frames: u32) -> std::io::Result<()> {
        let nothing = Both {
            theirs: [0; FRAME_SAMPLES],
            ours: [0; FRAME_SAMPLES],
        };
        for _ in 0..frames {
            self.frame(&nothing)?;
        }
        Ok(())
    }

    /// Makes the header tell the present length, and the disk know all of it.
    fn mend(&mut self) -> std::io::Result<()> {
        let header = self.header();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header)?;
        self.file.seek(SeekFrom::End(0))?;
        self.mended_at = self.frames;
        self.file.get_ref().sync_data()
    }

    fn channels(&self) -> u16 {
        match self.sides {
            Sides::Both => 2,
            Sides::Mixed | Sides::Theirs => 1,
        }
    }

    fn header(&self) -> Vec<u8> {
        let (coding, bytes) = match self.samples {
            Samples::Linear => (Coding::Linear, 2),
            Samples::MuLaw => (Coding::MuLaw, 1),
        };
        let frame = u32::from(self.channels() * bytes) * (SAMPLE_RATE_HZ / 50);
        header(coding, self.channels(), frame.saturating_mul(self.frames))
    }
}
