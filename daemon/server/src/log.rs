//! Log set-up, and [`Private`]: what may identify a person prints in a short form.

use std::fmt;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Filter when `HELPLINE_LOG` is unset. Crates that log raw SIP or credentials stay at
/// `warn`, whatever a filter says: see [`init`].
const DEFAULT_FILTER: &str = "helpline=info,warn";
/// Crates that print message bodies or credentials below `warn`.
const NEVER_BELOW_WARN: [&str; 4] = ["rsipstack", "lettre", "sqlx", "hyper"];

/// Starts logging to standard error, once; later calls do nothing.
/// `HELPLINE_LOG` sets the filter (`helpline=debug`), `HELPLINE_LOG_FORMAT=json` the format.
pub fn init() {
    init_with(DEFAULT_FILTER);
}

/// The same with another filter for the case that `HELPLINE_LOG` is unset.
pub fn init_with(default_filter: &str) {
    let wanted = std::env::var("HELPLINE_LOG").unwrap_or_else(|_| default_filter.to_owned());
    let mut filter = EnvFilter::try_new(&wanted).unwrap_or_else(|_| EnvFilter::new(default_filter));
    for name in NEVER_BELOW_WARN {
        if let Ok(directive) = format!("{name}=warn").parse() {
            filter = filter.add_directive(directive);
        }
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let json = std::env::var("HELPLINE_LOG_FORMAT").is_ok_and(|f| f == "json");
    // A second start (tests) keeps the first subscriber.
    let _ = if json {
        builder.json().try_init()
    } else {
        builder.with_target(false).try_init()
    };
}

/// A number, address or page that may not appear whole in a log.
pub struct Private<T>(pub T);

impl<T: AsRef<str>> fmt::Display for Private<T> {
    /// The last three characters: enough to find a call, too little to call.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.as_ref();
        let skip = text.chars().count().saturating_sub(3);
        f.write_str("…")?;
        text.chars().skip(skip).try_for_each(|c| write!(f, "{c}"))
    }
}

impl<T: AsRef<str>> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_text_shows_its_last_three_characters() {
        assert_eq!(Private("+49301234567").to_string(), "…567");
        assert_eq!(Private("ab").to_string(), "…ab");
    }
}
