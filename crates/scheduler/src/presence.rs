//! Who is connected, who waits for work, and how fast they were: session state, outside the log and
//! lost on restart. Decisions read it; what they decided is noted here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use potluck_protocol::{
    Device, ErrorCode, Millis, Refusal, ServerMessage, Task, TaskId, Verdict, Version, VolunteerKey, limits,
};

use crate::crowd::GRACE_TASKS;
use crate::median::{lower_quartile, median};
use crate::{Effect, Fact, Input, SessionId};

/// Weight of a new measurement in a volunteer's pace.
const PACE_EMA: f64 = 0.2;

/// How long something is remembered of a volunteer who left, and of a task without a result: as long
/// as the longest expiry.
const KEPT_MILLIS: Millis = 2 * limits::LEASE_MILLIS_MAX;

/// One connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Whose.
    pub volunteer: VolunteerKey,
    /// True for the coordinator's own worker, and for others that the owner trusts.
    pub trusted: bool,
    /// What it computes on, once measured.
    pub device: Option<Device>,
    /// When it came.
    pub joined_at: Millis,
    /// When it asked for work that it did not get yet.
    pub(crate) asked_at: Option<Millis>,
    /// True where it was told to wait since it asked.
    pub(crate) told: bool,
    /// When it last asked or handed something in.
    active_at: Option<Millis>,
}

impl Session {
    /// True while it waits for work, and for a moment after each word from it: between a result and the
    /// next ask it is still at work.
    pub(crate) fn is_active(&self, now: Millis) -> bool {
        self.asked_at.is_some() || self.active_at.is_some_and(|at| now < at.saturating_add(limits::ORPHAN_MILLIS))
    }

    /// It was told that the job is finished. A volunteer leaves then; who is trusted stays, and has
    /// work again where the job goes on.
    fn note_the_end(&mut self) {
        if self.trusted {
            self.told = true;
        } else {
            self.asked_at = None;
        }
    }
}

/// A task that was sent to a session.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Running {
    session: SessionId,
    volunteer: VolunteerKey,
    leased_at: Millis,
    samples: u64,
    batch: u32,
}

/// How fast a volunteer was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Speed {
    /// Milliseconds a sample, the way to and fro included, as an exponential moving average.
    pub(crate) pace: f64,
    /// Samples a step of the last task that came back.
    pub(crate) batch: u32,
    /// True where that was the first.
    is_first: bool,
}

/// The paces of those who are there.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Here {
    /// Milliseconds a sample of the one in the middle; `None` where nobody's is known.
    usual: Option<f64>,
    /// Of the one at the lower quartile.
    quick: Option<f64>,
    /// What all together do.
    samples_per_milli: f64,
}

/// What was last broadcast of the job's progress.
type Announced = (Version, u64, u64, Option<f32>);

/// Everything that is known of connections.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Presence {
    /// When this process began; who has not come since is absent from then on.
    started_at: Millis,
    sessions: BTreeMap<SessionId, Session>,
    by_volunteer: BTreeMap<VolunteerKey, BTreeSet<SessionId>>,
    /// Volunteers whose last connection closed, and when.
    absent: BTreeMap<VolunteerKey, Millis>,
    running: BTreeMap<TaskId, Running>,
    speeds: BTreeMap<VolunteerKey, Speed>,
    /// Those of volunteers who are there, summed up when one changes: decisions ask often.
    here: Here,
    /// The version that a merge is making.
    merging: Option<Version>,
    /// Refusals that ended a lease, newest last.
    refusals: VecDeque<(TaskId, VolunteerKey, Refusal)>,
    announced: Option<Announced>,
    /// The shell has no room for what new work brings.
    is_full: bool,
}

/// What happens to it.
impl Presence {
    /// Takes in an input, before it is decided upon.
    pub fn apply(&mut self, input: &Input, now: Millis) {
        match input {
            Input::Started => self.started_at = now,
            Input::Joined { session, volunteer, trusted } => self.join(*session, *volunteer, *trusted, now),
            Input::Measured { session, device } => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.device = Some(device.clone());
                }
            }
            Input::Asked { session } => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.asked_at.get_or_insert(now);
                    session.told = false;
                    session.active_at = Some(now);
                }
            }
            Input::Left { session } => self.leave(*session, now),
            Input::Room { is_there } => self.is_full = !is_there,
            Input::Tick => self.forget(now),
            Input::Result { session, .. } => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.active_at = Some(now);
                }
            }
            Input::Released { .. } | Input::Bye { .. } | Input::Merged { .. } | Input::Control(_) => {}
        }
    }

    fn join(&mut self, id: SessionId, volunteer: VolunteerKey, trusted: bool, now: Millis) {
        self.leave(id, now);
        let (device, joined_at) = (None, now);
        let session = Session { volunteer, trusted, device, joined_at, asked_at: None, told: false, active_at: None };
        self.sessions.insert(id, session);
        self.by_volunteer.entry(volunteer).or_default().insert(id);
        self.absent.remove(&volunteer);
        self.sum_up();
    }

    fn leave(&mut self, id: SessionId, now: Millis) {
        let Some(Session { volunteer, .. }) = self.sessions.remove(&id) else { return };
        let Some(ids) = self.by_volunteer.get_mut(&volunteer) else { return };
        ids.remove(&id);
        if ids.is_empty() {
            self.by_volunteer.remove(&volunteer);
            self.absent.insert(volunteer, now);
            self.sum_up();
        }
    }

    fn forget(&mut self, now: Millis) {
        let is_old = |at: Millis| now > at.saturating_add(KEPT_MILLIS);
        self.running.retain(|_, running| !is_old(running.leased_at));
        let (absent, speeds) = (&mut self.absent, &mut self.speeds);
        absent.retain(|volunteer, at| {
            if is_old(*at) {
                speeds.remove(volunteer);
            }
            !is_old(*at)
        });
    }

    /// Takes in what was decided.
    pub fn note(&mut self, facts: &[Fact], effects: &[Effect], now: Millis) {
        for effect in effects {
            match effect {
                Effect::Send { session, message } => self.note_sent(*session, message, facts, now),
                Effect::Broadcast {
                    message: ServerMessage::Progress { version, samples, budget_samples, accuracy, .. },
                } => {
                    self.announced = Some((*version, *samples, *budget_samples, *accuracy));
                }
                Effect::Broadcast { message: ServerMessage::Finished } => {
                    self.sessions.values_mut().for_each(Session::note_the_end);
                }
                Effect::Broadcast { .. } => {}
                Effect::Merge { version, .. } => self.merging = Some(*version),
            }
        }
        for fact in facts {
            match fact {
                Fact::ResultAccepted { task, samples, .. } => self.measure(*task, Some(*samples), now),
                Fact::Evaluated { task, .. } | Fact::TaskLapsed { task, released: true, .. } => {
                    self.running.remove(task);
                }
                Fact::Committed { .. } => self.merging = None,
                _ => {}
            }
        }
    }

    fn note_sent(&mut self, id: SessionId, message: &ServerMessage, facts: &[Fact], now: Millis) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match message {
            ServerMessage::Lease(lease) => {
                session.asked_at = None;
                let Task { steps, batch, .. } = lease.task;
                let samples = u64::from(steps) * u64::from(batch);
                let running = Running { session: id, volunteer: session.volunteer, leased_at: now, samples, batch };
                self.running.insert(lease.task.id, running);
            }
            ServerMessage::Wait { .. } => session.told = true,
            ServerMessage::Finished => session.note_the_end(),
            ServerMessage::Verdict(Verdict { task, refusal: Some(refusal), .. }) => {
                let volunteer = session.volunteer;
                self.note_refusal(*task, volunteer, refusal, facts, now);
            }
            _ => {}
        }
    }

    fn note_refusal(&mut self, task: TaskId, from: VolunteerKey, refusal: &Refusal, facts: &[Fact], now: Millis) {
        // Who came after the expiry may be slow: the next deadline should know, though no round waits
        // for it.
        if refusal.code == ErrorCode::LeaseExpired {
            self.measure(task, None, now);
        }
        let ended = |f: &Fact| matches!(f, Fact::TaskLapsed { task: of, released: true, .. } if *of == task);
        if facts.iter().any(ended) {
            self.refusals.push_back((task, from, refusal.clone()));
            if self.refusals.len() > limits::REFUSALS_KEPT_MAX {
                self.refusals.pop_front();
            }
        }
    }

    fn sum_up(&mut self) {
        let samples_per_milli = self.paces_here().map(|pace| 1.0 / pace).sum();
        let (usual, quick) = (median(self.paces_here()), lower_quartile(self.paces_here()));
        self.here = Here { usual, quick, samples_per_milli };
    }

    /// A task came back after training on so many samples, or too late for anybody to know.
    fn measure(&mut self, task: TaskId, done: Option<u64>, now: Millis) {
        let Some(Running { volunteer, leased_at, samples, batch, .. }) = self.running.remove(&task) else { return };
        let took = now.saturating_sub(leased_at) as f64;
        let measured = took / done.unwrap_or(samples).max(1) as f64;
        let before = self.speeds.get(&volunteer);
        // The first task also fetches the program and a whole version, and makes a plan.
        let average = |before: &Speed| before.pace + PACE_EMA * (measured - before.pace);
        let pace = before.filter(|before| !before.is_first).map_or(measured, average);
        self.speeds.insert(volunteer, Speed { pace, batch, is_first: before.is_none() });
        self.sum_up();
    }
}

/// What people and shells ask.
impl Presence {
    /// Every connection, oldest id first.
    pub fn connected(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(&id, session)| (id, session))
    }

    /// Volunteers who are connected; trusted sessions do not count.
    pub fn volunteers(&self) -> usize {
        let counts = |id: &SessionId| self.sessions.get(id).is_some_and(|session| !session.trusted);
        self.by_volunteer.values().filter(|ids| ids.iter().any(counts)).count()
    }

    /// Training samples a second, from its tasks so far, the way to and fro included.
    pub fn speed(&self, volunteer: &VolunteerKey) -> Option<f32> {
        self.pace(volunteer).filter(|&pace| pace > 0.0).map(|pace| (1000.0 / pace) as f32)
    }
}

/// What decisions ask.
impl Presence {
    pub(crate) fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    pub(crate) fn is_present(&self, volunteer: &VolunteerKey) -> bool {
        self.by_volunteer.contains_key(volunteer)
    }

    /// True for a volunteer who is connected, and for a moment after the start for one who has not
    /// been seen since: whoever was at work when the coordinator went away is about to come back.
    pub(crate) fn is_expected(&self, volunteer: &VolunteerKey, now: Millis) -> bool {
        let is_coming_back = || {
            let until = self.started_at.saturating_add(limits::ORPHAN_MILLIS);
            now < until && !self.absent.contains_key(volunteer)
        };
        self.is_present(volunteer) || is_coming_back()
    }

    /// When the process started.
    pub(crate) fn started_at(&self) -> Millis {
        self.started_at
    }

    /// Connections of one volunteer.
    pub(crate) fn session_count(&self, volunteer: &VolunteerKey) -> usize {
        self.by_volunteer.get(volunteer).map_or(0, BTreeSet::len)
    }

    /// Since when nothing is connected for this volunteer; `None` where something is.
    pub(crate) fn absent_since(&self, volunteer: &VolunteerKey) -> Option<Millis> {
        let since = || self.absent.get(volunteer).copied().unwrap_or(self.started_at);
        (!self.is_present(volunteer)).then(since)
    }

    /// The connection that a task was sent to, where it is still open.
    pub(crate) fn holder(&self, task: TaskId) -> Option<SessionId> {
        self.running.get(&task).map(|running| running.session).filter(|id| self.sessions.contains_key(id))
    }

    /// Those who asked and got nothing yet, in the order of asking.
    pub(crate) fn waiting(&self) -> Vec<(SessionId, &Session)> {
        let mut waiting: Vec<(SessionId, &Session)> = self.connected().filter(|(_, s)| s.asked_at.is_some()).collect();
        waiting.sort_by_key(|(id, session)| (session.asked_at, *id));
        waiting
    }

    /// How many of them there are.
    pub(crate) fn waiting_count(&self) -> usize {
        self.sessions.values().filter(|session| session.asked_at.is_some()).count()
    }

    /// How fast this volunteer was; `None` for a newcomer.
    pub(crate) fn speed_of(&self, volunteer: &VolunteerKey) -> Option<Speed> {
        self.speeds.get(volunteer).copied()
    }

    fn pace(&self, volunteer: &VolunteerKey) -> Option<f64> {
        self.speed_of(volunteer).map(|speed| speed.pace)
    }

    /// Milliseconds that this volunteer takes for so many samples, where that is known.
    pub(crate) fn expected_millis(&self, volunteer: &VolunteerKey, samples: u64) -> Option<Millis> {
        self.pace(volunteer).map(|pace| (pace * samples as f64) as Millis)
    }

    /// What the one in the middle of those who are there takes for a task of so many samples, at least
    /// a millisecond; `None` where nobody's pace is known.
    pub(crate) fn usual_millis(&self, samples: u64) -> Option<Millis> {
        self.here.usual.map(|pace| ((pace * samples as f64) as Millis).max(1))
    }

    /// What a task should take where a whole one has so many samples: what it takes the one at the lower
    /// quartile, so that the fast, who do most of the work, need not wait; but a round waits for a moment
    /// anyway. `None` where nobody's pace is known.
    pub(crate) fn target_millis(&self, samples: u64) -> Option<f64> {
        self.here.quick.map(|pace| (pace * samples as f64).max((limits::ROUND_GRACE_MILLIS_MIN / 4) as f64))
    }

    /// Milliseconds a sample of those who are there and whose pace is known.
    fn paces_here(&self) -> impl Iterator<Item = f64> {
        self.by_volunteer.keys().filter_map(|volunteer| self.pace(volunteer)).filter(|&pace| pace > 0.0)
    }

    /// What all who are there do in a millisecond.
    pub(crate) fn samples_per_milli(&self) -> f64 {
        self.here.samples_per_milli
    }

    /// What each of those who are there takes for a task of so many samples.
    pub(crate) fn task_millis(&self, samples: u64) -> Vec<f64> {
        self.paces_here().map(|pace| pace * samples as f64).collect()
    }

    /// How long a round of tasks of so many samples waits for others after its first result.
    pub(crate) fn grace(&self, samples: u64) -> Millis {
        let usual = self.usual_millis(samples).unwrap_or(0) as f64;
        ((GRACE_TASKS * usual) as Millis).clamp(limits::ROUND_GRACE_MILLIS_MIN, limits::ROUND_GRACE_MILLIS_MAX)
    }

    /// The version that an outstanding merge makes.
    pub(crate) fn merging(&self) -> Option<Version> {
        self.merging
    }

    /// Why the result of this task was refused, where that ended its lease.
    pub(crate) fn refusal(&self, task: TaskId, volunteer: &VolunteerKey) -> Option<&Refusal> {
        let same = |(of, from, _): &&(TaskId, VolunteerKey, Refusal)| *of == task && from == volunteer;
        self.refusals.iter().rev().find(same).map(|(_, _, refusal)| refusal)
    }

    /// True while nothing may be leased to train on, since there is no room for what it brings.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    pub(crate) fn announced(&self) -> Option<Announced> {
        self.announced
    }
}
