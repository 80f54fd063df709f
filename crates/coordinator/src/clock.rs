//! The one place that reads the wall clock.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use potluck_protocol::Millis;

/// Milliseconds since the Unix epoch that never run backwards in one process, whatever happens to
/// the system's clock. Clones share it.
#[derive(Clone)]
pub(crate) struct Clock {
    read: Arc<dyn Fn() -> Millis + Send + Sync>,
    last: Arc<AtomicU64>,
}

impl Clock {
    /// The system's.
    pub(crate) fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
        })
    }

    /// Any other; tests turn it by hand.
    pub(crate) fn new(read: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), last: Arc::default() }
    }

    /// Now.
    pub(crate) fn now(&self) -> Millis {
        let now = (self.read)();
        self.last.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Makes sure that it never shows less than this, such as the time of the newest fact.
    pub(crate) fn not_before(&self, at: Millis) {
        self.last.fetch_max(at, Ordering::Relaxed);
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_runs_backwards() {
        let hand = Arc::new(AtomicU64::new(10));
        let clock = Clock::new({
            let hand = Arc::clone(&hand);
            move || hand.load(Ordering::Relaxed)
        });
        assert_eq!(clock.now(), 10);
        hand.store(5, Ordering::Relaxed);
        assert_eq!(clock.now(), 10);
        clock.not_before(20);
        assert_eq!(clock.clone().now(), 20);
    }
}
