//! The file of those who may log in to send mail: a line `NAME:HASH` each, hashes by argon2.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use argon2::password_hash::PasswordHash;
use argon2::{Algorithm, Params};

/// Longest name, in bytes.
pub const USER_BYTES_MAX: usize = 128;
/// Most users.
const USERS_MAX: usize = 10_000;
/// Memory that checking one password may take: 128 MiB.
const HASH_KIB_MAX: u32 = 131_072;
/// Passes over it.
const HASH_PASSES_MAX: u32 = 16;

/// Users and the hashes of their passwords.
#[derive(Clone, Debug, Default)]
pub struct Users(BTreeMap<String, String>);

impl Users {
    /// Reads the file; its name may be `credential:NAME`.
    ///
    /// # Errors
    /// It cannot be read or is empty; a line is no user, with its number.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        Users::parse(&super::read_secret(file)?).with_context(|| file.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut users = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let at = || format!("line {}", index + 1);
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) = line.split_once(':').with_context(|| {
                format!("{}: write NAME:HASH, as `helpline smtp-user` does", at())
            })?;
            if let Some(fault) = user_fault(name).or_else(|| hash_fault(hash).map(str::to_owned)) {
                anyhow::bail!("{}: {fault}", at());
            }
            let twice = users.insert(name.to_owned(), hash.to_owned()).is_some();
            anyhow::ensure!(!twice, "{}: {name:?} is there twice", at());
            anyhow::ensure!(users.len() <= USERS_MAX, "more than {USERS_MAX} users");
        }
        anyhow::ensure!(
            !users.is_empty(),
            "no users; `helpline smtp-user` makes a line"
        );
        Ok(Users(users))
    }

    /// The hash of a user's password.
    #[must_use]
    pub fn hash_of(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Any hash: checking a password against it takes as long as for a user.
    #[must_use]
    pub fn any_hash(&self) -> Option<&str> {
        self.0.values().next().map(String::as_str)
    }
}

/// What is wrong with a name.
#[must_use]
pub fn user_fault(name: &str) -> Option<String> {
    let plain = |c: char| c.is_alphanumeric() || "-._@+".contains(c);
    let good = (1..=USER_BYTES_MAX).contains(&name.len()) && name.chars().all(plain);
    (!good).then(|| format!("{name:?} is no name: letters, digits and - . _ @ +"))
}

/// A hash itself is never shown.
fn hash_fault(hash: &str) -> Option<&'static str> {
    let Ok(hash) = PasswordHash::new(hash.trim_end()) else {
        return Some("this is no argon2 hash; `helpline smtp-user` makes one");
    };
    if Algorithm::try_from(hash.algorithm).is_err() || hash.hash.is_none() {
        return Some("this is no argon2 hash; `helpline smtp-user` makes one");
    }
    match Params::try_from(&hash) {
        Ok(params) if params.m_cost() > HASH_KIB_MAX || params.t_cost() > HASH_PASSES_MAX => {
            Some("this hash is too dear to check: at most 128 MiB and 16 passes")
        }
        Ok(_) => None,
        Err(_) => Some("the parameters of this hash are not understood"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$DGRx8Z6mcKcQbjZ0Ye3aBQ";

    fn fault(text: &str) -> String {
        format!("{:#}", Users::parse(text).unwrap_err())
    }

    #[test]
    fn users_have_a_name_and_a_hash_each() {
        let users = Users::parse(&format!("# ours\n\nada@x.test:{HASH}\nbob:{HASH}\n")).unwrap();
        assert_eq!(users.hash_of("ada@x.test"), Some(HASH));
        assert_eq!(users.hash_of("eve"), None);
        assert_eq!(users.any_hash(), Some(HASH));
    }

    #[test]
    fn bad_lines_are_told_by_number_and_without_the_hash() {
        assert!(fault("").contains("no users"));
        assert!(fault("\nada\n").starts_with("line 2: write NAME:HASH"));
        assert!(fault(&format!("ada:{HASH}\nada:{HASH}")).starts_with("line 2: \"ada\" is there"));
        assert!(fault(&format!("a b:{HASH}")).contains("is no name"));
        assert!(fault(&format!("{}:{HASH}", "u".repeat(129))).contains("is no name"));
        for bad in [
            "hunter2",
            "$2b$12$abcdefghijklmnopqrstuv",
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ",
        ] {
            let fault = fault(&format!("ada:{bad}"));
            assert!(
                fault.contains("no argon2 hash") && !fault.contains(bad),
                "{fault}"
            );
        }
        let dear = HASH.replace("m=8", "m=4000000");
        assert!(fault(&format!("ada:{dear}")).contains("too dear"));
    }
}
