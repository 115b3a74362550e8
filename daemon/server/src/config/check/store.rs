//! What is wrong with the store, and who may use it.

use super::Check;
use crate::config::{Config, Role};

impl Check<'_> {
    pub(super) fn store(&mut self, config: &Config) {
        if !(1..=16_384).contains(&config.store.cache_mib) {
            self.fault("store.cache_mib", "cache_mib", "must be 1 to 16384");
        }
        if config.node.role != Role::All && config.store.postgres_url_file.is_none() {
            let why = "the embedded database serves one daemon alone, which must do everything; \
                       set store.postgres_url_file or role = \"all\"";
            self.fault("node.role", "role", why);
        }
    }
}
