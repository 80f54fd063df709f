//! Visitors and the coordinator's core in one virtual time.

mod script;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use anyhow::Result;
use potluck_graph::random::SplitMix64;
use potluck_protocol::{
    BlobId, Lease, Millis, OuterStep, ServerMessage, SignedStatement, Split, Statement, Task, TaskId, VolunteerKey,
};
use potluck_scheduler::{Contribution, Core, Effect, Fact, Input, SessionId};

use super::books::{Books, Seen};
use super::churn::{Arrivals, Draw};
use super::job::CrowdJob;
use super::visitor::{Report, Visitor, Work};
use super::workshop::Workshop;
use crate::queue::Queue;

pub(crate) use script::{Cue, Turn};

/// How often the shell lets time pass.
const TICK: Millis = 250;

/// How long an update that is done waits before it looks again whether the line is free.
const BUSY_LINE: Millis = 100;

/// A silent connection is closed after this.
const SILENCE: Millis = potluck_protocol::limits::SILENCE_MILLIS_MAX;

/// What a merge takes: a part's values at a gigabyte a second, and the writing of the version.
const MERGE_BYTES_PER_MILLI: u64 = 1_000_000;
const MERGE_MILLIS: Millis = 50;

/// What an evaluation takes the coordinator's own worker, which sits in session 0.
const EVALUATION_MILLIS: Millis = 500;
const WORKER: SessionId = SessionId(0);

/// A run.
pub(crate) struct WorldSize {
    pub(crate) job: CrowdJob,
    pub(crate) arrivals: Arrivals,
    /// What happens at which share of the job, in its order.
    pub(crate) script: Vec<Cue>,
    /// Virtual time at most; a job that finishes ends before.
    pub(crate) lasts: Millis,
    /// A run ends once an evaluation on `valid` is as good as this.
    pub(crate) target: Option<f32>,
    /// The chance that an update is lost on its way. Its lease is given back.
    pub(crate) loss_chance: f64,
    /// Of what is lost, and of what takes longer.
    pub(crate) seed: u64,
}

#[derive(Debug)]
enum Event {
    Tick,
    Arrive,
    Ask(u64, SessionId),
    Freeze(u64),
    /// The connection of a frozen visitor is given up.
    Silent(u64),
    Thaw(u64),
    Computed(u64, TaskId),
    Sent(u64, TaskId),
    Leave(u64),
    Merged(BlobId, Vec<Contribution>, OuterStep),
    Evaluated(Box<Task>),
    WorkerAsks,
    /// Is the next cue there?
    Look,
    /// What a turn began is complete.
    Turned(Turn),
    Resume,
}

pub(crate) struct World {
    job: CrowdJob,
    arrivals: Arrivals,
    script: VecDeque<Cue>,
    lasts: Millis,
    target: Option<f32>,
    loss_chance: f64,
    random: SplitMix64,
    core: Core,
    now: Millis,
    queue: Queue<Event>,
    visitors: BTreeMap<u64, Visitor>,
    by_session: BTreeMap<SessionId, u64>,
    came: u64,
    sessions: u64,
    books: Books,
    /// The first thing that went wrong in the workshop.
    fault: Option<anyhow::Error>,
}

impl World {
    pub(crate) fn new(size: WorldSize) -> Self {
        let WorldSize { job, arrivals, script, lasts, target, loss_chance, seed } = size;
        let mut core = Core::default();
        core.apply(&job.created);
        let mut world = Self {
            job,
            arrivals,
            script: script.into(),
            lasts,
            target,
            loss_chance,
            random: SplitMix64::new(seed),
            core,
            now: 0,
            queue: Queue::new(),
            visitors: BTreeMap::new(),
            by_session: BTreeMap::new(),
            came: 0,
            sessions: 0,
            books: Books::default(),
            fault: None,
        };
        world.step(&Input::Started);
        if world.job.workshop.is_some() {
            world.step(&Input::Joined { session: WORKER, volunteer: worker_key(), trusted: true });
            world.step(&Input::Asked { session: WORKER });
        }
        world.put(0, Event::Tick);
        world.put(0, Event::Look);
        world.await_next();
        world
    }

    /// Lets the time pass. Returns the books, the samples that were merged, and the newest version's
    /// parameters where there is a workshop.
    ///
    /// # Errors
    /// What goes wrong in the workshop: training that diverges.
    pub(crate) fn run(mut self) -> Result<(Books, u64, Option<Vec<f32>>)> {
        while let Some((at, event)) = self.queue.next().filter(|(at, _)| *at < self.lasts) {
            self.now = at;
            self.handle(event);
            if let Some(fault) = self.fault {
                return Err(fault);
            }
            let is_reached = self.target.is_some_and(|target| self.books.reached(target).is_some());
            if is_reached || self.books.finished.is_some() {
                self.lasts = at;
                break;
            }
        }
        self.now = self.lasts;
        self.books.lasted = self.lasts;
        for visitor in std::mem::take(&mut self.visitors).into_values() {
            self.book(&visitor);
        }
        let state = self.core.state();
        let weights = self.job.workshop.as_ref().zip(state.base()).map(|(workshop, base)| workshop.weights(base));
        Ok((self.books, state.samples(), weights.transpose()?))
    }

    fn await_next(&mut self) {
        if let Some(next) = self.arrivals.next(self.now) {
            self.queue.put(next, Event::Arrive);
        }
    }

    fn put(&mut self, delay: Millis, event: Event) {
        self.queue.put(self.now + delay, event);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick => {
                self.step(&Input::Tick);
                self.put(TICK, Event::Tick);
            }
            Event::Arrive => self.arrive(),
            Event::Ask(id, session) => {
                let free = |v: &&Visitor| v.session == Some(session) && v.work.is_none();
                if self.visitors.get(&id).filter(free).is_some() {
                    self.step(&Input::Asked { session });
                }
            }
            Event::Freeze(id) => self.freeze(id),
            Event::Silent(id) => self.disconnect(id),
            Event::Thaw(id) => self.thaw(id),
            Event::Computed(id, task) => self.computed(id, task),
            Event::Sent(id, task) => self.sent(id, task),
            Event::Leave(id) => self.leave(id),
            Event::Merged(made, parts, outer) => {
                let version = self.core.state().version().next();
                self.step(&Input::Merged { version, base: made, delta: made, parts, outer });
                // As a coordinator does, so that the updates before it need not be remembered.
                let at = self.now;
                self.core.apply(&Fact::Checkpointed { at, version, momentum: None, feedback: None });
            }
            Event::Evaluated(task) => self.evaluated(*task),
            Event::WorkerAsks => self.step(&Input::Asked { session: WORKER }),
            Event::Look => self.look(),
            Event::Turned(turn) => self.turned(turn),
            Event::Resume => self.resume(),
        }
    }

    fn step(&mut self, input: &Input) {
        let began = Instant::now();
        let (facts, effects) = self.core.step(self.now, input);
        self.books.core += began.elapsed();
        facts.iter().for_each(|fact| self.observe(fact));
        effects.into_iter().for_each(|effect| self.perform(effect));
    }

    fn observe(&mut self, fact: &Fact) {
        self.books.observe(fact);
        if let Fact::Evaluated { version, split: Split::Valid, evaluation, .. } = *fact {
            let made_at = self.core.state().record(version).map_or(self.now, |record| record.at);
            let samples = self.core.state().samples();
            self.books.evaluations.push(Seen { made_at, version, samples, loss: evaluation.loss });
        }
    }

    /// What a workshop answers; what goes wrong there ends the run.
    fn at_work<T>(&mut self, work: impl FnOnce(&mut Workshop) -> Result<T>) -> Option<T> {
        match work(self.job.workshop.as_mut()?) {
            Ok(answer) => Some(answer),
            Err(fault) => {
                self.fault.get_or_insert(fault);
                None
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { session, message } => self.receive(session, message),
            Effect::Broadcast { .. } => {}
            Effect::Merge { version, parts, outer } => {
                let millis = MERGE_MILLIS + parts.len() as u64 * 4 * self.job.parameters / MERGE_BYTES_PER_MILLI;
                let before = self.core.state().base();
                let made = self.at_work(|workshop| workshop.merge(before, &parts, outer));
                let base = made.unwrap_or_else(|| BlobId::of(format!("{version}").as_bytes()));
                let parts = parts.iter().map(|part| part.contribution).collect();
                self.put(millis, Event::Merged(base, parts, outer));
            }
            _ => {}
        }
    }

    fn receive(&mut self, session: SessionId, message: ServerMessage) {
        if session == WORKER {
            return self.assign(message);
        }
        let Some(&id) = self.by_session.get(&session) else { return };
        match message {
            ServerMessage::Lease(lease) => self.take(id, &lease),
            ServerMessage::Wait { retry_millis, .. } => self.put(retry_millis, Event::Ask(id, session)),
            ServerMessage::Verdict(verdict) => self.books.refused += u64::from(!verdict.accepted),
            _ => {}
        }
    }

    fn take(&mut self, id: u64, lease: &Lease) {
        let CrowdJob { parameters, flops_per_sample, .. } = self.job;
        let Some(visitor) = self.visitors.get_mut(&id) else { return };
        let (ends_at, bytes) = visitor.take(&lease.task, parameters, flops_per_sample, self.now, &mut self.random);
        if let Some(workshop) = &mut self.job.workshop {
            workshop.lease(&lease.task);
        }
        self.books.down_bytes += bytes;
        self.queue.put(ends_at, Event::Computed(id, lease.task.id));
    }

    /// The coordinator's own worker has something to evaluate, or asks again.
    fn assign(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Lease(lease) => self.put(EVALUATION_MILLIS, Event::Evaluated(Box::new(lease.task))),
            ServerMessage::Wait { retry_millis, .. } => self.put(retry_millis, Event::WorkerAsks),
            _ => {}
        }
    }

    fn evaluated(&mut self, task: Task) {
        let id = task.id;
        let evaluation = self.at_work(|workshop| workshop.evaluate(task));
        let statement = Statement {
            job: self.job.name.clone(),
            task: id,
            volunteer: worker_key(),
            steps: 0,
            update: None,
            train_loss: None,
            evaluation,
            compute_millis: EVALUATION_MILLIS,
        };
        let signed = SignedStatement { statement: String::new(), signature: String::new() };
        self.step(&Input::Result { session: WORKER, statement, signed, update: None });
        self.step(&Input::Asked { session: WORKER });
    }

    fn arrive(&mut self) {
        let Some(draw) = self.arrivals.visitor() else { return };
        self.await_next();
        self.enter(draw);
    }

    fn enter(&mut self, draw: Draw) {
        self.came += 1;
        let id = self.came;
        self.visitors.insert(id, Visitor::new(id, draw, self.now));
        self.put(draw.stays, Event::Leave(id));
        if let Some((after, _)) = draw.freezes {
            self.put(after, Event::Freeze(id));
        }
        self.connect(id);
    }

    fn connect(&mut self, id: u64) {
        let Some(visitor) = self.visitors.get_mut(&id) else { return };
        self.sessions += 1;
        let (session, volunteer) = (SessionId(self.sessions), visitor.key);
        visitor.session = Some(session);
        self.by_session.insert(session, id);
        let is_sending = visitor.sending.is_some();
        self.step(&Input::Joined { session, volunteer, trusted: false });
        // On a new connection the result comes before the ask.
        if !is_sending {
            self.put(1, Event::Ask(id, session));
        }
    }

    fn disconnect(&mut self, id: u64) {
        let session = self.visitors.get_mut(&id).and_then(|visitor| visitor.session.take());
        if let Some(session) = session {
            self.by_session.remove(&session);
            self.step(&Input::Left { session });
        }
    }

    /// A laptop is closed: nothing goes on until it is opened again, and the connection dies.
    fn freeze(&mut self, id: u64) {
        let Some(visitor) = self.visitors.get_mut(&id) else { return };
        let span = visitor.draw.freezes.map_or(0, |(_, span)| span);
        visitor.frozen_until = self.now + span;
        visitor.leaves_at += span;
        for work in visitor.work.iter_mut().chain(visitor.sending.as_mut().map(|(work, _)| work)) {
            if work.begins_at > self.now {
                work.begins_at += span;
            }
            work.ends_at += span;
        }
        self.put(SILENCE.min(span), Event::Silent(id));
        self.put(span, Event::Thaw(id));
    }

    fn thaw(&mut self, id: u64) {
        if self.visitors.get(&id).is_some_and(|visitor| visitor.session.is_none()) {
            self.connect(id);
        }
    }

    /// The last step is done: the update goes out.
    fn computed(&mut self, id: u64, task: TaskId) {
        let Some(visitor) = self.visitors.get_mut(&id) else { return };
        let Some(work) = visitor.work.as_ref().filter(|work| work.task == task) else { return };
        if work.ends_at > self.now {
            let again = work.ends_at;
            return self.queue.put(again, Event::Computed(id, task));
        }
        if visitor.sending.is_some() {
            // The line is busy with the one before.
            return self.put(BUSY_LINE, Event::Computed(id, task));
        }
        let steps = work.steps;
        self.send(id, steps);
    }

    fn send(&mut self, id: u64, steps: u32) {
        let parameters = self.job.parameters;
        let Some(visitor) = self.visitors.get_mut(&id) else { return };
        let Some(work) = visitor.work.take() else { return };
        let (millis, bytes) = visitor.upload(parameters);
        let task = work.task;
        let ended_at = self.now.min(work.ends_at);
        self.books.finished_samples += u64::from(steps) * work.samples_per_step;
        self.books.computing += ended_at.saturating_sub(work.begins_at);
        self.books.up_bytes += bytes;
        let asks = visitor.session.filter(|session| work.on == Some(*session) && self.now < visitor.leaves_at);
        visitor.sending = Some((work, steps));
        self.put(millis, Event::Sent(id, task));
        // The next task may come while this one is sent.
        if let Some(session) = asks {
            self.put(1, Event::Ask(id, session));
        }
    }

    fn sent(&mut self, id: u64, task: TaskId) {
        let parameters = self.job.parameters;
        let Some(visitor) = self.visitors.get_mut(&id) else { return };
        if visitor.frozen_until > self.now {
            let again = visitor.frozen_until + 1;
            return self.queue.put(again, Event::Sent(id, task));
        }
        let Some((work, steps)) = visitor.sending.take_if(|(work, _)| work.task == task) else { return };
        let Report { mut statement, signed, mut update } =
            visitor.statement(self.job.name.clone(), &work, steps, parameters);
        let Some(session) = visitor.session else { return };
        let is_leaving = self.now >= visitor.leaves_at;
        if let Some(made) = self.at_work(|workshop| workshop.train(task, steps)) {
            (statement.update, update) = (Some(made.id), made);
        }
        if f64::from(self.random.unit()) < self.loss_chance {
            self.step(&Input::Released { session, tasks: vec![task] });
            return if is_leaving { self.goodbye(id, session) } else { self.put(1, Event::Ask(id, session)) };
        }
        self.step(&Input::Result { session, statement, signed, update: Some(update) });
        if is_leaving {
            self.goodbye(id, session);
        } else {
            self.put(1, Event::Ask(id, session));
        }
    }

    /// The visit ends. Who presses stop hands in what is worth it and says goodbye; the others are
    /// gone in the middle of a step.
    fn leave(&mut self, id: u64) {
        let Some(visitor) = self.visitors.get_mut(&id) else { return };
        if visitor.leaves_at > self.now {
            let later = visitor.leaves_at;
            return self.queue.put(later, Event::Leave(id));
        }
        let steps = visitor.work.as_ref().map(|work| work.steps_at(self.now));
        let stays_to_send = visitor.draw.says_stop && visitor.session.is_some();
        match (steps, visitor.session) {
            (Some(_), Some(session)) if stays_to_send && visitor.sending.is_some() => self.put_down(id, session),
            (Some(steps), Some(_)) if stays_to_send && Visitor::is_worth_sending(steps) => self.send(id, steps),
            (None, Some(_)) if stays_to_send && visitor.sending.is_some() => {}
            (_, Some(session)) if stays_to_send => self.goodbye(id, session),
            _ => self.vanish(id),
        }
    }

    /// Who stops while an update is sent gives back what it has begun, and goes once that is there.
    fn put_down(&mut self, id: u64, session: SessionId) {
        let Some(work) = self.visitors.get_mut(&id).and_then(|visitor| visitor.work.take()) else { return };
        self.lose(Some(&work), None);
        self.step(&Input::Released { session, tasks: vec![work.task] });
    }

    fn goodbye(&mut self, id: u64, session: SessionId) {
        self.step(&Input::Bye { session });
        self.vanish(id);
    }

    fn vanish(&mut self, id: u64) {
        self.disconnect(id);
        if let Some(visitor) = self.visitors.remove(&id) {
            self.book(&visitor);
        }
    }

    /// Enters a visit that is over.
    fn book(&mut self, visitor: &Visitor) {
        let Visitor { draw, came_at, work, sending, .. } = visitor;
        self.lose(work.as_ref(), sending.as_ref().map(|(work, _)| work));
        self.books.was_there(self.now.saturating_sub(*came_at), draw.speed);
    }

    /// What a closed tab was at, and what it had not sent yet.
    fn lose(&mut self, work: Option<&Work>, sending: Option<&Work>) {
        if let Some(workshop) = &mut self.job.workshop {
            work.into_iter().chain(sending).for_each(|work| workshop.forget(work.task));
        }
        if let Some(work) = work {
            self.books.lost_samples += u64::from(work.steps_at(self.now)) * work.samples_per_step;
            self.books.computing += self.now.saturating_sub(work.begins_at);
        }
    }
}

/// Who evaluates.
fn worker_key() -> VolunteerKey {
    VolunteerKey([0xFF; 32])
}

#[cfg(test)]
mod tests;
