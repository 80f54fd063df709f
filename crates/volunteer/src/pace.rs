//! How hard the runner may work: a stop flag, a share of the time, and what it borrows from its
//! shell to keep to them.
//!
//! It must not know a clock or an event loop of its own.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

/// Raised once to end work within a slice. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Ends the work that holds a clone.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once it was raised.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The share of the time, 0 to 1, that may be spent computing. Clones share it, so that it can be
/// changed in the middle of a task.
#[derive(Debug, Clone)]
pub struct Share(Arc<AtomicU32>);

impl Share {
    /// Starts with this share; see [`Share::set`].
    pub fn new(share: f32) -> Self {
        let this = Self(Arc::default());
        this.set(share);
        this
    }

    /// Values outside 0..=1 are moved to the nearer end; NaN counts as 0: when in doubt, rest.
    pub fn set(&self, share: f32) {
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.0.store(share.to_bits(), Ordering::Relaxed);
    }

    /// The share now.
    pub fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// How long to rest after computing for `busy` so that the share is kept; `None` to rest until
    /// the share is raised.
    pub fn rest_after(&self, busy: Duration) -> Option<Duration> {
        let share = self.get();
        if share <= 0.0 {
            return None;
        }
        // busy / (busy + rest) = share. A minute bounds what one long step can cost.
        let rest = busy.as_secs_f64() * (1.0 - f64::from(share)) / f64::from(share);
        Some(Duration::from_secs_f64(rest.min(REST_MAX.as_secs_f64())))
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::new(1.0)
    }
}

/// Longest rest after one step.
const REST_MAX: Duration = Duration::from_secs(60);

/// Longest rest in one piece: a raised flag or share is seen this soon, well within the 200 ms that
/// a visitor's stop may take.
const REST_PIECE: Duration = Duration::from_millis(50);

/// What the runner borrows from its shell.
pub trait Pace {
    /// Monotonic time since any fixed point.
    fn now(&self) -> Duration;

    /// Lets everything else that is due run, for at least `span`; 0 is one turn of the event loop.
    fn rest(&self, span: Duration) -> impl Future<Output = ()>;

    /// The share to keep.
    fn share(&self) -> Share;

    /// The longest that the device may work in one piece where somebody looks at what it draws.
    fn slice(&self) -> Option<Duration> {
        None
    }
}

/// Yields after a step of `busy`, and rests as the share asks, unless `stop` is raised.
pub(crate) async fn breathe(pace: &impl Pace, busy: Duration, stop: &StopFlag) {
    pace.rest(Duration::ZERO).await;
    let began = pace.now();
    while !stop.is_raised() {
        let rested = pace.now().saturating_sub(began);
        // Asked anew in every piece: the share may have been raised meanwhile.
        let left = match pace.share().rest_after(busy) {
            None => REST_PIECE,
            Some(rest) => rest.saturating_sub(rested),
        };
        if left.is_zero() {
            return;
        }
        pace.rest(left.min(REST_PIECE)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[track_caller]
    fn check(share: f32, busy_millis: u64, rest_millis: Option<u64>) {
        let rest = Share::new(share).rest_after(Duration::from_millis(busy_millis));
        assert_eq!(rest.map(|r| r.as_secs_f64().mul_add(1000.0, 0.5) as u64), rest_millis);
    }

    #[test]
    fn rests_as_the_share_asks() {
        check(1.0, 100, Some(0));
        check(0.5, 100, Some(100));
        check(0.2, 100, Some(400));
        check(0.0, 100, None);
        check(f32::NAN, 100, None);
        check(7.0, 100, Some(0));
        check(0.0001, 100_000, Some(60_000));
    }

    /// Virtual time; raises `stop` and the share when told to.
    struct Virtual {
        now: Cell<Duration>,
        share: Share,
        stop: StopFlag,
        stop_at: Duration,
        full_at: Duration,
    }

    impl Pace for Virtual {
        fn now(&self) -> Duration {
            self.now.get()
        }

        async fn rest(&self, span: Duration) {
            self.now.set(self.now.get() + span);
            if self.now.get() >= self.stop_at {
                self.stop.raise();
            }
            if self.now.get() >= self.full_at {
                self.share.set(1.0);
            }
        }

        fn share(&self) -> Share {
            self.share.clone()
        }
    }

    #[track_caller]
    fn check_breathe(share: f32, stop_at: u64, full_at: u64, ends_at: u64) {
        let [stop_at, full_at, ends_at] = [stop_at, full_at, ends_at].map(Duration::from_millis);
        let pace =
            Virtual { now: Cell::default(), share: Share::new(share), stop: StopFlag::default(), stop_at, full_at };
        pollster::block_on(breathe(&pace, Duration::from_millis(300), &pace.stop.clone()));
        assert_eq!(pace.now.get(), ends_at);
    }

    #[test]
    fn a_full_share_only_yields() {
        check_breathe(1.0, 9_999, 9_999, 0);
    }

    #[test]
    fn half_a_share_rests_as_long_as_it_worked() {
        check_breathe(0.5, 9_999, 9_999, 300);
    }

    #[test]
    fn stop_ends_the_rest() {
        check_breathe(0.1, 120, 9_999, 150);
    }

    #[test]
    fn no_share_waits_for_more() {
        check_breathe(0.0, 9_999, 1_000, 1_000);
    }
}
