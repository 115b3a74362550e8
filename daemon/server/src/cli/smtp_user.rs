//! `helpline smtp-user`: a line for the file of those who may log in to send mail.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::Context as _;
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, SaltString};
use data_encoding::BASE32_NOPAD;

use crate::config::user_fault;

/// Bytes of chance in a password that is made here.
const PASSWORD_BYTES: usize = 15;
/// Shortest password that is taken.
const PASSWORD_CHARS_MIN: usize = 8;
/// Longest password that a client can send.
const PASSWORD_BYTES_MAX: usize = 256;

/// Arguments of `helpline smtp-user`.
///
/// Makes a password and prints it on the standard error, once; the line for `smtp.users_file`
/// goes to the standard output and holds its hash alone. The daemon reads the file at its start.
///
/// Example: helpline smtp-user web-shop >> /etc/helpline/credentials/smtp-users
#[derive(Debug, clap::Args)]
pub(super) struct SmtpUser {
    /// Name to log in with: letters, digits and - . _ @ +
    name: String,
    /// Take the password from the standard input instead.
    #[arg(long)]
    password_stdin: bool,
}

impl SmtpUser {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(fault) = user_fault(&self.name) {
            anyhow::bail!("{fault}");
        }
        let password = match self.password_stdin {
            true => given()?,
            false => made()?,
        };
        let mut salt = [0; 16];
        fill(&mut salt)?;
        let salt =
            SaltString::encode_b64(&salt).map_err(|error| anyhow::anyhow!("salt: {error}"))?;
        let hash = Argon2::default()
            .hash_password(password.as_bytes(), &salt)
            .map_err(|error| anyhow::anyhow!("the password cannot be hashed: {error}"))?;
        if !self.password_stdin {
            eprintln!("password of {}: {password}", self.name);
        }
        println!("{}:{hash}", self.name);
        Ok(ExitCode::SUCCESS)
    }
}

fn made() -> anyhow::Result<String> {
    let mut bytes = [0; PASSWORD_BYTES];
    fill(&mut bytes)?;
    Ok(BASE32_NOPAD.encode(&bytes).to_lowercase())
}

fn given() -> anyhow::Result<String> {
    let mut text = String::new();
    let limit = u64::try_from(PASSWORD_BYTES_MAX)? + 2;
    let mut input = std::io::stdin().take(limit);
    input
        .read_to_string(&mut text)
        .context("standard input: the password is no UTF-8")?;
    let password = text.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(
        password.chars().count() >= PASSWORD_CHARS_MIN && password.len() <= PASSWORD_BYTES_MAX,
        "a password has {PASSWORD_CHARS_MIN} characters to {PASSWORD_BYTES_MAX} bytes"
    );
    anyhow::ensure!(
        !password.chars().any(char::is_control),
        "a password is one line without control characters"
    );
    Ok(password.to_owned())
}

fn fill(bytes: &mut [u8]) -> anyhow::Result<()> {
    getrandom::fill(bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))
}
