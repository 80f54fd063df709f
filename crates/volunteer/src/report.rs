//! What a volunteer tells whoever shows it: the widget, the command line, a test. The JSON form is
//! the interface of `crates/browser/README.md`.
//!
//! It must not know how anything is shown.

use potluck_protocol::{Device, ErrorCode, JobCard, Millis, TaskId, Version, VolunteerKey, WaitReason};
use serde::Serialize;

/// A state, of which exactly one holds at a time, or a note, which changes no state.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum VolunteerEvent {
    /// State: opening the connection.
    Connecting,
    /// State: fetching blobs that the next piece of work needs.
    Downloading {
        /// Bytes of this batch that are here.
        bytes: u64,
        /// Bytes of this batch; `None` while a length is not known.
        total: Option<u64>,
    },
    /// State: measuring the device on the job's own program.
    CheckingDevice,
    /// State: computing a task.
    Helping {
        /// The task.
        task: TaskId,
        /// Train or evaluate.
        kind: WorkKind,
        /// Steps, or passes of an evaluation, that are done.
        step: u32,
        /// Steps in all.
        steps: u32,
        /// Training loss, as last read.
        loss: Option<f32>,
    },
    /// State: connected, nothing to compute just now.
    Waiting {
        /// Why.
        reason: WaitingFor,
        /// Span until the next attempt; 0 while an answer is awaited.
        retry_millis: Millis,
    },
    /// State: paused by the visitor.
    Paused,
    /// State: not connected.
    Offline {
        /// Span until the next attempt.
        retry_millis: Millis,
    },
    /// State: asked to stop; computing ends within a step and what is worth it is handed in.
    Stopping,
    /// Last state: stopped as asked.
    Stopped,
    /// Last state: the job is done.
    Finished,
    /// Last state: this code is too old or too new for the coordinator.
    UpdateNeeded {
        /// For people.
        reason: String,
    },
    /// Last state: this device or program cannot work together, or the job is not there.
    Unsupported {
        /// For people.
        reason: String,
    },
    /// Last state: a defect of this code.
    Crashed {
        /// For a bug report.
        detail: String,
    },
    /// Note: the coordinator said welcome.
    Joined {
        /// What the job is.
        card: Box<JobCard>,
        /// The key that signs results.
        volunteer: VolunteerKey,
    },
    /// Note: a device was chosen.
    Device {
        /// Which.
        device: Device,
    },
    /// Note: another executor took over.
    Fallback {
        /// Why.
        reason: String,
    },
    /// Note: a result was accepted.
    Credited {
        /// Which.
        task: TaskId,
        /// Tasks of this key that count so far.
        tasks: u64,
        /// Samples of this key that count so far.
        samples: u64,
    },
    /// Note: something was refused, by the coordinator or by this volunteer.
    Refused {
        /// An [`ErrorCode`], or one of [`LocalCode`].
        code: String,
        /// For people.
        detail: String,
        /// The task that it concerns, where there is one.
        task: Option<TaskId>,
    },
    /// Note: the job moved on.
    Progress {
        /// Its version.
        version: Version,
        /// Samples merged.
        samples: u64,
        /// Samples of its budget.
        budget_samples: u64,
        /// Newest accuracy on `valid`.
        accuracy: Option<f32>,
        /// Volunteers connected.
        volunteers: u32,
    },
}

/// What kind of task is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkKind {
    /// Training.
    Train,
    /// Evaluating.
    Evaluate,
}

/// Why nothing is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitingFor {
    /// Work was asked for.
    Asking,
    /// The round's work is out with others.
    Round,
    /// The owner paused the job.
    Paused,
    /// The coordinator is busy, for a reason this code may be too old to name.
    Busy,
    /// There are enough volunteers; this one is in the queue.
    Enough,
    /// Something went wrong; trying again soon.
    Retry,
}

/// Codes of refusals that this side makes; stable like [`ErrorCode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LocalCode {
    /// Bytes are not what their name says.
    BlobMismatch,
    /// A blob could not be fetched.
    BlobMissing,
    /// The program or a task does not parse or fit.
    ProgramInvalid,
    /// A size is over its limit.
    OverLimit,
    /// The task could not be computed.
    TaskFailed,
    /// The update could not be handed in.
    UploadFailed,
    /// A message of the coordinator could not be read.
    BadMessage,
}

impl VolunteerEvent {
    /// True for the last event of a session.
    pub fn is_last(&self) -> bool {
        matches!(
            self,
            Self::Stopped
                | Self::Finished
                | Self::UpdateNeeded { .. }
                | Self::Unsupported { .. }
                | Self::Crashed { .. }
        )
    }

    /// True for a state, false for a note.
    pub fn is_state(&self) -> bool {
        !matches!(
            self,
            Self::Joined { .. }
                | Self::Device { .. }
                | Self::Fallback { .. }
                | Self::Credited { .. }
                | Self::Refused { .. }
                | Self::Progress { .. }
        )
    }

    pub(crate) fn refused_by_us(code: LocalCode, detail: impl Into<String>, task: Option<TaskId>) -> Self {
        Self::Refused { code: code_text(&code), detail: detail.into(), task }
    }

    pub(crate) fn refused_by_peer(code: ErrorCode, detail: impl Into<String>, task: Option<TaskId>) -> Self {
        Self::Refused { code: code_text(&code), detail: detail.into(), task }
    }
}

impl From<WaitReason> for WaitingFor {
    fn from(reason: WaitReason) -> Self {
        match reason {
            WaitReason::Round => Self::Round,
            WaitReason::Paused => Self::Paused,
            WaitReason::Enough => Self::Enough,
            _ => Self::Busy,
        }
    }
}

/// A unit enum's name on the wire.
fn code_text(code: &impl Serialize) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(event: &VolunteerEvent, expected: Expect) {
        expected.assert_eq(&serde_json::to_string(event).expect("serialises"));
    }

    #[test]
    fn states_are_plain_objects() {
        check(&VolunteerEvent::CheckingDevice, expect![[r#"{"type":"checking_device"}"#]]);
        check(
            &VolunteerEvent::Helping { task: TaskId(7), kind: WorkKind::Train, step: 3, steps: 8, loss: Some(0.5) },
            expect![[r#"{"type":"helping","task":7,"kind":"train","step":3,"steps":8,"loss":0.5}"#]],
        );
        check(
            &VolunteerEvent::Waiting { reason: WaitingFor::Round, retry_millis: 2000 },
            expect![[r#"{"type":"waiting","reason":"round","retry_millis":2000}"#]],
        );
    }

    #[test]
    fn refusals_carry_stable_codes() {
        check(
            &VolunteerEvent::refused_by_peer(ErrorCode::LeaseExpired, "too late", Some(TaskId(1))),
            expect![[r#"{"type":"refused","code":"lease_expired","detail":"too late","task":1}"#]],
        );
        check(
            &VolunteerEvent::refused_by_us(LocalCode::BlobMismatch, "other bytes", None),
            expect![[r#"{"type":"refused","code":"blob_mismatch","detail":"other bytes","task":null}"#]],
        );
    }
}
