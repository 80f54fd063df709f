//! Who is connected, who waits for work, and how fast they were: session state, outside the log and
//! lost on restart. Decisions read it; what they decided is noted here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use potluck_protocol::{
    Device, ErrorCode, Millis, Refusal, ServerMessage, Task, TaskId, Verdict, Version, VolunteerKey, WaitReason, limits,
};

use crate::crowd::GRACE_TASKS;
use crate::ladder::Work;
use crate::speed::{AtWork, Measured, Speed, Tempo};
use crate::{Effect, Fact, Input, SessionId};

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
    /// Since when it is in the queue for a seat: since it came, or since its volunteer last left a task
    /// undone.
    pub(crate) queued_at: Millis,
    /// When it asked for work that it did not get yet.
    pub(crate) asked_at: Option<Millis>,
    /// True where it was told to wait since it asked.
    pub(crate) told: bool,
    /// True where what it was told is that there are enough.
    is_spare: bool,
    /// When it last asked, or handed in something that counts.
    active_at: Option<Millis>,
}

impl Session {
    /// True while it waits for work, and for a moment after each word from it: between a result and the
    /// next ask it is still at work.
    pub(crate) fn is_active(&self, now: Millis) -> bool {
        self.asked_at.is_some() || self.active_at.is_some_and(|at| now < at.saturating_add(limits::ORPHAN_MILLIS))
    }

    /// True while it takes part: it waits for work, but not for a seat.
    fn is_at_work(&self, now: Millis) -> bool {
        !self.is_spare && self.is_active(now)
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
    work: Work,
    version: Version,
    /// Its result may still come, but nobody counts on it.
    has_lapsed: bool,
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
    /// Those of volunteers who are at work, summed up when one changes, and at each tick: decisions ask
    /// often.
    at_work: AtWork,
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
                let Some(session) = self.sessions.get_mut(session) else { return };
                let was_at_work = session.is_at_work(now);
                session.asked_at.get_or_insert(now);
                session.told = false;
                session.active_at = Some(now);
                if !was_at_work && session.is_at_work(now) && self.speeds.contains_key(&session.volunteer) {
                    self.sum_up(now);
                }
            }
            Input::Left { session } => self.leave(*session, now),
            Input::Room { is_there } => self.is_full = !is_there,
            Input::Tick => {
                self.forget(now);
                self.sum_up(now);
            }
            Input::Result { .. }
            | Input::Released { .. }
            | Input::Bye { .. }
            | Input::Merged { .. }
            | Input::Control(_) => {}
        }
    }

    fn join(&mut self, id: SessionId, volunteer: VolunteerKey, trusted: bool, now: Millis) {
        self.leave(id, now);
        let session = Session {
            volunteer,
            trusted,
            device: None,
            joined_at: now,
            queued_at: now,
            asked_at: None,
            told: false,
            is_spare: false,
            active_at: None,
        };
        self.sessions.insert(id, session);
        self.by_volunteer.entry(volunteer).or_default().insert(id);
        self.absent.remove(&volunteer);
        if self.speeds.contains_key(&volunteer) {
            self.sum_up(now);
        }
    }

    fn leave(&mut self, id: SessionId, now: Millis) {
        let Some(Session { volunteer, .. }) = self.sessions.remove(&id) else { return };
        let Some(ids) = self.by_volunteer.get_mut(&volunteer) else { return };
        ids.remove(&id);
        if ids.is_empty() {
            self.by_volunteer.remove(&volunteer);
            self.absent.insert(volunteer, now);
        }
        self.sum_up(now);
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
                Fact::TaskLapsed { task, released: false, .. } => self.note_lapse(*task, now),
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
                session.is_spare = false;
                let Task { steps, batch, base_version: version, .. } = lease.task;
                let (volunteer, work) = (session.volunteer, Work { steps, batch });
                let running = Running { session: id, volunteer, leased_at: now, work, version, has_lapsed: false };
                self.running.insert(lease.task.id, running);
            }
            ServerMessage::Wait { reason, .. } => {
                session.told = true;
                session.is_spare = *reason == WaitReason::Enough;
            }
            ServerMessage::Finished => session.note_the_end(),
            ServerMessage::Verdict(Verdict { task, refusal: Some(refusal), .. }) => {
                let volunteer = session.volunteer;
                self.note_refusal(*task, volunteer, refusal, facts, now);
            }
            ServerMessage::Verdict(Verdict { task, .. }) => {
                // The same result once more is no sign of work.
                let is_news = |fact: &Fact| matches!(fact, Fact::ResultAccepted { task: of, .. } if of == task);
                if facts.iter().any(is_news) {
                    session.active_at = Some(now);
                }
            }
            _ => {}
        }
    }

    /// A task was left undone. Whoever only asks would else keep a seat from those who work.
    fn note_lapse(&mut self, task: TaskId, now: Millis) {
        let Some(running) = self.running.get_mut(&task) else { return };
        running.has_lapsed = true;
        let volunteer = running.volunteer;
        self.queue_again(volunteer, now);
    }

    /// The volunteer is the last of those who want a seat.
    fn queue_again(&mut self, volunteer: VolunteerKey, now: Millis) {
        for id in self.by_volunteer.get(&volunteer).into_iter().flatten() {
            if let Some(session) = self.sessions.get_mut(id) {
                session.queued_at = now;
            }
        }
    }

    fn note_refusal(&mut self, task: TaskId, from: VolunteerKey, refusal: &Refusal, facts: &[Fact], now: Millis) {
        // Who came after the expiry may be slow: the next deadline should know, though no round waits
        // for it.
        if refusal.code == ErrorCode::LeaseExpired {
            self.measure(task, None, now);
        }
        self.queue_again(from, now);
        let ended = |f: &Fact| matches!(f, Fact::TaskLapsed { task: of, released: true, .. } if *of == task);
        if facts.iter().any(ended) {
            self.refusals.push_back((task, from, refusal.clone()));
            if self.refusals.len() > limits::REFUSALS_KEPT_MAX {
                self.refusals.pop_front();
            }
        }
    }

    /// Where nobody's speed is known of those who are at work, all who are there stand for them.
    fn sum_up(&mut self, now: Millis) {
        let holders = self.running.values().filter(|running| !running.has_lapsed).map(|running| running.volunteer);
        let holders: BTreeSet<VolunteerKey> = holders.collect();
        let works = |id: &SessionId| self.sessions.get(id).is_some_and(|session| session.is_at_work(now));
        let here = self.by_volunteer.iter().filter_map(|(of, ids)| Some((of, ids, *self.speeds.get(of)?)));
        let at_work = here.clone().filter(|(of, ids, _)| holders.contains(*of) || ids.iter().any(works));
        let at_work = AtWork::of(at_work.map(|(.., speed)| speed));
        self.at_work = if at_work.is_known() { at_work } else { AtWork::of(here.map(|(.., speed)| speed)) };
    }

    /// A task came back after training on so many samples, or too late for anybody to know.
    fn measure(&mut self, task: TaskId, done: Option<u64>, now: Millis) {
        let Some(Running { volunteer, leased_at, work, version, .. }) = self.running.remove(&task) else { return };
        let took = now.saturating_sub(leased_at) as f64;
        let task = Measured { took, done: done.unwrap_or(work.samples()), work, version };
        let before = self.speed_of(&volunteer);
        self.speeds.insert(volunteer, Speed::after(before, &task));
        self.sum_up(now);
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
        self.speed_of(volunteer).filter(|speed| speed.pace > 0.0).map(|speed| (1000.0 / speed.pace) as f32)
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

    /// Milliseconds that this volunteer takes for so many samples, where that is known.
    pub(crate) fn expected_millis(&self, volunteer: &VolunteerKey, samples: u64) -> Option<Millis> {
        self.speed_of(volunteer).map(|speed| speed.millis(samples) as Millis)
    }

    /// What it may well take: no less than its tasks do, though this one is smaller.
    pub(crate) fn longest_millis(&self, volunteer: &VolunteerKey, samples: u64) -> Option<Millis> {
        self.speed_of(volunteer).map(|speed| speed.millis(samples).max(speed.took) as Millis)
    }

    /// What the last task of the one in the middle takes, of those who are at work; 0 where nobody's
    /// speed is known.
    pub(crate) fn usual_millis(&self) -> Millis {
        self.at_work.usual().unwrap_or(0.0) as Millis
    }

    /// What tasks take those who are at work, and should take, where a whole one has so many samples;
    /// `None` where nobody's speed is known.
    pub(crate) fn tempo(&self, samples: u64) -> Option<Tempo> {
        self.at_work.tempo(samples)
    }

    /// What all who are at work do in a millisecond.
    pub(crate) fn samples_per_milli(&self) -> f64 {
        self.at_work.samples_per_milli
    }

    /// What those of them do who wait for work.
    pub(crate) fn waiting_samples_per_milli(&self) -> f64 {
        let waits = |session: &&Session| session.asked_at.is_some() && !session.is_spare;
        let speeds = self.sessions.values().filter(waits).filter_map(|session| self.speed_of(&session.volunteer));
        speeds.filter(|speed| speed.pace > 0.0).map(|speed| 1.0 / speed.pace).sum()
    }

    /// What each of those who are at work takes for a task of so many samples.
    pub(crate) fn task_millis(&self, samples: u64) -> Vec<f64> {
        self.at_work.task_millis(samples)
    }

    /// How long a round waits for others after its first result.
    pub(crate) fn grace(&self) -> Millis {
        let usual = self.at_work.usual().unwrap_or(0.0);
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
