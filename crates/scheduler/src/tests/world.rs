//! Volunteers in virtual time, honest and not, around a core whose log survives its crashes.

use std::collections::{BTreeMap, BTreeSet};

use potluck_protocol::{
    Millis, OuterChange, Recipe, RecipeChange, ServerMessage, Split, Statement, StrategyName, TaskId, TaskKind,
    UpdateEncoding, VolunteerKey, WaitReason, limits,
};

use super::fixture::{EPOCH, blob, created, evaluated, key, result, trained};
use super::invariants::Auditor;
use crate::random::SplitMix;
use crate::seats::SEATS_MIN;
use crate::{
    Contribution, Control, Core, Effect, Fact, Input, SessionId, State, UpdateFacts, named, useful_volunteers,
};

/// After the trouble everybody is back within this.
const CALM_DOWN_MILLIS: Millis = 30_000;

/// The only trusted key.
const EVALUATOR: u8 = 255;

/// The first of those who ask and never finish anything.
const SILENT: u8 = 100;

/// What a run is about.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) volunteers: u8,
    /// Beside them those who ask and never finish anything.
    pub(super) silent: u8,
    pub(super) recipe: Recipe,
    pub(super) strategy: StrategyName,
    pub(super) train_blocks: usize,
    /// Milliseconds of trouble before everybody behaves.
    pub(super) chaos_millis: Millis,
    /// Whether the owner stops the job after the trouble.
    pub(super) stops: bool,
    /// Whether the owner makes more of it once it is finished.
    pub(super) extends: bool,
}

struct Held {
    task: TaskId,
    /// Of its first step; what an update's size goes with.
    lr: f32,
    steps: u32,
    evaluates: Option<Split>,
}

/// What a volunteer has finished.
type Report = (Statement, Option<UpdateFacts>);

struct Agent {
    key: VolunteerKey,
    is_trusted: bool,
    /// Asks, and never finishes anything.
    is_silent: bool,
    /// Connected and silent for good: a laptop that sleeps behind a socket that stays open.
    is_frozen: bool,
    session: Option<SessionId>,
    /// Milliseconds that it takes for a task.
    pace: Millis,
    held: Vec<Held>,
    /// Finished while not connected.
    unsent: Vec<Report>,
    last: Option<Report>,
}

#[derive(Debug, Clone)]
enum Event {
    Tick,
    Trouble,
    Ask(usize, SessionId),
    Finish(usize, TaskId),
    Rejoin(usize),
    /// A merge of the process that asked for it.
    Merged(u32, Box<Input>),
}

pub(super) struct World {
    plan: Plan,
    random: SplitMix,
    now: Millis,
    core: Core,
    log: Vec<Fact>,
    pub(super) auditor: Auditor,
    agents: Vec<Agent>,
    queue: BTreeMap<(Millis, u64), Event>,
    queued: u64,
    sessions: u64,
    process: u32,
    /// When there was a version, an evaluation or an end last.
    progressed_at: Millis,
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let mut first = created(plan.seed, plan.recipe.clone(), plan.train_blocks);
        if let Fact::JobCreated { strategy, .. } = &mut first {
            *strategy = plan.strategy;
        }
        let mut core = Core::default();
        core.apply(&first);
        let trusted = BTreeSet::from([key(EVALUATOR)]);
        let mode = named(plan.strategy).first();
        let auditor = Auditor::new(plan.recipe.clone(), mode, plan.train_blocks as u32, trusted);
        let mut world = Self {
            random: SplitMix(plan.seed),
            now: EPOCH,
            core,
            log: vec![first],
            auditor,
            agents: Vec::new(),
            queue: BTreeMap::new(),
            queued: 0,
            sessions: 0,
            process: 0,
            progressed_at: EPOCH,
            plan,
        };
        world.step(Input::Started);
        world.at(250, Event::Tick);
        world.at(100, Event::Trouble);
        world.add(EVALUATOR);
        (0..world.plan.silent).for_each(|n| world.add(SILENT + n));
        (1..=world.plan.volunteers).for_each(|n| world.add(n));
        world
    }

    fn add(&mut self, name: u8) {
        let pace = [50, 300, 1_000, 4_000][self.random.below(4) as usize];
        self.agents.push(Agent {
            key: key(name),
            is_trusted: name == EVALUATOR,
            is_silent: (SILENT..SILENT + 10).contains(&name),
            is_frozen: false,
            session: None,
            pace,
            held: Vec::new(),
            unsent: Vec::new(),
            last: None,
        });
        let delay = self.random.below(2_000);
        self.at(delay, Event::Rejoin(self.agents.len() - 1));
    }

    fn at(&mut self, delay: Millis, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + delay, self.queued), event);
    }

    fn is_calm(&self) -> bool {
        self.now >= EPOCH + self.plan.chaos_millis
    }

    /// Runs until the job is finished. Two hours of virtual time after the trouble are too many.
    pub(super) fn run(mut self) -> Self {
        let deadline = EPOCH + self.plan.chaos_millis + 7_200_000;
        while self.auditor.finished.is_none() || self.extend() {
            let ((at, _), event) = self.queue.pop_first().expect("ticks never end");
            assert!(at < deadline, "the job must end once volunteers stay: {:?}", self.core.presence());
            self.now = at;
            self.handle(event);
        }
        self.check_books();
        self
    }

    /// More of a finished job, once. Everybody was sent away and comes again; the evaluator stayed.
    fn extend(&mut self) -> bool {
        if !std::mem::take(&mut self.plan.extends) {
            return false;
        }
        let change = RecipeChange {
            budget_samples: Some(self.auditor.samples + 2_000),
            target_accuracy: Some(None),
            ..RecipeChange::default()
        };
        self.step(Input::Control(Control::Set(Box::new(change))));
        assert_eq!(self.auditor.finished, None, "it goes on");
        self.step(Input::Control(Control::Resume));
        for agent in 0..self.agents.len() {
            let Agent { session: Some(session), is_trusted: false, .. } = self.agents[agent] else { continue };
            self.at(10, Event::Ask(agent, session));
        }
        true
    }

    /// A change that the owner may make at any moment.
    fn change(&mut self) -> RecipeChange {
        let none = RecipeChange::default();
        let encoding = [UpdateEncoding::E3m0, UpdateEncoding::Int8][self.random.below(2) as usize];
        let momentum = Some([0.0, 0.6][self.random.below(2) as usize]);
        match self.random.below(6) {
            0 => RecipeChange { lr: Some(0.001 * (1 + self.random.below(9)) as f32), ..none },
            1 => RecipeChange { steps: Some(4 + self.random.below(5) as u32), ..none },
            2 => RecipeChange { batch: Some(8 << self.random.below(4)), ..none },
            3 => RecipeChange { update: Some(encoding), ..none },
            4 => RecipeChange { outer: Some(OuterChange { lr: None, momentum }), ..none },
            _ => RecipeChange { budget_samples: Some(256 * (1 + self.random.below(60))), ..none },
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick => {
                self.step(Input::Tick);
                self.check_progress();
                self.at(250, Event::Tick);
            }
            Event::Trouble => self.trouble(),
            Event::Ask(agent, session) => self.ask(agent, session),
            Event::Finish(agent, task) => self.finish(agent, task),
            Event::Rejoin(agent) => self.rejoin(agent),
            Event::Merged(process, merged) => {
                if process == self.process {
                    self.step(*merged);
                    self.checkpoint();
                }
            }
        }
    }

    /// The shell's own fact, every third version; in between the updates have to stay.
    fn checkpoint(&mut self) {
        let version = self.core.state().version();
        if version.0.is_multiple_of(3) && self.core.state().last_checkpoint().version != version {
            let fact = Fact::Checkpointed { at: self.now, version, momentum: None, feedback: None };
            self.core.apply(&fact);
            self.auditor.observe(&fact);
            self.log.push(fact);
        }
        let state = self.core.state();
        let since = state.last_checkpoint().version.0 + 1..=state.version().0;
        assert!(state.folds().iter().map(|fold| fold.version.0).eq(since), "each version since is made again");
        let retained = state.retained();
        let made_from = state.folds().iter().flat_map(|fold| &fold.parts).map(|part| part.update);
        assert!(made_from.into_iter().all(|update| retained.contains(&update)), "its updates stay");
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let (facts, effects) = self.core.step(self.now, &input);
        facts.iter().for_each(|fact| self.auditor.observe(fact));
        let is_progress =
            |fact: &Fact| matches!(fact, Fact::Committed { .. } | Fact::Evaluated { .. } | Fact::Finished { .. });
        if facts.iter().any(is_progress) {
            self.progressed_at = self.now;
        }
        self.log.extend(facts);
        effects.iter().for_each(|effect| self.perform(effect));
        effects
    }

    fn perform(&mut self, effect: &Effect) {
        match effect {
            Effect::Send { session, message } => {
                let agent = self.agents.iter().position(|a| a.session == Some(*session));
                let agent = agent.expect("messages go to open connections");
                self.receive(agent, *session, message);
            }
            Effect::Broadcast { .. } => {}
            Effect::Merge { version, parts, outer } => {
                assert_eq!(*version, self.core.state().version().next());
                let contributions: Vec<Contribution> = parts.iter().map(|p| p.contribution).collect();
                let (base, delta) = (blob(&format!("{version}")), blob(&format!("d{version}")));
                let (version, parts, outer) = (*version, contributions, *outer);
                let merged = Input::Merged { version, base, delta, parts, outer };
                let delay = 1 + self.random.below(300);
                self.at(delay, Event::Merged(self.process, Box::new(merged)));
            }
        }
    }

    fn receive(&mut self, agent: usize, session: SessionId, message: &ServerMessage) {
        if self.agents[agent].is_frozen {
            return;
        }
        match message {
            // It asks for the next as if it were done.
            ServerMessage::Lease(_) if self.agents[agent].is_silent => self.at(1_000, Event::Ask(agent, session)),
            ServerMessage::Lease(lease) => {
                let evaluates = if let TaskKind::Evaluate { split } = lease.task.kind { Some(split) } else { None };
                self.agents[agent].held.push(Held {
                    task: lease.task.id,
                    lr: lease.task.lr_start,
                    steps: lease.task.steps,
                    evaluates,
                });
                // A quarter of a whole task's time does not depend on its size.
                let whole = self.plan.recipe.task_samples();
                let samples = u64::from(lease.task.steps) * u64::from(lease.task.batch);
                let pace = self.agents[agent].pace * (whole + 3 * samples) / (4 * whole);
                let mut takes = pace / 2 + self.random.below(pace.max(1));
                if !self.is_calm() && self.random.below(20) == 0 {
                    takes += self.random.below(200_000);
                }
                self.at(takes, Event::Finish(agent, lease.task.id));
            }
            ServerMessage::Wait { retry_millis, reason } => {
                if *reason == WaitReason::Enough {
                    self.check_seats(self.agents[agent].key);
                }
                self.at(*retry_millis, Event::Ask(agent, session));
            }
            ServerMessage::Verdict(_) if self.agents[agent].held.is_empty() => {
                let delay = self.random.below(20);
                self.at(delay, Event::Ask(agent, session));
            }
            _ => {}
        }
    }

    /// Somebody was told that there are enough: so many others are at work, or wait for it.
    fn check_seats(&self, volunteer: VolunteerKey) {
        let (state, presence) = (self.core.state(), self.core.presence());
        let holds = |of: &VolunteerKey| state.leases().any(|(_, leased)| leased.trains() && leased.volunteer == *of);
        let sessions = presence.connected().map(|(_, session)| session).filter(|session| !session.trusted);
        let seated = sessions.filter(|session| session.is_active(self.now) || holds(&session.volunteer));
        let others: BTreeSet<VolunteerKey> =
            seated.map(|session| session.volunteer).filter(|of| *of != volunteer).collect();
        let least = useful_volunteers(&self.auditor.recipe).max(SEATS_MIN);
        assert!(others.len() as u64 >= least, "enough are {least}, and there are {others:?}");
    }

    fn ask(&mut self, agent: usize, session: SessionId) {
        let Agent { is_frozen, ref held, session: connected, .. } = self.agents[agent];
        if connected == Some(session) && held.is_empty() && !is_frozen {
            let effects = self.step(Input::Asked { session });
            let is_answer = |e: &Effect| match e {
                Effect::Send { session: to, .. } => *to == session,
                Effect::Broadcast { message } => *message == ServerMessage::Finished,
                Effect::Merge { .. } => false,
            };
            assert!(effects.iter().any(is_answer), "every ask is answered");
        }
    }

    fn rejoin(&mut self, index: usize) {
        if self.agents[index].session.is_some() {
            return;
        }
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let agent = &mut self.agents[index];
        agent.is_frozen = false;
        agent.session = Some(session);
        let (volunteer, trusted) = (agent.key, agent.is_trusted);
        let unsent = std::mem::take(&mut agent.unsent);
        self.step(Input::Joined { session, volunteer, trusted });
        for (statement, update) in unsent {
            self.step(result(session, statement, update));
        }
        self.at(1, Event::Ask(index, session));
    }

    fn finish(&mut self, index: usize, task: TaskId) {
        let agent = &mut self.agents[index];
        let Some(at) = agent.held.iter().position(|held| held.task == task) else { return };
        let held = agent.held.remove(at);
        let report = self.report(index, &held);
        self.agents[index].last = Some(report.clone());
        match self.agents[index].session {
            Some(session) => drop(self.step(result(session, report.0, report.1))),
            None => self.agents[index].unsent.push(report),
        }
    }

    fn report(&mut self, index: usize, held: &Held) -> Report {
        let volunteer = self.agents[index].key;
        if let Some(split) = held.evaluates {
            let samples = if split == Split::Test { 20 } else { 30 };
            let learnt = self.core.state().samples() as f32 / self.plan.recipe.budget_samples as f32;
            return (evaluated(held.task, volunteer, samples, learnt.min(1.0)), None);
        }
        let steps = if self.random.below(10) == 0 { 4 } else { held.steps };
        let (mut statement, mut update) = trained(held.task, volunteer, steps);
        update.norm = held.lr * (80 + self.random.below(40)) as f32;
        if self.is_calm() || self.random.below(8) > 0 {
            return (statement, Some(update));
        }
        match self.random.below(8) {
            0 => statement.steps = 99,
            1 => statement.train_loss = Some(f32::NAN),
            2 => return (statement, None),
            3 => update.well_formed = false,
            4 => update.finite = false,
            5 => statement.task = TaskId(self.random.below(60)),
            6 => statement.volunteer = key(77),
            // Nothing is known to be wild before there is a norm to compare with.
            _ if self.auditor.accepted_count() > 20 => update.norm = 1e6,
            _ => {}
        }
        (statement, Some(update))
    }

    /// Something goes wrong, a few times a second.
    fn trouble(&mut self) {
        if self.is_calm() {
            return self.calm();
        }
        let next = self.random.below(400);
        self.at(next, Event::Trouble);
        let agent = self.random.below(self.agents.len() as u64) as usize;
        match self.random.below(18) {
            17 => {
                let change = self.change();
                self.step(Input::Control(Control::Set(Box::new(change))));
            }
            0 | 1 => self.disconnect(agent, false),
            2 | 3 => {
                self.disconnect(agent, false);
                self.forget(agent);
            }
            4 => {
                self.disconnect(agent, true);
                self.forget(agent);
            }
            5 | 6 => self.say_again(agent),
            7 if self.agents.len() < 12 => {
                let name = self.agents[agent].key.0[0];
                self.add(name);
            }
            8 => self.crash(),
            14 => self.crash_while_appending(agent),
            9 => drop(self.step(Input::Control(Control::Pause))),
            10 | 11 => drop(self.step(Input::Control(Control::Resume))),
            12 => self.give_back(agent),
            16 if self.random.below(4) == 0 => self.freeze(agent),
            13 => {
                if let Some(session) = self.agents[agent].session {
                    self.step(Input::Asked { session });
                }
            }
            _ => {}
        }
    }

    /// From here on everybody stays and behaves.
    fn calm(&mut self) {
        self.step(Input::Control(Control::Resume));
        if self.plan.stops {
            self.step(Input::Control(Control::Stop));
        }
        (0..self.agents.len()).for_each(|agent| self.at(10, Event::Rejoin(agent)));
        self.add(200);
        self.add(201);
    }

    fn disconnect(&mut self, agent: usize, says_bye: bool) {
        let Some(session) = self.agents[agent].session else { return };
        if says_bye {
            self.step(Input::Bye { session });
        }
        self.agents[agent].session = None;
        self.step(Input::Left { session });
        let away = self.random.below(20_000);
        self.at(away, Event::Rejoin(agent));
    }

    /// What it holds is never handed in, and it says nothing any more.
    fn freeze(&mut self, agent: usize) {
        if !self.agents[agent].is_trusted && self.agents[agent].session.is_some() {
            self.forget(agent);
            self.agents[agent].is_frozen = true;
        }
    }

    fn forget(&mut self, agent: usize) {
        self.agents[agent].held.clear();
        self.agents[agent].unsent.clear();
    }

    fn say_again(&mut self, agent: usize) {
        let Agent { session: Some(session), last: Some((statement, update)), .. } = &self.agents[agent] else { return };
        let input = result(*session, statement.clone(), *update);
        let before = self.log.len();
        self.step(input);
        let credited = self.log[before..].iter().any(|f| matches!(f, Fact::ResultAccepted { .. }));
        assert!(!credited || self.is_news(before), "a result counts once");
    }

    /// True where the result that was credited at this point of the log had not been handed in before.
    fn is_news(&self, from: usize) -> bool {
        let task_of = |f: &Fact| if let Fact::ResultAccepted { task, .. } = f { Some(*task) } else { None };
        let before: BTreeSet<TaskId> = self.log[..from].iter().filter_map(task_of).collect();
        self.log[from..].iter().filter_map(task_of).all(|task| !before.contains(&task))
    }

    fn give_back(&mut self, agent: usize) {
        let Some(session) = self.agents[agent].session else { return };
        let tasks: Vec<TaskId> = self.agents[agent].held.drain(..).map(|held| held.task).collect();
        self.step(Input::Released { session, tasks });
        self.at(5, Event::Ask(agent, session));
    }

    /// The process dies: connections are lost, and so is an outstanding merge. The log is not.
    fn crash(&mut self) {
        self.check_books();
        self.restart();
    }

    /// The process dies with an append under way: some of its facts are durable, and nobody has seen
    /// an effect of any. Whoever was about to be answered sends the same result again.
    fn crash_while_appending(&mut self, agent: usize) {
        let held = self.agents[agent].held.pop();
        let report = held.map(|held| self.report(agent, &held));
        let input = match (self.agents[agent].session, &report) {
            (Some(session), Some((statement, update))) => result(session, statement.clone(), *update),
            _ => Input::Tick,
        };
        self.agents[agent].unsent.extend(report);
        let (mut facts, _) = self.core.step(self.now, &input);
        facts.truncate(self.random.below(facts.len() as u64 + 1) as usize);
        facts.iter().for_each(|fact| self.auditor.observe(fact));
        self.log.extend(facts);
        self.restart();
        self.check_books();
    }

    /// A new process reads the log, from a snapshot on that an old one left somewhere.
    fn restart(&mut self) {
        self.process += 1;
        let at = self.random.below(self.log.len() as u64 + 1) as usize;
        self.core = Core::from(replay(&self.log, at));
        for agent in 0..self.agents.len() {
            if self.agents[agent].session.take().is_some() {
                let away = 50 + self.random.below(8_000);
                self.at(away, Event::Rejoin(agent));
            }
        }
        self.now += self.random.below(5_000);
        self.step(Input::Started);
    }

    /// The facts so far.
    pub(super) fn log(&self) -> &[Fact] {
        &self.log
    }

    /// Once volunteers stay there is a version, an evaluation or an end within what the longest lease
    /// and the longest buffer may take.
    fn check_progress(&self) {
        let bound = limits::LEASE_MILLIS_MAX + 2 * limits::BUFFER_MILLIS_MAX + CALM_DOWN_MILLIS;
        let since = self.progressed_at.max(EPOCH + self.plan.chaos_millis);
        assert!(self.now < since + bound, "nothing follows since {since}: {:?}", self.core.presence());
    }

    /// The log alone gives the same state; every block is somewhere; the tally is right.
    fn check_books(&self) {
        let mut refolded = State::default();
        for fact in &self.log {
            refolded.apply(fact);
        }
        let state = self.core.state();
        assert!(refolded == *state, "facts must replay to the same state");
        let (returned, leased, accepted) = state.blocks().census();
        let (live, waiting, merged) = self.auditor.whereabouts();
        assert_eq!((leased, accepted), (live, waiting));
        assert_eq!(state.blocks().handed_out(), (returned + live + waiting + merged) as u64);
        assert_eq!(state.samples(), self.auditor.samples);
        let tallies: BTreeMap<VolunteerKey, crate::Tally> = state.tallies().map(|(k, t)| (*k, *t)).collect();
        assert_eq!(tallies, self.auditor.tallies);
    }
}

/// What a log adds up to, by way of a snapshot after its first `at` facts.
pub(super) fn replay(log: &[Fact], at: usize) -> State {
    let mut state = State::default();
    log[..at].iter().for_each(|fact| state.apply(fact));
    let text = state.to_text().expect("a state that can be kept");
    let mut state = State::from_text(&text).expect("a state");
    log[at..].iter().for_each(|fact| state.apply(fact));
    state
}
