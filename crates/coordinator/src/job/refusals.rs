//! How often what was refused: results, the updates they name, and messages. Since the start, for people
//! to see; nothing follows from it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use potluck_protocol::ErrorCode;

use crate::problem::name;

/// Refusals by the name of their code.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<String, u64>>);

impl Refusals {
    pub(crate) fn count(&self, code: ErrorCode) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(name(code)).or_default() += 1;
    }

    pub(crate) fn all(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
