//! The vocabulary of the core: what comes in, what becomes true, what is to be done.

use std::collections::BTreeMap;

use potluck_protocol::{
    BlobId, Device, Evaluation, JobName, LeaderId, Millis, OuterStep, ProgramFacts, Recipe, RecipeChange,
    ServerMessage, SignedStatement, Split, Statement, StrategyName, TaskId, TaskKind, UpdateEncoding, Version,
    VolunteerKey,
};
use serde::{Deserialize, Serialize};

use crate::{Fork, Mode};

/// One open connection; lost on restart, never in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A block of a split in an epoch. For `valid` and `test` the epoch is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// How many times the whole split was handed out before.
    pub epoch: u32,
    /// Index of the block in its split.
    pub index: u32,
}

/// The blocks of the owner's data: id and samples of each, in ingest order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// Blocks of `train`.
    pub train: Vec<(BlobId, u32)>,
    /// Blocks of `valid`.
    pub valid: Vec<(BlobId, u32)>,
    /// Blocks of `test`; never served.
    pub test: Vec<(BlobId, u32)>,
    /// What goes with the model's parameters to whoever uses it, by file name: `config.json`, and
    /// `tokenizer.json` for text. Jobs from before there were any have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, BlobId>,
}

/// Something that became true, once and for all. The log is a sequence of these and everything
/// durable is a fold over it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Fact {
    /// The first fact of every log.
    JobCreated {
        /// Wall clock.
        at: Millis,
        /// Name in addresses.
        job: JobName,
        /// Seed of everything random in this job.
        seed: u64,
        /// The program, a JSON blob.
        program: BlobId,
        /// What the program costs.
        facts: ProgramFacts,
        /// How to train.
        recipe: Recipe,
        /// How the work is paced and merged. Jobs from before there was a choice went in rounds.
        #[serde(default = "StrategyName::of_old_jobs")]
        strategy: StrategyName,
        /// What to train on.
        dataset: Dataset,
        /// Parameters of version 0.
        base: BlobId,
    },
    /// A task was given to a volunteer. Durable before the lease is sent.
    TaskLeased {
        /// Wall clock.
        at: Millis,
        /// The task.
        task: TaskId,
        /// Train or evaluate.
        kind: TaskKind,
        /// To whom.
        volunteer: VolunteerKey,
        /// Blocks, in order.
        blocks: Vec<BlockRef>,
        /// Parameters to start from.
        base_version: Version,
        /// Shuffle seed.
        seed: u64,
        /// Optimizer steps; 0 for an evaluation.
        steps: u32,
        /// Samples a step.
        batch: u32,
        /// Learning rate at the start.
        #[serde(serialize_with = "potluck_protocol::exact::float")]
        lr_start: f32,
        /// Learning rate at the end.
        #[serde(serialize_with = "potluck_protocol::exact::float")]
        lr_end: f32,
        /// After this the blocks may be leased again.
        deadline_at: Millis,
        /// After this the result is refused.
        expiry_at: Millis,
    },
    /// A lease ended without a result that counts; its blocks are free. A lease may lapse first and
    /// be released later.
    TaskLapsed {
        /// Wall clock.
        at: Millis,
        /// The task.
        task: TaskId,
        /// False where the deadline passed or the volunteer vanished: a result before the expiry may
        /// still count. True where it was given back or its result was refused: none will.
        released: bool,
    },
    /// A training result passed its checks and waits for a commit.
    ResultAccepted {
        /// Wall clock.
        at: Millis,
        /// The task.
        task: TaskId,
        /// Steps done.
        steps: u32,
        /// Samples credited: steps x batch.
        samples: u64,
        /// The encoded update.
        update: BlobId,
        /// L2 norm of the decoded update.
        #[serde(serialize_with = "potluck_protocol::exact::float")]
        norm: f32,
        /// Training loss as reported.
        #[serde(serialize_with = "potluck_protocol::exact::float")]
        train_loss: f32,
        /// The volunteer's signed words.
        signed: SignedStatement,
        /// True where it is credited but not merged: somebody else was faster with one of its blocks,
        /// its base is too old, or the job's last version is already made.
        late: bool,
    },
    /// A version was made.
    Committed {
        /// Wall clock.
        at: Millis,
        /// The new version.
        version: Version,
        /// SHA-256 of its parameters. A blob only where there is no delta, or once it is checkpointed.
        base: BlobId,
        /// Outer momentum after it, where there is no delta; `None` where the recipe has none.
        momentum: Option<BlobId>,
        /// What went into it, in merge order.
        parts: Vec<Contribution>,
        /// The step that was taken. Commits from before it was written down followed from their parts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outer: Option<OuterStep>,
        /// What makes it of the version before. Logs from before there were deltas have none: there
        /// the parameters of every version are a blob.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delta: Option<BlobId>,
    },
    /// A version's parameters are a blob of their own, and so is what the next merge needs beside
    /// them: the updates up to it are needed no more.
    Checkpointed {
        /// Wall clock.
        at: Millis,
        /// Which version.
        version: Version,
        /// Outer momentum after it; `None` for zeros.
        momentum: Option<BlobId>,
        /// What its delta could not hold; `None` for zeros.
        feedback: Option<BlobId>,
    },
    /// From here on the job is paced in another way. What is out and what waits stays as it is.
    ModeChanged {
        /// Wall clock.
        at: Millis,
        /// The new mode.
        mode: Mode,
    },
    /// A version was evaluated.
    Evaluated {
        /// Wall clock.
        at: Millis,
        /// The evaluation task.
        task: TaskId,
        /// Which version.
        version: Version,
        /// Over which split.
        split: Split,
        /// What came out.
        evaluation: Evaluation,
    },
    /// A coordinator began to lead the job: the first fact of its epoch, after the making of the job.
    Began {
        /// Wall clock.
        at: Millis,
        /// Its epoch.
        epoch: u64,
        /// Its name.
        leader: LeaderId,
        /// Where the job was restored by its owner and left the line that it had before.
        fork: Option<Fork>,
    },
    /// Another copy of the job turned out to be in use. From here on this one must not be led.
    Deposed {
        /// Wall clock.
        at: Millis,
        /// The other's leader.
        by: LeaderId,
    },
    /// The owner paused the job.
    Paused {
        /// Wall clock.
        at: Millis,
    },
    /// The owner resumed the job.
    Resumed {
        /// Wall clock.
        at: Millis,
    },
    /// The owner stopped the job: no more training is leased, what is there is merged and evaluated,
    /// then it finishes. Durable before that, so that no restart undoes an answered stop.
    Stopped {
        /// Wall clock.
        at: Millis,
    },
    /// The owner changed how the job is trained, or how far. Tasks that are out keep the recipe that
    /// they were leased with. Where budget or target say so now, an ended job goes on.
    RecipeChanged {
        /// Wall clock.
        at: Millis,
        /// How it is trained from here on.
        recipe: Recipe,
    },
    /// Budget spent, target reached or stopped by the owner; `version` is the result.
    Finished {
        /// Wall clock.
        at: Millis,
        /// The final version.
        version: Version,
    },
}

impl Fact {
    /// When it happened, by the coordinator's clock.
    pub fn at(&self) -> Millis {
        match self {
            Self::JobCreated { at, .. }
            | Self::TaskLeased { at, .. }
            | Self::TaskLapsed { at, .. }
            | Self::ResultAccepted { at, .. }
            | Self::Committed { at, .. }
            | Self::ModeChanged { at, .. }
            | Self::Checkpointed { at, .. }
            | Self::Evaluated { at, .. }
            | Self::Began { at, .. }
            | Self::Deposed { at, .. }
            | Self::Paused { at }
            | Self::Resumed { at }
            | Self::Stopped { at }
            | Self::RecipeChanged { at, .. }
            | Self::Finished { at, .. } => *at,
        }
    }
}

/// One update inside a commit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contribution {
    /// Whose task.
    pub task: TaskId,
    /// Its share of the merged update; the shares of a commit add up to 1.
    #[serde(serialize_with = "potluck_protocol::exact::float")]
    pub weight: f32,
}

/// What the core reacts to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Input {
    /// The process started (again); also the very first input of a job.
    Started,
    /// A volunteer said hello and was authenticated as far as a hello can.
    Joined {
        /// Its connection.
        session: SessionId,
        /// Its key.
        volunteer: VolunteerKey,
        /// True for the coordinator's own worker.
        trusted: bool,
    },
    /// Its device was measured.
    Measured {
        /// Its connection.
        session: SessionId,
        /// The device.
        device: Device,
    },
    /// It wants work.
    Asked {
        /// Its connection.
        session: SessionId,
    },
    /// It gives leases back undone.
    Released {
        /// Its connection.
        session: SessionId,
        /// Which.
        tasks: Vec<TaskId>,
    },
    /// It said that it is about to close: gives back what it holds. [`Input::Left`] follows.
    Bye {
        /// Its connection.
        session: SessionId,
    },
    /// The connection closed. Its leases are kept for a moment, in case it was the network.
    Left {
        /// Which.
        session: SessionId,
    },
    /// A result whose signature was verified and whose update was decoded.
    Result {
        /// Its connection.
        session: SessionId,
        /// What was said.
        statement: Statement,
        /// As it was signed.
        signed: SignedStatement,
        /// What the update's bytes turned out to be; `None` for an evaluation, or where the bytes
        /// named by the statement were never uploaded.
        update: Option<UpdateFacts>,
    },
    /// A merge that was asked for by [`Effect::Merge`] is done and its delta is durable.
    Merged {
        /// The version it makes.
        version: Version,
        /// SHA-256 of its parameters.
        base: BlobId,
        /// What makes it of the version before.
        delta: BlobId,
        /// As asked.
        parts: Vec<Contribution>,
        /// As asked.
        outer: OuterStep,
    },
    /// Whether the shell has room for what new work brings. While it has none, nothing is leased to
    /// train on; what is out still counts.
    Room {
        /// False where its disk is full.
        is_there: bool,
    },
    /// Time passed; sent about four times a second.
    Tick,
    /// The owner's word.
    Control(Control),
}

/// What was found in an uploaded update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateFacts {
    /// Its id.
    pub id: BlobId,
    /// L2 norm of the decoded values.
    pub norm: f32,
    /// False where a value is NaN or infinite.
    pub finite: bool,
    /// False where the bytes are not the recipe's encoding of the right length.
    pub well_formed: bool,
}

/// The owner's controls.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Control {
    /// Lease no more; results that are out still count.
    Pause,
    /// Go on.
    Resume,
    /// Merge what is there and finish.
    Stop,
    /// Train otherwise, or for longer, from here on.
    Set(Box<RecipeChange>),
}

/// What the shell has to do once the facts beside it are durable.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// Send to one connection.
    Send {
        /// Which.
        session: SessionId,
        /// What.
        message: ServerMessage,
    },
    /// Send to every connection.
    Broadcast {
        /// What.
        message: ServerMessage,
    },
    /// Merge these updates into a new version, store its delta, answer with [`Input::Merged`].
    /// At most one is outstanding; asked for again after a restart. It cannot be refused: the shell
    /// tries until it is done, or stops.
    Merge {
        /// The version to make.
        version: Version,
        /// Updates in merge order.
        parts: Vec<MergePart>,
        /// The outer step.
        outer: OuterStep,
    },
}

/// One update to merge.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MergePart {
    /// Whose task, and its share.
    pub contribution: Contribution,
    /// Steps done x mean learning rate: norms are compared after division by it.
    #[serde(serialize_with = "potluck_protocol::exact::float")]
    pub scale: f32,
    /// The encoded update.
    pub update: BlobId,
    /// How it is encoded: as the recipe said when its task was leased.
    pub encoding: UpdateEncoding,
}
