//! Who answered: human, machine, fax, or the network's tones for a number that is not in
//! service. Listens beside the prompt and never delays it; a pressed key is worth more
//! than any verdict here (in the field 65 to 80 of 100 are right).

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::speech::{LOOK_MS, Look, Speech, single_tone_hz};

/// Silence at first for longer than this says nothing of who is there.
const SILENT_MS: u32 = 2500;
/// A human says less than this before he waits; a machine more.
const GREETING_MS: u32 = 1500;
/// More words than this are a machine's too.
const WORDS_MAX: u32 = 3;
/// A word lasts at least so long, and ends with at least so long a gap.
const WORD_MS: u32 = 100;
const GAP_MS: u32 = 50;
/// Whoever is silent so long after a greeting waits for us.
const WAITS_MS: u32 = 800;
/// Above the noise by this it may be speech, dB.
const SPEECH_DB: f64 = 9.0;
/// A fax sends its tone at least so long.
const FAX_MS: u32 = 400;
/// Each of the three special information tones (ITU-T E.180): 330 ms, or so.
const SIT_MS: u32 = 200;
/// A beep lasts between these, and then it is quiet for so long.
const BEEP_MS: (u32, u32) = (120, 2000);
const AFTER_BEEP_MS: u32 = 300;
/// A machine that does not beep is done after so much silence.
const NO_BEEP_MS: u32 = 2000;
/// A tone keeps its frequency within this share from look to look.
const TONE_STEP: f64 = 0.01;

/// Who answered, as far as sound tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answerer {
    /// Short words, then silence.
    Human,
    /// A long greeting.
    Machine,
    /// The tone of a calling or called fax.
    Fax,
    /// Special information tones: the number is not in service.
    OutOfService,
    /// Nothing certain within the time given.
    Unknown,
}

/// What a verdict rests on; for the report, so that limits can be tuned on own calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Before the first word.
    pub silence: Duration,
    /// From the first word to now or to the pause after it.
    pub greeting: Duration,
    /// Words in it.
    pub words: u32,
    /// The last single tone, Hz; 0 without.
    pub tone_hz: u32,
    /// Since listening began.
    pub after: Duration,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Once.
    Verdict(Answerer, Features),
    /// After [`Answerer::Machine`], once: the machine listens now, after its beep
    /// (`true`) or because it fell silent or took too long.
    Listens(bool),
}

/// Times, all from the first sound heard on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A verdict at the latest.
    pub verdict: Duration,
    /// [`Output::Listens`] at the latest.
    pub listens: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            verdict: Duration::from_secs(4),
            listens: Duration::from_secs(20),
        }
    }
}

/// One call's answerer. Allocates only for its outputs.
#[derive(Debug)]
pub struct Answering {
    limits: Limits,
    speech: Speech,
    now_ms: u32,
    verdict: Option<Answerer>,
    listens: bool,
    /// When the first word began.
    begun_ms: Option<u32>,
    /// Of the present sound and of the present silence.
    sound_ms: u32,
    quiet_ms: u32,
    words: u32,
    in_word: bool,
    tone: Tone,
    /// How far the three information tones were heard.
    sit: usize,
    out: VecDeque<Output>,
}

/// A single tone that lasts.
#[derive(Clone, Copy, Debug, Default)]
struct Tone {
    hz: f64,
    ms: u32,
    /// It was long enough for a beep and is over for so long.
    beep_over_ms: Option<u32>,
}

impl Answering {
    /// Listens from now on.
    #[must_use]
    pub fn new(limits: Limits) -> Answering {
        Answering {
            limits,
            speech: Speech::default(),
            now_ms: 0,
            verdict: None,
            listens: false,
            begun_ms: None,
            sound_ms: 0,
            quiet_ms: 0,
            words: 0,
            in_word: false,
            tone: Tone::default(),
            sit: 0,
            out: VecDeque::with_capacity(2),
        }
    }

    /// What we play, so that its echo does not count; before the sound heard with it.
    pub fn ours(&mut self, samples: &[i16]) {
        self.speech.ours(samples);
    }

    /// What they send, 8 kHz. Sound that was made up for a loss does not belong here.
    pub fn heard(&mut self, samples: &[i16]) {
        let mut speech = std::mem::take(&mut self.speech);
        speech.heard(samples, |look, sound| self.look(&look, sound));
        self.speech = speech;
    }

    /// So much of it is missing: time passes, nothing is learned.
    pub fn missing(&mut self, length: Duration) {
        self.now_ms = self.now_ms.saturating_add(millis(length));
        self.tone = Tone::default();
        self.limit();
    }

    /// The next thing to tell.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Everything is told: nothing more will come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let waits = self.verdict == Some(Answerer::Machine) && !self.listens;
        self.verdict.is_some() && !waits && self.out.is_empty()
    }

    fn look(&mut self, look: &Look, sound: &[i16]) {
        self.now_ms += LOOK_MS;
        let tone = single_tone_hz(sound).filter(|_| look.is_theirs);
        self.tone.look(tone);
        self.tones();
        // A tone is no word, whatever it is.
        let speaks = look.is_speech(SPEECH_DB) && self.tone.ms < BEEP_MS.0;
        self.words(speaks);
        if self.verdict.is_none() {
            self.judge();
        }
        if self.verdict == Some(Answerer::Machine) && !self.listens {
            self.wait_for_beep();
        }
        self.limit();
    }

    fn words(&mut self, speaks: bool) {
        if speaks {
            self.sound_ms += LOOK_MS;
            self.quiet_ms = 0;
            if self.sound_ms >= WORD_MS && !self.in_word {
                self.in_word = true;
                self.words += 1;
                self.begun_ms.get_or_insert(self.now_ms - self.sound_ms);
            }
        } else {
            self.quiet_ms += LOOK_MS;
            if self.quiet_ms >= GAP_MS {
                self.sound_ms = 0;
                self.in_word = false;
            }
        }
    }

    fn judge(&mut self) {
        match self.begun_ms {
            None if self.now_ms > SILENT_MS => self.decide(Answerer::Unknown),
            None => {}
            Some(_) if self.quiet_ms >= WAITS_MS => self.decide(Answerer::Human),
            Some(begun) => {
                let greeting = self.now_ms - begun - self.quiet_ms;
                if greeting > GREETING_MS || self.words > WORDS_MAX {
                    self.decide(Answerer::Machine);
                }
            }
        }
    }

    fn tones(&mut self) {
        if self.verdict.is_some() {
            return;
        }
        let is = |hz: f64, within: f64| (self.tone.hz - hz).abs() <= within;
        if self.tone.ms >= FAX_MS && (is(1100.0, 40.0) || is(2100.0, 25.0)) {
            return self.decide(Answerer::Fax);
        }
        let next = [950.0, 1400.0, 1800.0].get(self.sit).copied();
        if self.tone.ms >= SIT_MS && next.is_some_and(|hz| is(hz, 50.0)) {
            self.sit += 1;
            if self.sit == 3 {
                self.decide(Answerer::OutOfService);
            }
        }
    }

    fn wait_for_beep(&mut self) {
        let after_beep = self.tone.beep_over_ms.is_some_and(|ms| ms >= AFTER_BEEP_MS);
        let quiet = self.quiet_ms >= AFTER_BEEP_MS;
        if after_beep && quiet {
            self.tell_listens(true);
        } else if self.quiet_ms >= NO_BEEP_MS {
            self.tell_listens(false);
        }
    }

    fn limit(&mut self) {
        if self.verdict.is_none() && self.now_ms >= millis(self.limits.verdict) {
            self.decide(Answerer::Unknown);
        }
        let waits = self.verdict == Some(Answerer::Machine) && !self.listens;
        if waits && self.now_ms >= millis(self.limits.listens) {
            self.tell_listens(false);
        }
    }

    fn tell_listens(&mut self, after_beep: bool) {
        self.listens = true;
        self.out.push_back(Output::Listens(after_beep));
    }

    fn decide(&mut self, answerer: Answerer) {
        if self.verdict.is_some() {
            return;
        }
        self.verdict = Some(answerer);
        let begun = self.begun_ms.unwrap_or(self.now_ms);
        let spoken = (self.now_ms - begun).saturating_sub(self.quiet_ms);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0..4000
        let features = Features {
            silence: Duration::from_millis(begun.into()),
            greeting: Duration::from_millis(spoken.into()),
            words: self.words,
            tone_hz: self.tone.hz.round() as u32,
            after: Duration::from_millis(self.now_ms.into()),
        };
        self.out.push_back(Output::Verdict(answerer, features));
    }
}

impl Tone {
    fn look(&mut self, hz: Option<f64>) {
        match hz {
            Some(hz) if (hz - self.hz).abs() <= self.hz * TONE_STEP => {
                self.ms += LOOK_MS;
                self.hz = hz;
            }
            other => {
                if (BEEP_MS.0..=BEEP_MS.1).contains(&self.ms) && (400.0..=2000.0).contains(&self.hz)
                {
                    self.beep_over_ms = Some(0);
                }
                self.ms = if other.is_some() { LOOK_MS } else { 0 };
                self.hz = other.unwrap_or(self.hz);
            }
        }
        self.beep_over_ms = match self.beep_over_ms {
            Some(ms) if self.ms < BEEP_MS.0 => Some(ms + LOOK_MS),
            _ => None,
        };
    }
}

fn millis(length: Duration) -> u32 {
    u32::try_from(length.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
