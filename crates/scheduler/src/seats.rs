//! Who may train where more volunteers are there than are of use: those who came first and do what they
//! were leased. The others wait, and step in when somebody leaves.
//!
//! Of use is a number of whole tasks to a version, so somebody whose tasks are small takes a small part
//! of it.

use std::collections::{BTreeMap, BTreeSet};

use potluck_protocol::{Millis, VolunteerKey};

use crate::SessionId;
use crate::decide::Turn;
use crate::forecast::useful_volunteers;
use crate::ladder::Ladder;

/// However small a job is, so many may train at once: four end a small job in a quarter of the time,
/// and updates of four still average what each of them learnt alone.
pub(crate) const SEATS_MIN: u64 = 4;

/// The volunteers who may train; `None` where all may.
pub(crate) struct Seats(Option<BTreeSet<VolunteerKey>>);

impl Seats {
    pub(crate) fn of(turn: &Turn<'_>, ladder: &Ladder) -> Self {
        let useful = useful_volunteers(&turn.job.recipe);
        if turn.presence.volunteers() as u64 <= useful.max(SEATS_MIN) {
            return Self(None);
        }
        let newcomer = match turn.presence.tempo(ladder.whole().samples()) {
            Some(_) => ladder.first(),
            None => ladder.whole(),
        };
        let (mut seated, mut shares) = (BTreeSet::new(), 0.0);
        for volunteer in queue(turn) {
            if seated.len() as u64 >= SEATS_MIN && shares >= useful as f64 {
                break;
            }
            let work = turn.presence.speed_of(&volunteer).map_or(newcomer, |speed| speed.work);
            // The owner may have made tasks smaller since.
            shares += ladder.share(work).min(1.0);
            seated.insert(volunteer);
        }
        Self(Some(seated))
    }

    pub(crate) fn has(&self, volunteer: &VolunteerKey) -> bool {
        self.0.as_ref().is_none_or(|seated| seated.contains(volunteer))
    }
}

/// Those who want to train or do, first come first.
fn queue(turn: &Turn<'_>) -> impl Iterator<Item = VolunteerKey> {
    let training = turn.state.leases().filter(|(_, leased)| leased.trains());
    let holding: BTreeSet<VolunteerKey> = training.map(|(_, leased)| leased.volunteer).collect();
    let mut came: BTreeMap<VolunteerKey, (Millis, SessionId)> = BTreeMap::new();
    for (id, session) in turn.presence.connected().filter(|(_, session)| !session.trusted) {
        if holding.contains(&session.volunteer) || session.is_active(turn.now) {
            let at = (session.queued_at, id);
            came.entry(session.volunteer).and_modify(|first| *first = at.min(*first)).or_insert(at);
        }
    }
    let mut order: Vec<_> = came.into_iter().map(|(volunteer, at)| (at, volunteer)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, volunteer)| volunteer)
}
