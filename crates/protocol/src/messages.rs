//! The control messages: small JSON texts on the WebSocket, opened by `hello`.

use serde::{Deserialize, Serialize};

use crate::{BlobId, DeltaStep, JobName, Lease, Millis, Recipe, Seal, SignedStatement, TaskId, Version, VolunteerKey};

/// Oldest protocol version that this code speaks.
pub const PROTOCOL_MIN: u32 = 1;
/// Newest protocol version that this code speaks. 2 adds seals to `hello` and `welcome`, and
/// `leaving`; 3 adds `deltas` to `welcome` and `lease`; 4 adds `enough` to the reasons of `wait`. To peers
/// of an older version none of what is newer is said: they fetch every version whole, and `busy` stands
/// for `enough`.
pub const PROTOCOL_MAX: u32 = 4;

/// Header of an upload that names the uploader: the volunteer's key in hexadecimal digits.
pub const VOLUNTEER_HEADER: &str = "x-potluck-volunteer";

/// Where a volunteer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// WebGPU in a browser.
    Webgpu,
    /// wasm SIMD in a browser.
    Wasm,
    /// Vulkan, Metal or DX12 outside a browser.
    Gpu,
    /// The processor, outside a browser.
    Cpu,
}

/// The device a volunteer says it has. For people and for placement, never for trust.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// `Chromium 156`, `Firefox 153`, `potluck 0.1.0` (native).
    pub agent: String,
    /// The adapter's own description; empty for a processor backend.
    pub adapter: String,
    /// What computes.
    pub backend: Backend,
    /// True where the backend was named by a person or a test rather than measured to be faster.
    pub forced: bool,
    /// Training samples a second that the join challenge measured on each backend it tried.
    pub challenge: Vec<(Backend, f32)>,
}

/// Opens a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Oldest protocol that the client speaks.
    pub protocol_min: u32,
    /// Newest protocol that the client speaks.
    pub protocol_max: u32,
    /// The client's build: the hash in its wasm's name, or the crate's version.
    pub build: String,
    /// The identity that will sign results.
    pub volunteer: VolunteerKey,
    /// The seal of the last welcome to this job, if there was one. From version 2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
}

/// Answers a `hello` whose versions overlap with ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// The version that both speak from here on.
    pub protocol: u32,
    /// What the widget shows.
    pub job: JobCard,
    /// The program to fetch.
    pub program: BlobId,
    /// The recipe as of now.
    pub recipe: Recipe,
    /// A training block that the join challenge may use.
    pub challenge_block: BlobId,
    /// The current parameters, for the join challenge.
    pub base: BlobId,
    /// Who leads the job; to be repeated in the next `hello`. From version 2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// How the current parameters are made of versions just before them. From version 3 on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deltas: Vec<DeltaStep>,
}

/// What a visitor is told about a job before and after a yes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobCard {
    /// The job's name in addresses.
    pub name: JobName,
    /// One line for people.
    pub title: String,
    /// One paragraph for people.
    pub text: String,
    /// Who runs it.
    pub owner: String,
    /// How to reach them: an e-mail address or an https address.
    pub contact: String,
    /// Licence of the model that comes out.
    pub licence: String,
    /// Licence of the data that goes in.
    pub data_licence: String,
    /// Where the data comes from.
    pub data_source: String,
    /// Size facts of the program.
    pub program: ProgramFacts,
}

/// What can be said of a program without running it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramFacts {
    /// Trainable values.
    pub parameters: u64,
    /// Floating-point operations to train one sample (forward and backward, optimizer excluded).
    pub train_flops_per_sample: u64,
    /// Floating-point operations to evaluate one sample.
    pub evaluate_flops_per_sample: u64,
}

/// From a volunteer to the coordinator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// First message of a connection.
    Hello(Hello),
    /// The device has been measured; sent once, after the join challenge.
    Device(Device),
    /// Ready for a lease.
    Ask,
    /// A finished task. The update was put to `jobs/{job}/tasks/{task}/update` before.
    Result(SignedStatement),
    /// Gives leases back undone; the coordinator may hand them out at once.
    Release {
        /// The leases given back.
        tasks: Vec<TaskId>,
    },
    /// About to close.
    Bye,
}

/// From the coordinator to a volunteer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ServerMessage {
    /// Answers `hello`.
    Welcome(Box<Welcome>),
    /// Answers a `hello` whose protocol is not spoken here: load the page again (too old), or try
    /// again later (too new: the coordinator is about to be updated).
    Reload {
        /// Oldest version spoken here.
        protocol_min: u32,
        /// Newest version spoken here.
        protocol_max: u32,
        /// Text for a person.
        reason: String,
    },
    /// Answers `ask` with work.
    Lease(Box<Lease>),
    /// Answers `ask` when there is no work: ask again after this span.
    Wait {
        /// Span until the next `ask`.
        retry_millis: Millis,
        /// Why, in one of a few words.
        reason: WaitReason,
    },
    /// Answers `result`.
    Verdict(Verdict),
    /// The job has a new version.
    Progress {
        /// The current version.
        version: Version,
        /// Samples merged so far.
        samples: u64,
        /// Samples of the budget.
        budget_samples: u64,
        /// The newest accuracy on `valid`, where there is one.
        #[serde(serialize_with = "crate::exact::optional")]
        accuracy: Option<f32>,
        /// Volunteers connected now.
        volunteers: u32,
    },
    /// The coordinator is about to be gone for a while. Hold on to what is under way, and connect
    /// again after this span, which is another for everybody. From version 2 on.
    Leaving {
        /// Span until the next connection.
        retry_millis: Millis,
    },
    /// The job is done; thank you.
    Finished,
    /// Something in the last message was wrong.
    Error(Refusal),
}

pub use wait::WaitReason;
mod wait {
    use serde::{Deserialize, Serialize};

    /// Why there is no work for a volunteer just now.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    #[non_exhaustive]
    pub enum WaitReason {
        /// The round's work is out with others; the next version is near.
        Round,
        /// The owner paused the job.
        Paused,
        /// Too many updates wait to be merged.
        Busy,
        /// More volunteers would not make the model better sooner; of those who wait the one who came
        /// first steps in when one leaves. From version 4 on.
        Enough,
    }
}

/// What became of a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// The task.
    pub task: TaskId,
    /// Whether it counts.
    pub accepted: bool,
    /// Why not, if not.
    pub refusal: Option<Refusal>,
    /// The signer's tally after it: samples credited so far in this job.
    pub credited_samples: u64,
    /// The signer's tally after it: tasks credited so far in this job.
    pub credited_tasks: u64,
}

/// A reason with a stable code; the HTTP form of it is `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Stable, for programs.
    pub code: ErrorCode,
    /// One sentence, for people.
    pub detail: String,
}

/// Stable codes of refusals. A code is never renamed or reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The message is not JSON.
    BadJson,
    /// The message is JSON of no known type or with wrong fields.
    UnknownMessage,
    /// The message, update or body is larger than its limit.
    TooLarge,
    /// Something came before `hello`, or `hello` came twice.
    OutOfOrder,
    /// No such job here.
    UnknownJob,
    /// No such task was leased.
    UnknownTask,
    /// No such blob here, or it may not be served.
    UnknownBlob,
    /// The task belongs to somebody else.
    NotYourTask,
    /// The signature does not verify, or the signer is not who said `hello`.
    BadSignature,
    /// The lease's expiry has passed.
    LeaseExpired,
    /// The blocks of this task are already merged.
    AlreadyMerged,
    /// The update named by the result was not uploaded.
    UpdateMissing,
    /// The update's bytes are not the encoding that the recipe asks for.
    UpdateMalformed,
    /// The update holds NaN or infinity.
    UpdateNotFinite,
    /// The result's steps, loss or fields do not fit the lease.
    ResultMismatch,
    /// The update's norm is far from that of others with the same steps.
    NormOutOfRange,
    /// The connection holds as many leases as it may.
    TooManyLeases,
    /// The coordinator has as many connections as it may.
    Full,
    /// The owner token is missing or wrong.
    NotAuthorised,
    /// The job has ended, or is about to, and what was asked for needs one that goes on.
    JobFinished,
    /// Anything else about a request that is wrong.
    BadRequest,
    /// The coordinator could not do it (disk full, for example); nothing was lost or counted.
    Internal,
}
