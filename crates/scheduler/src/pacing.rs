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
    /// The outer momentum is of before the mode changed, or before commits of one volunteer that stepped
    /// without: those leave it as it is, however many there are.
    pub(crate) is_outdated: bool,
}

impl Pacing {
    pub(crate) fn of(mode: Mode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// The same job in another mode.
    pub(crate) fn changed(mode: Mode) -> Self {
        Self { is_outdated: true, ..Self::of(mode) }
    }

    /// One commit more, of so many volunteers, that stepped with momentum or without.
    pub(crate) fn committed(self, volunteers: usize, is_stale: bool, has_momentum: bool) -> Self {
        let stale = self.stale + COMMIT_EMA * (f64::from(u8::from(is_stale)) - self.stale);
        let is_outdated = !has_momentum && (self.is_outdated || volunteers <= 1);
        Self { commits: self.commits + 1, stale, is_outdated, ..self }
    }
}
