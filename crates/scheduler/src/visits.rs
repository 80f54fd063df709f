//! What visits are like, and how much of a job one of them does: a guess in ranges and medians, to be
//! replaced when real visits were seen. Simulated crowds are drawn from it. Knows nothing of who is
//! there.

use potluck_protocol::limits::TASK_STEPS_MIN;

/// Visits as they are expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Visits {
    /// How long one lasts, in seconds: the median, and the spread of its logarithm, which is normal.
    pub stay: (f64, f64),
    /// Floating-point operations a second in training, slowest and fastest device; its logarithm is
    /// uniform.
    pub speed: [f64; 2],
    /// Share of tabs in the background, and what is left of their speed.
    pub hidden: (f64, f64),
    /// Bytes a second of an upload, slowest and fastest line; its logarithm is uniform.
    pub upload: [f64; 2],
    /// How much faster a download is.
    pub download: f64,
    /// Share of visitors who press stop and hand in what they have. The others just close the tab.
    pub stops: f64,
    /// Seconds of a round trip before the first byte.
    pub latency: f64,
}

/// The visits of this project's simulations and forecasts: lines of 5 to 50 Mbit/s.
pub const VISITS: Visits = Visits {
    stay: (240.0, 1.2),
    speed: [0.3e12, 40e12],
    hidden: (0.25, 0.1),
    upload: [0.625e6, 6.25e6],
    download: 5.0,
    stops: 0.5,
    latency: 0.08,
};

/// What late results, waiting and machines that sleep leave of a forecast. Simulated with 20 s a task on
/// the median device and 1 M parameters, the scheduler merged 0.92 times what this says without it at
/// 1,000 visits a day (six seeds, 0.80 to 1.08) and 0.74 times at 100 (0.55 to 1.02).
const MERGED: f64 = 0.9;

const DAY_SECONDS: f64 = 86_400.0;

/// What a task costs a visitor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TaskCost {
    /// Bytes down before and for the first task, and for each one after it.
    pub first_bytes: u64,
    /// Bytes down for each task after it.
    pub next_bytes: u64,
    /// Bytes up for each.
    pub upload_bytes: u64,
    /// Floating-point operations.
    pub flops: u64,
    /// Optimizer steps.
    pub steps: u32,
}

/// Points that a range is looked at in.
const POINTS: usize = 24;

/// Standard deviations from the median that a stay is looked at within: beyond are 6 in 100,000.
const DEVIATIONS: f64 = 4.0;

impl Visits {
    /// Mean length of a visit, in seconds.
    pub fn mean_stay(&self) -> f64 {
        let (median, sigma) = self.stay;
        median * (sigma * sigma / 2.0).exp()
    }

    /// Tasks of which a visit is merged, in the mean: what fits between coming and leaving, and half
    /// a task where it is worth handing in, less what is late or lost.
    pub fn tasks(&self, cost: &TaskCost) -> f64 {
        let (share, factor) = self.hidden;
        let devices = [(1.0 - share, 1.0), (share, factor)];
        let mut sum = 0.0;
        for speed in spread(self.speed) {
            for (weight, factor) in devices {
                for upload in spread(self.upload) {
                    sum += weight * self.tasks_of(cost, speed * factor, upload);
                }
            }
        }
        MERGED * sum / (POINTS * POINTS) as f64
    }

    /// The same of one device and line, over all lengths of a visit.
    fn tasks_of(&self, cost: &TaskCost, speed: f64, upload: f64) -> f64 {
        let download = self.download * upload;
        let first = (cost.first_bytes - cost.next_bytes.min(cost.first_bytes)) as f64 / download;
        let before = self.latency + cost.next_bytes as f64 / download;
        let computing = cost.flops as f64 / speed;
        let each = before + computing + self.latency + cost.upload_bytes as f64 / upload;
        let (mut sum, mut weights) = (0.0, 0.0);
        for point in 0..=8 * DEVIATIONS as usize {
            let z = point as f64 / 4.0 - DEVIATIONS;
            let weight = (-z * z / 2.0).exp();
            let stay = (self.stay.0 * (self.stay.1 * z).exp() - first).max(0.0);
            let whole = (stay / each).floor();
            let steps = ((stay - whole * each - before) / computing * f64::from(cost.steps)).floor();
            let steps = steps.min(f64::from(cost.steps));
            let part =
                if steps >= f64::from(TASK_STEPS_MIN) { self.stops * steps / f64::from(cost.steps) } else { 0.0 };
            sum += weight * (whole + part);
            weights += weight;
        }
        sum / weights
    }

    /// Days that so many tasks take.
    pub fn days(&self, tasks: u64, cost: &TaskCost, visits_a_day: f64) -> f64 {
        tasks as f64 / (visits_a_day * self.tasks(cost))
    }

    /// Visits a day that so many tasks take within these days.
    pub fn needed(&self, tasks: u64, cost: &TaskCost, days: f64) -> f64 {
        tasks as f64 / (days * self.tasks(cost))
    }

    /// Visitors who are there at once, in the mean of a day.
    pub fn present(&self, visits_a_day: f64) -> f64 {
        visits_a_day * self.mean_stay() / DAY_SECONDS
    }
}

/// Values all over a range, their logarithms in even steps.
fn spread([low, high]: [f64; 2]) -> impl Iterator<Item = f64> {
    (0..POINTS).map(move |point| low * (high / low).powf((point as f64 + 0.5) / POINTS as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: TaskCost = TaskCost {
        first_bytes: 4_100_000,
        next_bytes: 1_100_000,
        upload_bytes: 500_000,
        flops: 35_000_000_000_000,
        steps: 8,
    };

    /// One device, one line, no tab in the background.
    fn alike(stay: f64, speed: f64) -> Visits {
        Visits { stay: (stay, 1e-9), speed: [speed; 2], upload: [1e6; 2], hidden: (0.0, 1.0), ..VISITS }
    }

    #[test]
    fn whole_tasks_and_a_part_that_is_worth_it() {
        // 0.6 s more before the first; then 0.08 + 0.22 + 3.5 + 0.08 + 0.5 = 4.38 s each.
        let tasks = |stay: f64| alike(stay, 10e12).tasks(&COST) / MERGED;
        let near = |stay: f64, expected: f64| assert!((tasks(stay) - expected).abs() < 1e-6, "{}", tasks(stay));
        near(0.6 + 0.3 + 3.0, 0.5 * 6.0 / 8.0);
        near(0.6 + 4.38 * 3.0 + 0.5, 3.0);
        near(0.6 + 4.38 * 3.0 + 0.3 + 2.2, 3.0 + 0.5 * 5.0 / 8.0);
        assert_eq!(tasks(1.0), 0.0);
    }

    #[test]
    fn days_and_visits_are_two_ways_to_say_it() {
        let days = VISITS.days(1000, &COST, 100.0);
        assert!((VISITS.needed(1000, &COST, days) - 100.0).abs() < 1e-6);
        assert!((VISITS.days(1000, &COST, 1000.0) * 10.0 - days).abs() < 1e-9);
        assert!((5.6..5.8).contains(&VISITS.present(1000.0)));
    }

    #[test]
    fn heavier_tasks_and_longer_lines_take_more_visits() {
        let base = VISITS.tasks(&COST);
        assert!(VISITS.tasks(&TaskCost { flops: 2 * COST.flops, ..COST }) < base);
        assert!(VISITS.tasks(&TaskCost { first_bytes: 100_000_000, ..COST }) < base);
        assert!(VISITS.tasks(&TaskCost { upload_bytes: 20_000_000, ..COST }) < base);
    }
}
