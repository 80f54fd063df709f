//! One budget of patience for all that a test waits for.

use std::time::{Duration, Instant};

/// Longer than any wait of a healthy run on a busy machine with two cores, by a factor of ten.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// When a test gives up.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// Counts from now.
    pub fn start() -> Self {
        Self(Instant::now() + PATIENCE)
    }

    /// What is left; fails the test when nothing is.
    ///
    /// # Panics
    /// Once the deadline has passed, naming what was waited for.
    #[track_caller]
    pub fn left(self, waiting_for: &str) -> Duration {
        let left = self.0.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "waited {} s for {waiting_for}", PATIENCE.as_secs());
        left
    }
}
