//! The session's vocabulary: what happens, what is to be done, who takes part.
//!
//! It must not know how one follows from the other.

use potluck_protocol::{BlobId, Device, ErrorCode, JobName, Millis, TaskId, VolunteerKey};

use crate::{
    cache::Blob,
    report::VolunteerEvent,
    work::{Challenge, Outcome, Run},
};

/// One connection attempt; events of an older one are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One timer; a timer that is not waited for any more is ignored when it fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The shell is ready; nothing happens before it.
    Start,
    /// The socket is open.
    Opened {
        /// Which.
        link: LinkId,
    },
    /// A text message came.
    Message {
        /// On which socket.
        link: LinkId,
        /// The text.
        text: String,
    },
    /// The socket could not be opened, or closed. Once for each [`Action::Connect`].
    Closed {
        /// Which.
        link: LinkId,
        /// Why it is not worth trying again, where the coordinator said so (no such job).
        refused: Option<String>,
    },
    /// A timer fired.
    Woke {
        /// Which.
        timer: TimerId,
    },
    /// A fetch has come this far.
    Fetching {
        /// The blob.
        id: BlobId,
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all, where the answer says so.
        total: Option<u64>,
    },
    /// A fetch is done; the bytes are not verified yet.
    Fetched {
        /// The blob.
        id: BlobId,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A fetch failed.
    FetchFailed {
        /// The blob.
        id: BlobId,
        /// True where it may succeed later.
        retryable: bool,
        /// For people.
        detail: String,
        /// What came before it broke off, with what the action brought along; empty where that is of no
        /// use any more.
        came: Vec<u8>,
    },
    /// The challenge is done and a device chosen.
    Measured {
        /// Which.
        device: Device,
        /// Why it is not the GPU, where that was tried.
        fallback: Option<String>,
    },
    /// The challenge was ended by [`Action::Halt`].
    MeasureStopped,
    /// No device can run the program.
    MeasureFailed {
        /// For people.
        reason: String,
    },
    /// Another executor took over in the middle of a task.
    DeviceChanged {
        /// Which.
        device: Device,
        /// For people.
        reason: String,
    },
    /// A task has come this far.
    Step {
        /// Which.
        task: TaskId,
        /// Steps or passes that are done.
        step: u32,
        /// Steps or passes in all.
        steps: u32,
        /// Training loss, as last read.
        loss: Option<f32>,
    },
    /// A task is done, in part where it was halted.
    TaskDone {
        /// What came out.
        outcome: Outcome,
    },
    /// A task was halted before it was worth handing in.
    TaskStopped {
        /// Which.
        task: TaskId,
    },
    /// A task could not be computed.
    TaskFailed {
        /// Which.
        task: TaskId,
        /// For people.
        reason: String,
        /// True where no other task can be computed either.
        fatal: bool,
    },
    /// An update was put.
    Uploaded {
        /// Of which task.
        task: TaskId,
    },
    /// An update could not be put.
    UploadFailed {
        /// Of which task.
        task: TaskId,
        /// The coordinator's code, where it gave one.
        code: Option<ErrorCode>,
        /// For people.
        detail: String,
        /// True where it may succeed later.
        retryable: bool,
    },
    /// A statement was signed.
    Signed {
        /// About which task.
        task: TaskId,
        /// Ed25519 signature.
        signature: [u8; 64],
    },
    /// A statement could not be signed.
    SignFailed {
        /// About which task.
        task: TaskId,
        /// For people.
        detail: String,
    },
    /// The visitor pauses.
    Pause,
    /// The visitor goes on.
    Resume,
    /// The visitor stops.
    Stop,
}

/// What is to be done. Every action but `Report`, `Send`, `Halt`, `Keep` and `Close` is answered by exactly
/// one event (progress aside), however late.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Action {
    /// Open a socket.
    Connect {
        /// What to call it.
        link: LinkId,
    },
    /// Send a text message.
    Send {
        /// On which socket.
        link: LinkId,
        /// The text.
        text: String,
    },
    /// Close the socket; what comes from it no longer matters.
    Close {
        /// Which.
        link: LinkId,
    },
    /// Fetch a blob.
    Fetch {
        /// Which.
        id: BlobId,
        /// Give up as not retryable when it is longer.
        bytes_max: usize,
        /// Its first bytes, where an earlier fetch broke off: ask for the rest.
        have: Vec<u8>,
    },
    /// Measure and choose a device. Never while something runs.
    Challenge(Box<Challenge>),
    /// Compute a task. Never while something else runs.
    Run(Box<Run>),
    /// End what runs within a step: it answers as it would have, sooner.
    Halt,
    /// Put an update.
    Upload {
        /// Of which task.
        task: TaskId,
        /// The encoded update.
        bytes: Blob,
    },
    /// Sign with the volunteer's key.
    Sign {
        /// About which task.
        task: TaskId,
        /// What to sign.
        message: Vec<u8>,
    },
    /// Wake the session later.
    Sleep {
        /// What to call it.
        timer: TimerId,
        /// After how long.
        millis: Millis,
    },
    /// Keep this version for the next visit, in the place of the one that is kept. A shell that keeps
    /// nothing may pass over it.
    Keep {
        /// Its parameters.
        version: Blob,
    },
    /// Tell whoever watches. After one that [`VolunteerEvent::is_last`] nothing follows.
    Report(VolunteerEvent),
}

/// Who takes part, in what.
#[derive(Debug, Clone)]
pub struct Config {
    /// The job.
    pub job: JobName,
    /// The key that signs results.
    pub volunteer: VolunteerKey,
    /// This code's build: the hash in the wasm's name, or the crate's version.
    pub build: String,
    /// Seed of the jitter.
    pub seed: u64,
    /// Bytes of blobs to keep in memory; [`potluck_protocol::limits::BLOB_CACHE_BYTES_MAX`] unless memory is short.
    pub cache_bytes_max: usize,
    /// The version that was kept in an earlier visit: where deltas lead on from it, they are fetched and
    /// not the whole.
    pub kept: Option<Vec<u8>>,
    /// Every wait before trying again is divided by this: 1 for visitors, of whom there may be
    /// thousands; more for a few workers of the owner's own.
    pub haste: u32,
}
