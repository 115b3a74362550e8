//! Tables of rules: the first row whose condition holds says which clips a value becomes.

use crate::ivr::expr::{Expr, Scope};

/// A table as it is written: conditions and words.
pub(super) type RawTable = Vec<(String, String)>;

/// A word of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// `<`, `<:f`: the quotient, in a gender.
    Quotient(Option<String>),
    /// `>`: the remainder, nothing if 0.
    Remainder,
    /// A clip. `{x}` inside becomes the fact named `x`; in `number`, `{p}` is the plural
    /// category of the quotient.
    Clip(String),
    /// `{d day}`: the number named `d` and the unit's noun.
    Counted(String, String),
    /// `{n:x}`: the number named `x`.
    Number(String),
    /// `{o:x}`: the ordinal named `x`.
    Ordinal(String),
}

/// What a rule may ask about a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fact<'a> {
    /// A number; only those that are not below zero can be read.
    Number(i64),
    Flag(bool),
    Word(&'a str),
}

impl Fact<'_> {
    /// As it stands in the id of a clip.
    pub(super) fn shown(self) -> String {
        match self {
            Fact::Number(n) => n.to_string(),
            Fact::Flag(flag) => flag.to_string(),
            Fact::Word(word) => word.to_owned(),
        }
    }
}

/// A table of rules.
#[derive(Debug)]
pub(super) struct Table {
    name: &'static str,
    pub(super) rows: Vec<(Expr, Vec<Token>)>,
}

impl Table {
    pub(super) fn read(name: &'static str, raw: &RawTable) -> Result<Table, String> {
        let mut rows = Vec::new();
        for (when, text) in raw {
            let condition = Expr::compile(when).map_err(|e| format!("{name}: `{when}`: {e}"))?;
            let words = tokens(text).map_err(|why| format!("{name}: {why}"))?;
            if words
                .iter()
                .any(|w| matches!(w, Token::Quotient(_) | Token::Remainder))
            {
                return Err(format!("{name}: < and > belong to `number`"));
            }
            rows.push((condition, words));
        }
        Ok(Table { name, rows })
    }

    /// The words for a value.
    pub(super) fn find(&self, facts: &[(&str, Fact<'_>)]) -> Result<&[Token], String> {
        let mut scope = Scope::default();
        for (name, fact) in facts {
            match fact {
                Fact::Number(n) => scope.set(name, *n),
                Fact::Flag(flag) => scope.set(name, *flag),
                Fact::Word(word) => scope.set(name, *word),
            }
        }
        for (when, words) in &self.rows {
            if when.test(&scope).map_err(|e| e.to_string())? {
                return Ok(words);
            }
        }
        Err(format!("no row of `{}` in rules.toml fits", self.name))
    }
}

/// Reads the words of a rule.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        // `{d day}` has a blank inside, so words cannot simply be split at blanks;
        // `n.million.{p}` has braces inside, so braces alone do not tell either.
        let token = if rest.starts_with('{') {
            let (inside, after) = rest[1..]
                .split_once('}')
                .ok_or_else(|| format!("`{text}`: {{ without }}"))?;
            rest = after.trim_start();
            match (inside.split_once(' '), inside.split_once(':')) {
                (Some((name, unit)), _) => Token::Counted(name.to_owned(), unit.trim().to_owned()),
                (None, Some(("n", name))) => Token::Number(name.to_owned()),
                (None, Some(("o", name))) => Token::Ordinal(name.to_owned()),
                _ => return Err(format!("`{{{inside}}}` is no word of a rule")),
            }
        } else {
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            rest = after.trim_start();
            match word {
                "<" => Token::Quotient(None),
                ">" => Token::Remainder,
                w => match w.strip_prefix("<:") {
                    Some(gender) => Token::Quotient(Some(gender.to_owned())),
                    None => Token::Clip(w.to_owned()),
                },
            }
        };
        tokens.push(token);
    }
    Ok(tokens)
}
