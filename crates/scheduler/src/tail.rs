//! The tail of a job: all that is left is out, and somebody idle could be done before whoever has it.
//!
//! Such a lease is given out once more, to one who is twice as fast as what is left of it, and only
//! once at a time: the blocks are then with the copy.

use std::collections::BTreeSet;

use potluck_protocol::{Millis, TaskId, VolunteerKey};

use crate::decide::Turn;
use crate::{BlockRef, Leased};

/// Whoever takes this many times what it usually does may never be done.
const OVERDUE: f64 = 1.5;

/// How much sooner a copy has to be done, as a factor.
const GAIN: u64 = 2;

/// A lease that is out, and how long it will be.
pub(crate) struct Late<'a> {
    left: Millis,
    task: TaskId,
    leased: &'a Leased,
}

/// The leases that can be given out once more, the latest last.
pub(crate) fn late<'a>(turn: &Turn<'a>) -> Vec<Late<'a>> {
    let state = turn.state;
    let out = state.leases().filter(|(task, leased)| leased.trains() && state.blocks().are_with(*task, &leased.blocks));
    let mut late: Vec<Late<'a>> = out.map(|(task, leased)| Late { left: left(turn, leased), task, leased }).collect();
    late.sort_by_key(|late| (late.left, late.task));
    late
}

/// How long it is until this is handed in: as long as may be where it should have been already.
fn left(turn: &Turn<'_>, leased: &Leased) -> Millis {
    let since = turn.now.saturating_sub(leased.leased_at);
    match turn.presence.longest_millis(&leased.volunteer, leased.samples()) {
        Some(usual) if since as f64 > OVERDUE * usual as f64 => Millis::MAX,
        Some(usual) => usual.saturating_sub(since),
        None => leased.deadline_at.saturating_sub(turn.now),
    }
}

/// The latest of them, where this volunteer would be done well before.
pub(crate) fn take<'a>(turn: &Turn<'a>, late: &mut Vec<Late<'a>>, volunteer: &VolunteerKey) -> Option<&'a Leased> {
    let own: BTreeSet<BlockRef> =
        turn.state.all_leases().of(volunteer).flat_map(|(_, leased)| leased.blocks.iter().copied()).collect();
    let is_new = |late: &Late<'_>| {
        late.leased.volunteer != *volunteer && !late.leased.blocks.iter().any(|block| own.contains(block))
    };
    let at = late.iter().rposition(is_new)?;
    let takes = turn.presence.expected_millis(volunteer, late[at].leased.samples())?;
    if takes.saturating_mul(GAIN) >= late[at].left {
        return None;
    }
    Some(late.remove(at).leased)
}
