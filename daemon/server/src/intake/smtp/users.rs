//! Checks passwords of those who log in. Each check takes memory and time on purpose, so few
//! run at once, and away from the tasks that move bytes.

use std::path::Path;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordVerifier as _};
use helpline_core::smtp::Login;
use tokio::sync::Semaphore;

use crate::config::Users;

/// Passwords checked at once.
const CHECKS_MAX: usize = 2;

/// Those who may log in.
#[derive(Debug)]
pub(super) struct Logins {
    users: Arc<Users>,
    checks: Semaphore,
}

impl Logins {
    pub(super) fn load(file: &Path) -> anyhow::Result<Self> {
        Ok(Logins {
            users: Arc::new(Users::load(file)?),
            checks: Semaphore::new(CHECKS_MAX),
        })
    }

    /// Whether name and password are right. A name that nobody has takes as long as a wrong
    /// password.
    pub(super) async fn check(&self, login: Login) -> bool {
        let Ok(_turn) = self.checks.acquire().await else {
            return false;
        };
        let users = Arc::clone(&self.users);
        let check = tokio::task::spawn_blocking(move || is_right(&users, &login));
        check.await.unwrap_or(false)
    }
}

fn is_right(users: &Users, login: &Login) -> bool {
    let hash = users.hash_of(&login.user);
    let Some(tried) = hash.or_else(|| users.any_hash()) else {
        return false;
    };
    let password = login.password.as_bytes();
    let fits = PasswordHash::new(tried.trim_end())
        .and_then(|tried| Argon2::default().verify_password(password, &tried));
    hash.is_some() && fits.is_ok()
}
