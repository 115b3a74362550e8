//! The words of the receiver: one constant a situation (RFC 5321 §4.2, RFC 3463).

use smtp_proto::Error;

pub(super) const SYNTAX: &str = "500 5.5.2 Lines end in CR LF and hold no other control";
pub(super) const TOO_LONG: &str = "500 5.5.2 Line too long";
pub(super) const UNKNOWN_COMMAND: &str = "500 5.5.1 Command not known";
pub(super) const NOT_OFFERED: &str = "502 5.5.1 Not offered here";
pub(super) const BAD_ORDER: &str = "503 5.5.1 Not now";
pub(super) const TLS_GO_AHEAD: &str = "220 2.0.0 Go ahead";
pub(super) const NEEDS_TLS: &str = "530 5.7.0 STARTTLS first";
pub(super) const NEEDS_AUTH: &str = "530 5.7.0 Log in first";
pub(super) const ASK: &str = "334 ";
pub(super) const ASK_USER: &str = "334 VXNlcm5hbWU6";
pub(super) const ASK_PASSWORD: &str = "334 UGFzc3dvcmQ6";
pub(super) const AUTH_DONE: &str = "235 2.7.0 Logged in";
pub(super) const AUTH_FAILED: &str = "535 5.7.8 Name or password is wrong";
pub(super) const AUTH_CANCELLED: &str = "501 5.7.0 Cancelled";
pub(super) const AUTH_SYNTAX: &str = "501 5.5.2 Not understood";
pub(super) const MECHANISM: &str = "504 5.5.4 PLAIN or LOGIN";
pub(super) const TOO_MANY_LOGINS: &str = "421 4.7.0 Too many failed logins";
pub(super) const RESET: &str = "250 2.0.0 OK";
pub(super) const SENDER_OK: &str = "250 2.1.0 OK";
pub(super) const RECIPIENT_OK: &str = "250 2.1.5 OK";
pub(super) const VERIFY: &str = "252 2.5.1 Send some mail, I will try my best";
pub(super) const HELP: &str = "214 2.0.0 RFC 5321; mail for this help line only";
pub(super) const BYE: &str = "221 2.0.0 Bye";
pub(super) const GO_AHEAD: &str = "354 End with a line that holds only a dot";
pub(super) const NO_RECIPIENT: &str = "501 5.1.3 A recipient is needed";
pub(super) const UNKNOWN_RECIPIENT: &str = "550 5.1.1 No such address here";
pub(super) const NO_RELAY: &str = "550 5.7.1 We do not relay";
pub(super) const NEEDS_UTF8: &str = "550 5.6.7 This address needs SMTPUTF8";
pub(super) const PARAMETER: &str = "555 5.5.4 Parameter not known";
pub(super) const TOO_LARGE: &str = "552 5.3.4 Message too large";
pub(super) const DAMAGED: &str = "550 5.5.2 Message holds a lone CR or LF, NUL, or an endless line";
pub(super) const CIRCLING: &str = "554 5.4.6 Too many hops";
pub(super) const NOT_STORED: &str = "451 4.3.0 Not stored, try again";
pub(super) const NO_ROOM: &str = "452 4.3.1 No room, try again";
pub(super) const NOT_TAKEN: &str = "550 5.7.1 Not taken";
pub(super) const TOO_MANY_RECIPIENTS: &str = "452 4.5.3 Too many recipients";
pub(super) const TOO_MANY_MESSAGES: &str = "421 4.7.0 Enough for one connection";
pub(super) const TOO_MANY_ERRORS: &str = "421 4.7.0 Too many errors";
pub(super) const IDLE: &str = "421 4.4.2 Too slow";
pub(super) const STOPPING: &str = "421 4.3.2 Closing, try again";

/// Answer to a line the parser refused.
pub(super) fn to_parse_error(error: &Error) -> &'static str {
    match error {
        Error::UnknownCommand => UNKNOWN_COMMAND,
        Error::InvalidSenderAddress => "501 5.1.7 Sender address not understood",
        Error::InvalidRecipientAddress => "501 5.1.3 Recipient address not understood",
        Error::SyntaxError { .. } => "501 5.5.2 Syntax error",
        Error::InvalidParameter { .. } => "501 5.5.4 Parameter not understood",
        Error::UnsupportedParameter { .. } => PARAMETER,
        Error::NeedsMoreData { .. } | Error::ResponseTooLong | Error::InvalidResponse { .. } => {
            "501 5.5.2 Not understood"
        }
    }
}
