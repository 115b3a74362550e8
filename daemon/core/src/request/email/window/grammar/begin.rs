//! With what an expression can begin: the first words of everything that the grammar takes. A
//! build with debug assertions, tests and fuzzing among them, reads at every word and breaks
//! off if one is missing here.

use super::super::lex::{Kind, month, number_word, weekday};

/// Whether an expression can begin with this.
pub(super) fn may_begin(kind: &Kind) -> bool {
    match kind {
        Kind::Word(word) => {
            is_first(word)
                || weekday(word).is_some()
                || month(word).is_some()
                || number_word(word).is_some()
        }
        Kind::Number(_) | Kind::Clock(_) | Kind::Date(_) | Kind::Ordinal(_) | Kind::Comma => true,
        Kind::Dash | Kind::Other => false,
    }
}

#[rustfmt::skip]
fn is_first(word: &str) -> bool {
    matches!(
        word,
        // soon
        "asap" | "as" | "right" | "immediately" | "sofort" | "so" | "sobald" | "schnellstmöglich"
        | "baldmöglichst" | "umgehend"
        // from now on
        | "in" | "within" | "innerhalb"
        // bounds
        | "by" | "until" | "till" | "no" | "not" | "bis" | "spätestens" | "before" | "vor"
        | "after" | "nach" | "from" | "starting" | "ab" | "any" | "anytime" | "don't" | "do"
        | "past" | "nicht" | "frühestens" | "around" | "about" | "roughly" | "gegen" | "circa"
        | "between" | "zwischen" | "von"
        // days
        | "the" | "day" | "übermorgen" | "today" | "heute" | "tomorrow" | "morgen" | "this"
        | "diese" | "next" | "nächste" | "nächsten" | "nächster" | "coming" | "kommenden"
        | "diesen" | "tonight"
        // parts of a day
        | "at" | "am" | "early" | "late" | "frühen" | "späten" | "morning" | "mornings"
        | "vormittag" | "vormittags" | "früh" | "morgens" | "lunchtime" | "lunch" | "mittag"
        | "mittags" | "afternoon" | "afternoons" | "nachmittag" | "nachmittags" | "evening"
        | "evenings" | "abend" | "abends" | "night"
        // times
        | "um" | "noon" | "midday" | "midnight" | "mitternacht" | "half" | "halb" | "quarter"
        | "viertel"
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::lex;
    use super::super::read;

    /// Everything that the grammar takes stands there in quotes.
    const GRAMMAR: [&str; 3] = [
        include_str!("../grammar.rs"),
        include_str!("clock.rs"),
        include_str!("../lex.rs"),
    ];
    /// With what such a beginning can go on.
    const REST: [&str; 9] = [
        "3", "15:30", "24.11.", ",", "to", "hours", "friday", "november", "morning",
    ];

    #[test]
    fn no_beginning_is_missing() {
        let mut expressions = 0;
        let quoted = GRAMMAR
            .iter()
            .flat_map(|text| text.split('"').skip(1).step_by(2));
        for begin in quoted {
            for at in 0..REST.len().pow(3) {
                let rest = [at / 81, at / 9 % 9, at % 9].map(|at| REST[at]).join(" ");
                // It breaks off at a beginning that is missing.
                let tokens = lex::tokens(&format!("{begin} {rest}"));
                expressions += usize::from(read(&tokens, 0).is_some());
            }
        }
        assert!(expressions > 10_000, "only {expressions}");
    }
}
