//! The Reason header (RFC 3326): why a call was refused or ended, as a Q.850 cause.

/// The Q.850 cause of a Reason value, `Q.850;cause=17;text="busy"`; several reasons
/// may be listed, separated by commas. `None` if none names a cause of 1-127.
#[must_use]
pub fn q850(value: &str) -> Option<u8> {
    split_quoted(value, ',').into_iter().find_map(|reason| {
        let mut parts = split_quoted(reason, ';').into_iter();
        let protocol = parts.next()?.trim();
        if !protocol.eq_ignore_ascii_case("Q.850") {
            return None;
        }
        parts.find_map(|p| {
            let (name, number) = p.split_once('=')?;
            let cause = name.trim().eq_ignore_ascii_case("cause");
            let number: u8 = cause.then(|| number.trim().parse().ok())??;
            (1..=127).contains(&number).then_some(number)
        })
    })
}

/// The value of a Reason header that names a Q.850 cause.
#[must_use]
pub fn from_q850(cause: u8) -> String {
    format!("Q.850;cause={cause}")
}

/// Splits at `at` outside double quotes.
pub(super) fn split_quoted(text: &str, at: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c: char| {
        let cut = c == at && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        cut
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_found_among_reasons_and_quotes() {
        for (value, want) in [
            ("Q.850;cause=17;text=\"User busy\"", Some(17)),
            ("q.850 ; CAUSE = 1", Some(1)),
            (
                "SIP;cause=487;text=\"a, Q.850;cause=3\", Q.850;cause=16",
                Some(16),
            ),
            ("SIP;cause=200", None),
            ("Q.850;cause=0", None),
            ("Q.850;cause=999", None),
            ("Q.850;text=\"cause=17\"", None),
            ("", None),
            ("Q.850;cause=17;text=\"open", Some(17)),
        ] {
            assert_eq!(q850(value), want, "{value}");
        }
        assert_eq!(q850(&from_q850(21)), Some(21));
    }
}
