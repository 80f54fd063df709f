//! Counts the time that work takes, rests behind it, and runs what a trainer has begun in slices.
//!
//! It must not know what is computed or for whom.

use std::time::Duration;

use potluck_engine::{EngineError, Trainer};

use crate::{
    pace::{Pace, StopFlag, breathe},
    slices::Slices,
};

/// The time that one piece of work has spent on the device.
pub(crate) struct Meter<'a, P> {
    pub(crate) pace: &'a P,
    pub(crate) busy: Duration,
    /// Keeps to the share; else it only lets others run in between.
    keeps_share: bool,
}

impl<'a, P: Pace> Meter<'a, P> {
    /// Rests as the share asks.
    pub(crate) fn new(pace: &'a P) -> Self {
        Self { pace, busy: Duration::ZERO, keeps_share: true }
    }

    /// Rests for one turn of the event loop: for what measures a device and is over soon.
    pub(crate) fn restless(pace: &'a P) -> Self {
        Self { keeps_share: false, ..Self::new(pace) }
    }

    /// Counts the time since `began` as work, and rests.
    pub(crate) async fn rest(&mut self, began: Duration, stop: &StopFlag) {
        let busy = self.pace.now().saturating_sub(began);
        self.busy += busy;
        match self.keeps_share {
            true => breathe(self.pace, busy, stop).await,
            false => self.pace.rest(Duration::ZERO).await,
        }
    }

    pub(crate) fn millis_with(&self, began: Duration) -> u64 {
        (self.busy + self.pace.now().saturating_sub(began)).as_millis() as u64
    }

    /// The rest of the step or evaluation that was begun, in slices where the shell wants them, with a rest
    /// behind each but the last. `began` is when the work since the last rest did. False where `stop` was
    /// raised before the end.
    pub(crate) async fn run(
        &mut self,
        trainer: &mut Trainer,
        slices: &mut Option<Slices>,
        began: &mut Duration,
        stop: &StopFlag,
    ) -> Result<bool, EngineError> {
        let (all, sent) = (trainer.remaining(), self.pace.now());
        let Some(slices) = slices.as_mut().filter(|slices| !slices.whole(all.end)) else {
            trainer.finish().await?;
            if let Some(slices) = slices {
                slices.took(all, self.pace.now().saturating_sub(sent));
            }
            return Ok(true);
        };
        loop {
            let sent = self.pace.now();
            let ran = trainer.advance(slices.fitting(trainer.remaining().start)).await?;
            slices.took(ran, self.pace.now().saturating_sub(sent));
            if trainer.remaining().is_empty() {
                return Ok(true);
            }
            self.rest(*began, stop).await;
            if stop.is_raised() {
                return Ok(false);
            }
            *began = self.pace.now();
        }
    }
}
