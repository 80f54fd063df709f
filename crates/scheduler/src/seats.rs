//! Who may train where more volunteers are there than are of use: those who came first. The others wait,
//! and step in when somebody leaves.

use std::collections::{BTreeMap, BTreeSet};

use potluck_protocol::{Millis, Recipe, VolunteerKey};

use crate::SessionId;
use crate::decide::Turn;
use crate::forecast::useful_volunteers;

/// However small a job is, so many may train at once: four end a small job in a quarter of the time,
/// and updates of four still average what each of them learnt alone.
const SEATS_MIN: u64 = 4;

/// The volunteers who may train; `None` where all may.
pub(crate) struct Seats(Option<BTreeSet<VolunteerKey>>);

impl Seats {
    pub(crate) fn of(turn: &Turn<'_>) -> Self {
        let count = count(&turn.job.recipe);
        if turn.presence.volunteers() <= count {
            return Self(None);
        }
        let training = turn.state.leases().filter(|(_, leased)| leased.trains());
        let holding: BTreeSet<VolunteerKey> = training.map(|(_, leased)| leased.volunteer).collect();
        let mut came: BTreeMap<VolunteerKey, (Millis, SessionId)> = BTreeMap::new();
        for (id, session) in turn.presence.connected().filter(|(_, session)| !session.trusted) {
            if holding.contains(&session.volunteer) || session.is_active(turn.now) {
                let at = (session.joined_at, id);
                came.entry(session.volunteer).and_modify(|first| *first = at.min(*first)).or_insert(at);
            }
        }
        let mut order: Vec<_> = came.into_iter().map(|(volunteer, at)| (at, volunteer)).collect();
        order.sort_unstable();
        Self(Some(order.into_iter().take(count).map(|(_, volunteer)| volunteer).collect()))
    }

    pub(crate) fn has(&self, volunteer: &VolunteerKey) -> bool {
        self.0.as_ref().is_none_or(|seated| seated.contains(volunteer))
    }
}

fn count(recipe: &Recipe) -> usize {
    usize::try_from(useful_volunteers(recipe).max(SEATS_MIN)).unwrap_or(usize::MAX)
}
