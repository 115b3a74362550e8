//! Parts what the person wrote now from quoted text and signature. Every pass goes line by
//! line, and every line that is not blank ends up in exactly one of the three.

use std::sync::LazyLock;

use regex::Regex;

/// The three parts of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Written now.
    pub reply: String,
    /// Of earlier messages, with the lines that announce them.
    pub quoted: String,
    /// Signature, closing words.
    pub signature: String,
}

/// A line, looked at from several sides.
struct Line<'a> {
    text: &'a str,
    /// Without blanks at its ends, in lower case.
    lower: String,
}

impl Line<'_> {
    fn of(text: &str) -> Line<'_> {
        let lower = text.trim().to_lowercase();
        Line { text, lower }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reply,
    Quoted,
    Signature,
}

/// The line under which the answer must not be written.
const SEPARATOR: [&str; 2] = [
    "please write above this line",
    "bitte oberhalb dieser zeile antworten",
];
const FORWARD: [&str; 4] = [
    "forwarded message",
    "weitergeleitete nachricht",
    "begin forwarded message",
    "message transféré",
];
const ORIGINAL: [&str; 4] = [
    "original message",
    "ursprüngliche nachricht",
    "originalnachricht",
    "message d'origine",
];
const FROM_LABELS: [&str; 5] = ["from:", "von:", "de:", "da:", "van:"];
const OTHER_LABELS: [&str; 16] = [
    "sent:",
    "date:",
    "to:",
    "subject:",
    "cc:",
    "gesendet:",
    "datum:",
    "an:",
    "betreff:",
    "envoyé:",
    "envoyé :",
    "à:",
    "à :",
    "objet:",
    "objet :",
    "enviado:",
];
const CLOSINGS: [&str; 22] = [
    "best regards",
    "kind regards",
    "regards",
    "best wishes",
    "many thanks",
    "thanks",
    "thank you",
    "cheers",
    "best",
    "sincerely",
    "yours sincerely",
    "yours faithfully",
    "yours",
    "viele grüße",
    "viele grüsse",
    "liebe grüße",
    "beste grüße",
    "mit freundlichen grüßen",
    "mit freundlichem gruß",
    "mfg",
    "cordialement",
    "gruß",
];
const SENT_FROM: [&str; 6] = [
    "sent from my ",
    "sent from outlook",
    "get outlook for ",
    "von meinem ",
    "gesendet von ",
    "envoyé de mon ",
];
/// Lines of a closing with its names and addresses.
const CLOSING_LINES_MAX: usize = 8;
/// Longest line of a closing, in characters.
const CLOSING_CHARS_MAX: usize = 60;

/// Parts `text` (LF line ends).
pub(super) fn split(text: &str, is_forward: bool) -> Parts {
    let lines: Vec<Line> = text.lines().map(Line::of).collect();
    let mut kinds = vec![Kind::Reply; lines.len()];
    mark_quotes(&lines, &mut kinds, is_forward);
    mark_signature(&lines, &mut kinds);
    let gather = |kind: Kind| {
        let of_kind = lines.iter().zip(&kinds).filter(|(_, k)| **k == kind);
        without_blank_ends(&of_kind.map(|(line, _)| line.text).collect::<Vec<_>>())
    };
    let parts = Parts {
        reply: gather(Kind::Reply),
        quoted: gather(Kind::Quoted),
        signature: gather(Kind::Signature),
    };
    if parts.reply.trim().is_empty() {
        // All of it looks quoted: better everything than nothing.
        return Parts {
            reply: text.to_owned(),
            ..Parts::default()
        };
    }
    parts
}

/// The lines without the blank ones at either end, each with its line end.
fn without_blank_ends(lines: &[&str]) -> String {
    let is_text = |line: &&str| !line.trim().is_empty();
    let Some(first) = lines.iter().position(is_text) else {
        return String::new();
    };
    let last = lines.iter().rposition(is_text).unwrap_or(first);
    let kept = lines.get(first..=last).unwrap_or_default();
    kept.iter().flat_map(|line| [*line, "\n"]).collect()
}

fn mark_quotes(lines: &[Line<'_>], kinds: &mut [Kind], is_forward: bool) {
    let mut at = 0;
    while at < lines.len() {
        if starts_below(lines, at, is_forward) {
            return fill(kinds, at, lines.len(), Kind::Quoted);
        }
        if let Some(length) = attribution(lines, at) {
            let next = (at + length..lines.len()).find(|i| !blank(lines, *i));
            if !next.is_some_and(|i| is_marked(lines, i)) {
                return fill(kinds, at, lines.len(), Kind::Quoted);
            }
            fill(kinds, at, at + length, Kind::Quoted);
            at += length;
            // Even one marked line behind an attribution is a quote.
            while at < lines.len() && (blank(lines, at) || is_marked(lines, at)) {
                fill(kinds, at, at + 1, Kind::Quoted);
                at += 1;
            }
            continue;
        }
        let run = (at..lines.len())
            .take_while(|i| is_marked(lines, *i))
            .count();
        if run >= 2 {
            fill(kinds, at, at + run, Kind::Quoted);
        }
        at += run.max(1);
    }
}

fn fill(kinds: &mut [Kind], from: usize, to: usize, kind: Kind) {
    if let Some(range) = kinds.get_mut(from..to) {
        range.fill(kind);
    }
}

fn line<'a>(lines: &[Line<'a>], at: usize) -> &'a str {
    lines.get(at).map_or("", |line| line.text)
}

fn blank(lines: &[Line<'_>], at: usize) -> bool {
    line(lines, at).trim().is_empty()
}

fn is_marked(lines: &[Line<'_>], at: usize) -> bool {
    line(lines, at).trim_start().starts_with('>')
}

fn lower<'a>(lines: &'a [Line<'_>], at: usize) -> &'a str {
    lines.get(at).map_or("", |line| line.lower.as_str())
}

/// Whether everything from this line on is quoted: our separator, or a header block.
fn starts_below(lines: &[Line<'_>], at: usize, is_forward: bool) -> bool {
    let text = lower(lines, at);
    if text.starts_with("##") && SEPARATOR.iter().any(|words| text.contains(words)) {
        return true;
    }
    let announces = text.starts_with("--") && ORIGINAL.iter().any(|w| text.contains(w))
        || text.len() >= 20 && text.bytes().all(|b| b == b'_');
    let below = if announces {
        let next = (at + 1..lines.len()).find(|i| !blank(lines, *i));
        next.is_some_and(|i| is_header_block(lines, i))
    } else {
        is_header_block(lines, at)
    };
    below && !is_forward && !follows_forward(lines, at)
}

/// Whether a line just above says that what comes is passed on.
fn follows_forward(lines: &[Line<'_>], at: usize) -> bool {
    let mut above = at.saturating_sub(3)..at;
    above.any(|i| FORWARD.iter().any(|words| lower(lines, i).contains(words)))
}

fn is_header_block(lines: &[Line<'_>], at: usize) -> bool {
    if !lower(lines, at).contains(':') {
        return false;
    }
    let bare = |i| lower(lines, i).replace('*', "");
    let first = bare(at);
    FROM_LABELS.iter().any(|label| first.starts_with(label))
        && (at + 1..=at + 4)
            .filter(|i| OTHER_LABELS.iter().any(|label| bare(*i).starts_with(label)))
            .count()
            >= 2
}

/// How many lines (up to 3) an attribution takes that begins here.
fn attribution(lines: &[Line<'_>], at: usize) -> Option<usize> {
    static WORDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(concat!(
            r"^(?:On .+ wrote|Am .+ schrieb.*|Le .+ a écrit|El .+ escribió|Il .+ ha scritto|Op .+ schreef.*",
            r"|Em .+ escreveu|Den .+ skrev.*|W dniu .+ pisze|.+ пишет|.+写道)\s*[:：]$"
        ))
        .ok()
    });
    if is_marked(lines, at) || blank(lines, at) {
        return None;
    }
    let words = WORDS.as_ref()?;
    let mut joined = String::new();
    for length in 1..=3 {
        let next = line(lines, at + length - 1).trim();
        if next.is_empty() {
            return None;
        }
        joined.push_str(if joined.is_empty() { "" } else { " " });
        joined.push_str(next);
        if !joined.ends_with([':', '：']) {
            continue;
        }
        if joined.chars().count() > 400 {
            return None;
        }
        // Without a date or an address it may be a sentence of the person.
        let dated = joined.contains('@') || joined.chars().any(|c| c.is_ascii_digit());
        if dated && words.is_match(&joined) {
            return Some(length);
        }
    }
    None
}

fn mark_signature(lines: &[Line<'_>], kinds: &mut [Kind]) {
    let reply: Vec<usize> = (0..lines.len())
        .filter(|i| kinds.get(*i) == Some(&Kind::Reply))
        .collect();
    let start = reply.iter().enumerate().position(|(order, at)| {
        // A signature without anything before it is no signature.
        let before = reply.iter().take(order).any(|i| !blank(lines, *i));
        before && is_signature_start(lines, &reply, order, *at)
    });
    for at in reply.iter().skip(start.unwrap_or(reply.len())) {
        fill(kinds, *at, at + 1, Kind::Signature);
    }
}

fn is_signature_start(lines: &[Line<'_>], reply: &[usize], order: usize, at: usize) -> bool {
    if matches!(line(lines, at).trim_end_matches('\r'), "-- " | "--") {
        return true;
    }
    let text = lower(lines, at);
    if SENT_FROM.iter().any(|words| text.starts_with(words)) {
        return text.chars().count() <= CLOSING_CHARS_MAX;
    }
    let words = text.trim_end_matches(['!', ',', '.']);
    if !CLOSINGS.contains(&words) {
        return false;
    }
    let rest: Vec<&str> = reply
        .iter()
        .skip(order + 1)
        .map(|i| line(lines, *i))
        .filter(|l| !l.trim().is_empty())
        .collect();
    rest.len() <= CLOSING_LINES_MAX && rest.iter().all(|l| l.chars().count() <= CLOSING_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, reply: &str, quoted: &str, signature: &str) {
        let parts = split(text, false);
        let got = (
            parts.reply.trim(),
            parts.quoted.trim(),
            parts.signature.trim(),
        );
        assert_eq!(got, (reply, quoted, signature), "{text}");
        let all = format!("{}{}{}", parts.reply, parts.quoted, parts.signature);
        for line in text.lines().filter(|l| !l.trim().is_empty()) {
            assert!(all.lines().any(|l| l == line), "lost: {line}");
        }
    }

    #[test]
    fn answers_above_and_below_quotes_are_found() {
        check(
            "hello\n\nOn Mon, 23 Nov 2026, Ada wrote:\n> old\n",
            "hello",
            "On Mon, 23 Nov 2026, Ada wrote:\n> old",
            "",
        );
        check(
            "On 1 May Ada <a@b.test>\nwrote:\n> old\nnew below\n",
            "new below",
            "On 1 May Ada <a@b.test>\nwrote:\n> old",
            "",
        );
        check(
            "hallo\nAm 23.11.2026 schrieb Ada:\nalter Text\n",
            "hallo",
            "Am 23.11.2026 schrieb Ada:\nalter Text",
            "",
        );
        check("neu\n> a\n> b\nmehr", "neu\nmehr", "> a\n> b", "");
        check("single\n> mark\nstays", "single\n> mark\nstays", "", "");
    }

    #[test]
    fn sentences_of_people_are_no_attribution() {
        check(
            "On the phone he wrote:\nnothing",
            "On the phone he wrote:\nnothing",
            "",
            "",
        );
    }

    #[test]
    fn header_blocks_are_quoted_but_forwards_are_not() {
        check(
            "see below\n-----Original Message-----\nFrom: A\nSent: x\nTo: y\n\nold",
            "see below",
            "-----Original Message-----\nFrom: A\nSent: x\nTo: y\n\nold",
            "",
        );
        check(
            "hi\nVon: A\nGesendet: x\nAn: y\nBetreff: z\nalt",
            "hi",
            "Von: A\nGesendet: x\nAn: y\nBetreff: z\nalt",
            "",
        );
        let forward = "fyi\n---------- Forwarded message ---------\nFrom: A\nDate: x\nSubject: z\n\nnew to you";
        assert!(split(forward, false).reply.contains("new to you"));
        assert!(
            split("x\nFrom: A\nDate: x\nTo: z\n\nrest", true)
                .reply
                .contains("rest")
        );
    }

    #[test]
    fn signatures_go_to_the_end_and_not_without_words_before() {
        check("call\n-- \nAda\n030 1", "call", "", "-- \nAda\n030 1");
        check(
            "call\n\nBest regards,\nAda\nACME",
            "call",
            "",
            "Best regards,\nAda\nACME",
        );
        check(
            "call\nSent from my telephone",
            "call",
            "",
            "Sent from my telephone",
        );
        check("Thanks,\nthat is all", "Thanks,\nthat is all", "", "");
        let long = format!(
            "hi\nThanks,\n{}",
            "a line that is much longer than a name or an address could ever be\n".repeat(2)
        );
        assert_eq!(split(&long, false).signature, "");
    }

    #[test]
    fn a_text_of_quotes_only_is_given_whole() {
        assert_eq!(split("> a\n> b\n", false).reply, "> a\n> b\n");
        assert_eq!(split("", false), Parts::default());
    }
}
