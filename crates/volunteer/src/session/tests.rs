//! Rules of the session, one case each, as scripts of what happens and what is done about it.

use expect_test::{Expect, expect};
use potluck_protocol::{
    Backend, BlobId, ClientMessage, Device, ErrorCode, Lease, Millis, Refusal, ServerMessage, TaskId, Verdict, Version,
    WaitReason, limits,
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
    Config { job, volunteer, build: "test".to_owned(), seed: 1, cache_bytes_max: 1 << 20 }
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
        Action::Fetch { id, bytes_max } => format!("fetch {} <= {bytes_max}", name(job, *id)),
        Action::Challenge(challenge) => format!("challenge with {} bytes of data", challenge.block.len()),
        Action::Run(run) => format!("run task {} on {} blocks", run.task.id, run.blocks.len()),
        Action::Halt => "halt".to_owned(),
        Action::Upload { task, bytes } => format!("upload {} bytes of task {task}", bytes.len()),
        Action::Sign { task, .. } => format!("sign task {task}"),
        Action::Sleep { millis, .. } => format!("sleep {millis}"),
        Action::Report(VolunteerEvent::Joined { .. }) => "report joined".to_owned(),
        Action::Report(VolunteerEvent::Device { .. }) => "report device".to_owned(),
        Action::Report(event) => format!("report {}", serde_json::to_string(event).expect("serialises")),
    }
}

fn describe_message(text: &str) -> String {
    match serde_json::from_str(text).expect("a message") {
        ClientMessage::Hello(hello) => format!("hello {}..{}", hello.protocol_min, hello.protocol_max),
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

#[test]
fn greets_fetches_measures_and_asks() {
    check(
        Script::new(),
        |s| {
            s.event(Event::Start);
            s.welcomed();
            s.fetched();
            s.event(Event::Measured { device: device(), fallback: Some("no GPU".to_owned()) });
        },
        expect![[r#"
            connect 1
            report {"type":"connecting"}
            sleep 30000
            send 1: hello 1..1
            report joined
            report {"type":"downloading","bytes":0,"total":null}
            fetch program <= 1048576
            fetch block 0 <= 524288
            fetch base <= 92
            report {"type":"checking_device"}
            challenge with 432 bytes of data
            report {"type":"fallback","reason":"no GPU"}
            report device
            send 1: device
            report {"type":"waiting","reason":"asking","retry_millis":0}
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn runs_a_lease_hands_in_and_asks_again() {
    check(
        Script::asked(),
        |s| {
            s.lease(1);
            s.fetched();
            s.done(1, 8);
            s.says(&verdict(1, true, None));
        },
        expect![[r#"
            fetch block 1 <= 524288
            report {"type":"helping","task":1,"kind":"train","step":0,"steps":8,"loss":null}
            run task 1 on 2 blocks
            sign task 1
            upload 3 bytes of task 1
            send 1: result of task 1, 8 steps
            send 1: {"type":"ask"}
            report {"type":"credited","task":1,"tasks":1,"samples":64}
        "#]],
    );
}

#[test]
fn a_second_task_on_the_same_blobs_fetches_nothing() {
    check(
        Script::handed_in(),
        |s| s.lease(2),
        expect![[r#"
            report {"type":"helping","task":2,"kind":"train","step":0,"steps":8,"loss":null}
            run task 2 on 2 blocks
        "#]],
    );
}

#[test]
fn evaluations_have_no_update_to_upload() {
    check(
        Script::asked(),
        |s| {
            let task = s.job.evaluation(4);
            s.says(&ServerMessage::Lease(Box::new(Lease { task, deadline_millis: 9000, expiry_millis: 9000 })));
            s.fetched();
            let evaluation = potluck_protocol::Evaluation { loss: 0.5, accuracy: 0.5, samples: 32 };
            let (update, train_loss, evaluation) = (None, None, Some(evaluation));
            let outcome = Outcome { task: TaskId(4), steps: 0, update, train_loss, evaluation, compute_millis: 1 };
            s.event(Event::TaskDone { outcome });
            s.event(Event::Signed { task: TaskId(4), signature: [1; 64] });
        },
        expect![[r#"
            fetch block 1 <= 524288
            report {"type":"helping","task":4,"kind":"evaluate","step":0,"steps":0,"loss":null}
            run task 4 on 2 blocks
            sign task 4
            send 1: result of task 4, 0 steps
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn waits_as_told_and_asks_again() {
    check(
        Script::asked(),
        |s| {
            s.says(&ServerMessage::Wait { retry_millis: 2000, reason: WaitReason::Round });
            s.passes(1999);
            s.passes(1);
        },
        expect![[r#"
            sleep 2000
            sleep 500
            report {"type":"waiting","reason":"round","retry_millis":1500}
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn a_pushed_lease_ends_the_wait_without_a_second_ask() {
    check(
        Script::asked(),
        |s| {
            s.says(&ServerMessage::Wait { retry_millis: 2000, reason: WaitReason::Round });
            s.lease(1);
            s.fetched();
            s.passes(5000);
        },
        expect![[r#"
            sleep 2000
            sleep 500
            fetch block 1 <= 524288
            report {"type":"helping","task":1,"kind":"train","step":0,"steps":8,"loss":null}
            run task 1 on 2 blocks
        "#]],
    );
}

#[test]
fn a_lease_that_crosses_an_ask_is_kept_and_a_third_is_released() {
    check(
        Script::running(),
        |s| {
            s.lease(2);
            s.lease(3);
            s.done(1, 8);
        },
        expect![[r#"
            send 1: {"type":"release","tasks":[3]}
            sign task 1
            upload 3 bytes of task 1
            report {"type":"helping","task":2,"kind":"train","step":0,"steps":8,"loss":null}
            run task 2 on 2 blocks
            send 1: result of task 1, 8 steps
        "#]],
    );
}

#[test]
fn a_lease_said_twice_runs_once() {
    check(Script::running(), |s| s.lease(1), expect![[""]]);
}

#[test]
fn a_lost_connection_is_opened_again_and_the_result_sent_again() {
    check(
        Script::handed_in(),
        |s| {
            s.event(Event::Closed { link: s.link, refused: None });
            s.passes(1000);
            s.welcomed();
            s.says(&verdict(1, true, None));
        },
        expect![[r#"
            sleep 783
            report {"type":"offline","retry_millis":783}
            connect 2
            report {"type":"connecting"}
            send 2: hello 1..1
            report joined
            send 2: device
            report {"type":"waiting","reason":"asking","retry_millis":0}
            send 2: result of task 1, 8 steps
            send 2: {"type":"ask"}
            report {"type":"credited","task":1,"tasks":1,"samples":64}
        "#]],
    );
}

#[test]
fn a_task_goes_on_while_the_connection_is_lost() {
    check(
        Script::running(),
        |s| {
            s.event(Event::Closed { link: s.link, refused: None });
            s.done(1, 8);
            s.passes(1000);
            s.welcomed();
        },
        expect![[r#"
            sleep 783
            sign task 1
            upload 3 bytes of task 1
            report {"type":"offline","retry_millis":783}
            connect 2
            report {"type":"connecting"}
            send 2: hello 1..1
            report joined
            send 2: device
            report {"type":"waiting","reason":"asking","retry_millis":0}
            send 2: result of task 1, 8 steps
            send 2: {"type":"ask"}
        "#]],
    );
}

#[test]
fn a_silent_coordinator_is_given_up() {
    check(
        Script::asked(),
        |s| {
            let (version, samples, budget_samples) = (Version(1), 5, 10);
            s.passes(20_000);
            s.says(&ServerMessage::Progress { version, samples, budget_samples, accuracy: None, volunteers: 2 });
            s.passes(10_000);
        },
        expect![[r#"
            report {"type":"progress","version":1,"samples":5,"budget_samples":10,"accuracy":null,"volunteers":2}
            close 1
            sleep 783
            report {"type":"offline","retry_millis":783}
        "#]],
    );
}

#[test]
fn back_off_grows_while_nothing_but_welcome_comes() {
    let mut script = Script::asked();
    for _ in 0..9 {
        script.event(Event::Closed { link: script.link, refused: None });
        script.quiet = true;
        let lost = script.link;
        while script.link == lost {
            script.passes(100);
        }
        script.welcomed();
        script.quiet = false;
    }
    let spans: Vec<&str> = script.log.lines().filter_map(|line| line.strip_prefix("sleep ")).collect();
    expect!["783 1745 3942 5777 11554 28206 56320 45692 38565"].assert_eq(&spans.join(" "));
}

#[test]
fn reload_ends_the_session() {
    check(
        Script::asked(),
        |s| {
            s.says(&ServerMessage::Reload { protocol_min: 2, protocol_max: 3, reason: "too old".to_owned() });
            s.passes(100_000);
            s.event(Event::Stop);
        },
        expect![[r#"
            send 1: {"type":"bye"}
            close 1
            report {"type":"update_needed","reason":"too old"}
        "#]],
    );
}

#[test]
fn finished_halts_and_ends() {
    check(
        Script::running(),
        |s| s.says(&ServerMessage::Finished),
        expect![[r#"
        halt
        send 1: {"type":"bye"}
        close 1
        report {"type":"finished"}
    "#]],
    );
}

#[test]
fn a_job_that_is_not_there_ends_the_session() {
    check(
        Script::new(),
        |s| {
            s.event(Event::Start);
            s.event(Event::Closed { link: s.link, refused: Some("no such job".to_owned()) });
        },
        expect![[r#"
            connect 1
            report {"type":"connecting"}
            sleep 30000
            report {"type":"unsupported","reason":"no such job"}
        "#]],
    );
}

#[test]
fn wrong_bytes_are_fetched_again_and_then_given_up() {
    check(
        Script::asked(),
        |s| {
            s.lease(1);
            for _ in 0..5 {
                let id = BlobId::of(&s.job.blocks[1]);
                s.event(Event::Fetched { id, bytes: b"something else".to_vec() });
                s.passes(15_000);
            }
        },
        expect![[r#"
            fetch block 1 <= 524288
            sleep 391
            fetch block 1 <= 524288
            sleep 872
            fetch block 1 <= 524288
            sleep 1971
            fetch block 1 <= 524288
            sleep 2888
            fetch block 1 <= 524288
            report {"type":"refused","code":"blob_mismatch","detail":"blob 7a0667f4c63c3433f52ea836b780b86c30c6e7c8e78466404d828d3c38e39cd7: other bytes than its name or size says","task":1}
            send 1: {"type":"release","tasks":[1]}
            sleep 722
            report {"type":"waiting","reason":"retry","retry_millis":722}
            send 1: {"type":"ask"}
            sleep 30000
        "#]],
    );
}

#[test]
fn a_blob_that_is_gone_releases_the_lease() {
    check(
        Script::asked(),
        |s| {
            s.lease(1);
            let id = BlobId::of(&s.job.blocks[1]);
            s.event(Event::FetchFailed { id, retryable: false, detail: "status 404".to_owned() });
        },
        expect![[r#"
            fetch block 1 <= 524288
            report {"type":"refused","code":"blob_missing","detail":"blob 7a0667f4c63c3433f52ea836b780b86c30c6e7c8e78466404d828d3c38e39cd7: status 404","task":1}
            send 1: {"type":"release","tasks":[1]}
            sleep 783
            report {"type":"waiting","reason":"retry","retry_millis":783}
        "#]],
    );
}

#[test]
fn a_program_over_the_limits_is_refused_before_it_is_fetched() {
    check(
        Script::new(),
        |s| {
            s.event(Event::Start);
            s.event(Event::Opened { link: s.link });
            let mut welcome = s.job.welcome();
            welcome.job.program.parameters = limits::FIRST_DOWNLOAD_BYTES_MAX / 4;
            s.says(&ServerMessage::Welcome(Box::new(welcome)));
        },
        expect![[r#"
            connect 1
            report {"type":"connecting"}
            sleep 30000
            send 1: hello 1..1
            close 1
            report {"type":"unsupported","reason":"the first download would be up to 106430464 bytes, at most 104857600"}
        "#]],
    );
}

#[test]
fn a_program_that_does_not_parse_is_refused() {
    check(
        Script::new(),
        |s| {
            s.quiet = true;
            s.event(Event::Start);
            s.event(Event::Opened { link: s.link });
            let mut welcome = s.job.welcome();
            welcome.program = BlobId::of(b"{}");
            s.says(&ServerMessage::Welcome(Box::new(welcome)));
            s.event(Event::Fetched { id: BlobId::of(b"{}"), bytes: b"{}".to_vec() });
            s.quiet = false;
            s.fetched();
        },
        expect![[r#"
            send 1: {"type":"bye"}
            close 1
            report {"type":"unsupported","reason":"program does not parse: missing field `format` at line 1 column 2"}
        "#]],
    );
}

#[test]
fn a_task_over_the_limits_is_released() {
    check(
        Script::asked(),
        |s| {
            let mut lease = s.job.lease(1);
            lease.task.steps = limits::TASK_STEPS_MAX + 1;
            s.says(&ServerMessage::Lease(Box::new(lease)));
            s.passes(1000);
        },
        expect![[r#"
            report {"type":"refused","code":"over_limit","detail":"the task has 17 steps","task":1}
            sleep 783
            report {"type":"waiting","reason":"retry","retry_millis":783}
            send 1: {"type":"release","tasks":[1]}
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn pause_hands_in_what_is_there_and_resume_asks() {
    check(
        Script::running(),
        |s| {
            s.event(Event::Pause);
            s.done(1, 5);
            s.lease(2);
            s.says(&verdict(1, true, None));
            s.event(Event::Resume);
        },
        expect![[r#"
            halt
            report {"type":"paused"}
            sign task 1
            upload 3 bytes of task 1
            send 1: result of task 1, 5 steps
            send 1: {"type":"release","tasks":[2]}
            report {"type":"credited","task":1,"tasks":1,"samples":64}
            report {"type":"waiting","reason":"asking","retry_millis":0}
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn pause_releases_what_was_not_begun() {
    check(
        Script::asked(),
        |s| {
            s.lease(1);
            s.event(Event::Pause);
        },
        expect![[r#"
            fetch block 1 <= 524288
            send 1: {"type":"release","tasks":[1]}
            report {"type":"paused"}
        "#]],
    );
}

#[test]
fn a_pause_while_measuring_measures_again() {
    let mut script = Script::new();
    script.quiet = true;
    script.event(Event::Start);
    script.welcomed();
    script.fetched();
    script.quiet = false;
    check(
        script,
        |s| {
            s.event(Event::Pause);
            s.event(Event::MeasureStopped);
            s.event(Event::Resume);
        },
        expect![[r#"
            halt
            report {"type":"paused"}
            report {"type":"waiting","reason":"asking","retry_millis":0}
            report {"type":"downloading","bytes":0,"total":null}
            report {"type":"checking_device"}
            challenge with 432 bytes of data
        "#]],
    );
}

#[test]
fn stop_hands_in_waits_for_the_verdict_and_closes() {
    check(
        Script::running(),
        |s| {
            s.event(Event::Stop);
            s.done(1, 4);
            s.says(&verdict(1, true, None));
            s.passes(10_000);
        },
        expect![[r#"
            halt
            report {"type":"stopping"}
            sleep 5000
            sign task 1
            upload 3 bytes of task 1
            send 1: result of task 1, 4 steps
            report {"type":"credited","task":1,"tasks":1,"samples":64}
            send 1: {"type":"bye"}
            close 1
            report {"type":"stopped"}
        "#]],
    );
}

#[test]
fn stop_releases_what_is_too_little() {
    check(
        Script::running(),
        |s| {
            s.event(Event::Stop);
            s.event(Event::TaskStopped { task: TaskId(1) });
        },
        expect![[r#"
            halt
            report {"type":"stopping"}
            sleep 5000
            send 1: {"type":"release","tasks":[1]}
            send 1: {"type":"bye"}
            close 1
            report {"type":"stopped"}
        "#]],
    );
}

#[test]
fn stop_does_not_wait_for_ever() {
    check(
        Script::running(),
        |s| {
            s.event(Event::Stop);
            s.done(1, 4);
            s.passes(5_000);
        },
        expect![[r#"
            halt
            report {"type":"stopping"}
            sleep 5000
            sign task 1
            upload 3 bytes of task 1
            send 1: result of task 1, 4 steps
            send 1: {"type":"bye"}
            close 1
            report {"type":"stopped"}
        "#]],
    );
}

#[test]
fn stop_without_a_connection_ends_at_once() {
    check(
        Script::handed_in(),
        |s| {
            s.event(Event::Closed { link: s.link, refused: None });
            s.event(Event::Stop);
        },
        expect![[r#"
            sleep 783
            report {"type":"offline","retry_millis":783}
            report {"type":"stopping"}
            sleep 5000
            report {"type":"stopped"}
        "#]],
    );
}

#[test]
fn an_upload_is_tried_again() {
    check(
        Script::running(),
        |s| {
            s.event(Event::TaskDone { outcome: outcome(1, 8) });
            s.event(Event::Signed { task: TaskId(1), signature: [1; 64] });
            let (task, code, detail) = (TaskId(1), None, "status 503".to_owned());
            s.event(Event::UploadFailed { task, code, detail, retryable: true });
            s.passes(500);
            s.event(Event::Uploaded { task: TaskId(1) });
        },
        expect![[r#"
            sign task 1
            upload 3 bytes of task 1
            sleep 391
            send 1: {"type":"ask"}
            upload 3 bytes of task 1
            send 1: result of task 1, 8 steps
        "#]],
    );
}

#[test]
fn an_upload_that_is_refused_gives_the_lease_back() {
    check(
        Script::running(),
        |s| {
            s.event(Event::TaskDone { outcome: outcome(1, 8) });
            let (task, code, detail) = (TaskId(1), Some(ErrorCode::UpdateMalformed), "odd bytes".to_owned());
            s.event(Event::UploadFailed { task, code, detail, retryable: false });
            s.event(Event::Signed { task: TaskId(1), signature: [1; 64] });
        },
        expect![[r#"
            sign task 1
            upload 3 bytes of task 1
            report {"type":"refused","code":"update_malformed","detail":"odd bytes","task":1}
            send 1: {"type":"release","tasks":[1]}
            sleep 783
            report {"type":"waiting","reason":"retry","retry_millis":783}
        "#]],
    );
}

#[test]
fn an_update_that_was_lost_is_uploaded_again() {
    check(
        Script::handed_in(),
        |s| {
            s.says(&verdict(1, false, Some(ErrorCode::UpdateMissing)));
            s.passes(500);
            s.event(Event::Uploaded { task: TaskId(1) });
        },
        expect![[r#"
            sleep 391
            upload 3 bytes of task 1
            send 1: result of task 1, 8 steps
        "#]],
    );
}

#[test]
fn an_error_without_a_task_answers_the_oldest_result() {
    check(
        Script::handed_in(),
        |s| {
            let refusal = Refusal { code: ErrorCode::BadSignature, detail: "no".to_owned() };
            s.says(&ServerMessage::Error(refusal));
        },
        expect![[r#"
            report {"type":"refused","code":"bad_signature","detail":"no","task":1}
        "#]],
    );
}

#[test]
fn after_a_refusal_the_next_answer_comes_before_the_next_ask() {
    check(
        Script::handed_in(),
        |s| {
            s.says(&verdict(1, false, Some(ErrorCode::NormOutOfRange)));
            s.lease(2);
            s.done(2, 8);
            s.passes(5000);
            s.says(&verdict(2, false, Some(ErrorCode::NormOutOfRange)));
            s.passes(2000);
        },
        expect![[r#"
            report {"type":"refused","code":"norm_out_of_range","detail":"because","task":1}
            report {"type":"helping","task":2,"kind":"train","step":0,"steps":8,"loss":null}
            run task 2 on 2 blocks
            sign task 2
            upload 3 bytes of task 2
            send 1: result of task 2, 8 steps
            report {"type":"refused","code":"norm_out_of_range","detail":"because","task":2}
            sleep 1566
            report {"type":"waiting","reason":"retry","retry_millis":1566}
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn a_short_wait_is_not_told() {
    check(
        Script::asked(),
        |s| {
            s.says(&ServerMessage::Wait { retry_millis: 2000, reason: WaitReason::Round });
            s.passes(100);
            s.lease(1);
            s.fetched();
            s.passes(2000);
        },
        expect![[r#"
            sleep 2000
            sleep 500
            fetch block 1 <= 524288
            report {"type":"helping","task":1,"kind":"train","step":0,"steps":8,"loss":null}
            run task 1 on 2 blocks
        "#]],
    );
}

#[test]
fn a_refused_ask_is_put_off() {
    check(
        Script::asked(),
        |s| {
            let refusal = Refusal { code: ErrorCode::TooManyLeases, detail: "two".to_owned() };
            s.says(&ServerMessage::Error(refusal));
            s.passes(1000);
        },
        expect![[r#"
            report {"type":"refused","code":"too_many_leases","detail":"two","task":null}
            sleep 783
            report {"type":"waiting","reason":"retry","retry_millis":783}
            send 1: {"type":"ask"}
        "#]],
    );
}

#[test]
fn a_result_that_is_not_finite_is_not_handed_in() {
    check(
        Script::running(),
        |s| {
            let outcome = Outcome { train_loss: Some(f32::NAN), ..outcome(1, 8) };
            s.event(Event::TaskDone { outcome });
        },
        expect![[r#"
            report {"type":"refused","code":"task_failed","detail":"the training loss is not finite","task":1}
            send 1: {"type":"release","tasks":[1]}
            sleep 783
            report {"type":"waiting","reason":"retry","retry_millis":783}
        "#]],
    );
}

#[test]
fn a_lost_device_is_told() {
    check(
        Script::running(),
        |s| s.event(Event::DeviceChanged { device: device(), reason: "lost".to_owned() }),
        expect![[r#"
            report {"type":"fallback","reason":"lost"}
            report device
            send 1: device
        "#]],
    );
}

#[test]
fn a_device_that_cannot_compute_ends_the_session() {
    check(
        Script::running(),
        |s| s.event(Event::TaskFailed { task: TaskId(1), reason: "no adapter".to_owned(), fatal: true }),
        expect![[r#"
            report {"type":"refused","code":"task_failed","detail":"no adapter","task":1}
            send 1: {"type":"release","tasks":[1]}
            send 1: {"type":"bye"}
            close 1
            report {"type":"unsupported","reason":"no adapter"}
        "#]],
    );
}

#[test]
fn messages_that_do_not_parse_end_the_connection_in_the_end() {
    check(
        Script::asked(),
        |s| {
            for _ in 0..limits::BAD_MESSAGES_MAX {
                s.event(Event::Message { link: s.link, text: r#"{"type":"dance"}"#.to_owned() });
            }
        },
        expect![[r#"
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `finished`, `error` at line 1 column 15","task":null}
            report {"type":"refused","code":"bad_message","detail":"unknown variant `dance`, expected one of `welcome`, `reload`, `lease`, `wait`, `verdict`, `progress`, `finished`, `error` at line 1 column 15","task":null}
            close 1
            sleep 783
            report {"type":"offline","retry_millis":783}
        "#]],
    );
}

#[test]
fn progress_is_shown_at_most_ten_times_a_second() {
    check(
        Script::running(),
        |s| {
            for step in 1..=8 {
                s.now += 40;
                s.event(Event::Step { task: TaskId(1), step, steps: 8, loss: None });
            }
        },
        expect![[r#"
            report {"type":"helping","task":1,"kind":"train","step":3,"steps":8,"loss":null}
            report {"type":"helping","task":1,"kind":"train","step":6,"steps":8,"loss":null}
            report {"type":"helping","task":1,"kind":"train","step":8,"steps":8,"loss":null}
        "#]],
    );
}

#[test]
fn nothing_happens_before_the_start_or_for_strangers() {
    let mut script = Script::new();
    script.event(Event::Opened { link: LinkId(1) });
    script.event(Event::Resume);
    assert_eq!(script.log, "");
    check(
        Script::asked(),
        |s| {
            s.event(Event::TaskDone { outcome: outcome(9, 8) });
            s.event(Event::Uploaded { task: TaskId(9) });
            s.event(Event::Signed { task: TaskId(9), signature: [0; 64] });
            s.event(Event::Closed { link: LinkId(99), refused: None });
            s.event(Event::Woke { timer: TimerId(99) });
            s.says(&verdict(9, true, None));
        },
        expect![""],
    );
}
