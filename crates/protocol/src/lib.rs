//! What every part of Potluck agrees on: ids, limits, the job file, the recipe, tasks and the
//! messages between a coordinator and a volunteer.
//!
//! It must not know how anything is computed, stored or sent: no I/O, no clock, no async.

mod agreement;
pub mod exact;
mod ids;
mod job_file;
pub mod limits;
mod lineage;
mod messages;
mod recipe;
mod recipe_change;
mod statement;
mod strategy;
mod task;

pub use agreement::agreement_distance;
pub use ids::{BlobId, IdError, JobName, LeaderId, SealProof, TaskId, Version, VolunteerKey};
pub use job_file::{
    Colour, DataSection, DataSource, GptSection, JobFile, JobFileError, JobSection, ModelSection, TextUnit,
    VisitorsSection,
};
pub use lineage::Seal;
pub use messages::{
    Backend, ClientMessage, Device, ErrorCode, Hello, JobCard, PROTOCOL_MAX, PROTOCOL_MIN, ProgramFacts, Refusal,
    ServerMessage, VOLUNTEER_HEADER, Verdict, WaitReason, Welcome,
};
pub use recipe::{Optimizer, OuterStep, Recipe, Schedule};
pub use recipe_change::{Difference, OuterChange, RecipeChange};
pub use statement::{SignedStatement, Statement, StatementError};
pub use strategy::StrategyName;
pub use task::{DeltaStep, Evaluation, Lease, Split, Task, TaskKind, UpdateEncoding};

/// Milliseconds: since the Unix epoch where a field is named `at`, a span where it ends in
/// `_millis`. The wire only ever carries spans.
pub type Millis = u64;
