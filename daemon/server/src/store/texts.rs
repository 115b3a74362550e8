//! Texts of statements, each made once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Texts by what names them. Where a literal stands in the program names it well enough.
#[derive(Default)]
pub(super) struct Texts<K>(Mutex<HashMap<K, Arc<str>>>);

impl<K: Eq + Hash> Texts<K> {
    /// The text of this name; `write` makes it.
    pub(super) fn get(&self, name: K, write: impl FnOnce() -> String) -> Arc<str> {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(texts.entry(name).or_insert_with(|| write().into()))
    }
}
