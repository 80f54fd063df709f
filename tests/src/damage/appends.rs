//! Every append of a short real job made to fail, to tear and to freeze: the job stops with a
//! sentence or waits, nobody was told of what is not in the log, and the next start goes on to the
//! end.

use std::sync::Arc;

use potluck_coordinator::{Audit, Coordinator, EventLog, Fault, FaultyLog, SqliteLog};
use potluck_graph::random::SplitMix64;
use tokio::{net::TcpListener, runtime::Runtime};

use super::{
    Outcome, Tally,
    start::{builder, job_name},
};
use crate::{Fleet, Job, deadline::PATIENCE, fleet::HASTE};

/// Three versions of two volunteers.
const SHORT: (&str, &str) = ("budget_samples", "budget_samples = 1536");

/// Volunteers at work.
const VOLUNTEERS: usize = 2;

/// What happens to an append, in words.
const FAULTS: [&str; 3] = ["fails", "is torn", "freezes"];

/// Plans each fault for so many appends, spread over a job from its first to its last; all of them
/// where `positions` is large. The three go side by side: most of a run is a restarted job that waits
/// for whoever was at work.
pub fn appends(positions: usize, seed: u64, mut tell: impl FnMut(&str)) -> Vec<Tally> {
    let count = count_appends(&runtime());
    let places = super::sample(&(0..count).collect::<Vec<_>>(), positions, &mut SplitMix64::new(seed));
    let tallies = std::thread::scope(|threads| {
        let at_work = FAULTS.map(|what| {
            let places = &places;
            threads.spawn(move || faults(what, places, seed))
        });
        at_work.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    tell(&format!("appends: {} places done", places.len()));
    tallies.into()
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime")
}

/// One fault at each of these places.
fn faults(what: &str, places: &[u64], seed: u64) -> Tally {
    let (runtime, mut random) = (runtime(), SplitMix64::new(seed));
    let mut tally = Tally::new(&format!("an append {what}"));
    for &at in places {
        let fault = match what {
            "fails" => Fault::Fail,
            "freezes" => Fault::Freeze,
            // A batch of this job has up to a handful of facts.
            _ => Fault::Tear(random.below(4) as usize),
        };
        let outcome = runtime.block_on(disturbed(at, fault)).unwrap_or_else(Outcome::Violated);
        tally.enter(&format!("append {at}, {fault:?}"), outcome);
    }
    tally
}

fn count_appends(runtime: &Runtime) -> u64 {
    let job = Job::digits(&[SHORT]);
    let log = open_log(&job);
    runtime.block_on(async {
        let site = serve(&job, &log, 0).await.expect("started");
        let _fleet = Fleet::start(&site.url(), VOLUNTEERS, HASTE);
        site.coordinator.finished().await.expect("finished");
        site.coordinator.shutdown().await;
    });
    log.appends()
}

type Log = Arc<FaultyLog<SqliteLog>>;

fn open_log(job: &Job) -> Log {
    std::fs::create_dir_all(job.folder()).expect("made");
    Arc::new(FaultyLog::new(SqliteLog::open(&job.folder().join("potluck.sqlite")).expect("a log")))
}

struct Site {
    coordinator: Coordinator,
    port: u16,
}

impl Site {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

async fn serve(job: &Job, log: &Log, port: u16) -> Result<Site, String> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(|e| e.to_string())?;
    let log: Arc<dyn EventLog> = Arc::clone(log) as Arc<dyn EventLog>;
    let coordinator =
        builder(job, &job.folder()).keep_updates(true).log(log).start().await.map_err(|e| e.to_string())?;
    let port = coordinator.serve(listener).map_err(|e| e.to_string())?.port();
    Ok(Site { coordinator, port })
}

/// One job with one fault, to its end.
async fn disturbed(at: u64, fault: Fault) -> Result<Outcome, String> {
    let job = Job::digits(&[SHORT]);
    let log = open_log(&job);
    log.plan(at, fault);
    let frozen = (fault == Fault::Freeze).then(|| watch_freeze(&job, &log));
    let (mut message, mut site) = match serve(&job, &log, 0).await {
        Ok(site) => (None, site),
        // The first appends are those of the start.
        Err(error) => (Some(error), serve(&job, &log, 0).await?),
    };
    let fleet = Fleet::start(&site.url(), VOLUNTEERS, HASTE);
    let mut books = Audit::new(job_name());
    let outcome = tokio::time::timeout(PATIENCE, site.coordinator.finished()).await;
    if let Err(reason) = outcome.map_err(|_| "the job does not end")? {
        message = Some(reason);
        let port = site.port;
        site.coordinator.shutdown().await;
        check(&mut books, &job, &fleet).await?;
        site = serve(&job, &log, port).await?;
        let outcome = tokio::time::timeout(PATIENCE, site.coordinator.finished()).await;
        outcome.map_err(|_| "the job does not end after the fault")??;
    }
    site.coordinator.shutdown().await;
    check(&mut books, &job, &fleet).await?;
    drop(fleet);
    if let Some(frozen) = frozen {
        // The job may have ended before.
        log.thaw();
        frozen.await.map_err(|e| e.to_string())??;
    }
    if books.remade_count() != books.version_count() || books.version_count() == 0 {
        return Err(format!("{} of {} versions could be made again", books.remade_count(), books.version_count()));
    }
    match message {
        None => Ok(Outcome::Unchanged),
        Some(message) if message.contains("potluck.sqlite") && message.contains("start again") => {
            Ok(Outcome::Refused { kind: "the log cannot be written", message })
        }
        Some(message) => Err(format!("the message does not name the file and what to do: {message}")),
    }
}

/// Once the append is frozen, nothing new becomes true; then lets it go ahead.
fn watch_freeze(job: &Job, log: &Log) -> tokio::task::JoinHandle<Result<(), String>> {
    let (folder, log) = (job.folder(), Arc::clone(log));
    tokio::task::spawn_blocking(move || {
        log.wait_frozen();
        let other = SqliteLog::open(&folder.join("potluck.sqlite")).map_err(|e| e.to_string())?;
        let before = other.head(&job_name()).map_err(|e| e.to_string())?;
        let appends = log.appends();
        std::thread::yield_now();
        let is_still = other.head(&job_name()).map_err(|e| e.to_string())? == before && log.appends() == appends;
        log.thaw();
        if is_still { Ok(()) } else { Err("something was written past a frozen append".to_owned()) }
    })
}

/// What must hold whenever nothing is being written.
async fn check(books: &mut Audit, job: &Job, fleet: &Fleet) -> Result<(), String> {
    let told = fleet.acknowledged();
    books.advance(&job.folder()).await.map_err(|e| e.to_string())?;
    match told.into_iter().find(|task| !books.counts(*task)) {
        None => Ok(()),
        Some(task) => Err(format!("task {task} was acknowledged and is lost")),
    }
}
