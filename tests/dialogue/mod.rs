//! Conversations as text: each `.talk` file is one SMTP conversation, run on the pure
//! machine with the bytes cut in every way that could matter.
//!
//! `->` the client says (CRLF is added; `\r \n \0 \t \\ \xHH` are understood), `<-` the
//! server says (a trailing `...` stands for any rest), `==` something happens:
//! `stored "TEXT"` (kept; `stored unknown "TEXT"`, `stored full "TEXT"` answer otherwise),
//! `closed`, `wait SECONDS`, `stopping`, `full`, `normal`. `limit BYTES` before all else
//! sets the message limit, `lmtp`, `starttls`, `require_tls`, `auth` and `require_auth` what is
//! spoken and offered; `tls` is the handshake, `login "NAME/PASSWORD"` a login that is right
//! (`login wrong "..."`). `#` begins a comment.

mod sip;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use helpline_core::id::MailInId;
use helpline_core::request::email::Keys;
use helpline_core::smtp::{Checked, Conversation, Input, Output, Pressure, Settings, Stored};
use helpline_core::time::Time;

/// One line of a talk.
#[derive(Clone, Debug)]
enum Line {
    Say(Vec<u8>),
    Hear(String),
    Stored { answer: Stored, text: Vec<u8> },
    Closed,
    Wait(u64),
    Press(Pressure),
    Tls,
    Login { is_right: bool, text: String },
}

/// How the client's bytes are cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// Each said line in one piece.
    Lines,
    /// Every byte alone.
    Bytes,
    /// At each CRLF, between CR and LF.
    WithinCrlf,
    /// All lines up to the next event that is not the server's in one piece, ahead of the replies.
    Ahead,
}

#[test]
fn every_talk_goes_as_written_in_every_cut_of_the_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/dialogue/smtp");
    let mut talks: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    talks.retain(|path| path.extension().is_some_and(|e| e == "talk"));
    talks.sort();
    assert!(talks.len() >= 10, "talks are missing: {talks:?}");
    for path in talks {
        let text = fs::read_to_string(&path).unwrap();
        let (settings, lines) = read(&text, &path);
        for cut in [Cut::Lines, Cut::Bytes, Cut::WithinCrlf, Cut::Ahead] {
            Talk::new(settings.clone(), format!("{} ({cut:?})", path.display())).run(&lines, cut);
        }
    }
}

#[test]
fn a_talk_that_goes_otherwise_fails() {
    let path = Path::new("made-up");
    for text in [
        "<- 220 other.test ESMTP",
        "<- 220 ...\n-> NOOP\n<- 500 ...",
        "<- 220 ...\n-> NOOP",
        "<- 220 ...\n== closed",
        "<- 220 ...\n-> QUIT\n<- 221 ...",
    ] {
        let (settings, lines) = read(text, path);
        let went = std::panic::catch_unwind(|| {
            Talk::new(settings, "made-up".into()).run(&lines, Cut::Lines)
        });
        assert!(went.is_err(), "{text}");
    }
}

fn read(text: &str, path: &Path) -> (Settings, Vec<Line>) {
    let mut settings = Settings {
        host: "help.test".into(),
        addresses: vec!["help@help.test".into(), "desk@help.test".into()],
        keys: Keys::new(b"the key of the talks", None),
        message_bytes_max: 26_214_400,
        messages_max: 100,
        lmtp: false,
        starttls: false,
        require_tls: false,
        auth: false,
        require_auth: false,
    };
    let mut lines = Vec::new();
    for line in text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        match mark {
            "limit" => settings.message_bytes_max = rest.parse().unwrap(),
            "lmtp" => settings.lmtp = true,
            "starttls" => settings.starttls = true,
            "auth" => settings.auth = true,
            "require_auth" => settings.require_auth = true,
            "require_tls" => settings.require_tls = true,
            "->" => lines.push(Line::Say([unescape(rest), b"\r\n".to_vec()].concat())),
            // Says without the final CRLF.
            "->>" => lines.push(Line::Say(unescape(rest))),
            "<-" => lines.push(Line::Hear(rest.to_owned())),
            "==" => lines.push(event(rest)),
            _ => panic!("{}: {line}", path.display()),
        }
    }
    (settings, lines)
}

fn event(text: &str) -> Line {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word {
        "closed" => Line::Closed,
        "tls" => Line::Tls,
        "login" => Line::Login {
            is_right: !rest.starts_with("wrong "),
            text: rest
                .trim_start_matches("wrong ")
                .trim_matches('"')
                .to_owned(),
        },
        "wait" => Line::Wait(rest.parse().unwrap()),
        "stopping" => Line::Press(Pressure::Stopping),
        "full" => Line::Press(Pressure::Full),
        "normal" => Line::Press(Pressure::Normal),
        "stored" => {
            let (answer, text) = rest.split_at(rest.find('"').unwrap());
            let answer = match answer.trim() {
                "" => Stored::Kept(MailInId::from_text("m1")),
                "unknown" => Stored::Unknown,
                "full" => Stored::Full,
                "refused" => Stored::Refused,
                other => panic!("stored {other}"),
            };
            Line::Stored {
                answer,
                text: unescape(text.trim_matches('"')),
            }
        }
        other => panic!("== {other}"),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.to_string().as_bytes());
            continue;
        }
        match chars.next().unwrap() {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            '0' => bytes.push(0),
            't' => bytes.push(b'\t'),
            'x' => {
                let hex: String = chars.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            other => bytes.extend_from_slice(other.to_string().as_bytes()),
        }
    }
    bytes
}

struct Talk {
    name: String,
    conversation: Conversation,
    now: Time,
    heard: VecDeque<String>,
    pending: Option<Vec<u8>>,
    tls: bool,
    login: Option<String>,
    queue: VecDeque<u8>,
    closed: bool,
}

impl Talk {
    fn new(settings: Settings, name: String) -> Self {
        let conversation = Conversation::new(Time::ZERO, Arc::new(settings));
        let mut talk = Talk {
            name,
            conversation,
            now: Time::ZERO,
            heard: VecDeque::new(),
            pending: None,
            tls: false,
            login: None,
            queue: VecDeque::new(),
            closed: false,
        };
        talk.collect();
        talk
    }

    fn run(mut self, lines: &[Line], cut: Cut) {
        for (at, line) in lines.iter().enumerate() {
            match line {
                Line::Say(_) if matches!(cut, Cut::Ahead) => {
                    let first = at == 0
                        || !lines[..at]
                            .iter()
                            .rev()
                            .take_while(|l| !is_outside(l))
                            .any(is_said);
                    if first {
                        let ahead = lines[at..].iter().take_while(|l| !is_outside(l));
                        let all: Vec<u8> = ahead.filter_map(said).flatten().copied().collect();
                        self.say(&all, cut);
                    }
                }
                Line::Say(bytes) => self.say(bytes, cut),
                Line::Hear(expected) => self.hear(expected),
                Line::Stored { answer, text } => {
                    let raw = self
                        .pending
                        .take()
                        .unwrap_or_else(|| panic!("{}: nothing stored", self.name));
                    assert_eq!(
                        raw,
                        *text,
                        "{}: {:?}",
                        self.name,
                        String::from_utf8_lossy(&raw)
                    );
                    self.feed(Input::Stored(answer.clone()));
                    self.pump(cut);
                }
                Line::Tls => {
                    assert!(std::mem::take(&mut self.tls), "{}: no TLS", self.name);
                    self.feed(Input::TlsReady);
                }
                Line::Login { is_right, text } => {
                    let login = self.login.take();
                    assert_eq!(login.as_ref(), Some(text), "{}", self.name);
                    self.feed(Input::AuthChecked(match is_right {
                        true => Checked::Right,
                        false => Checked::Wrong,
                    }));
                    self.pump(cut);
                }
                Line::Closed => assert!(self.closed, "{}: not closed", self.name),
                Line::Wait(seconds) => {
                    self.now = self.now + Duration::from_secs(*seconds);
                    self.feed(Input::Timeout);
                }
                Line::Press(pressure) => self.feed(Input::Pressure(*pressure)),
            }
        }
        assert!(
            self.heard.is_empty(),
            "{}: unexpected {:?}",
            self.name,
            self.heard
        );
        assert!(self.pending.is_none(), "{}: stored too much", self.name);
        let told = matches!(lines.last(), Some(Line::Closed));
        assert_eq!(
            self.closed, told,
            "{}: closed without `== closed`",
            self.name
        );
    }

    fn say(&mut self, bytes: &[u8], cut: Cut) {
        self.queue.extend(bytes);
        self.pump(cut);
    }

    /// Gives the machine what waits, as a shell does: only while it reads.
    fn pump(&mut self, cut: Cut) {
        while self.conversation.reading() && !self.queue.is_empty() {
            let size = match cut {
                Cut::Lines | Cut::Ahead => self.queue.len(),
                Cut::Bytes => 1,
                Cut::WithinCrlf => self
                    .queue
                    .iter()
                    .position(|b| *b == b'\r')
                    .map_or(self.queue.len(), |at| at + 1),
            };
            let piece: Vec<u8> = self.queue.drain(..size).collect();
            self.feed(Input::Bytes(&piece));
        }
    }

    fn feed(&mut self, input: Input<'_>) {
        self.conversation.handle(self.now, input);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(output) = self.conversation.poll() {
            assert!(
                !self.closed,
                "{}: output after close: {output:?}",
                self.name
            );
            match output {
                Output::Write(bytes) => {
                    let line = String::from_utf8(bytes).unwrap();
                    self.heard
                        .push_back(line.strip_suffix("\r\n").unwrap().to_owned());
                }
                Output::Store(received) => self.pending = Some(received.raw),
                Output::CheckAuth(login) => {
                    self.login = Some(format!("{}/{}", login.user, login.password));
                }
                // What came in the clear behind the command never reaches the other side.
                Output::StartTls => {
                    self.tls = true;
                    self.queue.clear();
                }
                Output::Close => self.closed = true,
            }
        }
    }

    fn hear(&mut self, expected: &str) {
        let line = self
            .heard
            .pop_front()
            .unwrap_or_else(|| panic!("{}: silence, not {expected:?}", self.name));
        let fits = match expected.strip_suffix("...") {
            Some(start) => line.starts_with(start),
            None => line == expected,
        };
        assert!(fits, "{}: {line:?}, not {expected:?}", self.name);
    }
}

/// Whether a line comes from outside both ends, so that words cannot be said past it.
fn is_outside(line: &Line) -> bool {
    matches!(line, Line::Wait(_) | Line::Press(_) | Line::Tls)
}

fn is_said(line: &Line) -> bool {
    matches!(line, Line::Say(_))
}

fn said(line: &Line) -> Option<&Vec<u8>> {
    match line {
        Line::Say(bytes) => Some(bytes),
        Line::Hear(_)
        | Line::Stored { .. }
        | Line::Closed
        | Line::Wait(_)
        | Line::Press(_)
        | Line::Login { .. }
        | Line::Tls => None,
    }
}
