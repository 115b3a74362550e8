//! The way into a mailbox: a password, or a token that is renewed in time.

use async_imap::Authenticator;
use data_encoding::HEXLOWER;
use helpline_core::oauth::{TokenFault, Tokens, read_answer, refresh_form, sasl_text};
use helpline_core::time::Wall;
use sha2::{Digest as _, Sha256};

use super::session::Fault;
use crate::clock::Clock;
use crate::config::{Imap, OAuth2, read_secret};
use crate::desk::Desk;
use crate::services::Services;

/// With what a connection logs in.
pub(super) enum Login {
    /// LOGIN.
    Password(String),
    /// XOAUTH2, until the token has to be renewed.
    Token {
        /// The token.
        access: String,
        /// When.
        until: Wall,
        /// It was got just now: a refusal is not for its age.
        is_fresh: bool,
    },
}

impl Login {
    /// A connection ends then, to log in anew.
    pub(super) fn until(&self) -> Option<Wall> {
        match self {
            Login::Password(_) => None,
            Login::Token { until, .. } => Some(*until),
        }
    }
}

/// Gets logins for one mailbox.
#[derive(Debug, Default)]
pub(super) struct Logins {
    /// Hash of the refresh token that was refused for good, and why.
    refused: Option<(String, TokenFault)>,
    /// Tokens that the store did not take, and for which client: those before are worth nothing
    /// any more, perhaps.
    unkept: Option<(String, Tokens)>,
    /// The mail server did not take the last token: it is not tried twice.
    is_stale: bool,
}

impl Logins {
    /// The login of now.
    pub(super) async fn get(
        &mut self,
        mailbox: &Imap,
        desk: &Desk,
        services: &Services,
        clock: &Clock,
    ) -> Result<Login, Fault> {
        if let Some(file) = &mailbox.password_file {
            let password = read_secret(file);
            let password = password.map_err(|error| Fault::Refused(format!("{error:#}")))?;
            return Ok(Login::Password(password));
        }
        let Some(oauth2) = &mailbox.oauth2 else {
            return Err(Fault::Refused("no password_file and no oauth2".to_owned()));
        };
        let first = read_secret(&oauth2.refresh_token_file);
        let first = first.map_err(|error| Fault::Refused(format!("{error:#}")))?;
        let client = hash(&[&oauth2.token_url, &oauth2.client_id, &mailbox.user, &first]);
        if let Some((client, tokens)) = &self.unkept {
            desk.keep_mailbox_tokens(&mailbox.name, client, tokens)
                .await?;
            self.unkept = None;
        }
        let kept = desk.mailbox_tokens(&mailbox.name, &client).await?;
        if let Some(tokens) = &kept
            && clock.wall() < tokens.refresh_at
            && !self.is_stale
        {
            return Ok(Login::Token {
                access: tokens.access.clone(),
                until: tokens.refresh_at,
                is_fresh: false,
            });
        }
        let used = kept.map_or(first, |tokens| tokens.refresh);
        let tokens = self.renew(oauth2, &used, services, clock).await?;
        self.is_stale = false;
        let kept = desk.keep_mailbox_tokens(&mailbox.name, &client, &tokens);
        if let Err(error) = kept.await {
            self.unkept = Some((client, tokens));
            return Err(error.into());
        }
        tracing::info!(mailbox = mailbox.name, ?tokens, "imap: tokens are renewed");
        Ok(Login::Token {
            access: tokens.access,
            until: tokens.refresh_at,
            is_fresh: true,
        })
    }

    async fn renew(
        &mut self,
        oauth2: &OAuth2,
        used: &str,
        services: &Services,
        clock: &Clock,
    ) -> Result<Tokens, Fault> {
        let mark = hash(&[used]);
        if let Some((refused, why)) = &self.refused
            && *refused == mark
        {
            return Err(Fault::Revoked(why.to_string()));
        }
        let secret = oauth2.client_secret_file.as_deref().map(read_secret);
        let secret = secret.transpose();
        let secret = secret.map_err(|error| Fault::Refused(format!("{error:#}")))?;
        let scope = oauth2.scope.as_deref();
        let form = refresh_form(&oauth2.client_id, secret.as_deref(), scope, used);
        let (status, body) = services
            .post_form(&oauth2.token_url, form)
            .await
            .map_err(|why| Fault::Broken(format!("the token endpoint: {why}")))?;
        read_answer(status, &body, clock.wall(), used).map_err(|fault| match &fault {
            TokenFault::Broken(_) => Fault::Broken(fault.to_string()),
            TokenFault::Revoked(_) => {
                let why = fault.to_string();
                self.refused = Some((mark, fault));
                Fault::Revoked(why)
            }
        })
    }

    /// The mail server refused what [`Logins::get`] gave.
    pub(super) fn refused(&mut self) {
        self.is_stale = true;
    }
}

/// Tells values apart without keeping them.
fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    HEXLOWER.encode(&hash.finalize())
}

/// XOAUTH2: the text first; to a refusal, which comes as one more question, nothing.
pub(super) struct XOAuth2(Option<String>);

impl XOAuth2 {
    pub(super) fn new(user: &str, access: &str) -> Self {
        XOAuth2(Some(sasl_text(user, access)))
    }
}

impl Authenticator for XOAuth2 {
    type Response = String;

    fn process(&mut self, _challenge: &[u8]) -> String {
        self.0.take().unwrap_or_default()
    }
}
