//! How a job is paced and merged: two modes, and the strategies that choose between them.
//!
//! In *barrier* mode training goes in rounds. All of a round start from one version, so the outer
//! step may have momentum; whoever is fast waits. In *buffered* mode nobody waits for the others: whoever
//! hands in starts again from the newest version, and a commit is made whenever enough is in. Updates are
//! then a version or two old. Outer momentum over those makes training diverge, unless each version is
//! published ahead: where momentum will have led by the time that what starts from it comes in.
//!
//! A strategy sees what a commit left behind and says which mode comes next. What it says becomes a
//! fact, and so does the step of each commit: a log means the same under another strategy.

use std::fmt::Debug;

use potluck_protocol::{OuterStep, StrategyName};
use serde::{Deserialize, Serialize};

use crate::Crowd;

/// How a job is paced at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Rounds.
    #[default]
    Barrier,
    /// Commits of whatever is in, whenever that is enough.
    Buffered,
}

/// What a strategy decides. Pure: the same crowd gives the same answer.
pub trait Strategy: Debug + Send + Sync {
    /// The mode of a job that was just made.
    fn first(&self) -> Mode {
        Mode::Barrier
    }

    /// The mode from the next version on. Asked once a commit.
    fn next(&self, now: Mode, crowd: &Crowd) -> Mode;

    /// How a commit of these updates moves the parameters. `of_recipe` is the step of rounds.
    fn outer(&self, mode: Mode, of_recipe: OuterStep, updates: Updates) -> OuterStep {
        outer_step(mode, of_recipe, updates)
    }
}

/// The updates of a commit, as its step sees them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Updates {
    /// Whose they are.
    pub volunteers: usize,
    /// The share of them, by weight, that starts from an older version than the current one.
    pub stale_share: f32,
    /// The outer momentum is of before the mode changed, or of before a volunteer who was alone in buffers.
    pub is_momentum_outdated: bool,
}

/// The strategy of this name.
pub fn named(name: StrategyName) -> &'static dyn Strategy {
    match name {
        StrategyName::Rounds => &Rounds,
        StrategyName::Buffered => &Buffered,
        _ => &Auto,
    }
}

/// Always in rounds.
#[derive(Debug)]
struct Rounds;

/// Never in rounds.
#[derive(Debug)]
struct Buffered;

/// In rounds, unless those keep the crowd waiting or most commits hold something stale anyway.
#[derive(Debug)]
struct Auto;

impl Strategy for Rounds {
    fn next(&self, _now: Mode, _crowd: &Crowd) -> Mode {
        Mode::Barrier
    }
}

impl Strategy for Buffered {
    fn first(&self) -> Mode {
        Mode::Buffered
    }

    fn next(&self, _now: Mode, _crowd: &Crowd) -> Mode {
        Mode::Buffered
    }
}

/// Commits that a mode lasts at least: the averages below are over about as many.
const DWELL_COMMITS: u64 = 8;

/// Share of a crowd's time that rounds may waste. Equal samples end 1.6 % higher in buffers (`sim hetero`),
/// where rounds would be with two thirds of them; but rounds also keep volunteers waiting while they send and
/// fetch. With a half, crowds ended 0.4 to 0.9 % lower and took 10 to 40 % longer (`sim churn`, `scale`).
const IDLE_SHARE_MAX: f64 = 1.0 / 3.0;

/// Back to rounds where they would waste this. Half of the above, so that a crowd at the edge does
/// not turn the job about.
const IDLE_SHARE_LOW: f64 = IDLE_SHARE_MAX / 2.0;

/// Share of recent commits with something stale in them, from which on rounds are rounds by name only.
const STALE_COMMITS_MAX: f64 = 0.5;

impl Strategy for Auto {
    fn next(&self, now: Mode, crowd: &Crowd) -> Mode {
        if crowd.commits < DWELL_COMMITS {
            return now;
        }
        match now {
            Mode::Barrier if crowd.idle_share > IDLE_SHARE_MAX || crowd.stale_commits > STALE_COMMITS_MAX => {
                Mode::Buffered
            }
            Mode::Buffered if crowd.idle_share < IDLE_SHARE_LOW => Mode::Barrier,
            _ => now,
        }
    }
}

/// What a buffer's rate is to that of rounds. It holds a half of what a round would at most, so momentum
/// lasts for four times as many: its fourth root.
const BUFFERED_OF_RATE: f32 = 0.06 / 0.7;

/// How many steps of momentum the versions of buffers are ahead: with a longer momentum each is smaller.
const BUFFERED_LEAD: f32 = 6.0;

/// What a buffer's step without momentum is to that of rounds whose effective rate is `eta (1 + mu)`, that
/// of successive deltas that are not correlated (arXiv draft on outer momentum; ALGORITHMS.md): (0.35,
/// 0) was best beside (0.7, 0.8).
const BUFFERED_OF_EFFECTIVE: f32 = 0.35 / (0.7 * 1.8);

/// The step of a round of one to that of the recipe, and how far it is ahead. Updates of one are noisy, so
/// momentum is there to take their mean and not to multiply them: (0.2, 0.7) led by 0.3 beside (0.7, 0.8)
/// goes two thirds of an update in the end.
const ALONE_OF_RATE: f32 = 0.2 / 0.7;
const ALONE_OF_MOMENTUM: f32 = 0.7 / 0.8;
const ALONE_LEAD: f32 = 0.3;

/// The step of a round of two, whose mean is still noisy, to that of the recipe: (0.4, 0.8) beside
/// (0.7, 0.8). Three end lower with the shorter step too, but a job that has just begun learns slower.
const TWO_OF_RATE: f32 = 0.4 / 0.7;

/// So little momentum that the step is plain, and yet what was remembered is forgotten.
const FORGETTING: f32 = 1e-20;

/// The step of both modes. Nesterov's momentum needs a barrier: a round with something stale in it steps
/// at its own rate without, and buffers, whose updates are all late, lead it. It also needs a mean over
/// several: a round of two steps less far than one of more, and one of a single volunteer's far less. The
/// first step with momentum after the mode changed begins it anew, as its direction is one of long ago.
fn outer_step(mode: Mode, of_recipe: OuterStep, updates: Updates) -> OuterStep {
    let OuterStep { lr, momentum, .. } = of_recipe;
    let plain = |of_effective: f32| OuterStep::nesterov(lr * (1.0 + momentum) * of_effective, 0.0);
    // With a momentum to forget, the same step as from one of zeros.
    let led = |lr: f32, momentum: f32, lead: f32| {
        if updates.is_momentum_outdated {
            return OuterStep::nesterov(lr * (1.0 + lead), FORGETTING);
        }
        OuterStep { lr, momentum, lead: Some(lead) }
    };
    match mode {
        Mode::Barrier if momentum == 0.0 => of_recipe,
        Mode::Barrier if updates.stale_share > 0.0 => OuterStep::nesterov(lr, 0.0),
        Mode::Barrier if updates.volunteers <= 1 => led(lr * ALONE_OF_RATE, momentum * ALONE_OF_MOMENTUM, ALONE_LEAD),
        Mode::Barrier => {
            let lr = if updates.volunteers == 2 { lr * TWO_OF_RATE } else { lr };
            OuterStep::nesterov(lr, if updates.is_momentum_outdated { FORGETTING } else { momentum })
        }
        Mode::Buffered if momentum == 0.0 || updates.volunteers <= 1 => plain(BUFFERED_OF_EFFECTIVE),
        Mode::Buffered => led(lr * BUFFERED_OF_RATE, momentum.sqrt().sqrt(), BUFFERED_LEAD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(now: Mode, crowd: Crowd, expected: Mode) {
        assert_eq!(named(StrategyName::Auto).next(now, &crowd), expected, "{crowd:?}");
        assert_eq!(named(StrategyName::Rounds).next(now, &crowd), Mode::Barrier);
        assert_eq!(named(StrategyName::Buffered).next(now, &crowd), Mode::Buffered);
    }

    fn crowd(idle_share: f64, stale_commits: f64, commits: u64) -> Crowd {
        Crowd { volunteers: 8, idle_share, stale_commits, commits }
    }

    #[test]
    fn a_crowd_that_rounds_keep_waiting_goes_on_in_buffers() {
        check(Mode::Barrier, crowd(0.2, 0.1, 100), Mode::Barrier);
        check(Mode::Barrier, crowd(0.4, 0.1, 100), Mode::Buffered);
        check(Mode::Barrier, crowd(0.0, 0.6, 100), Mode::Buffered);
    }

    #[test]
    fn an_even_crowd_goes_back_to_rounds() {
        check(Mode::Buffered, crowd(0.1, 1.0, 100), Mode::Barrier);
        check(Mode::Buffered, crowd(0.2, 1.0, 100), Mode::Buffered);
    }

    #[test]
    fn no_mode_lasts_less_than_eight_commits() {
        check(Mode::Barrier, crowd(0.9, 0.9, 7), Mode::Barrier);
        check(Mode::Buffered, crowd(0.0, 0.0, 7), Mode::Buffered);
        check(Mode::Barrier, crowd(0.9, 0.9, 8), Mode::Buffered);
    }

    #[test]
    fn rounds_with_something_stale_step_without_momentum() {
        let of_recipe = OuterStep::default();
        assert_eq!(outer_step(Mode::Barrier, of_recipe, updates(4, 0.0)), of_recipe);
        assert_eq!(outer_step(Mode::Barrier, of_recipe, updates(4, 0.1)), OuterStep::nesterov(0.7, 0.0));
    }

    #[test]
    fn buffers_lead_their_momentum() {
        let of_recipe = OuterStep::default();
        let buffered = outer_step(Mode::Buffered, of_recipe, updates(4, 0.8));
        assert!((buffered.lr - 0.06).abs() < 1e-6 && buffered.lead == Some(6.0), "{buffered:?}");
        assert!((buffered.momentum.powi(4) - 0.8).abs() < 1e-6, "{buffered:?}");
        let alone = outer_step(Mode::Buffered, of_recipe, updates(1, 0.0));
        assert!((alone.lr - 0.35).abs() < 1e-6 && alone.momentum == 0.0, "{alone:?}");
        let plain = outer_step(Mode::Buffered, OuterStep::nesterov(1.26, 0.0), updates(4, 0.0));
        assert!((plain.lr - 0.35).abs() < 1e-6 && plain.momentum == 0.0, "as its owner wants it: {plain:?}");
    }

    #[test]
    fn the_first_buffer_steps_as_from_no_momentum() {
        let outdated = Updates { is_momentum_outdated: true, ..updates(4, 0.8) };
        let [first, next] = [outdated, updates(4, 0.8)].map(|of| outer_step(Mode::Buffered, OuterStep::default(), of));
        assert!((first.lr - 7.0 * next.lr).abs() < 1e-6 && first.momentum < f32::EPSILON, "{first:?}, {next:?}");
    }

    #[test]
    fn momentum_of_who_is_alone_is_a_mean() {
        let of_recipe = OuterStep::default();
        let alone = outer_step(Mode::Barrier, of_recipe, updates(1, 0.0));
        assert!((alone.lr / (1.0 - alone.momentum) - 2.0 / 3.0).abs() < 1e-6, "{alone:?}");
        assert_eq!(alone.lead, Some(0.3));
        let plain = OuterStep::nesterov(1.0, 0.0);
        assert_eq!(outer_step(Mode::Barrier, plain, updates(1, 0.0)), plain, "as its owner wants it");
    }

    #[test]
    fn two_step_less_far_than_more() {
        let of_recipe = OuterStep::default();
        let of_two = outer_step(Mode::Barrier, of_recipe, updates(2, 0.0));
        assert!((of_two.lr - 0.4).abs() < 1e-6 && of_two.momentum == of_recipe.momentum, "{of_two:?}");
        assert_eq!([3, 9].map(|many| outer_step(Mode::Barrier, of_recipe, updates(many, 0.0))), [of_recipe; 2]);
        let plain = OuterStep::nesterov(1.0, 0.0);
        assert_eq!(outer_step(Mode::Barrier, plain, updates(2, 0.0)), plain, "as its owner wants it");
    }

    #[test]
    fn momentum_of_long_ago_is_forgotten() {
        let outdated = Updates { is_momentum_outdated: true, ..updates(4, 0.0) };
        let step = outer_step(Mode::Barrier, OuterStep::default(), outdated);
        assert!(step.lr == 0.7 && step.momentum > 0.0 && step.momentum < f32::EPSILON, "{step:?}");
        let stale = Updates { stale_share: 0.1, ..outdated };
        assert_eq!(outer_step(Mode::Barrier, OuterStep::default(), stale).momentum, 0.0, "not by what is stale");
    }

    fn updates(volunteers: usize, stale_share: f32) -> Updates {
        Updates { volunteers, stale_share, is_momentum_outdated: false }
    }
}
