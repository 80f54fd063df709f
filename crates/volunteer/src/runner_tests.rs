//! The runner and the challenge on the processor, with a program of 23 parameters.

use std::{cell::Cell, time::Duration};

use potluck_engine::{Choice, Engine};
use potluck_protocol::{Backend, Task, TaskId, limits};
use potluck_update::{decode, weights_from_bytes};

use crate::{
    compute::Compute,
    fixture::Job,
    pace::{Pace, Share, StopFlag},
    runner::{Progress, RunError, TaskRunner},
    session::Event,
    work::{Challenge, Outcome, Run},
};

/// A clock that moves a little each time it is read, and a flag that is raised at a certain rest.
struct Ticking {
    now: Cell<Duration>,
    rests: Cell<u32>,
    stop: StopFlag,
    stop_at_rest: u32,
    slice: Option<Duration>,
}

impl Ticking {
    fn new(stop_at_rest: u32) -> Self {
        Self { now: Cell::default(), rests: Cell::default(), stop: StopFlag::default(), stop_at_rest, slice: None }
    }

    /// Two ticks a slice: what takes one tick at first goes in twos soon.
    fn sliced(stop_at_rest: u32) -> Self {
        Self { slice: Some(Duration::from_millis(2)), ..Self::new(stop_at_rest) }
    }
}

impl Pace for Ticking {
    fn now(&self) -> Duration {
        self.now.set(self.now.get() + Duration::from_millis(1));
        self.now.get()
    }

    async fn rest(&self, _: Duration) {
        self.rests.set(self.rests.get() + 1);
        if self.rests.get() == self.stop_at_rest {
            self.stop.raise();
        }
    }

    fn share(&self) -> Share {
        Share::default()
    }

    fn slice(&self) -> Option<Duration> {
        self.slice
    }
}

const NEVER: u32 = u32::MAX;

fn run_on(runner: &mut TaskRunner, run: &Run, stop_at_rest: u32) -> Result<Option<Outcome>, RunError> {
    run_at(runner, run, &Ticking::new(stop_at_rest))
}

fn run_at(runner: &mut TaskRunner, run: &Run, pace: &Ticking) -> Result<Option<Outcome>, RunError> {
    let mut last = Progress { step: 0, steps: 0, loss: None };
    let outcome = pollster::block_on(runner.run(run, &pace.stop.clone(), pace, |p| last = p));
    if let Ok(Some(Outcome { steps, update: Some(_), train_loss, .. })) = &outcome {
        assert_eq!((last.step, last.loss), (*steps, *train_loss), "the last progress tells the result");
    }
    outcome
}

fn runner() -> TaskRunner {
    TaskRunner::new(pollster::block_on(Engine::open(Choice::Cpu)).expect("a processor"))
}

#[track_caller]
fn run(task: impl FnOnce(Task) -> Task, stop_at_rest: u32) -> Option<Outcome> {
    let job = Job::new();
    run_on(&mut runner(), &job.run(task(job.task(3))), stop_at_rest).expect("runs")
}

fn without_time(outcome: Option<Outcome>) -> Option<Outcome> {
    outcome.map(|outcome| Outcome { compute_millis: 0, ..outcome })
}

#[test]
fn the_same_task_gives_the_same_bytes() {
    let job = Job::new();
    let task = job.run(job.task(3));
    let mut runner = runner();
    let first = without_time(run_on(&mut runner, &task, NEVER).expect("runs"));
    // Another task between them, on the same prepared program, leaves no trace.
    let other = without_time(run_on(&mut runner, &job.run(Task { seed: 12, ..job.task(4) }), NEVER).expect("runs"));
    let again = without_time(run_on(&mut runner, &task, NEVER).expect("runs"));
    let elsewhere = without_time(run(|task| task, NEVER));
    assert_eq!(first, again);
    assert_eq!(first, elsewhere);
    assert_ne!(first.and_then(|o| o.update), other.and_then(|o| o.update));
}

#[test]
fn batches_that_take_turns_leave_no_trace() {
    let job = Job::new();
    let task = |batch| job.run(Task { batch, ..job.task(3) });
    let mut kept = runner();
    let mut run = |batch| without_time(run_on(&mut kept, &task(batch), NEVER).expect("runs"));
    let whole = Job::recipe().batch;
    // Two of the three are kept.
    let all = [whole, 1, whole, 2, whole, 1].map(|batch| (batch, run(batch)));
    for (batch, outcome) in all {
        let elsewhere = without_time(run_on(&mut runner(), &task(batch), NEVER).expect("runs"));
        assert_eq!(outcome, elsewhere, "batch {batch}");
    }
}

#[test]
fn an_update_leads_from_the_base_to_a_lower_loss() {
    let job = Job::new();
    let outcome = run(|task| task, NEVER).expect("an outcome");
    assert_eq!(outcome.steps, 8);
    let count = job.program.parameter_count();
    let update = outcome.update.expect("an update");
    let update = decode(Job::recipe().update, count, &update).expect("decodes");
    let base = weights_from_bytes(&job.base, count).expect("weights");
    let local: Vec<f32> = base.iter().zip(&update).map(|(base, update)| base - update).collect();
    let loss = |weights: &[f32]| {
        let mut run = job.run(job.evaluation(1));
        run.base = std::sync::Arc::new(potluck_update::bytes_from_weights(weights));
        let outcome = run_on(&mut runner(), &run, NEVER).expect("runs").expect("an outcome");
        outcome.evaluation.expect("an evaluation").loss
    };
    let (before, after) = (loss(&base), loss(&local));
    assert!(after < before, "loss went from {before} to {after}");
}

#[test]
fn an_evaluation_counts_every_sample_once() {
    let job = Job::new();
    let evaluate = |batch| {
        let run = job.run(Task { batch, ..job.evaluation(1) });
        let outcome = run_on(&mut runner(), &run, NEVER).expect("runs").expect("an outcome");
        assert_eq!((outcome.steps, outcome.update, outcome.train_loss), (0, None, None));
        outcome.evaluation.expect("an evaluation")
    };
    // 32 samples: 7 does not divide them, 64 is more than there are.
    let (even, odd, whole) = (evaluate(8), evaluate(7), evaluate(64));
    assert_eq!([even.samples, odd.samples, whole.samples], [32; 3]);
    assert_eq!([odd.accuracy, whole.accuracy], [even.accuracy; 2]);
    assert!((odd.loss - even.loss).abs() < 1e-5 && (whole.loss - even.loss).abs() < 1e-5);
}

#[test]
fn a_stop_hands_in_the_steps_that_were_done() {
    let outcome = run(|task| task, 5).expect("an outcome");
    assert_eq!(outcome.steps, 5);
    // A shorter task with the same ramp takes the same steps where the rate does not fall.
    let still = |task: Task| Task { lr_end: task.lr_start, ..task };
    let partial = run(still, 5).expect("an outcome");
    let short = run(|task| Task { steps: 5, ..still(task) }, NEVER).expect("an outcome");
    assert_eq!(partial.update, short.update);
}

#[test]
fn a_stop_too_early_hands_in_nothing() {
    assert_eq!(run(|task| task, limits::TASK_STEPS_MIN - 1), None);
    let job = Job::new();
    let outcome = run_on(&mut runner(), &job.run(job.evaluation(1)), 2).expect("runs");
    assert_eq!(outcome, None);
}

/// On every device: the processor, and the GPU that tests have.
fn on_every_device(check: impl Fn(&mut TaskRunner)) {
    for choice in [Choice::Cpu, Choice::Gpu] {
        check(&mut TaskRunner::new(pollster::block_on(Engine::open(choice)).expect("a device")));
    }
}

#[test]
fn slices_change_no_bit() {
    let job = Job::new();
    let task = job.run(job.task(3));
    on_every_device(|runner| {
        let whole = without_time(run_on(runner, &task, NEVER).expect("runs"));
        let pace = Ticking::sliced(NEVER);
        let sliced = without_time(run_at(runner, &task, &pace).expect("runs"));
        assert!(pace.rests.get() > 3 * 8, "{} rests in 8 steps", pace.rests.get());
        assert_eq!(whole, sliced);
    });
}

#[test]
fn an_evaluation_in_slices_comes_to_the_same() {
    let job = Job::new();
    let task = job.run(job.evaluation(1));
    on_every_device(|runner| {
        let whole = without_time(run_on(runner, &task, NEVER).expect("runs"));
        let pace = Ticking::sliced(NEVER);
        assert_eq!(whole, without_time(run_at(runner, &task, &pace).expect("runs")));
        let passes = 32u32.div_ceil(task.task.batch);
        assert!(pace.rests.get() > passes, "{} rests in {passes} passes", pace.rests.get());
        let stopped = run_at(runner, &task, &Ticking::sliced(1)).expect("runs");
        assert_eq!(stopped, None, "a stop inside of the first pass");
    });
}

#[test]
fn a_challenge_is_cut_too_and_stops_inside_of_a_step() {
    let measure = |pace: &Ticking| {
        let mut compute = Compute::new(Choice::Cpu, "test");
        pollster::block_on(compute.challenge(&challenge(), &pace.stop.clone(), pace))
    };
    let (whole, sliced) = (Ticking::new(NEVER), Ticking::sliced(NEVER));
    let [whole, sliced] = [&whole, &sliced].map(|pace| {
        assert!(matches!(measure(pace), Event::Measured { .. }));
        pace.rests.get()
    });
    assert!(sliced > 2 * whole, "{sliced} rests in slices, {whole} without");
    // The first rest is before the first step, the second behind its first dispatch.
    assert_eq!(measure(&Ticking::sliced(2)), Event::MeasureStopped);
}

#[test]
fn a_stop_inside_of_a_step_hands_in_the_steps_before() {
    let job = Job::new();
    let still = |task: Task| Task { lr_end: task.lr_start, ..task };
    on_every_device(|runner| {
        // Each step begins with a rest after its first slice, so that some of these are inside of one.
        let mut partial = 0;
        for stop_at_rest in 30..40 {
            let pace = Ticking::sliced(stop_at_rest);
            let Some(stopped) = run_at(runner, &job.run(still(job.task(3))), &pace).expect("runs") else { continue };
            let short = Task { steps: stopped.steps, ..still(job.task(3)) };
            let short = run_on(runner, &job.run(short), NEVER).expect("runs").expect("an outcome");
            assert_eq!((stopped.update, stopped.train_loss), (short.update, short.train_loss), "{stop_at_rest}");
            partial += u32::from(stopped.steps < 8);
        }
        assert!(partial > 0, "no stop came before the end");
    });
}

#[test]
fn a_lost_device_is_opened_again_and_the_task_done_anew() {
    let job = Job::new();
    let run = job.run(job.task(3));
    let undisturbed = {
        let mut compute = Compute::new(Choice::Gpu, "test");
        pollster::block_on(compute.run(&run, &StopFlag::default(), &Ticking::new(NEVER), |_| ()))
    };
    let mut compute = Compute::new(Choice::Gpu, "test");
    let pace = Ticking::new(NEVER);
    // Opens the device and prepares the program.
    pollster::block_on(compute.run(&run, &StopFlag::default(), &pace, |_| ()));
    let engine = compute.engine().expect("it is open").clone();
    let mut steps = Vec::new();
    let event = pollster::block_on(compute.run(&run, &StopFlag::default(), &pace, |event| {
        let Event::Step { step, .. } = event else { panic!("{event:?}") };
        if steps.len() == 2 {
            engine.lose_device();
        }
        steps.push(step);
    }));
    let (Event::TaskDone { outcome: again }, Event::TaskDone { outcome: first }) = (event, undisturbed) else {
        panic!("the task was not done")
    };
    assert_eq!(without_time(Some(again)), without_time(Some(first)));
    assert!(steps.len() > 8 && steps.ends_with(&[1, 2, 3, 4, 5, 6, 7, 8]), "{steps:?}");
}

#[test]
fn a_device_that_is_lost_again_and_again_is_given_up() {
    let job = Job::new();
    let run = job.run(job.task(3));
    let mut compute = Compute::new(Choice::Gpu, "test");
    let pace = Ticking::new(NEVER);
    let mut lost = 0;
    let event = loop {
        pollster::block_on(compute.run(&run, &StopFlag::default(), &pace, |_| ()));
        let Some(engine) = compute.engine() else { panic!("no device after {lost} losses") };
        engine.lose_device();
        lost += 1;
        let event = pollster::block_on(compute.run(&run, &StopFlag::default(), &pace, |_| ()));
        if !matches!(event, Event::TaskDone { .. }) {
            break event;
        }
    };
    assert_eq!(lost, 3, "two are opened again");
    assert!(matches!(event, Event::TaskFailed { fatal: true, .. }), "{event:?}");
}

#[test]
fn a_refused_shader_is_told() {
    let challenge = challenge();
    let trainer_without = |shader| {
        let engine = pollster::block_on(Engine::open(Choice::Gpu)).expect("a GPU");
        engine.break_shader(shader);
        let base = weights_from_bytes(&challenge.base, challenge.program.parameter_count()).expect("weights");
        let trainer = pollster::block_on(engine.trainer(&challenge.program, &challenge.recipe, &base));
        (engine, trainer.map(drop))
    };
    let (engine, trainer) = trainer_without("cross_entropy_rows");
    trainer.expect("another tier");
    let told = crate::challenge::refusals(&engine).expect("something to tell");
    assert!(told.contains("cross_entropy_rows"), "{told}");
    let error = trainer_without("adamw").1.expect_err("there is no other");
    assert!(error.to_string().contains("adamw"), "{error}");
}

#[test]
fn diverging_is_an_error() {
    let job = Job::new();
    let recipe = potluck_protocol::Recipe { lr: 1e38, ..Job::recipe() };
    let task = Task { lr_start: 3e38, lr_end: 3e38, recipe, ..job.task(1) };
    let error = run_on(&mut runner(), &job.run(task), NEVER).expect_err("diverges");
    assert!(matches!(error, RunError::NotFinite { .. }), "{error}");
}

#[test]
fn foreign_data_is_an_error() {
    let job = Job::new();
    let mut run = job.run(job.task(1));
    run.blocks[1] = std::sync::Arc::new(vec![0; 100]);
    let error = run_on(&mut runner(), &run, NEVER).expect_err("not a block");
    assert!(matches!(error, RunError::Block { index: 1, .. }), "{error}");
    run.base = std::sync::Arc::new(vec![0; 91]);
    let error = run_on(&mut runner(), &run, NEVER).expect_err("not the weights");
    assert!(matches!(error, RunError::Base(_)), "{error}");
}

fn challenge() -> Challenge {
    let job = Job::new();
    let run = job.run(job.task(1));
    Challenge { program: run.program, recipe: Job::recipe(), base: run.base, block: run.blocks[0].clone() }
}

#[test]
fn a_forced_processor_is_measured_and_says_so() {
    let mut compute = Compute::new(Choice::Cpu, "test");
    let pace = Ticking::new(NEVER);
    let event = pollster::block_on(compute.challenge(&challenge(), &StopFlag::default(), &pace));
    let Event::Measured { device, fallback } = event else { panic!("{event:?}") };
    assert_eq!((device.backend, device.forced, fallback), (Backend::Cpu, true, None));
    assert!(matches!(device.challenge[..], [(Backend::Cpu, speed)] if speed > 0.0));
}

#[test]
fn a_challenge_can_be_stopped() {
    let mut compute = Compute::new(Choice::Cpu, "test");
    let pace = Ticking::new(1);
    let event = pollster::block_on(compute.challenge(&challenge(), &pace.stop.clone(), &pace));
    assert_eq!(event, Event::MeasureStopped);
}

#[test]
fn compute_answers_a_run_with_its_outcome() {
    let job = Job::new();
    let mut compute = Compute::new(Choice::Cpu, "embedded");
    let mut told = Vec::new();
    let pace = Ticking::new(NEVER);
    let run = job.run(job.task(6));
    let event = pollster::block_on(compute.run(&run, &StopFlag::default(), &pace, |event| told.push(event)));
    assert!(matches!(event, Event::TaskDone { outcome } if outcome.task == TaskId(6)));
    assert_eq!(told.len(), 8);
    assert_eq!(compute.device().map(|device| device.backend), Some(Backend::Cpu));
}
