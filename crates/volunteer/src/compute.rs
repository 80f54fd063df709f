//! The computing side of a shell: takes the session's `Challenge` and `Run`, answers with the
//! session's events, and survives the loss of a GPU.
//!
//! It must not know the session itself, nor a thread or event loop.

use std::time::Duration;

use potluck_engine::{Choice, Engine, EngineError};
use potluck_protocol::{Backend, Device};

use crate::{
    challenge::{Chosen, choose, describe},
    pace::{Pace, StopFlag},
    runner::{Progress, RunError, TaskRunner},
    session::Event,
    work::{Challenge, Run},
};

/// Times that a lost GPU is opened again before the processor takes over.
const REOPENINGS_MAX: u32 = 2;

/// A driver that was reset is not back at once.
const REOPENING_REST: Duration = Duration::from_millis(250);

/// Computes for one session, one thing at a time.
pub struct Compute {
    choice: Choice,
    agent: String,
    runner: Option<TaskRunner>,
    device: Option<Device>,
    reopenings: u32,
}

/// What followed a failing device.
enum Recovery {
    /// The same kind of device was opened anew.
    Reopened,
    /// Another took over.
    Changed(Device),
    /// None is left.
    Hopeless,
}

impl Compute {
    /// Computes on what `choice` allows; `agent` names this program or browser to the coordinator.
    pub fn new(choice: Choice, agent: impl Into<String>) -> Self {
        Self { choice, agent: agent.into(), runner: None, device: None, reopenings: 0 }
    }

    /// The device that was chosen, once there is one.
    pub fn device(&self) -> Option<&Device> {
        self.device.as_ref()
    }

    /// Measures and chooses. Answers the session's `Challenge`.
    pub async fn challenge(&mut self, challenge: &Challenge, stop: &StopFlag, pace: &impl Pace) -> Event {
        // What was prepared before would only take memory from what is measured.
        self.runner = None;
        match choose(challenge, self.choice, &self.agent, stop, pace).await {
            Ok(None) => Event::MeasureStopped,
            Ok(Some(Chosen { runner, device, fallback })) => {
                self.runner = Some(runner);
                self.device = Some(device.clone());
                Event::Measured { device, fallback }
            }
            Err(error) => Event::MeasureFailed { reason: error.to_string() },
        }
    }

    /// Computes a task. Answers the session's `Run`; `tell` gets progress and changes of device.
    pub async fn run(&mut self, run: &Run, stop: &StopFlag, pace: &impl Pace, mut tell: impl FnMut(Event)) -> Event {
        let task = run.task.id;
        loop {
            let progress = |Progress { step, steps, loss }| tell(Event::Step { task, step, steps, loss });
            let result = match self.ready().await {
                Ok(runner) => runner.run(run, stop, pace, progress).await,
                Err(error) => Err(error.into()),
            };
            let error = match result {
                Ok(Some(outcome)) => return Event::TaskDone { outcome },
                Ok(None) => return Event::TaskStopped { task },
                Err(RunError::Engine(error)) if self.blames_the_gpu(&error) => error,
                Err(error) => return Event::TaskFailed { task, reason: error.to_string(), fatal: false },
            };
            // A task is a pure function of a few steps: after a loss it simply starts anew.
            match self.recover(&error, pace).await {
                Recovery::Reopened => {}
                Recovery::Changed(device) => tell(Event::DeviceChanged { device, reason: error.to_string() }),
                Recovery::Hopeless => return Event::TaskFailed { task, reason: error.to_string(), fatal: true },
            }
        }
    }

    /// The runner; opened here where nothing was measured before.
    async fn ready(&mut self) -> Result<&mut TaskRunner, EngineError> {
        if self.runner.is_none() {
            self.open(self.choice).await?;
        }
        Ok(self.runner.as_mut().expect("it was opened above"))
    }

    async fn open(&mut self, choice: Choice) -> Result<(), EngineError> {
        let engine = Engine::open(choice).await?;
        let challenge = self.device.take().map(|device| device.challenge).unwrap_or_default();
        self.device = Some(describe(&engine, &self.agent, self.choice != Choice::Auto, challenge));
        self.runner = Some(TaskRunner::new(engine));
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn engine(&self) -> Option<&Engine> {
        self.runner.as_ref().map(TaskRunner::engine)
    }

    fn blames_the_gpu(&self, error: &EngineError) -> bool {
        let device = matches!(
            error,
            EngineError::NoAdapter(_)
                | EngineError::NoDevice(_)
                | EngineError::DeviceLost(_)
                | EngineError::Device(_)
                | EngineError::Shader(_)
                | EngineError::TooLarge { .. }
        );
        let on_gpu = |runner: &TaskRunner| matches!(runner.engine().backend(), Backend::Webgpu | Backend::Gpu);
        device && self.runner.as_ref().is_none_or(on_gpu)
    }

    async fn recover(&mut self, error: &EngineError, pace: &impl Pace) -> Recovery {
        self.runner = None;
        // A lost device may come back; one that refuses the work would refuse it again.
        if matches!(error, EngineError::DeviceLost(_)) && self.reopenings < REOPENINGS_MAX {
            self.reopenings += 1;
            pace.rest(REOPENING_REST * self.reopenings).await;
            if self.open(Choice::Gpu).await.is_ok() {
                return Recovery::Reopened;
            }
        }
        if self.choice != Choice::Auto || self.open(Choice::Cpu).await.is_err() {
            return Recovery::Hopeless;
        }
        match &self.device {
            Some(device) => Recovery::Changed(device.clone()),
            None => Recovery::Hopeless,
        }
    }
}
