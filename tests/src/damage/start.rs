//! One start on a harmed folder, and whether what came of it may be believed.

use std::{collections::BTreeSet, path::Path};

use potluck_coordinator::{
    Audit, AuditError, BlobError, Coordinator, EventLog, JournalError, LogError, OpenError, Record, SqliteLog,
    StartError,
};
use potluck_protocol::{BlobId, JobFile, JobName};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime, time::timeout};

use super::{Harm, Image};
use crate::{Deadline, Fleet, Job, crash, deadline::PATIENCE, fleet::HASTE};

/// What came of a start.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The job was served, and is what it would have been without the harm.
    Unchanged,
    /// The start was refused, or the job had to stop, with a sentence.
    Refused {
        /// Kind of the error.
        kind: &'static str,
        /// What the owner reads.
        message: String,
    },
    /// Anything else.
    Violated(String),
}

/// What a start that was not refused came to.
enum Seen {
    /// The job goes on, and this is what pages see.
    Shown(Value),
    /// The job stopped, for this reason.
    Stopped(String),
}

/// A good folder with a job under way, and what a start on it comes to.
pub struct Ground {
    name: &'static str,
    job: Job,
    image: Image,
    records: Vec<Record>,
    needed: BTreeSet<BlobId>,
    shown: Value,
    runtime: Runtime,
}

impl Ground {
    /// Works on a job for some versions, stops in order, starts again and works on. With `is_open`
    /// the folder is taken as it is then, the newest facts in the write-ahead log; else after another
    /// stop, when SQLite has moved all of them into the database.
    ///
    /// # Panics
    /// Where a good job cannot be served.
    pub fn new(name: &'static str, is_open: bool) -> Self {
        let job = Job::digits(&[]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(work(&job, true)).expect("served").shut_down(&runtime);
        // Without its own worker nothing is written once the volunteers have left.
        let served = runtime.block_on(work(&job, !is_open)).expect("served again");
        let image = if is_open {
            let image = quiet_image(&job.folder());
            served.shut_down(&runtime);
            image
        } else {
            served.shut_down(&runtime);
            Image::read(&job.folder()).expect("readable")
        };
        let mut ground =
            Self { name, job, image, records: Vec::new(), needed: BTreeSet::new(), shown: Value::Null, runtime };
        let folder = ground.folder(None);
        ground.records = records(folder.path()).expect("a good log");
        let mut audit = Audit::new(job_name());
        ground.runtime.block_on(audit.advance(folder.path())).expect("a good folder");
        ground.needed = audit.state().retained();
        ground.shown = match ground.serve(folder.path()).expect("a good start") {
            Seen::Shown(shown) => shown,
            Seen::Stopped(reason) => panic!("a good job stopped: {reason}"),
        };
        ground
    }

    /// A few words.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its files.
    pub fn image(&self) -> &Image {
        &self.image
    }

    fn folder(&self, harm: Option<&Harm>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        self.image.write(folder.path(), harm).expect("written");
        folder
    }

    /// Starts on the folder with this harm done to it.
    pub fn start(&self, harm: &Harm) -> Outcome {
        let folder = self.folder(Some(harm));
        // The same in every run.
        let placeless = |message: String| message.replace(&folder.path().display().to_string(), "FOLDER");
        let start = || match self.serve(folder.path()) {
            Err(error) => self.refused(harm, kind(&error), placeless(error.to_string())),
            Ok(Seen::Stopped(reason)) => self.refused(harm, "found beside the work: the job stops", placeless(reason)),
            Ok(Seen::Shown(shown)) => match self.differs(harm, folder.path(), &shown) {
                None => Outcome::Unchanged,
                Some(what) => Outcome::Violated(what),
            },
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(start));
        outcome.unwrap_or_else(|_| Outcome::Violated("it panicked".to_owned()))
    }

    fn refused(&self, harm: &Harm, kind: &'static str, message: String) -> Outcome {
        let name = harm.file().file_name().unwrap_or_default().to_string_lossy();
        // Of a pack it is the blob in it that is missing.
        let names_it = message.contains(name.trim_end_matches("-wal")) || message.contains("blob ");
        if names_it && message.contains("potluck restore") {
            Outcome::Refused { kind, message }
        } else {
            Outcome::Violated(format!("the message does not name the file and what to do: {message}"))
        }
    }

    /// What is not as it would have been. The log is read once more from the outside: what the start
    /// has written may have been built on the harm.
    fn differs(&self, harm: &Harm, folder: &Path, shown: &Value) -> Option<String> {
        if *shown != self.shown {
            return Some(format!("it was served with {shown}, which should be {}", self.shown));
        }
        let id: Option<BlobId> = harm.file().file_name().and_then(|name| name.to_str()?.parse().ok());
        // What can be made again from the rest is.
        let is_whole = |id| std::fs::read(folder.join(harm.file())).is_ok_and(|bytes| BlobId::of(&bytes) == id);
        if id.is_some_and(|id| self.needed.contains(&id) && !is_whole(id)) {
            return Some("a blob that the job needs was harmed, and nobody noticed".to_owned());
        }
        if let Err(error) = self.runtime.block_on(audit(folder)) {
            return Some(format!("what the start wrote was built on the harm: {error}"));
        }
        let found = match records(folder) {
            Ok(found) => found,
            Err(error) => return Some(format!("it was served, and its log cannot be read: {error}")),
        };
        (found.len() <= self.records.len() || found[..self.records.len()] != self.records[..])
            .then(|| "its facts are not those that were acknowledged".to_owned())
    }

    /// Starts, and returns what anyone can see of the job. A start from a snapshot follows the log
    /// before it beside the work: where that log is not whole, the job has to stop by itself.
    fn serve(&self, folder: &Path) -> Result<Seen, Box<StartError>> {
        let started = self.runtime.block_on(async {
            let coordinator = builder(&self.job, folder).embedded_volunteer(false).start().await?;
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = coordinator.serve(listener).expect("served");
            Ok::<_, StartError>((coordinator, format!("http://{address}")))
        });
        let (coordinator, url) = started.map_err(Box::new)?;
        let shown = shown(&url);
        let seen = self.runtime.block_on(async {
            match audit(folder).await.and(shown) {
                Ok(shown) => Seen::Shown(shown),
                Err(error) => match timeout(PATIENCE, coordinator.failed()).await {
                    Ok(reason) => Seen::Stopped(reason),
                    Err(_) => panic!("the job goes on, and its folder is not whole: {error}"),
                },
            }
        });
        self.runtime.block_on(coordinator.shutdown());
        Ok(seen)
    }
}

/// So often that a short job has snapshots, and facts after the newest.
const SNAPSHOT_FACTS: u64 = 25;

/// The coordinator of a job in a folder.
pub(super) fn builder(job: &Job, folder: &Path) -> potluck_coordinator::Builder {
    let text = std::fs::read_to_string(job.file()).expect("a job file");
    let file = JobFile::parse(&text).expect("a good job file");
    Coordinator::builder(folder).snapshot_facts(SNAPSHOT_FACTS).job(file, job.file().parent().expect("a folder"))
}

pub(super) fn job_name() -> JobName {
    Job::NAME.parse().expect("a name")
}

/// What is wrong with the log, seen from the outside. An audit also reads the parameters of versions
/// that the job is past, and names what it cannot read; the job does without them.
async fn audit(folder: &Path) -> Result<(), String> {
    match Audit::new(job_name()).advance(folder).await {
        Ok(()) | Err(AuditError::Blob(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn records(folder: &Path) -> Result<Vec<Record>, LogError> {
    SqliteLog::open(&folder.join("potluck.sqlite"))?.read(&job_name(), 0, usize::MAX)
}

struct Served(Coordinator);

impl Served {
    fn shut_down(self, runtime: &Runtime) {
        runtime.block_on(self.0.shutdown());
    }
}

/// Serves the job until some versions are made; nobody is at work any more when it returns.
async fn work(job: &Job, evaluates: bool) -> Result<Served, StartError> {
    let coordinator = builder(job, &job.folder()).embedded_volunteer(evaluates).start().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", coordinator.serve(listener).expect("served"));
    let helping = tokio::task::spawn_blocking(move || {
        let fleet = Fleet::start(&url, 3, HASTE);
        let span = Deadline::start().left("versions");
        fleet.wait(crash::Moment { kind: crash::Kind::Version, span, count: 3 });
        fleet.end().expect("left");
    });
    helping.await.expect("helped");
    Ok(Served(coordinator))
}

/// The folder as it is when nothing is being written: two looks see the same, and the log ends where
/// its witness says. An append that waits for its sync is in the one and not yet in the other.
fn quiet_image(folder: &Path) -> Image {
    let mut before = Image::read(folder).expect("readable");
    loop {
        let image = Image::read(folder).expect("readable");
        if image == before && is_at_rest(&image) {
            return image;
        }
        before = image;
    }
}

fn is_at_rest(image: &Image) -> bool {
    let copy = tempfile::tempdir().expect("a folder");
    image.write(copy.path(), None).expect("written");
    let heads = std::fs::read_to_string(copy.path().join("potluck.heads")).unwrap_or_default();
    let seen = heads.split(' ').nth(1).and_then(|seq| seq.parse().ok());
    records(copy.path()).is_ok_and(|records| seen == Some(records.len()))
}

/// What a page shows of the job, less what every start changes; an error where the job has stopped.
fn shown(url: &str) -> Result<Value, String> {
    let get = |path: &str| -> Result<Value, String> {
        let address = format!("{url}/api/v1/jobs/{}{path}", Job::NAME);
        let text = ureq::get(&address).call().and_then(|mut answer| answer.body_mut().read_to_string());
        let text = text.map_err(|e| format!("GET {address}: {e}"))?;
        serde_json::from_str(&text).map_err(|e| format!("GET {address}: {e} in {text}"))
    };
    let mut job = get("")?;
    // Leases that have ended meanwhile lapse with the first facts.
    for changing in ["facts", "head", "epoch", "leader"] {
        job["log"][changing] = Value::Null;
    }
    Ok(serde_json::json!({ "job": job, "history": get("/history")?, "contributions": get("/contributions")? }))
}

/// A short name for what was found.
fn kind(error: &StartError) -> &'static str {
    match error {
        StartError::Log(error) => kind_of_log(error),
        StartError::Job { error: OpenError::Journal(JournalError::Log(error)), .. } => kind_of_log(error),
        StartError::Job { error: OpenError::Journal(_), .. } => "a fact that cannot be read",
        StartError::Job { error: OpenError::Blob(error), .. } | StartError::Blobs(error) => match error {
            BlobError::Missing { .. } => "a blob is missing",
            BlobError::Damaged { .. } => "a blob holds other bytes",
            _ => "a blob cannot be read",
        },
        StartError::Job { .. } => "the job cannot be opened",
        _ => "the folder cannot be used",
    }
}

fn kind_of_log(error: &LogError) -> &'static str {
    match error {
        LogError::Broken { .. } => "a fact was changed or is missing",
        LogError::Cut { .. } => "facts at the end are missing",
        LogError::Lost { .. } => "facts that were acknowledged are gone",
        LogError::Damaged { .. } => "SQLite finds the file damaged",
        LogError::NotALog { .. } => "not a log of this version",
        _ => "the log cannot be used",
    }
}
