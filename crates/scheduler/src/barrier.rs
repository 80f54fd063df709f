//! Barrier mode: when a round is over, and how much each volunteer gets of it.
//!
//! A round is everything leased from the current version. It ends when something is in and nobody who
//! is connected (or, just after a start, about to be again) computes on it any more; else when a
//! quorum of half is in and a grace since its first result is over; sooner where three quarters are
//! in; and in any case a minute after its first result. One sleeping laptop delays nobody for long.
//!
//! Everybody gets work that ends with the round: the slow smaller batches, the fast further tasks while
//! a slower one is awaited, until they have a fifth of the round.

use std::collections::{BTreeMap, BTreeSet};

use potluck_protocol::{Millis, VolunteerKey, limits};

use crate::Leased;
use crate::decide::Turn;
use crate::ladder::{Ladder, Work};
use crate::shares::work_cap;
use crate::speed::{Speed, Tempo};

/// Room for a task that takes a little longer than expected.
const MARGIN: f64 = 1.2;

/// Who has handed something in that starts from the current version, and who is awaited.
struct Quorum {
    /// When each handed in first.
    handed_in: BTreeMap<VolunteerKey, Millis>,
    missing: BTreeSet<VolunteerKey>,
}

impl Quorum {
    fn of(turn: &Turn<'_>) -> Self {
        let version = turn.state.version();
        let mut handed_in = BTreeMap::new();
        for pending in turn.state.pending().values().filter(|p| p.base_version == version) {
            let at = handed_in.entry(pending.volunteer).or_insert(pending.at);
            *at = pending.at.min(*at);
        }
        let awaited = turn.state.leases().filter(|(_, l)| l.base_version == version && is_useful(turn, l));
        let missing = awaited
            .map(|(_, leased)| leased.volunteer)
            .filter(|volunteer| !handed_in.contains_key(volunteer))
            .collect();
        Self { handed_in, missing }
    }

    fn count(&self) -> usize {
        self.handed_in.len() + self.missing.len()
    }

    /// When so many had handed in; `None` while they have not.
    fn reached_at(&self, count: usize) -> Option<Millis> {
        let mut at: Vec<Millis> = self.handed_in.values().copied().collect();
        at.sort_unstable();
        at.get(count.checked_sub(1)?).copied()
    }
}

/// True where the round's commit is due.
pub(crate) fn is_over(turn: &Turn<'_>) -> bool {
    let Some(since) = began_to_end(turn) else { return false };
    // What earlier rounds left over is no reason to end one that has hardly begun.
    let version = turn.state.version();
    let has_own = is_finishing(turn) || turn.state.pending().values().any(|p| p.base_version == version);
    (has_own && !is_awaited(turn)) || turn.now >= ends_at(turn, &Quorum::of(turn), since)
}

fn is_finishing(turn: &Turn<'_>) -> bool {
    turn.state.finishing_at().is_some()
}

/// True while somebody who is connected, or about to be again, computes what the round waits for: tasks
/// of the current version, and at the end of the job any.
pub(crate) fn is_awaited(turn: &Turn<'_>) -> bool {
    let (version, any_base) = (turn.state.version(), is_finishing(turn));
    turn.state.leases().any(|(_, leased)| (any_base || leased.base_version == version) && is_useful(turn, leased))
}

/// True where somebody who is there computes something that nobody has handed in yet.
fn is_useful(turn: &Turn<'_>, leased: &Leased) -> bool {
    leased.trains()
        && turn.presence.is_expected(&leased.volunteer, turn.now)
        && !turn.state.blocks().any_claimed(&leased.blocks)
}

/// Since when something waits for the round's end; `None` where nothing does.
fn began_to_end(turn: &Turn<'_>) -> Option<Millis> {
    let first_at = turn.state.pending().values().map(|pending| pending.at).min()?;
    let began_at = turn.state.record(turn.state.version()).map_or(0, |record| record.at);
    // A grace that passed while nobody could hand anything in was none.
    Some(turn.state.finishing_at().unwrap_or(first_at.max(began_at)).max(turn.presence.started_at()))
}

/// When the round ends at the latest.
fn ends_at(turn: &Turn<'_>, quorum: &Quorum, since: Millis) -> Millis {
    let grace = turn.presence.grace();
    let count = quorum.count();
    if is_finishing(turn) || count == 0 {
        return since.saturating_add(grace);
    }
    let half = quorum.reached_at(count.div_ceil(2)).map(|at| at.max(since.saturating_add(grace)));
    let most = quorum.reached_at((3 * count).div_ceil(4)).map(|at| at.max(since).saturating_add(grace / 4));
    let last = since.saturating_add(limits::ROUND_GRACE_MILLIS_MAX);
    [half, most].into_iter().flatten().fold(last, Millis::min)
}

/// How much of the round is still to be had.
pub(crate) struct Plan {
    /// Milliseconds in which somebody slower is awaited; 0 where nobody is.
    shadow: Millis,
    /// `None` where nobody's speed is known.
    tempo: Option<Tempo>,
    contributors: usize,
    samples: u64,
    /// Out and in, of this round.
    by_volunteer: BTreeMap<VolunteerKey, u64>,
}

impl Plan {
    pub(crate) fn of(turn: &Turn<'_>) -> Self {
        let quorum = Quorum::of(turn);
        let version = turn.state.version();
        let waiting = turn.state.pending().values().filter(|p| p.base_version == version);
        let out = turn.state.leases().filter(|(_, l)| l.trains() && l.base_version == version);
        let mut by_volunteer: BTreeMap<VolunteerKey, u64> = BTreeMap::new();
        let parts = waiting.map(|p| (p.volunteer, p.samples)).chain(out.map(|(_, l)| (l.volunteer, l.samples())));
        for (volunteer, samples) in parts {
            *by_volunteer.entry(volunteer).or_default() += samples;
        }
        Self {
            shadow: shadow(turn, &quorum),
            tempo: turn.presence.tempo(turn.job.recipe.task_samples()),
            contributors: quorum.count(),
            samples: by_volunteer.values().sum(),
            by_volunteer,
        }
    }

    /// The next task of this volunteer, whose speed is such, where that is known; `None` where there is
    /// nothing for it in this round.
    pub(crate) fn work(&self, volunteer: &VolunteerKey, ladder: &Ladder, speed: Option<Speed>) -> Option<Work> {
        let Some(tempo) = self.tempo else {
            return (!self.by_volunteer.contains_key(volunteer)).then(|| ladder.whole());
        };
        let Some(own) = self.by_volunteer.get(volunteer) else {
            return Some(speed.map_or_else(|| ladder.first(), |speed| ladder.task(&speed, tempo)));
        };
        let speed = speed?;
        let (rung, whole) = (ladder.rung(&speed, tempo.target), speed.millis(ladder.whole().samples()));
        let work = ladder.within(rung, whole, self.shadow as f64 / MARGIN)?;
        let samples = work.samples();
        let is_its_part = (own + samples) as f64 <= work_cap(self.contributors) * (self.samples + samples) as f64;
        is_its_part.then_some(work)
    }

    /// A task was leased.
    pub(crate) fn take(&mut self, volunteer: VolunteerKey, samples: u64) {
        *self.by_volunteer.entry(volunteer).or_default() += samples;
        self.samples += samples;
    }
}

/// For how long somebody is awaited who has handed in nothing yet, as far as that can be known.
fn shadow(turn: &Turn<'_>, quorum: &Quorum) -> Millis {
    let Some(since) = began_to_end(turn) else { return 0 };
    let left = ends_at(turn, quorum, since).saturating_sub(turn.now);
    let version = turn.state.version();
    let missing = turn.state.leases().filter(|(_, leased)| {
        leased.trains() && leased.base_version == version && quorum.missing.contains(&leased.volunteer)
    });
    let awaited = missing.map(|(_, leased)| match turn.presence.expected_millis(&leased.volunteer, leased.samples()) {
        Some(millis) => leased.leased_at.saturating_add(millis).saturating_sub(turn.now),
        None => left,
    });
    awaited.max().unwrap_or(0).min(left)
}
