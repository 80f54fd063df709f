//! The churn model: who comes, how long they stay, and what they bring, drawn from the visits that are
//! expected ([`VISITS`]).

use std::collections::VecDeque;
use std::f64::consts::TAU;

use potluck_graph::random::SplitMix64;
use potluck_protocol::Millis;
use potluck_scheduler::VISITS;

/// Milliseconds of a second: the model is in seconds, the simulation is not.
const MILLIS: f64 = 1000.0;

/// Share of visitors whose machine sleeps once during the visit, and for how long.
const FREEZES: (f64, Millis) = (0.02, 600_000);

/// Most arrivals in a day over the mean: 1.6 against 0.4, four to one.
const TIDE: f64 = 0.6;

const DAY: f64 = 86_400_000.0;

/// Everything random about a crowd.
#[derive(Debug, Clone)]
pub(crate) struct Churn {
    random: SplitMix64,
    /// Arrivals a millisecond in the mean of a day.
    rate: f64,
    /// Nobody is hidden, freezes, or is slower than another.
    equal: bool,
}

/// Who comes when.
#[derive(Debug, Clone)]
pub(crate) enum Arrivals {
    /// Strangers, as the churn model has them.
    Churn(Churn),
    /// These, in the order of their coming.
    Cast(VecDeque<(Millis, Draw)>),
}

impl Arrivals {
    /// When the next one comes after `now`.
    pub(crate) fn next(&mut self, now: Millis) -> Option<Millis> {
        match self {
            Self::Churn(churn) => Some(churn.next_arrival(now)),
            Self::Cast(cast) => cast.front().map(|(at, _)| *at),
        }
    }

    /// Who came.
    pub(crate) fn visitor(&mut self) -> Option<Draw> {
        match self {
            Self::Churn(churn) => Some(churn.visitor()),
            Self::Cast(cast) => cast.pop_front().map(|(_, draw)| draw),
        }
    }
}

/// One visitor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Draw {
    pub(crate) stays: Millis,
    /// Floating-point operations a millisecond.
    pub(crate) speed: f64,
    /// How uneven its tasks are: the spread of the logarithm of what one takes, which is normal.
    pub(crate) uneven: f64,
    /// Bytes a millisecond.
    pub(crate) upload: f64,
    pub(crate) download: f64,
    /// When it freezes, counted from its arrival, and for how long.
    pub(crate) freezes: Option<(Millis, Millis)>,
    pub(crate) says_stop: bool,
}

impl Draw {
    /// A device of this many times the median speed on a median line, in a tab that is closed after a
    /// while, with or without a word.
    pub(crate) fn steady(speed: f64, stays: Millis, says_stop: bool) -> Self {
        let upload = middle(VISITS.upload);
        let speed = speed * Churn::median_speed();
        Self { stays, speed, uneven: 0.0, upload, download: VISITS.download * upload, freezes: None, says_stop }
    }
}

impl Churn {
    /// A crowd of so many at a time, in the mean of a day.
    pub(crate) fn new(seed: u64, crowd: f64) -> Self {
        Self { random: SplitMix64::new(seed), rate: crowd / (MILLIS * VISITS.mean_stay()), equal: false }
    }

    /// The same visits, but all devices are the median one and none freezes.
    pub(crate) fn with_equal_devices(self) -> Self {
        Self { equal: true, ..self }
    }

    /// The geometric mean of speeds, in operations a millisecond: the median visible device.
    pub(crate) fn median_speed() -> f64 {
        middle(VISITS.speed)
    }

    fn unit(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A rate from anywhere between two a second, a millisecond.
    fn between(&mut self, [low, high]: [f64; 2]) -> f64 {
        low * (high / low).powf(self.unit()) / MILLIS
    }

    /// When the next one comes after `now`. Arrivals are a Poisson process whose rate follows the time
    /// of day, drawn by thinning; a simulation begins in the mean of the day.
    pub(crate) fn next_arrival(&mut self, now: Millis) -> Millis {
        let mut at = now as f64;
        loop {
            at -= (1.0 - self.unit()).ln() / (self.rate * (1.0 + TIDE));
            let rate = 1.0 + TIDE * (TAU * at / DAY).sin();
            if self.unit() * (1.0 + TIDE) < rate {
                return at.ceil() as Millis;
            }
        }
    }

    pub(crate) fn visitor(&mut self) -> Draw {
        let (median, sigma) = VISITS.stay;
        let stays = (MILLIS * median * (sigma * f64::from(self.random.normal())).exp()) as Millis;
        let (speed, upload) = (self.between(VISITS.speed), self.between(VISITS.upload));
        let (hidden, freezes, when) = (self.unit() < VISITS.hidden.0, self.unit() < FREEZES.0, self.unit());
        let says_stop = self.unit() < VISITS.stops;
        if self.equal {
            return Draw::steady(1.0, stays, says_stop);
        }
        Draw {
            stays,
            speed: speed * if hidden { VISITS.hidden.1 } else { 1.0 },
            uneven: 0.0,
            upload,
            download: VISITS.download * upload,
            freezes: freezes.then_some(((when * stays as f64) as Millis, FREEZES.1)),
            says_stop,
        }
    }
}

/// The geometric mean of two rates a second, a millisecond.
fn middle([low, high]: [f64; 2]) -> f64 {
    (low * high).sqrt() / MILLIS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_and_speeds_have_their_medians() {
        let mut churn = Churn::new(1, 8.0);
        let mut draws: Vec<Draw> = (0..4001).map(|_| churn.visitor()).collect();
        draws.sort_by_key(|draw| draw.stays);
        assert!((210_000..270_000).contains(&draws[2000].stays), "{:?}", draws[2000]);
        assert!(draws.iter().all(|draw| (0.03e9..=40e9).contains(&draw.speed)));
        let frozen = draws.iter().filter(|draw| draw.freezes.is_some()).count();
        assert!((40..160).contains(&frozen), "{frozen}");
    }

    #[test]
    fn a_day_brings_the_crowd_that_was_asked_for() {
        let (mut churn, mut now, mut present) = (Churn::new(2, 20.0), 0, 0.0);
        while now < 86_400_000 {
            now = churn.next_arrival(now);
            present += churn.visitor().stays as f64 / DAY;
        }
        assert!((16.0..24.0).contains(&present), "{present}");
    }
}
