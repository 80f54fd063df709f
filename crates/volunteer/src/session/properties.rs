//! Whatever happens, in whatever order: the promises that every shell relies on.

use std::collections::{BTreeMap, BTreeSet};

use potluck_protocol::{
    Backend, BlobId, ClientMessage, Device, ErrorCode, Millis, Refusal, ServerMessage, TaskId, Verdict, Version,
    WaitReason, limits,
};
use proptest::prelude::*;

use super::{Action, Config, Event, LinkId, Session, TimerId};
use crate::{fixture::Job, work::Outcome};

/// One thing that the world does; numbers choose among what is open.
#[derive(Debug, Clone)]
enum Move {
    /// Answers something that was asked of the shell, well or badly.
    Answer {
        which: usize,
        well: bool,
    },
    /// The coordinator says something, fitting or not.
    Say {
        what: u8,
        task: u64,
    },
    /// An event that nothing asked for.
    Stray {
        what: u8,
        task: u64,
    },
    Pass(Millis),
    Visitor(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(which, well)| Move::Answer { which, well }),
        6 => (0u8..12, 0u64..6).prop_map(|(what, task)| Move::Say { what, task }),
        1 => (0u8..14, 0u64..6).prop_map(|(what, task)| Move::Stray { what, task }),
        2 => (0u64..40_000).prop_map(Move::Pass),
        1 => (0u8..12).prop_map(Move::Visitor),
    ];
    prop::collection::vec(one, 0..120)
}

/// What the shell was asked and has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Open {
    Connect(LinkId),
    Fetch(BlobId),
    Challenge,
    Run(TaskId, u32),
    Upload(TaskId),
    Sign(TaskId),
}

/// A shell and a coordinator that keep the books.
struct World {
    job: Job,
    session: Session,
    now: Millis,
    open: Vec<Open>,
    timers: BTreeMap<TimerId, Millis>,
    links: BTreeSet<LinkId>,
    link: LinkId,
    greeted: bool,
    /// Asks less answers, on this link.
    asks: u32,
    /// Tasks that were done and not yet uploaded or signed more often than asked.
    done: BTreeSet<TaskId>,
    leases: u64,
    last: bool,
}

fn outcome(task: TaskId, steps: u32) -> Outcome {
    let (update, train_loss) = (Some(vec![7; 5]), Some(0.25));
    Outcome { task, steps, update, train_loss, evaluation: None, compute_millis: 3 }
}

fn device() -> Device {
    let (agent, adapter) = (String::new(), String::new());
    Device { agent, adapter, backend: Backend::Wasm, forced: true, challenge: Vec::new() }
}

impl World {
    fn new() -> Self {
        let (job, volunteer) = (Job::name(), Job::volunteer());
        let config =
            Config { job, volunteer, build: String::new(), seed: 3, cache_bytes_max: 600, kept: None, haste: 1 };
        Self {
            job: Job::new(),
            session: Session::new(config),
            now: 0,
            open: Vec::new(),
            timers: BTreeMap::new(),
            links: BTreeSet::new(),
            link: LinkId(0),
            greeted: false,
            asks: 0,
            done: BTreeSet::new(),
            leases: 0,
            last: false,
        }
    }

    fn event(&mut self, event: Event) {
        for action in self.session.handle(self.now, event) {
            assert!(!self.last, "{action:?} after the last event");
            self.note(action);
        }
        assert_eq!(self.session.has_ended(), self.last);
    }

    fn note(&mut self, action: Action) {
        match action {
            Action::Connect { link } => {
                assert!(self.links.insert(link), "{link:?} is used twice");
                (self.link, self.greeted, self.asks) = (link, false, 0);
                self.open.push(Open::Connect(link));
            }
            Action::Send { link, text } => self.sent(link, &text),
            Action::Close { link } => assert_eq!(link, self.link),
            Action::Fetch { id, bytes_max, have } => {
                assert!(have.len() <= bytes_max && bytes_max <= limits::BLOB_BYTES_MAX);
                let fetches = self.open.iter().filter(|o| matches!(o, Open::Fetch(_))).count();
                assert!(fetches < limits::FETCHES_MAX && !self.open.contains(&Open::Fetch(id)));
                self.open.push(Open::Fetch(id));
            }
            Action::Challenge(_) => {
                assert!(!self.computes(), "a challenge beside other work");
                self.open.push(Open::Challenge);
            }
            Action::Run(run) => {
                assert!(!self.computes(), "two runs at once");
                self.open.push(Open::Run(run.task.id, run.task.steps));
            }
            Action::Halt => assert!(self.computes(), "nothing to halt"),
            Action::Upload { task, .. } => {
                assert!(self.done.contains(&task), "an upload of what was not done");
                assert!(!self.open.contains(&Open::Upload(task)), "two uploads of one task");
                self.open.push(Open::Upload(task));
            }
            Action::Sign { task, message } => {
                assert!(self.done.contains(&task) && message.len() < limits::STATEMENT_BYTES_MAX);
                self.open.push(Open::Sign(task));
            }
            Action::Sleep { timer, millis } => {
                assert!(self.timers.insert(timer, self.now + millis).is_none());
            }
            Action::Keep { version } => assert!(version.len() <= limits::KEPT_VERSION_BYTES_MAX),
            Action::Report(event) => self.last = event.is_last(),
        }
    }

    fn computes(&self) -> bool {
        self.open.iter().any(|o| matches!(o, Open::Challenge | Open::Run(..)))
    }

    fn sent(&mut self, link: LinkId, text: &str) {
        assert!(text.len() <= limits::MESSAGE_BYTES_MAX);
        assert!(link == self.link && !self.open.contains(&Open::Connect(link)), "sent on a socket that is not open");
        match serde_json::from_str(text).expect("a message") {
            ClientMessage::Hello(_) => assert!(!std::mem::replace(&mut self.greeted, true), "hello twice"),
            ClientMessage::Ask => {
                assert_eq!(self.asks, 0, "two asks");
                self.asks = 1;
            }
            ClientMessage::Result(signed) => {
                let (statement, _) = signed.parse().expect("a statement");
                assert!(self.done.contains(&statement.task));
                assert!((limits::TASK_STEPS_MIN..=limits::TASK_STEPS_MAX).contains(&statement.steps));
            }
            _ => assert!(self.greeted),
        }
    }

    fn play(&mut self, step: Move) {
        match step {
            Move::Answer { which, well } => {
                if !self.open.is_empty() {
                    let open = self.open.remove(which % self.open.len());
                    self.answer(open, well);
                }
            }
            Move::Say { what, task } => self.say(what, task),
            Move::Stray { what, task } => self.stray(what, TaskId(task)),
            Move::Pass(millis) => self.pass(millis),
            Move::Visitor(0) => self.event(Event::Stop),
            Move::Visitor(n) => self.event(if n % 2 == 0 { Event::Pause } else { Event::Resume }),
        }
    }

    fn answer(&mut self, open: Open, well: bool) {
        let detail = "badly".to_owned();
        if let (Open::Connect(link), true) = (open, well) {
            self.event(Event::Opened { link });
            return self.say(0, 0);
        }
        let event = match (open, well) {
            (Open::Connect(link), _) => Event::Closed { link, refused: None },
            (Open::Fetch(id), true) => Event::Fetched { id, bytes: self.job.blob(id).unwrap_or_default() },
            (Open::Fetch(id), false) => {
                let (retryable, came) = (self.now.is_multiple_of(2), vec![1]);
                Event::FetchFailed { id, retryable, detail, came }
            }
            (Open::Challenge, true) => Event::Measured { device: device(), fallback: None },
            (Open::Challenge, false) => Event::MeasureStopped,
            (Open::Run(task, steps), well) => {
                let steps = if well { steps } else { steps / 2 };
                if steps < limits::TASK_STEPS_MIN {
                    Event::TaskStopped { task }
                } else {
                    self.done.insert(task);
                    Event::TaskDone { outcome: outcome(task, steps) }
                }
            }
            (Open::Upload(task), true) => Event::Uploaded { task },
            (Open::Upload(task), false) => Event::UploadFailed { task, code: None, detail, retryable: true },
            (Open::Sign(task), true) => Event::Signed { task, signature: [4; 64] },
            (Open::Sign(task), false) => Event::SignFailed { task, detail },
        };
        self.event(event);
    }

    fn say(&mut self, what: u8, task: u64) {
        let refusal = Refusal { code: ErrorCode::UpdateMissing, detail: String::new() };
        let answers = matches!(what, 2..=7);
        let message = match what {
            0 | 1 => ServerMessage::Welcome(Box::new(self.job.welcome())),
            2..=4 => {
                let task = self.lease(task);
                ServerMessage::Lease(Box::new(self.job.lease(task)))
            }
            5 | 6 => ServerMessage::Wait { retry_millis: task * 1000, reason: WaitReason::Busy },
            7 => ServerMessage::Error(refusal),
            8 | 9 => {
                let refusal = if what == 8 { None } else { Some(refusal) };
                let (task, accepted) = (TaskId(self.leases.saturating_sub(task)), refusal.is_none());
                ServerMessage::Verdict(Verdict { task, accepted, refusal, credited_samples: 1, credited_tasks: 1 })
            }
            10 => {
                let (version, accuracy) = (Version(task), Some(0.5));
                ServerMessage::Progress { version, samples: 1, budget_samples: 2, accuracy, volunteers: 3 }
            }
            _ => return self.event(Event::Message { link: self.link, text: "nonsense".to_owned() }),
        };
        if answers {
            self.asks = 0;
        }
        let text = serde_json::to_string(&message).expect("serialises");
        self.event(Event::Message { link: self.link, text });
    }

    /// A new task, or now and then the one that runs once more: ids are used once.
    fn lease(&mut self, task: u64) -> u64 {
        let running = self.open.iter().find_map(|o| if let Open::Run(id, _) = o { Some(id.0) } else { None });
        if let Some(running) = running.filter(|_| task == 0) {
            return running;
        }
        self.leases += 1;
        self.leases
    }

    fn stray(&mut self, what: u8, task: TaskId) {
        let link = LinkId(task.0);
        let id = BlobId([task.0 as u8; 32]);
        let detail = String::new();
        self.event(match what {
            0 => Event::Start,
            1 => Event::Opened { link: LinkId(99) },
            2 if link != self.link => Event::Closed { link, refused: Some(String::new()) },
            3 => Event::Woke { timer: TimerId(1_000_000) },
            4 => Event::Fetched { id, bytes: vec![1] },
            5 => Event::FetchFailed { id, retryable: false, detail, came: vec![1] },
            6 => Event::Fetching { id, bytes: u64::MAX, total: Some(u64::MAX) },
            7 => Event::Step { task, step: u32::MAX, steps: 0, loss: Some(f32::NAN) },
            8 if !self.open.iter().any(|o| matches!(o, Open::Run(t, _) if *t == task)) => {
                Event::TaskDone { outcome: outcome(task, 8) }
            }
            9 if !self.open.contains(&Open::Upload(task)) => Event::Uploaded { task },
            10 if !self.open.contains(&Open::Sign(task)) => Event::Signed { task, signature: [0; 64] },
            11 => Event::DeviceChanged { device: device(), reason: detail },
            12 => Event::Message { link: LinkId(98), text: detail },
            _ => Event::Resume,
        });
    }

    fn pass(&mut self, millis: Millis) {
        let until = self.now + millis;
        loop {
            let due = self.timers.iter().map(|(timer, at)| (*at, *timer)).min();
            let Some((at, timer)) = due.filter(|(at, _)| *at <= until) else { break };
            self.timers.remove(&timer);
            self.now = self.now.max(at);
            self.event(Event::Woke { timer });
        }
        self.now = until;
    }
}

/// The property would hold of a session that does nothing; this one works.
#[test]
fn the_world_lets_a_session_work() {
    let mut world = World::new();
    world.event(Event::Start);
    for _ in 0..60 {
        world.play(Move::Answer { which: 0, well: true });
        world.say(8, 0);
        if world.asks > 0 {
            world.say(2, 1);
        }
    }
    assert!(world.done.len() > 5, "{:?}", world.done);
}

proptest! {
    #[test]
    fn keeps_its_promises(moves in moves()) {
        let mut world = World::new();
        world.event(Event::Start);
        for step in moves {
            world.play(step);
        }
        // A stop always comes to an end, and soon.
        world.event(Event::Stop);
        world.pass(super::STOP_MILLIS_MAX);
        prop_assert!(world.session.has_ended());
    }

    #[test]
    fn reads_any_text(text in "\\PC{0,200}") {
        let mut world = World::new();
        world.event(Event::Start);
        world.open.clear();
        world.answer(Open::Connect(world.link), true);
        world.event(Event::Message { link: world.link, text });
    }
}
