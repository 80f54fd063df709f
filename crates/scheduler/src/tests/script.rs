//! Cases as little scripts: what comes in at which millisecond, and a transcript of what came of it.
//!
//! A line is `MILLIS VERB WHO ARGUMENTS`. `a` is a connection of volunteer a, `a2` another one of the
//! same volunteer. Progress messages are left out unless a line says `0 progress`.

use std::fmt::Write as _;

use expect_test::Expect;
use potluck_protocol::{Millis, OuterStep, Recipe, ServerMessage, Split, TaskId, Verdict};

use super::fixture::{EPOCH, blob, created, evaluated, key, recipe, result, trained};
use crate::{Contribution, Control, Core, Effect, Fact, Input, SessionId};

/// Runs the script on a job of 12 training blocks and compares the transcript.
#[track_caller]
pub(super) fn check(script: &str, expected: Expect) {
    check_job(recipe(), script, expected);
}

/// The same with another recipe.
#[track_caller]
pub(super) fn check_job(recipe: Recipe, script: &str, expected: Expect) {
    let mut stage = Stage::new(recipe);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        stage.run(line);
    }
    expected.assert_eq(&stage.transcript);
}

pub(super) struct Stage {
    pub(super) core: Core,
    log: Vec<Fact>,
    merge: Option<Input>,
    shows_progress: bool,
    transcript: String,
}

impl Stage {
    pub(super) fn new(recipe: Recipe) -> Self {
        Self::of(created(7, recipe, 12))
    }

    /// A stage of the job that this fact makes.
    pub(super) fn of(created: Fact) -> Self {
        let log = vec![created];
        let mut stage =
            Self { core: Core::default(), log, merge: None, shows_progress: false, transcript: String::new() };
        stage.restart(EPOCH);
        stage
    }

    fn restart(&mut self, now: Millis) {
        self.core = Core::default();
        for fact in &self.log {
            self.core.apply(fact);
        }
        self.step(now, &Input::Started);
    }

    pub(super) fn run(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [at, verb, rest @ ..] = words.as_slice() else { panic!("{line:?} is too short") };
        let now = EPOCH + at.parse::<Millis>().expect("milliseconds");
        writeln!(self.transcript, "{line}").expect("a string takes it");
        match *verb {
            "progress" => self.shows_progress = true,
            "restart" => self.restart(now),
            _ => {
                let input = self.input(verb, rest);
                self.step(now, &input);
            }
        }
    }

    /// The transcript of the last lines that were run.
    pub(super) fn tail(&self, lines: usize) -> String {
        let starts: Vec<usize> = self
            .transcript
            .lines()
            .scan(0, |at, line| {
                let start = *at;
                *at += line.len() + 1;
                Some((start, line))
            })
            .filter(|(_, line)| !line.starts_with(' '))
            .map(|(start, _)| start)
            .collect();
        self.transcript[starts[starts.len() - lines]..].to_owned()
    }

    /// So many other volunteers join and get a lease each.
    pub(super) fn crowd(&mut self, count: u64) {
        for n in 0..count {
            let mut volunteer = key(255);
            volunteer.0[..8].copy_from_slice(&n.to_le_bytes());
            let session = SessionId(1_000_000 + n);
            self.step(EPOCH, &Input::Joined { session, volunteer, trusted: false });
            self.step(EPOCH, &Input::Asked { session });
        }
    }

    fn input(&mut self, verb: &str, rest: &[&str]) -> Input {
        let session = rest.first().map_or(SessionId(0), |who| session_of(who));
        let volunteer = key((session.0 / 256) as u8);
        match verb {
            "join" => Input::Joined { session, volunteer, trusted: rest.contains(&"trusted") },
            "ask" => Input::Asked { session },
            "left" => Input::Left { session },
            "bye" => Input::Bye { session },
            "release" => Input::Released { session, tasks: rest[1..].iter().map(|task| task_of(task)).collect() },
            "done" => self.done(session, rest),
            "eval" => {
                let task = task_of(rest[1]);
                let split = self.core.state().lease(task).and_then(|l| l.evaluates());
                let samples = if split == Some(Split::Test) { 20 } else { 30 };
                let accuracy = rest.get(2).map_or(0.5, |word| word.parse().expect("an accuracy"));
                result(session, evaluated(task, volunteer, samples, accuracy), None)
            }
            "merged" => self.merge.clone().expect("a merge was asked for"),
            "tick" => Input::Tick,
            "pause" => Input::Control(Control::Pause),
            "resume" => Input::Control(Control::Resume),
            "stop" => Input::Control(Control::Stop),
            "set" => {
                let change = serde_json::from_str(&rest.join(" ")).expect("a change");
                Input::Control(Control::Set(Box::new(change)))
            }
            other => panic!("no verb {other:?}"),
        }
    }

    /// `done WHO TASK` with what is unusual about it.
    fn done(&self, session: SessionId, rest: &[&str]) -> Input {
        let volunteer = key((session.0 / 256) as u8);
        let (mut statement, mut update) = trained(task_of(rest[1]), volunteer, 8);
        let mut uploaded = true;
        for word in &rest[2..] {
            match word.split_once('=').unwrap_or((word, "")) {
                ("steps", steps) => statement.steps = steps.parse().expect("steps"),
                ("norm", norm) => update.norm = norm.parse().expect("a norm"),
                ("loss", loss) => statement.train_loss = Some(loss.parse().expect("a loss")),
                ("signer", name) => statement.volunteer = key(name.as_bytes()[0]),
                ("other", _) => {
                    update.id = blob("another update");
                    statement.update = Some(update.id);
                }
                ("missing", _) => uploaded = false,
                ("malformed", _) => update.well_formed = false,
                ("infinite", _) => update.finite = false,
                ("evaluation", _) => statement = evaluated(statement.task, volunteer, 30, 0.5),
                (word, _) => panic!("no word {word:?}"),
            }
        }
        result(session, statement, uploaded.then_some(update))
    }

    fn step(&mut self, now: Millis, input: &Input) {
        let (facts, effects) = self.core.step(now, input);
        for fact in &facts {
            self.tell_fact(fact);
        }
        for effect in &effects {
            self.tell_effect(effect);
        }
        self.log.extend(facts);
    }

    fn tell(&mut self, line: String) {
        writeln!(self.transcript, "    {line}").expect("a string takes it");
    }

    fn tell_fact(&mut self, fact: &Fact) {
        match fact {
            Fact::JobCreated { .. } | Fact::TaskLeased { .. } | Fact::Began { .. } => {}
            Fact::Deposed { by, .. } => self.tell(format!("deposed by {by}")),
            Fact::TaskLapsed { task, released, .. } => {
                self.tell(format!("{} {task}", if *released { "released" } else { "lapsed" }));
            }
            Fact::ResultAccepted { task, samples, late, .. } => {
                self.tell(format!("accepted {task}: {samples} samples{}", if *late { ", late" } else { "" }));
            }
            Fact::Committed { version, parts, .. } => self.tell(format!("committed {version}:{}", shares(parts))),
            Fact::Checkpointed { version, .. } => self.tell(format!("checkpointed {version}")),
            Fact::ModeChanged { mode, .. } => self.tell(format!("mode {mode:?}")),
            Fact::Evaluated { version, split, evaluation, .. } => {
                self.tell(format!("evaluated {version} {split:?}: {}", evaluation.accuracy));
            }
            Fact::Paused { .. } => self.tell("paused".to_owned()),
            Fact::Resumed { .. } => self.tell("resumed".to_owned()),
            Fact::Stopped { .. } => self.tell("stopped".to_owned()),
            Fact::RecipeChanged { recipe, .. } => {
                let before = &self.core.state().recipes();
                let before = before[before.len().saturating_sub(2)].recipe.clone();
                let told =
                    before.differences(recipe).into_iter().map(|d| format!(" {} {} -> {}", d.field, d.from, d.to));
                self.tell(format!("changed{}", told.collect::<String>()));
            }
            Fact::Finished { version, .. } => self.tell(format!("finished {version}")),
        }
    }

    fn tell_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Send { session, message } => {
                let text = self.text_of(message);
                self.tell(format!("-> {}: {text}", name_of(*session)));
            }
            Effect::Broadcast { message: ServerMessage::Progress { .. } } if !self.shows_progress => {}
            Effect::Broadcast { message } => {
                let text = self.text_of(message);
                self.tell(format!("-> all: {text}"));
            }
            Effect::Merge { version, parts, outer, .. } => {
                let contributions: Vec<Contribution> = parts.iter().map(|part| part.contribution).collect();
                let of_recipe = self.core.state().job().map(|job| job.recipe.outer.lr);
                let rate = if of_recipe == Some(outer.lr) { String::new() } else { format!("rate {:.2}, ", outer.lr) };
                self.tell(format!("merge {version}, {rate}{}:{}", momentum(*outer), shares(&contributions)));
                let (version, outer, parts) = (*version, *outer, contributions);
                let (base, delta) = (blob(&format!("{version}")), blob(&format!("d{version}")));
                self.merge = Some(Input::Merged { version, base, delta, parts, outer });
            }
        }
    }

    fn text_of(&self, message: &ServerMessage) -> String {
        match message {
            ServerMessage::Lease(lease) => {
                let leased = self.core.state().lease(lease.task.id).expect("a lease that is sent is out");
                let what = leased.evaluates().map_or("train".to_owned(), |split| format!("evaluate {split:?}"));
                let blocks: Vec<String> = leased.blocks.iter().map(|b| format!("{}.{}", b.epoch, b.index)).collect();
                let (id, version) = (lease.task.id, lease.task.base_version);
                let is_whole = lease.task.steps == 0 || lease.task.steps == lease.task.recipe.steps;
                let steps = if is_whole { String::new() } else { format!(", {} steps", lease.task.steps) };
                let has_all = lease.task.batch == lease.task.recipe.batch;
                let batch = if has_all { String::new() } else { format!(", batch {}", lease.task.batch) };
                format!(
                    "lease {id}, {what} {version} on {}{steps}{batch}, {} ms",
                    blocks.join(" "),
                    lease.deadline_millis
                )
            }
            ServerMessage::Wait { retry_millis, reason } => format!("wait {retry_millis} ms, {reason:?}"),
            ServerMessage::Verdict(Verdict { task, refusal: Some(refusal), .. }) => {
                format!("refused {task}, {:?}: {}", refusal.code, refusal.detail)
            }
            ServerMessage::Verdict(Verdict { task, credited_samples, credited_tasks, .. }) => {
                format!("thanks for {task}, {credited_tasks} tasks and {credited_samples} samples so far")
            }
            ServerMessage::Progress { version, samples, budget_samples, accuracy, volunteers } => {
                let accuracy = accuracy.map_or("-".to_owned(), |a| a.to_string());
                format!("{version}, {samples} of {budget_samples}, accuracy {accuracy}, {volunteers} volunteers")
            }
            other => format!("{other:?}"),
        }
    }
}

/// `a2` is volunteer a's connection 2.
fn session_of(name: &str) -> SessionId {
    let letter = u64::from(name.as_bytes()[0]);
    SessionId(letter * 256 + name[1..].parse::<u64>().unwrap_or(1))
}

fn name_of(session: SessionId) -> String {
    let letter = char::from((session.0 / 256) as u8);
    match session.0 % 256 {
        1 => letter.to_string(),
        number => format!("{letter}{number}"),
    }
}

fn task_of(word: &str) -> TaskId {
    TaskId(word.parse().expect("a task"))
}

/// As people would say it; a trace of momentum is a new one.
fn momentum(outer: OuterStep) -> String {
    let OuterStep { momentum, lead, .. } = outer;
    let lead = lead.map_or_else(String::new, |lead| format!(" led by {lead}"));
    if momentum > 0.0 && momentum < f32::EPSILON {
        "momentum anew".to_owned()
    } else {
        format!("momentum {momentum}{lead}")
    }
}

fn shares(parts: &[Contribution]) -> String {
    parts.iter().map(|part| format!(" {} {:.0}%", part.task, part.weight * 100.0)).collect()
}
