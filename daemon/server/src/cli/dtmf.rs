//! `helpline dtmf FILE`: the keys in a recording, with the detector that calls use.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use helpline_core::audio::SAMPLE_RATE_HZ;
use helpline_core::audio::dtmf::{Detector, KeySound};

use crate::voice::sound::{Limits, Reader, Stretch};

/// Any recording may be asked; below 4 kHz there is no room for the upper tones.
pub(super) const LIMITS: Limits = Limits {
    rate_hz: 4000..=768_000,
    channels: 32,
};

/// Arguments of `helpline dtmf`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints one line a key, in the order pressed:

  DIGIT START_MS END_MS        for example   5 1200.0 1310.5

DIGIT is one of 0-9 A-D * #; the times count from the start of the file, in milliseconds,
and are right within about 5 ms. Nothing is printed when there is no key.

Channels are mixed into one, any rate from 4 to 768 kHz is brought to 8 kHz: this is what
the daemon would hear on a call. A key must sound for 40 ms; two equal ones need a pause of
40 ms between them. Files of any length are read in bounded memory.

To see what a caller pressed in a recording:   helpline dtmf call.wav
The digits as one word:                        helpline dtmf call.wav | cut -c1 | tr -d '\\n'

Exit: 0 the file was read to its end; 1 it is missing, broken or no sound.")]
pub(super) struct Dtmf {
    /// Recording: WAV (also 8 and 24 bit, float, mu-law, A-law), FLAC, Ogg Vorbis or MP3.
    file: PathBuf,
}

impl Dtmf {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut out = std::io::stdout().lock();
        match find(&self.file, &mut out) {
            Ok(()) => Ok(ExitCode::SUCCESS),
            // Whoever read our output has seen enough.
            Err(Fault::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
                Ok(ExitCode::SUCCESS)
            }
            Err(Fault::Output(error)) => Err(error.into()),
            Err(Fault::File(why)) => anyhow::bail!("{}: {why}", self.file.display()),
        }
    }
}

enum Fault {
    File(String),
    Output(std::io::Error),
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Fault::File(why)
    }
}

/// Writes the keys as they are found.
fn find(path: &Path, out: &mut impl Write) -> Result<(), Fault> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let about = file.metadata().map_err(|e| e.to_string())?;
    if !about.is_file() {
        return Err(Fault::File("not a file".into()));
    }
    if about.len() == 0 {
        return Err(Fault::File("the file is empty".into()));
    }
    let name = path.to_string_lossy();
    let mut reader = Reader::open(&name, Box::new(file), LIMITS)?;
    let mut stretch: Option<Stretch> = None;
    let mut keys = Keys::default();
    while let Some(samples) = reader.next()? {
        let samples = samples.to_vec();
        let stretch = match &mut stretch {
            Some(stretch) => stretch,
            None => {
                let rate_hz = reader.rate_hz().unwrap_or(SAMPLE_RATE_HZ);
                stretch.insert(Stretch::new(rate_hz, SAMPLE_RATE_HZ)?)
            }
        };
        stretch.pass(&samples, |sound| keys.hear(sound))?;
        keys.write(out)?;
    }
    if let Some(stretch) = &mut stretch {
        stretch.finish(|sound| keys.hear(sound))?;
    }
    keys.detector.finish();
    keys.write(out)?;
    out.flush().map_err(Fault::Output)
}

/// The detector, and the key that has not ended yet.
#[derive(Default)]
struct Keys {
    detector: Detector,
    begun: Option<Duration>,
    samples: u64,
    linear: Vec<i16>,
}

impl Keys {
    fn hear(&mut self, sound: &[f32]) {
        self.linear.clear();
        #[allow(clippy::cast_possible_truncation)] // clamped first; no number becomes 0
        self.linear.extend(
            sound
                .iter()
                .map(|s| (s * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16),
        );
        self.samples += self.linear.len() as u64;
        self.detector.handle(&self.linear);
    }

    fn write(&mut self, out: &mut impl Write) -> Result<(), Fault> {
        let length = Duration::from_micros(self.samples * 125);
        while let Some(heard) = self.detector.poll_heard() {
            match heard.sound {
                KeySound::Begin(_) => self.begun = Some(heard.at),
                KeySound::End(digit) => {
                    let begun = self.begun.take().unwrap_or(heard.at);
                    let ms = |at: Duration| at.min(length).as_secs_f64() * 1000.0;
                    let (start, end) = (ms(begun), ms(heard.at));
                    writeln!(out, "{} {start:.1} {end:.1}", digit.char()).map_err(Fault::Output)?;
                }
            }
        }
        Ok(())
    }
}
