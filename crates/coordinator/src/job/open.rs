//! Opening a job: making it from its file and data at the first start, resuming it from its log at
//! every later one.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use potluck_data::{DataError, EncodedBlock, Ingested, ModelFiles};
use potluck_graph::Program;
use potluck_protocol::{BlobId, Difference, JobCard, JobFile, LeaderId, ProgramFacts, limits};
use potluck_scheduler::{Checkpoint, Core, Dataset, Fact, Job as Made};
use tokio::sync::mpsc;

use super::{
    Actor, Fixed, Job, Outlets,
    actor::Parts,
    journal::{Journal, JournalError, fact_of},
    keep,
    merge::{Bench, MergeError, Whole},
    snapshots::{self, Snapshots},
    uploads::Uploads,
};
use crate::{
    blobs::{BlobError, Blobs},
    clock::Clock,
    folder::{Folder, FolderError, RESTORE},
    lineage::{self, Sealer},
    log::{EventLog, Head, Record},
    needed::{self, Depth},
    stores::Stores,
};

/// Blobs that are written at once at the first start.
const WRITES_AT_ONCE: usize = 8;

/// Why a job cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The owner's data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The program is too large for visitors' devices.
    #[error("{0}")]
    TooLarge(String),
    /// The log cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A blob cannot be used.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The newest version cannot be made again.
    #[error(transparent)]
    Version(#[from] MergeError),
    /// The stored program is none.
    #[error("its program cannot be read ({0}): was it made by a newer Potluck?")]
    Program(String),
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Another copy of the job is in use.
    #[error(
        "another copy of this job is in use, led by {by}: a volunteer brought its seal. Use that one; if it is gone \
         for good, `potluck restore FOLDER --new-epoch` makes this folder the one that counts"
    )]
    Deposed {
        /// The other's leader.
        by: LeaderId,
    },
    /// The log has no first fact.
    #[error("potluck.sqlite does not begin with the making of the job: {RESTORE}")]
    NotMade,
    /// No random numbers, or a thread that broke.
    #[error("the system failed: {0}")]
    System(String),
}

impl OpenError {
    /// True where the owner's own files are wrong.
    pub fn is_mistake(&self) -> bool {
        matches!(self, Self::Data(_) | Self::TooLarge(_))
    }
}

/// Why a program is too large for visitors, if it is. What volunteers check before they fetch
/// anything is checked here before anybody is asked.
pub fn size_problem(facts: &ProgramFacts) -> Option<String> {
    let ProgramFacts { parameters, .. } = facts;
    if *parameters > limits::PARAMETERS_MAX {
        let max = limits::PARAMETERS_MAX;
        return Some(format!(
            "the model has {parameters} parameters, at most {max} fit: make the sizes in [model] smaller"
        ));
    }
    let first = parameters * 4 + (limits::PROGRAM_BYTES_MAX + limits::BLOCK_BYTES_MAX) as u64;
    let max = limits::FIRST_DOWNLOAD_BYTES_MAX;
    (first > max).then(|| {
        format!(
            "a visitor would download {first} bytes before the first task, at most {max}: make the sizes in [model] smaller"
        )
    })
}

/// A job that is ready to run.
pub(crate) struct Opened {
    pub(crate) job: Job,
    pub(crate) actor: Actor,
}

/// Where a job is opened.
pub(crate) struct Premises<'a> {
    pub(crate) folder: &'a Arc<Folder>,
    pub(crate) log: &'a Arc<dyn EventLog>,
    pub(crate) stores: &'a Arc<Stores>,
    pub(crate) clock: &'a Clock,
    pub(crate) keep_updates: bool,
    /// Facts from one snapshot of the state to the next.
    pub(crate) snapshot_facts: u64,
}

/// Makes or resumes the job of this file.
pub(crate) async fn open(file: &JobFile, base_folder: &Path, premises: &Premises<'_>) -> Result<Opened, OpenError> {
    let Premises { folder, log, stores, clock, keep_updates, snapshot_facts } = premises;
    let name = file.job.name.clone();
    let (kept, state) = snapshots::newest(&name, log).await.unzip();
    let mut core = Core::from(state.unwrap_or_default());
    let mut archive = BTreeSet::new();
    let taken = |fact: Fact| {
        archive.extend(accepted_by(&fact));
        core.apply(&fact);
    };
    let from = kept.unwrap_or_else(|| Head::genesis(&name));
    let mut journal = Journal::open(name.clone(), Arc::clone(log), Arc::clone(folder), from, taken).await?;
    clock.not_before(core.state().newest_at());
    if let Some(by) = core.state().lineage().deposed_by() {
        return Err(OpenError::Deposed { by });
    }
    let mut first = Vec::new();
    if journal.head().seq == 0 {
        let fact = make(file, base_folder, stores, clock).await?;
        journal.append(std::slice::from_ref(&fact)).await?;
        core.apply(&fact);
        first.push(fact);
    } else {
        warn_of_changes(file, &core);
    }
    let began = lineage::began(clock.now(), journal.epoch()).map_err(|e| OpenError::System(e.to_string()))?;
    journal.append(std::slice::from_ref(&began)).await?;
    core.apply(&began);
    first.push(began);
    let sealer = Sealer::read(folder.path(), &name)?;
    let made = core.state().job().ok_or(OpenError::NotMade)?;
    let program_json = stores.blobs.get(made.program, limits::PROGRAM_BYTES_MAX).await?;
    let program = Program::parse(&program_json).map_err(|e| OpenError::Program(e.to_string()))?;
    let uploads = Uploads::new(stores.updates_of(&name)?, program.parameter_count());
    let uploads = Arc::new(if *keep_updates { uploads.archiving(archive) } else { uploads });
    uploads.pin_accepted(core.state().unsettled());
    let bench = Bench {
        blobs: stores.blobs.clone(),
        momenta: stores.momenta_of(&name)?,
        uploads: Arc::clone(&uploads),
        parameters: program.parameter_count(),
        folder: Arc::clone(folder),
    };
    // First: it makes deltas again that the disk has lost.
    let whole = bench.restore(core.state()).await?;
    needed::check(stores, &name, core.state(), Depth::Start).await?;
    forget_old_momenta(&core, &bench.momenta).await?;
    publish(&core, made, &whole, stores).await?;
    let past = kept.map(|to| {
        let (uploads, job) = (Arc::clone(&uploads), name.clone());
        let archives = *keep_updates;
        let take = move |record: &Record| {
            if archives && let Some(update) = accepted_by(&fact_of(&job, record)?) {
                uploads.archive(update);
            }
            Ok(())
        };
        tokio::spawn(snapshots::check_past(name.clone(), Arc::clone(log), to, take))
    });
    let (each, newest) = (*snapshot_facts, from.seq);
    let snapshots = Snapshots::new(name.clone(), Arc::clone(log), Arc::clone(folder), each, newest);
    let card = card(file, made.facts);
    let files = made.dataset.files.clone();
    let outlets = Arc::new(Outlets::new());
    let (mailbox, mail) = mpsc::channel(limits::MAILBOX_MAX);
    let actor = Actor::new(Parts {
        card: card.clone(),
        core,
        journal,
        bench,
        whole,
        mail,
        outlets: Arc::clone(&outlets),
        stores: Arc::clone(stores),
        clock: (*clock).clone(),
        sealer,
        made: first,
        snapshots,
        past,
    });
    let origins = file.visitors.origins.clone();
    let program = Arc::new(program);
    let fixed = Fixed { card, origins, program, program_json, files, uploads, stores: Arc::clone(stores) };
    Ok(Opened { job: Job::new(fixed, outlets, mailbox), actor })
}

/// Reads the data, stores everything that the first fact names, and returns that fact.
async fn make(file: &JobFile, base_folder: &Path, stores: &Stores, clock: &Clock) -> Result<Fact, OpenError> {
    let system = |e: String| OpenError::System(e);
    let (job_file, base_folder) = (file.clone(), base_folder.to_owned());
    let ingesting = tokio::task::spawn_blocking(move || potluck_data::ingest(&job_file, &base_folder));
    let Ingested { program, train, valid, test, files, .. } = ingesting.await.map_err(|e| system(e.to_string()))??;
    let facts = program.facts();
    if let Some(problem) = size_problem(&facts) {
        return Err(OpenError::TooLarge(problem));
    }
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|e| system(e.to_string()))?;
    let seed = u64::from_le_bytes(seed);
    let weights = potluck_update::bytes_from_weights(&program.initial(seed));
    Ok(Fact::JobCreated {
        at: clock.now(),
        job: file.job.name.clone(),
        seed,
        program: stores.blobs.put(program.to_json().into()).await?,
        facts,
        recipe: file.train.clone(),
        strategy: file.strategy,
        dataset: Dataset {
            train: store_blocks(&stores.blobs, train).await?,
            valid: store_blocks(&stores.blobs, valid).await?,
            test: store_blocks(&stores.blobs, test).await?,
            files: store_files(&stores.blobs, files).await?,
        },
        base: stores.blobs.put(weights.into()).await?,
    })
}

async fn store_blocks(blobs: &Blobs, blocks: Vec<EncodedBlock>) -> Result<Vec<(BlobId, u32)>, BlobError> {
    let store = |EncodedBlock { bytes, samples }| async move { Ok((blobs.put(Bytes::from(bytes)).await?, samples)) };
    stream::iter(blocks).map(store).buffered(WRITES_AT_ONCE).try_collect().await
}

async fn store_files(blobs: &Blobs, files: ModelFiles) -> Result<BTreeMap<String, BlobId>, BlobError> {
    let mut stored = BTreeMap::new();
    for (name, text) in files.by_name() {
        stored.insert(name.to_owned(), blobs.put(text.into()).await?);
    }
    Ok(stored)
}

/// The file may say something else than the log, which goes on.
fn warn_of_changes(file: &JobFile, core: &Core) {
    let (name, Some(made)) = (&file.job.name, core.state().job()) else { return };
    if made.strategy != file.strategy {
        let (made, said) = (made.strategy, file.strategy);
        tracing::warn!(
            "job {name}: train.strategy in the job file is {said:?}; the job was made with {made:?} and keeps it"
        );
    }
    let differences = made.recipe.differences(&file.train);
    if differences.is_empty() {
        return;
    }
    let told: Vec<String> =
        differences.iter().map(|Difference { field, from, to }| format!("{field} = {to} (now {from})")).collect();
    tracing::warn!(
        "job {name}: [train] in the job file says {}; the job goes on as its log says. \
         `potluck job set URL --job {name} --token-file FOLDER/owner-token --from JOB_FILE` changes it in flight",
        told.join(", ")
    );
}

/// The update that a fact accepts.
fn accepted_by(fact: &Fact) -> Option<BlobId> {
    if let Fact::ResultAccepted { update, .. } = fact { Some(*update) } else { None }
}

/// What a crash beside a checkpoint left behind.
async fn forget_old_momenta(core: &Core, momenta: &Blobs) -> Result<(), BlobError> {
    let Checkpoint { version: _, momentum, feedback } = *core.state().last_checkpoint();
    for id in momenta.list().await? {
        if ![momentum, feedback].contains(&Some(id)) {
            momenta.delete(id).await?;
        }
    }
    Ok(())
}

/// Lets volunteers fetch what they need, never the test split.
async fn publish(core: &Core, made: &Made, whole: &Whole, stores: &Stores) -> Result<(), BlobError> {
    let state = core.state();
    let Dataset { train, valid, test: _, files } = &made.dataset;
    stores.publish(train.iter().chain(valid).map(|&(id, _)| id));
    stores.publish(files.values().copied().chain([made.program]));
    let gone: HashSet<BlobId> = keep::all_pushed_out(state).into_iter().collect();
    stores.publish(state.history().filter_map(|record| record.delta).filter(|delta| !gone.contains(delta)));
    for record in state.history().filter(|record| !gone.contains(&record.base)) {
        let bytes = (record.version == state.version()).then(|| whole.bytes.clone());
        if let Some(making) = state.making(record.version) {
            stores.publish_version(record.base, making, bytes);
        }
    }
    stores.withdraw(&gone.into_iter().collect::<Vec<_>>()).await
}

fn card(file: &JobFile, program: ProgramFacts) -> JobCard {
    JobCard {
        name: file.job.name.clone(),
        title: file.job.title.clone(),
        text: file.job.text.clone(),
        owner: file.job.owner.clone(),
        contact: file.job.contact.clone(),
        licence: file.job.licence.clone(),
        data_licence: file.data.licence.clone(),
        data_source: file.data.source.clone(),
        program,
    }
}
