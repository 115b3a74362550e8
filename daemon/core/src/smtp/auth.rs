//! AUTH (RFC 4954) with PLAIN (RFC 4616) and LOGIN: over TLS, and only if there are users.

use std::fmt;

use data_encoding::BASE64;
use smtp_proto::{AUTH_LOGIN, AUTH_PLAIN};

use super::{Conversation, Output, State, reply};
use crate::time::Time;

/// Failed logins of one connection.
const FAILURES_MAX: u32 = 3;
/// Longest user name, in bytes.
const USER_BYTES_MAX: usize = 128;
/// Longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 256;

/// What became of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Name and password are right.
    Right,
    /// One of them is not.
    Wrong,
    /// It was not looked at: too many from there have failed.
    NotNow,
}

/// Who a peer says it is, and how it would prove it.
#[derive(PartialEq, Eq)]
pub struct Login {
    /// Name of the user.
    pub user: String,
    /// The password; shown to nobody.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Login(..)")
    }
}

/// What the next line of the peer is.
#[derive(PartialEq, Eq)]
pub(super) enum Asked {
    /// Both, as PLAIN has them.
    Plain,
    /// The name, as LOGIN has it.
    User,
    /// The password, as LOGIN has it.
    Password { user: String },
}

impl fmt::Debug for Asked {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Asked::Plain => "Plain",
            Asked::User => "User",
            Asked::Password { .. } => "Password",
        })
    }
}

impl Conversation {
    /// Whether AUTH is offered now: a password is never asked for in the clear.
    pub(super) fn offers_auth(&self) -> bool {
        self.settings.auth && self.encrypted
    }

    pub(super) fn auth(&mut self, mechanism: u64, initial: &str) {
        if !self.settings.auth {
            return self.refuse(reply::NOT_OFFERED);
        }
        if !self.encrypted {
            return self.refuse(reply::NEEDS_TLS);
        }
        if !matches!(self.state, State::Greeted) || self.user.is_some() {
            return self.refuse(reply::BAD_ORDER);
        }
        let asked = match mechanism {
            AUTH_PLAIN => Asked::Plain,
            AUTH_LOGIN => Asked::User,
            _ => return self.refuse(reply::MECHANISM),
        };
        match (initial, &asked) {
            ("", Asked::User) => self.ask(reply::ASK_USER, asked),
            ("", _) => self.ask(reply::ASK, asked),
            // RFC 4954 §4: an empty first answer.
            ("=", _) => self.answer(asked, ""),
            (text, _) => self.answer(asked, text),
        }
    }

    /// A line that answers what was asked.
    pub(super) fn auth_line(&mut self, line: &[u8]) {
        let State::Auth(asked) = std::mem::replace(&mut self.state, State::Greeted) else {
            return;
        };
        match std::str::from_utf8(line).map(str::trim_ascii_end) {
            Ok("*") => self.refuse(reply::AUTH_CANCELLED),
            Ok(text) => self.answer(asked, text),
            Err(_) => self.refuse(reply::AUTH_SYNTAX),
        }
    }

    fn ask(&mut self, line: &str, asked: Asked) {
        self.say(line);
        self.state = State::Auth(asked);
    }

    fn answer(&mut self, asked: Asked, text: &str) {
        let decoded = BASE64.decode(text.as_bytes()).ok();
        let Some(text) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return self.refuse(reply::AUTH_SYNTAX);
        };
        let login = match asked {
            Asked::User => return self.ask(reply::ASK_PASSWORD, Asked::Password { user: text }),
            Asked::Password { user } => Some((user, text)),
            Asked::Plain => plain(&text),
        };
        let Some((user, password)) = login.filter(|(user, password)| {
            (1..=USER_BYTES_MAX).contains(&user.len())
                && (1..=PASSWORD_BYTES_MAX).contains(&password.len())
        }) else {
            return self.refuse(reply::AUTH_SYNTAX);
        };
        self.state = State::AuthWait { user: user.clone() };
        let login = Login { user, password };
        self.out.push_back(Output::CheckAuth(Box::new(login)));
    }

    pub(super) fn auth_checked(&mut self, now: Time, checked: Checked) {
        let State::AuthWait { user } = std::mem::replace(&mut self.state, State::Greeted) else {
            return;
        };
        self.heard = now;
        match checked {
            Checked::Right => {
                self.user = Some(user);
                self.say(reply::AUTH_DONE);
            }
            Checked::Wrong if self.failures + 1 < FAILURES_MAX => {
                self.failures += 1;
                self.refuse(reply::AUTH_FAILED);
            }
            Checked::Wrong | Checked::NotNow => return self.end(reply::TOO_MANY_LOGINS),
        }
        self.end_if_stopping();
    }
}

/// `[on behalf of] NUL name NUL password`; on behalf of others nobody acts here.
fn plain(text: &str) -> Option<(String, String)> {
    let mut parts = text.split('\0');
    let (behalf, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let is_plain = parts.next().is_none() && (behalf.is_empty() || behalf == user);
    is_plain.then(|| (user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_has_three_parts_and_acts_for_itself() {
        let read = |text| plain(text).map(|(user, password)| format!("{user}/{password}"));
        assert_eq!(read("\0ada\0pw"), Some("ada/pw".into()));
        assert_eq!(read("ada\0ada\0p w"), Some("ada/p w".into()));
        for bad in ["", "ada", "\0ada", "bob\0ada\0pw", "\0ada\0pw\0"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn no_debug_print_shows_a_password() {
        let login = Login {
            user: "ada".into(),
            password: "pw-1".into(),
        };
        let asked = Asked::Password { user: "ada".into() };
        let shown = format!("{login:?} {asked:?}");
        assert!(!shown.contains("pw-1") && !shown.contains("ada"), "{shown}");
    }
}
