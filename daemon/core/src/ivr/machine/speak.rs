//! From `say` lists to clips: values are read by the locale's rules; an item that cannot
//! be said is left out, because a missing value or clip must never end a call.

use std::collections::VecDeque;

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::{FlowMachine, Segment, Speech};
use crate::ivr::expr::{self, Value};
use crate::ivr::io::{Barge, Output, SayItem};
use crate::ivr::model::{Code, Flow, Item, Prompt, ReadAs, What};
use crate::ivr::say::{Amount, Bit, Locale, Rules, SentencePart, pieces};
use crate::phone::PhoneNumber;
use crate::time::Wall;

/// One item, ready to be played.
struct Said {
    items: Vec<SayItem>,
    text: String,
    trace: String,
}

impl FlowMachine {
    /// Cuts a list into parts that stop alike.
    pub(super) fn segments(&mut self, items: &[Item], barge_in: bool) -> VecDeque<Segment> {
        let mut segments: VecDeque<Segment> = VecDeque::new();
        let gap = self
            .set
            .locale(&self.lang)
            .map(|l| l.rules.item_gap())
            .unwrap_or_default();
        let mut sound_before = false;
        for item in items {
            let Some(said) = self.said(item) else {
                continue;
            };
            let barge = item.barge_in.unwrap_or(barge_in);
            let is_pause = matches!(item.what, What::Pause(_));
            let mut clips = Vec::new();
            if sound_before && !is_pause && !gap.is_zero() {
                clips.push(SayItem::Pause(gap));
            }
            sound_before = !is_pause;
            clips.extend(said.items);
            match segments.back_mut().filter(|s| s.barge == barge) {
                Some(last) => {
                    last.items.extend(clips);
                    join(&mut last.text, &said.text);
                    join(&mut last.trace, &said.trace);
                }
                None => segments.push_back(Segment {
                    items: clips,
                    text: said.text,
                    trace: said.trace,
                    barge,
                }),
            }
        }
        segments
    }

    /// Begins to say; `None` if there is nothing to say.
    pub(super) fn start(&mut self, mut segments: VecDeque<Segment>) -> Option<Speech> {
        let first = segments.pop_front()?;
        Some(self.say(first, segments))
    }

    pub(super) fn say(&mut self, segment: Segment, rest: VecDeque<Segment>) -> Speech {
        let op = self.op();
        // While a terminator may be swallowed, the media thread must not stop at it.
        let barge = if segment.barge && !self.keys.swallows(self.now) {
            Barge::AnyKey
        } else {
            Barge::Never
        };
        self.trace("say", segment.trace);
        self.out.push_back(Output::Say {
            op,
            items: segment.items,
            text: segment.text,
            barge,
        });
        Speech {
            op,
            barge: segment.barge,
            rest,
        }
    }

    /// Says one thing that no flow wrote.
    pub(super) fn say_one(
        &mut self,
        item: SayItem,
        text: &str,
        trace: &str,
        barge: Barge,
    ) -> Speech {
        let segment = Segment {
            items: vec![item],
            text: text.to_owned(),
            trace: trace.to_owned(),
            barge: barge == Barge::AnyKey,
        };
        self.say(segment, VecDeque::new())
    }

    fn said(&mut self, item: &Item) -> Option<Said> {
        if let Some(when) = &item.when {
            match when.expr.test(&self.scope(when)) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(why) => {
                    let why = self.why(when, &why.to_string());
                    return self.unsaid(&format!("when: {why}"));
                }
            }
        }
        match &item.what {
            What::Pause(length) => Some(Said {
                items: vec![SayItem::Pause(*length)],
                text: String::new(),
                trace: String::new(),
            }),
            What::File(file) => Some(Said {
                items: vec![SayItem::Clip(file.name.clone())],
                text: String::new(),
                trace: format!("file {}", file.name),
            }),
            What::Tts(parts) => match self.fill_words(parts) {
                Some(text) => Some(Said {
                    items: vec![SayItem::Speech {
                        locale: self.lang.clone(),
                        text: text.clone(),
                    }],
                    text,
                    trace: "tts".to_owned(),
                }),
                None => self.unsaid("tts: a value does not fit"),
            },
            What::Tone(tone) => Some(Said {
                items: vec![SayItem::Tone(*tone)],
                text: String::new(),
                trace: "tone".to_owned(),
            }),
            What::Value(read_as, code) => match self.value(read_as, code) {
                Ok((bits, shown)) => Some(self.plain(
                    &bits,
                    &format!("{}={shown}", read_as.word()),
                    self.is_secret(code),
                )),
                Err(why) => self.unsaid(&why),
            },
            What::Prompt { id, with } => {
                let (flow, _) = self.node()?;
                match self.prompt(&flow, id, with) {
                    Ok(said) => Some(said),
                    Err(why) => self.unsaid(&format!("{id}: {why}")),
                }
            }
        }
    }

    fn unsaid(&mut self, why: &str) -> Option<Said> {
        self.trace("say_error", why);
        None
    }

    fn plain(&self, bits: &[Bit], trace: &str, secret: bool) -> Said {
        let words = self
            .set
            .locale(&self.lang)
            .map(|l| l.words(bits))
            .unwrap_or_default();
        let text = if secret { "******".to_owned() } else { words };
        Said {
            items: self.clips(bits),
            text,
            trace: trace.to_owned(),
        }
    }

    fn clips(&self, bits: &[Bit]) -> Vec<SayItem> {
        let item = |bit: &Bit| match bit {
            Bit::Clip(id) => SayItem::Clip(format!("{}/{id}", self.lang)),
            Bit::Pause(length) => SayItem::Pause(*length),
        };
        bits.iter().map(item).collect()
    }

    /// A sentence in the caller's language, its slots filled.
    fn prompt(
        &self,
        flow: &Flow,
        id: &str,
        with: &std::collections::BTreeMap<String, Code>,
    ) -> Result<Said, String> {
        let prompt: &Prompt = flow.prompts.get(id).ok_or("no such prompt")?;
        let locale: &Locale = self.set.locale(&self.lang).ok_or("no such locale")?;
        let sentence = locale
            .phrases
            .get(id)
            .ok_or("no sentence in this language")?;
        let mut said = Said {
            items: Vec::new(),
            text: String::new(),
            trace: id.to_owned(),
        };
        let mut shown_all = Vec::new();
        for part in pieces(id, sentence) {
            if !said.items.is_empty() && !locale.rules.inside_gap().is_zero() {
                said.items.push(SayItem::Pause(locale.rules.inside_gap()));
            }
            match part {
                SentencePart::Clip(clip, words) => {
                    join(&mut said.text, &words);
                    said.items
                        .push(SayItem::Clip(format!("{}/{clip}", self.lang)));
                }
                SentencePart::Slot(slot) => {
                    let (read_as, _) = prompt.slots.get(&slot).ok_or("unknown slot")?;
                    let code = with.get(&slot).ok_or("slot without a value")?;
                    let (bits, shown) = self.value(read_as, code)?;
                    let plain = self.plain(&bits, "", self.is_secret(code));
                    join(&mut said.text, &plain.text);
                    said.items.extend(plain.items);
                    shown_all.push(format!("{slot}={shown}"));
                }
            }
        }
        if !shown_all.is_empty() {
            said.trace = format!("{id}({})", shown_all.join(","));
        }
        Ok(said)
    }

    /// Evaluates and reads a value: its clips, and how a trace shows it.
    fn value(&self, read_as: &ReadAs, code: &Code) -> Result<(Vec<Bit>, String), String> {
        self.read_value(read_as, code)
            .map_err(|why| self.why(code, &why))
    }

    fn read_value(&self, read_as: &ReadAs, code: &Code) -> Result<(Vec<Bit>, String), String> {
        let value = self.eval(code).map_err(|e| e.to_string())?;
        let rules = &self.set.locale(&self.lang).ok_or("no such locale")?.rules;
        let bits = match read_as {
            ReadAs::Number { unit } => rules.read_number(whole(&value)?, unit.as_deref())?,
            ReadAs::Ordinal => Rules::read_ordinal(whole(&value)?)?,
            ReadAs::Digits => match &value {
                Value::String(text) => rules.read_digits(text)?,
                other => rules.read_digits(&whole(other)?.to_string())?,
            },
            ReadAs::Duration(round) => {
                let length = expr::to_duration(&value).ok_or("not a duration")?;
                rules.read_duration(length, *round)?
            }
            ReadAs::Ewt => rules.read_ewt(expr::to_duration(&value).ok_or("not a duration")?)?,
            ReadAs::Date => {
                let now = self.local(self.wall()).ok_or("no such day")?;
                rules.read_date(&self.local_of(&value)?, &now)?
            }
            ReadAs::Time => rules.read_time(&self.local_of(&value)?)?,
            ReadAs::Money { currency } => rules.read_money(amount(&value, currency)?, currency)?,
            ReadAs::Phone => match &value {
                Value::String(number) => {
                    rules.read_phone(&PhoneNumber::from_row(number).groups())?
                }
                _ => return Err("not text".to_owned()),
            },
        };
        let shown = if self.is_secret(code) {
            "******".to_owned()
        } else {
            expr::show(&value)
        };
        Ok((bits, shown))
    }

    fn local(&self, at: Wall) -> Option<DateTime> {
        let at = Timestamp::from_millisecond(at.millis()).ok()?;
        Some(self.zone.to_datetime(at))
    }

    fn local_of(&self, value: &Value) -> Result<DateTime, String> {
        let at = expr::to_wall(value).and_then(|at| self.local(at));
        at.ok_or_else(|| "not a timestamp".to_owned())
    }
}

fn amount(value: &Value, currency: &str) -> Result<Amount, String> {
    match value {
        Value::String(text) => {
            Amount::parse(text, currency).ok_or_else(|| "not an amount like 12.50".to_owned())
        }
        other => whole(other).map(Amount::minor),
    }
}

fn whole(value: &Value) -> Result<u64, String> {
    match value {
        Value::Int(i) => u64::try_from(*i).map_err(|_| format!("{i} is below zero")),
        Value::UInt(u) => Ok(*u),
        Value::String(s) if s.len() <= 12 && s.bytes().all(|b| b.is_ascii_digit()) => {
            s.parse().map_err(|_| "not a whole number".to_owned())
        }
        _ => Err("not a whole number".to_owned()),
    }
}

/// Adds words after a blank.
fn join(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push(' ');
    }
    text.push_str(more);
}
