//! The computing, as a task of the event loop that takes one job after another.
//!
//! It must not know the session or the network.

use futures::{
    StreamExt,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
};
use potluck_volunteer::{Challenge, Choice, Compute, Event, Run, StopFlag};
use wasm_bindgen_futures::spawn_local;

use crate::clock::BrowserPace;

/// A handle on the task; it ends when this is dropped and its work is done or halted.
pub(crate) struct Work {
    jobs: UnboundedSender<(Job, StopFlag)>,
    /// Of the newest job.
    stop: StopFlag,
}

enum Job {
    Challenge(Box<Challenge>),
    Run(Box<Run>),
}

impl Work {
    pub(crate) fn start(choice: Choice, agent: String, pace: BrowserPace, events: UnboundedSender<Event>) -> Self {
        let (jobs, inbox) = unbounded();
        spawn_local(work(Compute::new(choice, agent), inbox, pace, events));
        Self { jobs, stop: StopFlag::default() }
    }

    pub(crate) fn challenge(&mut self, challenge: Box<Challenge>) {
        self.begin(Job::Challenge(challenge));
    }

    pub(crate) fn run(&mut self, run: Box<Run>) {
        self.begin(Job::Run(run));
    }

    fn begin(&mut self, job: Job) {
        self.stop = StopFlag::default();
        // The task lives as long as this handle.
        let _ = self.jobs.unbounded_send((job, self.stop.clone()));
    }

    /// Ends what runs within a step.
    pub(crate) fn halt(&self) {
        self.stop.raise();
    }
}

async fn work(
    mut compute: Compute,
    mut inbox: UnboundedReceiver<(Job, StopFlag)>,
    pace: BrowserPace,
    events: UnboundedSender<Event>,
) {
    while let Some((job, stop)) = inbox.next().await {
        let event = match job {
            Job::Challenge(challenge) => compute.challenge(&challenge, &stop, &pace).await,
            Job::Run(run) => {
                let tell = |event| {
                    let _ = events.unbounded_send(event);
                };
                compute.run(&run, &stop, &pace, tell).await
            }
        };
        // The session may have ended.
        let _ = events.unbounded_send(event);
    }
}
