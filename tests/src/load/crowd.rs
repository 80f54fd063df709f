//! A long log of a real job: visitors come, work and leave around the real scheduler in virtual time,
//! and what it decides is appended to the job's own log as a coordinator would.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use potluck_coordinator::{EventLog, Head, Record, SqliteLog};
use potluck_graph::random::SplitMix64;
use potluck_protocol::{
    BlobId, Evaluation, JobName, Lease, Millis, OuterStep, ServerMessage, SignedStatement, Statement, TaskKind,
    VolunteerKey,
};
use potluck_scheduler::{Contribution, Core, Effect, Fact, Input, SessionId, UpdateFacts};

use super::bytes;

/// Visitors who are there at the same time.
pub const VISITORS: u64 = 64;

/// Tasks in the mean before a visitor leaves and another comes.
const TASKS_A_VISIT: u32 = 100;

/// Records that share an append.
const APPENDED_AT_ONCE: usize = 512;

enum Event {
    Tick,
    Ask(SessionId),
    Finish(SessionId, Box<Lease>),
    Merged { base: BlobId, parts: Vec<Contribution>, outer: OuterStep },
}

/// A visitor, or the worker that evaluates.
struct Visitor {
    key: VolunteerKey,
    trusted: bool,
}

/// A job that goes on in virtual time.
pub struct Crowd {
    random: SplitMix64,
    job: JobName,
    log: SqliteLog,
    head: Head,
    schema: u32,
    core: Core,
    records: Vec<Record>,
    now: Millis,
    queue: BTreeMap<(Millis, u64), Event>,
    queued: u64,
    visitors: BTreeMap<SessionId, Visitor>,
    sessions: u64,
}

impl Crowd {
    /// Goes on with the job in a coordinator's folder, which nobody serves.
    ///
    /// # Panics
    /// Where the folder's log cannot be read.
    pub fn new(folder: &Path, job: &JobName, seed: u64) -> Self {
        let log = SqliteLog::open(&folder.join("potluck.sqlite")).expect("the log");
        let mut crowd = Self {
            random: SplitMix64::new(seed),
            head: Head::genesis(job),
            job: job.clone(),
            log,
            schema: 0,
            core: Core::default(),
            records: Vec::new(),
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            visitors: BTreeMap::new(),
            sessions: 0,
        };
        crowd.read();
        crowd.step(&Input::Started);
        crowd.arrive(true);
        (0..VISITORS).for_each(|_| crowd.arrive(false));
        crowd.at(250, Event::Tick);
        crowd
    }

    fn read(&mut self) {
        loop {
            let page = self.log.read(&self.job, self.head.seq, APPENDED_AT_ONCE).expect("records");
            if page.is_empty() {
                break;
            }
            for record in page {
                self.head = self.head.follow(&self.job, &record).expect("a whole chain");
                self.schema = record.schema;
                self.core.apply(&serde_json::from_str(&record.fact).expect("a fact"));
            }
        }
        self.now = self.core.state().newest_at() + 1;
    }

    /// Goes on until the log holds at least so many facts and no update waits for its merge, so that
    /// a coordinator can go on from there: the updates of this crowd exist by name only.
    ///
    /// # Panics
    /// Where the log cannot be written.
    pub fn grow(mut self, facts: u64) {
        while self.head.seq < facts || self.core.state().unsettled().next().is_some() {
            let ((at, _), event) = self.queue.pop_first().expect("ticks never end");
            self.now = at;
            self.handle(event);
        }
        self.flush();
    }

    fn at(&mut self, delay: Millis, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + delay, self.queued), event);
    }

    fn arrive(&mut self, trusted: bool) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let volunteer = VolunteerKey(bytes(&mut self.random));
        self.visitors.insert(session, Visitor { key: volunteer, trusted });
        self.step(&Input::Joined { session, volunteer, trusted });
        self.at(1, Event::Ask(session));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick => {
                self.step(&Input::Tick);
                self.at(250, Event::Tick);
            }
            Event::Ask(session) => self.step(&Input::Asked { session }),
            Event::Finish(session, lease) => self.finish(session, &lease),
            Event::Merged { base, parts, outer } => {
                let version = self.core.state().version().next();
                self.step(&Input::Merged { version, base, delta: base, parts, outer });
                // Stored whole each time: a start has no updates here to make anything again.
                let stored = Fact::Checkpointed { at: self.now, version, momentum: None, feedback: None };
                self.core.apply(&stored);
                self.append(&stored);
            }
        }
    }

    fn finish(&mut self, session: SessionId, lease: &Lease) {
        let Some(Visitor { key, trusted }) = self.visitors.get(&session) else { return };
        let (volunteer, trusted) = (*key, *trusted);
        if !trusted && self.random.below(TASKS_A_VISIT) == 0 {
            // Half of them press stop, the others close the tab.
            if self.random.below(2) == 0 {
                self.step(&Input::Bye { session });
            }
            self.step(&Input::Left { session });
            self.visitors.remove(&session);
            return self.arrive(false);
        }
        let input = self.result(session, volunteer, lease);
        self.step(&input);
        self.at(1, Event::Ask(session));
    }

    fn result(&mut self, session: SessionId, volunteer: VolunteerKey, lease: &Lease) -> Input {
        let task = &lease.task;
        let update = (task.kind == TaskKind::Train).then(|| UpdateFacts {
            id: BlobId(bytes(&mut self.random)),
            norm: task.lr_start * (80 + self.random.below(40)) as f32,
            finite: true,
            well_formed: true,
        });
        let statement = Statement {
            job: self.job.clone(),
            task: task.id,
            volunteer,
            steps: task.steps,
            update: update.map(|update| update.id),
            train_loss: update.map(|_| self.random.unit()),
            evaluation: self.evaluation(lease),
            compute_millis: 1_000,
        };
        let signature = hex::encode(bytes::<64>(&mut self.random));
        let text = serde_json::to_string(&statement).expect("text");
        Input::Result { session, statement, signed: SignedStatement { statement: text, signature }, update }
    }

    fn evaluation(&mut self, lease: &Lease) -> Option<Evaluation> {
        let TaskKind::Evaluate { split } = lease.task.kind else { return None };
        let asked: BTreeSet<&BlobId> = lease.task.blocks.iter().collect();
        let blocks = self.core.state().job()?.blocks(split).iter().filter(|(id, _)| asked.contains(id));
        let samples = blocks.map(|(_, samples)| u64::from(*samples)).sum();
        Some(Evaluation { loss: 1.0 + self.random.unit(), accuracy: self.random.unit(), samples })
    }

    fn step(&mut self, input: &Input) {
        let (facts, effects) = self.core.step(self.now, input);
        facts.iter().for_each(|fact| self.append(fact));
        effects.into_iter().for_each(|effect| self.carry_out(effect));
    }

    fn append(&mut self, fact: &Fact) {
        let text = serde_json::to_string(fact).expect("a fact");
        let record = self.head.next(self.head.epoch, self.schema, text);
        self.head = Head::from(&record);
        self.records.push(record);
        if self.records.len() >= APPENDED_AT_ONCE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let records = std::mem::take(&mut self.records);
        let expected = self.log.head(&self.job).expect("a head");
        self.log.append(&self.job, &expected, &records).expect("appended");
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send { session, message: ServerMessage::Lease(lease) } => {
                let takes = 2_000 + Millis::from(self.random.below(4_000));
                self.at(takes, Event::Finish(session, lease));
            }
            Effect::Send { session, message: ServerMessage::Wait { retry_millis, .. } } => {
                self.at(retry_millis, Event::Ask(session));
            }
            // Every version has the parameters of the first: a start reads those of the last one.
            Effect::Merge { parts, outer, .. } => {
                let base = self.core.state().base().expect("a first version");
                let parts = parts.into_iter().map(|part| part.contribution).collect();
                self.at(50, Event::Merged { base, parts, outer });
            }
            _ => {}
        }
    }
}
