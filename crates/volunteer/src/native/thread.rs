//! The thread that computes, so that sockets are answered meanwhile. The engine's objects never
//! leave it.
//!
//! It must not know the session or the network.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc as std_mpsc,
    thread,
    time::{Duration, Instant},
};

use potluck_engine::Choice;
use tokio::sync::{mpsc, oneshot};

use crate::{
    compute::Compute,
    pace::{Pace, Share, StopFlag},
    session::Event,
    work::{Challenge, Run},
};

/// A handle on the thread; it ends when this is dropped and its work is done or halted.
pub(super) struct Computer {
    jobs: std_mpsc::Sender<(Job, StopFlag)>,
    /// Of the newest job.
    stop: StopFlag,
    ended: oneshot::Receiver<()>,
}

enum Job {
    Challenge(Box<Challenge>),
    Run(Box<Run>),
}

impl Computer {
    pub(super) fn start(
        choice: Choice,
        agent: String,
        share: Share,
        events: mpsc::Sender<Event>,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = std_mpsc::channel();
        let (end, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("potluck-compute".to_owned()).spawn(move || {
            let mut compute = Compute::new(choice, agent);
            let pace = OwnThread { began: Instant::now(), share };
            for (job, stop) in inbox {
                let event = answer(&mut compute, job, &stop, &pace, &events);
                if events.blocking_send(event).is_err() {
                    break;
                }
            }
            drop(end);
        })?;
        Ok(Self { jobs, stop: StopFlag::default(), ended })
    }

    pub(super) fn challenge(&mut self, challenge: Box<Challenge>) {
        self.begin(Job::Challenge(challenge));
    }

    pub(super) fn run(&mut self, run: Box<Run>) {
        self.begin(Job::Run(run));
    }

    fn begin(&mut self, job: Job) {
        self.stop = StopFlag::default();
        // The thread lives as long as this handle.
        let _ = self.jobs.send((job, self.stop.clone()));
    }

    /// Ends what runs within a step.
    pub(super) fn halt(&self) {
        self.stop.raise();
    }

    /// Waits for the thread's end.
    pub(super) async fn ended(self) {
        let Self { jobs, stop, ended } = self;
        stop.raise();
        drop(jobs);
        // The thread never sends; it drops its end.
        let _ = ended.await;
    }
}

fn answer(compute: &mut Compute, job: Job, stop: &StopFlag, pace: &OwnThread, events: &mpsc::Sender<Event>) -> Event {
    // After a panic the state of the engine is anybody's guess, so what comes is final.
    let result = catch_unwind(AssertUnwindSafe(|| match &job {
        Job::Challenge(challenge) => pollster::block_on(compute.challenge(challenge, stop, pace)),
        Job::Run(run) => pollster::block_on(compute.run(run, stop, pace, |event| {
            let _ = events.blocking_send(event);
        })),
    }));
    result.unwrap_or_else(|_| {
        let reason = "the computing panicked; standard error says where".to_owned();
        match job {
            Job::Challenge(_) => Event::MeasureFailed { reason },
            Job::Run(run) => Event::TaskFailed { task: run.task.id, reason, fatal: true },
        }
    })
}

struct OwnThread {
    began: Instant,
    share: Share,
}

impl Pace for OwnThread {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Nothing else is due on this thread.
    async fn rest(&self, span: Duration) {
        if !span.is_zero() {
            thread::sleep(span);
        }
    }

    fn share(&self) -> Share {
        self.share.clone()
    }
}
