//! Rules of the session, one case each, as scripts of what happens and what is done about it.

mod deltas;
mod handin;
mod link;
mod tasks;
mod visitor;

use expect_test::Expect;
use potluck_protocol::{
    Backend, BlobId, ClientMessage, Device, ErrorCode, Millis, Refusal, ServerMessage, TaskId, Verdict,
};

use super::{Action, Config, Event, LinkId, Session, TimerId};
use crate::{fixture::Job, report::VolunteerEvent, work::Outcome};

/// A session with a shell that a test plays by hand.
struct Script {
    job: Job,
    session: Session,
    now: Millis,
    link: LinkId,
    sleeping: Vec<(TimerId, Millis)>,
    log: String,
    quiet: bool,
}

fn config() -> Config {
    let (job, volunteer) = (Job::name(), Job::volunteer());
    Config { job, volunteer, build: "test".to_owned(), seed: 1, cache_bytes_max: 1 << 20, kept: None, haste: 1 }
}

fn device() -> Device {
    let (agent, adapter) = ("test".to_owned(), String::new());
    Device { agent, adapter, backend: Backend::Cpu, forced: false, challenge: vec![(Backend::Cpu, 1000.0)] }
}

fn outcome(task: u64, steps: u32) -> Outcome {
    let (update, train_loss) = (Some(vec![task as u8; 3]), Some(0.5));
    Outcome { task: TaskId(task), steps, update, train_loss, evaluation: None, compute_millis: 9 }
}

fn verdict(task: u64, accepted: bool, code: Option<ErrorCode>) -> ServerMessage {
    let refusal = code.map(|code| Refusal { code, detail: "because".to_owned() });
    ServerMessage::Verdict(Verdict { task: TaskId(task), accepted, refusal, credited_samples: 64, credited_tasks: 1 })
}

impl Script {
    fn new() -> Self {
        Self {
            job: Job::new(),
            session: Session::new(config()),
            now: 0,
            link: LinkId(0),
            sleeping: Vec::new(),
            log: String::new(),
            quiet: false,
        }
    }

    /// A session that has measured its device and asked for work; the log starts here.
    fn asked() -> Self {
        let mut script = Self::new();
        script.quiet = true;
        script.event(Event::Start);
        script.welcomed();
        script.fetched();
        script.event(Event::Measured { device: device(), fallback: None });
        script.quiet = false;
        script
    }

    /// The same, with task 1 running.
    fn running() -> Self {
        let mut script = Self::asked();
        script.quiet = true;
        script.lease(1);
        script.fetched();
        script.quiet = false;
        script
    }

    /// The same, with the result of task 1 sent and another ask out.
    fn handed_in() -> Self {
        let mut script = Self::running();
        script.quiet = true;
        script.done(1, 8);
        script.quiet = false;
        script
    }

    fn event(&mut self, event: Event) {
        for action in self.session.handle(self.now, event) {
            match &action {
                Action::Connect { link } => self.link = *link,
                Action::Sleep { timer, millis } => self.sleeping.push((*timer, self.now + millis)),
                _ => {}
            }
            if !self.quiet {
                self.log += &describe(&self.job, &action);
                self.log += "\n";
            }
        }
    }

    fn says(&mut self, message: &ServerMessage) {
        let text = serde_json::to_string(message).expect("serialises");
        self.event(Event::Message { link: self.link, text });
    }

    fn welcomed(&mut self) {
        self.event(Event::Opened { link: self.link });
        let welcome = ServerMessage::Welcome(Box::new(self.job.welcome()));
        self.says(&welcome);
    }

    fn lease(&mut self, task: u64) {
        let lease = self.job.lease(task);
        self.says(&ServerMessage::Lease(Box::new(lease)));
    }

    /// Answers every fetch that there may be.
    fn fetched(&mut self) {
        let Job { program, base, blocks: [first, second] } = Job::new();
        for bytes in [program.to_json().into_bytes(), base, first, second] {
            self.event(Event::Fetched { id: BlobId::of(&bytes), bytes });
        }
    }

    /// A task computed and signed, its update on the way.
    fn computed(&mut self, task: u64, steps: u32) {
        self.event(Event::TaskDone { outcome: outcome(task, steps) });
        self.event(Event::Signed { task: TaskId(task), signature: [1; 64] });
    }

    /// A task computed, uploaded and signed.
    fn done(&mut self, task: u64, steps: u32) {
        self.event(Event::TaskDone { outcome: outcome(task, steps) });
        self.event(Event::Uploaded { task: TaskId(task) });
        self.event(Event::Signed { task: TaskId(task), signature: [1; 64] });
    }

    /// Lets time pass, timers firing when they are due.
    fn passes(&mut self, millis: Millis) {
        let until = self.now + millis;
        while let Some(next) = self.sleeping.iter().map(|(_, at)| *at).min().filter(|at| *at <= until) {
            let index = self.sleeping.iter().position(|(_, at)| *at == next).expect("the minimum is there");
            let (timer, at) = self.sleeping.remove(index);
            self.now = at;
            self.event(Event::Woke { timer });
        }
        self.now = until;
    }
}

/// One line for each action: short names for blobs, no signatures.
fn describe(job: &Job, action: &Action) -> String {
    match action {
        Action::Connect { link } => format!("connect {}", link.0),
        Action::Send { link, text } => format!("send {}: {}", link.0, describe_message(text)),
        Action::Close { link } => format!("close {}", link.0),
        Action::Fetch { id, bytes_max, have } if have.is_empty() => format!("fetch {} <= {bytes_max}", name(job, *id)),
        Action::Fetch { id, bytes_max, have } => {
            format!("fetch {} <= {bytes_max} from {} on", name(job, *id), have.len())
        }
        Action::Challenge(challenge) => format!("challenge with {} bytes of data", challenge.block.len()),
        Action::Run(run) => format!("run task {} on {} blocks", run.task.id, run.blocks.len()),
        Action::Halt => "halt".to_owned(),
        Action::Upload { task, bytes } => format!("upload {} bytes of task {task}", bytes.len()),
        Action::Sign { task, .. } => format!("sign task {task}"),
        Action::Sleep { millis, .. } => format!("sleep {millis}"),
        Action::Keep { version } => format!("keep {}", name(job, BlobId::of(version))),
        Action::Report(VolunteerEvent::Joined { .. }) => "report joined".to_owned(),
        Action::Report(VolunteerEvent::Device { .. }) => "report device".to_owned(),
        Action::Report(event) => format!("report {}", serde_json::to_string(event).expect("serialises")),
    }
}

fn describe_message(text: &str) -> String {
    match serde_json::from_str(text).expect("a message") {
        ClientMessage::Hello(hello) => {
            let before = if hello.seal.is_some() { ", welcomed before" } else { "" };
            format!("hello {}..{}{before}", hello.protocol_min, hello.protocol_max)
        }
        ClientMessage::Device(_) => "device".to_owned(),
        ClientMessage::Result(signed) => {
            let (statement, _) = signed.parse().expect("a statement");
            format!("result of task {}, {} steps", statement.task, statement.steps)
        }
        _ => text.to_owned(),
    }
}

fn name(job: &Job, id: BlobId) -> &'static str {
    let blobs = [&job.program.to_json().into_bytes(), &job.base, &job.blocks[0], &job.blocks[1]];
    let index = blobs.iter().position(|bytes| BlobId::of(bytes) == id);
    index.map_or("?", |index| ["program", "base", "block 0", "block 1"][index])
}

#[track_caller]
fn check(mut script: Script, play: impl FnOnce(&mut Script), expected: Expect) {
    play(&mut script);
    expected.assert_eq(&script.log);
}
