//! Checks a folder from the outside: reads its log and blobs and believes neither. It keeps its own
//! books of what was leased, accepted and merged, and makes every version again from the updates.
//!
//! It must not change the folder, and must not go by what the coordinator that wrote it thinks.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use potluck_protocol::{BlobId, JobName, OuterStep, TaskId, TaskKind, Version, limits};
use potluck_scheduler::{BlockRef, Checkpoint, Contribution, Fact, MergePart, State};
use potluck_update::{
    DecodeError, Global, Scaled, bytes_from_weights, decode, merge_scaled, outer_step, weights_from_bytes,
};

use crate::{
    blobs::{BlobError, Blobs},
    job::JournalError,
    job::fact_of,
    log::{EventLog, Head, LogError, SqliteLog},
    packs::Packs,
    stores::Stores,
};

/// What is wrong with a folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// It has no log.
    #[error("{folder} has no potluck.sqlite: give the folder of a coordinator, or a backup of it")]
    NoLog {
        /// The folder.
        folder: String,
    },
    /// The log cannot be read, or its chain is broken.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A fact cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A blob that is needed is missing or damaged.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The log is shorter than it was, or its past has changed.
    #[error("the log of {job} is not what it was: fact {seq} was {before} and is {now}")]
    Rewritten {
        /// The job.
        job: JobName,
        /// The position.
        seq: u64,
        /// What stood there.
        before: String,
        /// What stands there.
        now: String,
    },
    /// Facts contradict each other.
    #[error("fact {seq} of {job} does not fit those before it: {what}")]
    Contradiction {
        /// The job.
        job: JobName,
        /// Position of the fact.
        seq: u64,
        /// What does not fit.
        what: String,
    },
    /// A version is not what its updates make.
    #[error("{version} of {job} is {stored} in the log, but its updates make {made}")]
    OtherVersion {
        /// The job.
        job: JobName,
        /// Which version.
        version: Version,
        /// What the log says.
        stored: BlobId,
        /// What came out.
        made: BlobId,
    },
    /// Stored parameters or updates have another form than the job's.
    #[error("{version} of {job} cannot be made again: {error}")]
    Decode {
        /// The job.
        job: JobName,
        /// Which version.
        version: Version,
        /// Why.
        error: DecodeError,
    },
}

/// A train task as the log tells it.
#[derive(Debug, Default)]
struct Story {
    blocks: Vec<BlockRef>,
    /// Accepted to be merged, or late.
    accepted: Option<Accepted>,
    merged: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepted {
    InTime,
    Late,
}

/// The books of one job. They can be advanced again and again as its log grows; what was read before
/// must still be there.
///
/// ```no_run
/// # async fn example() -> Result<(), potluck_coordinator::AuditError> {
/// use potluck_coordinator::Audit;
///
/// let folder = std::path::Path::new("potluck-data");
/// for job in Audit::jobs(folder)? {
///     let mut audit = Audit::new(job);
///     audit.advance(folder).await?;
///     println!("{} facts, {} of {} versions made again", audit.fact_count(), audit.remade_count(), audit.version_count());
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Audit {
    job: JobName,
    head: Head,
    state: State,
    tasks: BTreeMap<TaskId, Story>,
    merged: BTreeSet<BlockRef>,
    /// `None` before the first fact, and from a version on whose updates are gone until the next
    /// checkpoint whose blobs are there.
    model: Option<Global>,
    results: u64,
    remade: u64,
}

impl Audit {
    /// The jobs that a folder's log knows.
    ///
    /// # Errors
    ///
    /// [`AuditError::NoLog`], and those of the log.
    pub fn jobs(folder: &Path) -> Result<Vec<JobName>, AuditError> {
        Ok(open(folder)?.jobs()?)
    }

    /// Empty books for a job.
    pub fn new(job: JobName) -> Self {
        Self {
            head: Head::genesis(&job),
            job,
            state: State::default(),
            tasks: BTreeMap::new(),
            merged: BTreeSet::new(),
            model: None,
            results: 0,
            remade: 0,
        }
    }

    /// Reads on from where the last call ended, and checks every fact.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub async fn advance(&mut self, folder: &Path) -> Result<(), AuditError> {
        let log = open(folder)?;
        let stores = Stores::in_folder(folder)?;
        let (updates, momenta) = (stores.updates_of(&self.job)?, stores.momenta_of(&self.job)?);
        self.check_past(&log)?;
        loop {
            let page = log.read(&self.job, self.head.seq, limits::LOG_PAGE_FACTS)?;
            if page.is_empty() {
                return Ok(());
            }
            for record in &page {
                let head = self.head.follow(&self.job, record)?;
                let fact = fact_of(&self.job, record)?;
                self.enter(record.seq, &fact)?;
                self.remake(&fact, &stores.blobs, &updates).await?;
                self.check_stored(&fact, &stores.blobs, &momenta).await?;
                self.state.apply(&fact);
                self.head = head;
            }
        }
    }

    /// Where the log ended.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What its facts add up to.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Facts so far.
    pub fn fact_count(&self) -> u64 {
        self.head.seq
    }

    /// Training results that count.
    pub fn result_count(&self) -> u64 {
        self.results
    }

    /// Versions after the initial one.
    pub fn version_count(&self) -> u64 {
        self.state.version().0
    }

    /// Those of them that were made again and came out the same.
    pub fn remade_count(&self) -> u64 {
        self.remade
    }

    /// True where the result of this task counts: what a volunteer was told must be so for ever.
    pub fn counts(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|story| story.accepted.is_some())
    }

    fn check_past(&self, log: &SqliteLog) -> Result<(), AuditError> {
        if self.head.seq == 0 {
            return Ok(());
        }
        let last = log.read(&self.job, self.head.seq - 1, 1)?;
        let now = last.first().map_or_else(|| "missing".to_owned(), |record| record.hash.to_string());
        let before = self.head.hash.to_string();
        if now == before {
            return Ok(());
        }
        Err(AuditError::Rewritten { job: self.job.clone(), seq: self.head.seq, before, now })
    }

    /// Enters a fact into the books.
    fn enter(&mut self, seq: u64, fact: &Fact) -> Result<(), AuditError> {
        let entered = match fact {
            Fact::TaskLeased { task, kind: TaskKind::Train, blocks, .. } => self.lease(*task, blocks),
            Fact::ResultAccepted { task, late, .. } => self.accept(*task, *late),
            Fact::Committed { version, parts, .. } => self.commit(*version, parts),
            _ => Ok(()),
        };
        entered.map_err(|what| AuditError::Contradiction { job: self.job.clone(), seq, what })
    }

    fn lease(&mut self, task: TaskId, blocks: &[BlockRef]) -> Result<(), String> {
        let story = Story { blocks: blocks.to_vec(), ..Story::default() };
        match self.tasks.insert(task, story) {
            None => Ok(()),
            Some(_) => Err(format!("task {task} was leased before")),
        }
    }

    fn accept(&mut self, task: TaskId, late: bool) -> Result<(), String> {
        let story = self.tasks.get_mut(&task).ok_or_else(|| format!("task {task} was never leased"))?;
        if story.accepted.is_some() {
            return Err(format!("the result of task {task} counts twice"));
        }
        story.accepted = Some(if late { Accepted::Late } else { Accepted::InTime });
        self.results += 1;
        Ok(())
    }

    fn commit(&mut self, version: Version, parts: &[Contribution]) -> Result<(), String> {
        if version != self.state.version().next() {
            return Err(format!("{version} follows {}", self.state.version()));
        }
        for Contribution { task, .. } in parts {
            let story = self.tasks.get_mut(task).ok_or_else(|| format!("task {task} was never leased"))?;
            if story.accepted != Some(Accepted::InTime) {
                return Err(format!("task {task} is merged and was not accepted for it"));
            }
            if std::mem::replace(&mut story.merged, true) {
                return Err(format!("task {task} is merged twice"));
            }
            for block in &story.blocks {
                if !self.merged.insert(*block) {
                    let BlockRef { epoch, index } = block;
                    return Err(format!("block {index} of pass {epoch} over the data is merged twice"));
                }
            }
        }
        Ok(())
    }

    /// Makes a version again before its fact is applied.
    async fn remake(&mut self, fact: &Fact, blobs: &Blobs, updates: &Packs) -> Result<(), AuditError> {
        match fact {
            Fact::JobCreated { facts, base, .. } => {
                let count = usize::try_from(facts.parameters).unwrap_or(usize::MAX);
                self.model = Some(Global::new(self.read(*base, Version(0), count, blobs).await?));
            }
            Fact::Committed { version, base, parts, delta, outer, .. } => {
                let Some(model) = self.model.take() else { return Ok(()) };
                self.model = self.next_model(model, *version, (*base, *delta), (parts, *outer), updates).await?;
                self.remade += u64::from(self.model.is_some());
            }
            _ => {}
        }
        Ok(())
    }

    /// Holds a checkpoint against what was made again, or begins again from it. Only the newest has
    /// all its blobs.
    async fn check_stored(&mut self, fact: &Fact, blobs: &Blobs, momenta: &Blobs) -> Result<(), AuditError> {
        let Fact::Checkpointed { version, momentum, feedback, .. } = fact else { return Ok(()) };
        let checkpoint = Checkpoint { version: *version, momentum: *momentum, feedback: *feedback };
        if let Some(model) = &self.model {
            let id = |values: &[f32]| Some(BlobId::of(&bytes_from_weights(values)));
            let momentum_made = model.momentum.as_deref().and_then(id);
            let feedback_made = id(&model.feedback).filter(|_| !model.feedback.is_empty());
            let is_newest = *version == self.state.version();
            if is_newest && (momentum_made, feedback_made) != (*momentum, *feedback) {
                let what = format!("what is stored with {version} is not what its updates make");
                return Err(AuditError::Contradiction { job: self.job.clone(), seq: self.head.seq + 1, what });
            }
            return Ok(());
        }
        match self.read_checkpoint(checkpoint, blobs, momenta).await {
            Ok(model) => self.model = model,
            Err(AuditError::Blob(BlobError::Missing { .. })) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn read_checkpoint(
        &self,
        checkpoint: Checkpoint,
        blobs: &Blobs,
        momenta: &Blobs,
    ) -> Result<Option<Global>, AuditError> {
        let Checkpoint { version, momentum, feedback } = checkpoint;
        // One that is older than the newest version does not carry on to it.
        let record = self.state.record(version).filter(|_| version == self.state.version());
        let Some((record, job)) = record.zip(self.state.job()) else { return Ok(None) };
        let count = usize::try_from(job.facts.parameters).unwrap_or(usize::MAX);
        let mut global = Global::new(self.read(record.base, version, count, blobs).await?);
        if let Some(id) = momentum {
            global.momentum = Some(self.read(id, version, count, momenta).await?);
        }
        if let Some(id) = feedback {
            global.feedback = self.read(id, version, count, momenta).await?;
        }
        Ok(Some(global))
    }

    async fn read(&self, id: BlobId, version: Version, count: usize, store: &Blobs) -> Result<Vec<f32>, AuditError> {
        let bytes = store.get(id, limits::BLOB_BYTES_MAX).await?;
        weights_from_bytes(&bytes, count).map_err(|error| self.undecodable(version, error))
    }

    /// `None` where an update is gone, as they are once their version is checkpointed unless the owner
    /// keeps them.
    async fn next_model(
        &self,
        before: Global,
        version: Version,
        (stored, delta): (BlobId, Option<BlobId>),
        (parts, outer): (&[Contribution], Option<OuterStep>),
        updates: &Packs,
    ) -> Result<Option<Global>, AuditError> {
        let Some((parts, outer)) = self.state.merge_of(parts, outer) else { return Ok(None) };
        let mut decoded = Vec::with_capacity(parts.len());
        for part in &parts {
            match read_update(part, before.theta.len(), updates).await {
                Ok(Ok(values)) => decoded.push((part, values)),
                Ok(Err(error)) => return Err(self.undecodable(version, error)),
                Err(BlobError::Missing { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let parts: Vec<Scaled<'_>> = decoded.iter().map(scaled_of).collect();
        let merged = merge_scaled(&parts);
        let other = |stored: BlobId, made: BlobId| {
            Err(AuditError::OtherVersion { job: self.job.clone(), version, stored, made })
        };
        let Some(delta) = delta else {
            // Logs from before there were deltas.
            let mut model = before.clone();
            let is_finite = outer_step(&mut model.theta, &mut model.momentum, &merged, outer);
            // A version that would not be finite is the one before it.
            let model = if is_finite { model } else { before };
            let made = model.id();
            return if made == stored { Ok(Some(model)) } else { other(stored, made) };
        };
        let mut model = before;
        let Some(stepped) = model.step(&merged, outer) else { return Ok(None) };
        let (made, delta_made) = (model.id(), BlobId::of(&stepped.delta));
        match (made == stored, delta_made == delta) {
            (true, true) => Ok(Some(model)),
            (true, false) => other(delta, delta_made),
            (false, _) => other(stored, made),
        }
    }

    fn undecodable(&self, version: Version, error: DecodeError) -> AuditError {
        AuditError::Decode { job: self.job.clone(), version, error }
    }
}

fn open(folder: &Path) -> Result<SqliteLog, AuditError> {
    let file = folder.join("potluck.sqlite");
    if !file.is_file() {
        return Err(AuditError::NoLog { folder: folder.display().to_string() });
    }
    Ok(SqliteLog::open(&file)?)
}

fn scaled_of<'a>((part, values): &'a (&MergePart, Vec<f32>)) -> Scaled<'a> {
    Scaled { weight: part.contribution.weight, scale: part.scale, values }
}

async fn read_update(
    part: &MergePart,
    count: usize,
    updates: &Packs,
) -> Result<Result<Vec<f32>, DecodeError>, BlobError> {
    let bytes = updates.get(part.update, potluck_update::encoded_len(part.encoding, count)).await?;
    Ok(decode(part.encoding, count, &bytes))
}
