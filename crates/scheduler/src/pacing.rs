//! In which mode a job is and how its commits have been in it: a fold over commits and changes of
//! mode.

use serde::{Deserialize, Serialize};

use crate::Mode;

/// Weight of the newest commit in the average.
const COMMIT_EMA: f64 = 1.0 / 8.0;

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pacing {
    pub(crate) mode: Mode,
    /// Commits in this mode.
    pub(crate) commits: u64,
    /// Share of recent ones that held something stale.
    pub(crate) stale: f64,
}

impl Pacing {
    pub(crate) fn of(mode: Mode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// One commit more.
    pub(crate) fn committed(self, is_stale: bool) -> Self {
        let stale = self.stale + COMMIT_EMA * (f64::from(u8::from(is_stale)) - self.stale);
        Self { commits: self.commits + 1, stale, ..self }
    }
}
