//! Leases: what is accepted, what is gathered, what runs. One thing at a time.
//!
//! It must not know how a task is computed, nor how its result is handed in.

use std::{collections::BTreeMap, sync::Arc};

use potluck_graph::Program;
use potluck_protocol::{BlobId, ClientMessage, DeltaStep, Device, Lease, Task, TaskId, TaskKind, Welcome, limits};

use super::{Action, Held, Link, Purpose, Session, Wish, Work, backoff::TRANSFER, chain::Chain, fetcher::Arrival};
use crate::{
    cache::Blob,
    report::{LocalCode, VolunteerEvent, WorkKind},
    work::{Challenge, Outcome, Run},
};

impl Session {
    /// Whether a lease that comes now would be worked at.
    pub(super) fn wants_leases(&self) -> bool {
        self.wish == Wish::Help
    }

    /// Whether this lease is held already: a coordinator may say it again on a new connection.
    pub(super) fn holds(&self, task: TaskId) -> bool {
        let at_work = match &self.work {
            Work::Gathering(held) | Work::Running(held) => held.lease.task.id == task,
            _ => false,
        };
        at_work || self.queue.iter().any(|held| held.lease.task.id == task) || self.hands_in(task)
    }

    /// Whether a lease is within the limits; says so where it is not.
    pub(super) fn accepts(&mut self, held: &Held) -> bool {
        match problem(&held.lease.task) {
            None => true,
            Some(detail) => {
                let task = held.lease.task.id;
                self.report(VolunteerEvent::refused_by_us(LocalCode::OverLimit, detail, Some(task)));
                self.rest_before_asking();
                false
            }
        }
    }

    /// Gives leases back, so that nobody has to wait for their deadline.
    pub(super) fn release(&mut self, tasks: impl IntoIterator<Item = TaskId>) {
        let tasks: Vec<TaskId> = tasks.into_iter().collect();
        let Some((link, _)) = self.joined() else { return };
        if !tasks.is_empty() {
            self.send(link, &ClientMessage::Release { tasks });
        }
    }

    /// Ends or gives back everything that is not worth finishing.
    pub(super) fn put_down_work(&mut self) {
        let mut undone: Vec<TaskId> = self.queue.drain(..).map(|held| held.lease.task.id).collect();
        match &self.work {
            Work::Running(_) | Work::Challenging => self.actions.push(Action::Halt),
            Work::Gathering(held) => {
                undone.insert(0, held.lease.task.id);
                self.work = Work::None;
            }
            Work::ChallengeGathering => self.work = Work::None,
            Work::None => {}
        }
        self.fetcher.abandon();
        self.release(undone);
    }

    pub(super) fn advance_work(&mut self) {
        if matches!(self.work, Work::None) {
            self.begin_something();
        }
        if matches!(self.work, Work::ChallengeGathering | Work::Gathering(_)) {
            self.fetch_due();
            if self.fetcher.is_complete() && self.followed_chain() {
                self.gathered();
            }
        }
    }

    fn begin_something(&mut self) {
        let Some((_, welcome)) = self.joined() else { return };
        if self.device.is_none() {
            let (wanted, base, deltas) = (challenge_blobs(welcome), welcome.base, welcome.deltas.clone());
            self.work = Work::ChallengeGathering;
            self.gather(wanted, base, &deltas);
            return self.show(VolunteerEvent::Downloading { bytes: 0, total: None });
        }
        while let Some(held) = self.queue.pop_front() {
            if self.now.saturating_sub(held.at) < held.lease.expiry_millis {
                let Lease { task, deltas, .. } = &held.lease;
                self.gather(task_blobs(task), task.base, deltas);
                self.work = Work::Gathering(Box::new(held));
                return;
            }
        }
        if self.may_ask() {
            self.ask();
        }
    }

    /// Starts gathering these blobs and the parameters `base`, by deltas where that is fewer bytes.
    fn gather(&mut self, wanted: impl IntoIterator<Item = (BlobId, usize)>, base: BlobId, deltas: &[DeltaStep]) {
        let parameters = welcome_parameters(&self.link);
        self.chain = Chain::new(base, deltas, parameters, |id| self.fetcher.holds(id));
        self.fetcher.begin(wanted);
        match &self.chain {
            Some(chain) => chain.blobs().for_each(|(id, bytes_max)| self.fetcher.want(id, bytes_max)),
            None => self.fetcher.want(base, (parameters * 4) as usize),
        }
    }

    /// Makes the parameters of what was gathered; false where they have to be fetched whole instead.
    fn followed_chain(&mut self) -> bool {
        let Some(chain) = self.chain.take() else { return true };
        let fetcher = &mut self.fetcher;
        match chain.follow(|id| fetcher.get(id)) {
            Some(bytes) => {
                fetcher.made(chain.to(), bytes);
                true
            }
            None => {
                self.fetch_whole(&chain);
                false
            }
        }
    }

    /// The deltas lead nowhere.
    fn fetch_whole(&mut self, chain: &Chain) {
        chain.blobs().for_each(|(id, _)| self.fetcher.forgo(id));
        self.fetcher.want(chain.to(), chain.bytes());
        self.fetch_due();
    }

    fn fetch_due(&mut self) {
        let due = self.fetcher.due();
        self.actions.extend(due.into_iter().map(|(id, bytes_max, have)| Action::Fetch { id, bytes_max, have }));
    }

    pub(super) fn fetching(&mut self, id: BlobId, bytes: u64, total: Option<u64>) {
        if self.fetcher.progressed(id, bytes, total) && self.is_gathering() {
            let (bytes, total) = self.fetcher.progress();
            self.show_progress(VolunteerEvent::Downloading { bytes, total }, false);
        }
    }

    fn is_gathering(&self) -> bool {
        matches!(self.work, Work::ChallengeGathering | Work::Gathering(_))
    }

    pub(super) fn blob_arrived(&mut self, id: BlobId, arrival: Arrival, code: LocalCode, detail: &str) {
        match arrival {
            Arrival::Good | Arrival::Unasked => {}
            Arrival::Again { failures } => {
                let millis = self.span(TRANSFER, failures);
                self.sleep(millis, Purpose::Fetch(id));
            }
            Arrival::GivenUp => match self.chain.take_if(|chain| chain.blobs().any(|(of, _)| of == id)) {
                Some(chain) => self.fetch_whole(&chain),
                None => self.gave_up(code, &format!("blob {id}: {detail}")),
            },
        }
    }

    /// The gathering cannot be completed.
    fn gave_up(&mut self, code: LocalCode, detail: &str) {
        self.fetcher.abandon();
        let task = match std::mem::replace(&mut self.work, Work::None) {
            Work::Gathering(held) => Some(held.lease.task.id),
            _ => None,
        };
        self.report(VolunteerEvent::refused_by_us(code, detail, task));
        match task {
            Some(task) => {
                self.release([task]);
                self.rest_before_asking();
            }
            // Without a challenge there is nothing to do here; perhaps the coordinator was moved
            // or restarted with other blobs, which a new welcome would tell.
            None => self.drop_link(),
        }
    }

    fn gathered(&mut self) {
        match std::mem::replace(&mut self.work, Work::None) {
            Work::ChallengeGathering => self.challenge(),
            Work::Gathering(held) => self.run(held),
            other => self.work = other,
        }
    }

    fn challenge(&mut self) {
        // The link may have been lost while the last blob came; the next welcome begins anew.
        let Some((_, welcome)) = self.joined() else { return };
        let welcome = welcome.clone();
        let checked = self.checked_program(welcome.program, welcome.base);
        let program = match checked {
            Ok(program) => program,
            Err(detail) => return self.end(VolunteerEvent::Unsupported { reason: detail }),
        };
        if program.facts() != welcome.job.program {
            let reason = "the program is not what the job's card says".to_owned();
            return self.end(VolunteerEvent::Unsupported { reason });
        }
        let (Some(base), Some(block)) = (self.fetcher.get(welcome.base), self.fetcher.get(welcome.challenge_block))
        else {
            return;
        };
        self.fetcher.abandon();
        self.keep(welcome.base, &base);
        self.work = Work::Challenging;
        self.show(VolunteerEvent::CheckingDevice);
        let recipe = welcome.recipe;
        self.actions.push(Action::Challenge(Box::new(Challenge { program, recipe, base, block })));
    }

    fn run(&mut self, held: Box<Held>) {
        let task = held.lease.task.clone();
        let program = match self.checked_program(task.program, task.base) {
            Ok(program) => program,
            Err(detail) => {
                self.work = Work::Gathering(held);
                return self.gave_up(LocalCode::ProgramInvalid, &detail);
            }
        };
        let blocks: Option<Vec<_>> = task.blocks.iter().map(|id| self.fetcher.get(*id)).collect();
        let (Some(base), Some(blocks)) = (self.fetcher.get(task.base), blocks) else { return };
        self.fetcher.abandon();
        self.keep(task.base, &base);
        let (kind, steps) = (work_kind(task.kind), task.steps);
        self.show(VolunteerEvent::Helping { task: task.id, kind, step: 0, steps, loss: None });
        self.work = Work::Running(held);
        self.actions.push(Action::Run(Box::new(Run { task, program, base, blocks })));
    }

    /// Has a version kept for the next visit.
    fn keep(&mut self, id: BlobId, version: &Blob) {
        if version.len() <= limits::KEPT_VERSION_BYTES_MAX && self.kept.replace(id) != Some(id) {
            self.actions.push(Action::Keep { version: Arc::clone(version) });
        }
    }

    /// The gathered program, parsed once, and a look at whether the parameters are as many as its.
    fn checked_program(&mut self, id: BlobId, base: BlobId) -> Result<Arc<Program>, String> {
        let program = match &self.program {
            Some((known, program)) if *known == id => Arc::clone(program),
            _ => {
                let bytes = self.fetcher.get(id).ok_or("the program is missing")?;
                Arc::new(Program::parse(&bytes).map_err(|e| e.to_string())?)
            }
        };
        self.program = Some((id, Arc::clone(&program)));
        let expected = program.parameter_count() * 4;
        match self.fetcher.get(base) {
            Some(base) if base.len() == expected => Ok(program),
            Some(base) => Err(format!("the parameters are {} bytes, the program has {expected}", base.len())),
            None => Err("the parameters are missing".to_owned()),
        }
    }

    pub(super) fn measured(&mut self, device: Device, fallback: Option<String>) {
        if !matches!(self.work, Work::Challenging) {
            return;
        }
        self.work = Work::None;
        if let Some((id, _)) = &self.program {
            self.device = Some((*id, device.clone()));
        }
        if let Some(reason) = fallback {
            self.report(VolunteerEvent::Fallback { reason });
        }
        self.report(VolunteerEvent::Device { device: device.clone() });
        if let Some((link, _)) = self.joined() {
            self.send(link, &ClientMessage::Device(device));
        }
        self.show_idle();
    }

    pub(super) fn measure_stopped(&mut self) {
        if matches!(self.work, Work::Challenging) {
            self.work = Work::None;
        }
    }

    pub(super) fn measure_failed(&mut self, reason: String) {
        if matches!(self.work, Work::Challenging) {
            self.work = Work::None;
            self.end(VolunteerEvent::Unsupported { reason });
        }
    }

    pub(super) fn device_changed(&mut self, device: Device, reason: String) {
        self.report(VolunteerEvent::Fallback { reason });
        self.report(VolunteerEvent::Device { device: device.clone() });
        let Some((_, known)) = &mut self.device else { return };
        *known = device.clone();
        if let Some((link, _)) = self.joined() {
            self.send(link, &ClientMessage::Device(device));
        }
    }

    pub(super) fn stepped(&mut self, task: TaskId, step: u32, steps: u32, loss: Option<f32>) {
        let Some(held) = self.running(task) else { return };
        let kind = work_kind(held.lease.task.kind);
        self.show_progress(VolunteerEvent::Helping { task, kind, step, steps, loss }, step == steps);
    }

    fn running(&self, task: TaskId) -> Option<&Held> {
        match &self.work {
            Work::Running(held) if held.lease.task.id == task => Some(held),
            _ => None,
        }
    }

    /// Takes the running task off the table, if it is this one.
    fn take_running(&mut self, task: TaskId) -> Option<Box<Held>> {
        self.running(task)?;
        match std::mem::replace(&mut self.work, Work::None) {
            Work::Running(held) => Some(held),
            _ => None,
        }
    }

    pub(super) fn task_done(&mut self, outcome: Outcome) {
        let Some(held) = self.take_running(outcome.task) else { return };
        if self.wish == Wish::Stop && self.is_uploading() {
            // There is time for one update at most, and that is on its way.
            self.release([held.lease.task.id]);
        } else {
            self.hand_in(&held.lease.task, held.on, outcome);
        }
        self.show_link_after_work();
    }

    pub(super) fn task_stopped(&mut self, task: TaskId) {
        if self.take_running(task).is_some() {
            self.release([task]);
            self.show_link_after_work();
        }
    }

    pub(super) fn task_failed(&mut self, task: TaskId, reason: String, fatal: bool) {
        if self.take_running(task).is_none() {
            return;
        }
        self.report(VolunteerEvent::refused_by_us(LocalCode::TaskFailed, reason.clone(), Some(task)));
        self.release([task]);
        if fatal {
            return self.end(VolunteerEvent::Unsupported { reason });
        }
        self.rest_before_asking();
        self.show_link_after_work();
    }

    /// A task covered that the connection is gone; now it is news.
    fn show_link_after_work(&mut self) {
        if self.joined().is_none() {
            self.show_idle();
        }
    }
}

fn work_kind(kind: TaskKind) -> WorkKind {
    if kind == TaskKind::Train { WorkKind::Train } else { WorkKind::Evaluate }
}

fn welcome_parameters(link: &Link) -> u64 {
    if let Link::Joined(_, welcome) = link { welcome.job.program.parameters } else { limits::PARAMETERS_MAX }
}

/// All but the parameters.
fn challenge_blobs(welcome: &Welcome) -> [(BlobId, usize); 2] {
    [(welcome.program, limits::PROGRAM_BYTES_MAX), (welcome.challenge_block, limits::BLOCK_BYTES_MAX)]
}

/// All but the parameters.
fn task_blobs(task: &Task) -> BTreeMap<BlobId, usize> {
    let blocks = task.blocks.iter().map(|id| (*id, limits::BLOCK_BYTES_MAX));
    blocks.chain([(task.program, limits::PROGRAM_BYTES_MAX)]).collect()
}

/// What is wrong with a task, before anything of it is fetched.
fn problem(task: &Task) -> Option<String> {
    let Task {
        id: _,
        kind,
        program: _,
        base_version: _,
        base: _,
        blocks,
        seed: _,
        steps,
        batch,
        lr_start,
        lr_end,
        recipe,
    } = task;
    if blocks.is_empty() || blocks.len() > limits::TASK_BLOCKS_MAX {
        return Some(format!("the task has {} blocks, at most {}", blocks.len(), limits::TASK_BLOCKS_MAX));
    }
    let steps_fit = match kind {
        TaskKind::Train => (limits::TASK_STEPS_MIN..=limits::TASK_STEPS_MAX).contains(steps),
        _ => *steps == 0,
    };
    if !steps_fit {
        return Some(format!("the task has {steps} steps"));
    }
    if *batch == 0 || *batch > limits::BATCH_MAX {
        return Some(format!("the task has batches of {batch}, at most {}", limits::BATCH_MAX));
    }
    if ![lr_start, lr_end].iter().all(|lr| lr.is_finite() && **lr >= 0.0) {
        return Some("the task's learning rate is negative or not finite".to_owned());
    }
    recipe.problem().map(|(field, expected)| format!("the recipe's {field} is not {expected}"))
}
