//! Another detector, as a program: signed 16-bit samples, 8 kHz, on its input; it passes
//! over them as often as its argument says and writes a line `DIGIT MS` for each key of
//! the first pass, and last `cpu SECONDS`, the CPU time of the fastest one.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use helpline_core::audio::dtmf::Digit;

/// The program.
pub(super) struct Peer(pub(super) PathBuf);

/// What it said.
pub(super) struct Said {
    /// Keys and when they were told.
    pub(super) keys: Vec<(Digit, Duration)>,
    /// Of the fastest pass.
    pub(super) cpu: Duration,
}

impl Peer {
    /// Runs it over a piece of sound.
    pub(super) fn hear(&self, sound: &[i16], passes: u32) -> anyhow::Result<Said> {
        let name = self.0.display();
        let mut child = Command::new(&self.0)
            .arg(passes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let bytes: Vec<u8> = sound.iter().flat_map(|s| s.to_le_bytes()).collect();
        let mut input = child.stdin.take().context("no input")?;
        input.write_all(&bytes)?;
        drop(input);
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{name}: {}", output.status);
        let text = String::from_utf8(output.stdout)?;
        let mut said = Said {
            keys: Vec::new(),
            cpu: Duration::ZERO,
        };
        for line in text.lines() {
            let (what, number) = line
                .split_once(' ')
                .with_context(|| format!("{name}: {line:?}"))?;
            let number: f64 = number.parse()?;
            if what == "cpu" {
                said.cpu = Duration::try_from_secs_f64(number)?;
                continue;
            }
            let digit = what.chars().next().and_then(Digit::from_char);
            let digit = digit.with_context(|| format!("{name}: {line:?}"))?;
            said.keys
                .push((digit, Duration::try_from_secs_f64(number / 1000.0)?));
        }
        Ok(said)
    }
}
