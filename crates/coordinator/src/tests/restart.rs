//! What survives: a stop, a crash, a full disk, and a log that somebody changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use potluck_protocol::{JobName, ServerMessage, TaskId, limits};
use potluck_scheduler::{BlockRef, Fact, Phase};

use super::{
    client::Client,
    site::{Ground, PATIENCE, Site, job_file, job_name},
    whole_job::finish,
};
use crate::{EventLog, Head, LogError, MemoryLog, Record, Snapshot, StartError, folder::Folder};

/// Every block of an epoch is in at most one commit.
#[track_caller]
fn no_block_is_merged_twice(facts: &[Fact]) {
    let mut blocks: BTreeMap<TaskId, &Vec<BlockRef>> = BTreeMap::new();
    let mut merged: BTreeSet<BlockRef> = BTreeSet::new();
    for fact in facts {
        match fact {
            Fact::TaskLeased { task, blocks: of_task, .. } => drop(blocks.insert(*task, of_task)),
            Fact::Committed { parts, .. } => {
                for block in parts.iter().flat_map(|part| blocks[&part.task]) {
                    assert!(merged.insert(*block), "{block:?} is merged twice");
                }
            }
            _ => {}
        }
    }
}

/// Tasks that were accepted, and those that were merged.
fn accepted_and_merged(facts: &[Fact]) -> (BTreeSet<TaskId>, BTreeSet<TaskId>) {
    let accepted = facts.iter().filter_map(|fact| match fact {
        Fact::ResultAccepted { task, .. } => Some(*task),
        _ => None,
    });
    let merged = facts.iter().flat_map(|fact| match fact {
        Fact::Committed { parts, .. } => parts.iter().map(|part| part.task).collect(),
        _ => Vec::new(),
    });
    (accepted.collect(), merged.collect())
}

/// Works a while, ends the coordinator in this way, and goes on in another one.
async fn check<F: Future<Output = ()>>(end: impl FnOnce(Site) -> F) {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut client = Client::join(&site, 1).await;
    let first = client.lease().await.expect("a lease");
    assert!(client.work(&first).await.accepted);
    let second = client.lease().await.expect("a lease");
    let update = client.update(&second);
    assert_eq!(client.put(&second, &update).await.status, 204);
    let signed = client.sign(&client.statement(&second, &update));
    drop(client);
    end(site).await;

    let (before, _) = ground.state_in_log();
    let site = ground.start().await;
    let (after, _) = ground.state_in_log();
    assert_eq!(after.tallies().collect::<Vec<_>>(), before.tallies().collect::<Vec<_>>());
    assert_eq!(after.version(), before.version());
    // The upload was durable, and its result is taken as if nothing had happened.
    let mut client = Client::join(&site, 1).await;
    let verdict = client.hand_in(signed).await;
    assert!(verdict.accepted && verdict.credited_tasks == 2, "{verdict:?}");
    drop(client);
    finish(&site).await;
    site.coordinator.shutdown().await;

    let (state, facts) = ground.state_in_log();
    assert_eq!((state.phase(), state.samples()), (Phase::Finished, 96));
    no_block_is_merged_twice(&facts);
    let (accepted, merged) = accepted_and_merged(&facts);
    assert_eq!(accepted, merged, "every acknowledged result is in");
}

/// Ends a coordinator without a word, and waits until its last append has ended.
pub(super) async fn kill(site: Site) {
    let folder = site.coordinator.folder.path().to_owned();
    drop(site);
    let free = async {
        while Folder::open(&folder).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("free in time");
}

#[tokio::test]
async fn a_stopped_coordinator_goes_on_where_it_was() {
    let stop = |site: Site| async move {
        site.coordinator.shutdown().await;
    };
    check(stop).await;
}

#[tokio::test]
async fn a_killed_coordinator_goes_on_where_it_was() {
    check(kill).await;
}

#[tokio::test]
async fn an_accepted_result_is_merged_after_a_crash() {
    let ground = Ground::new();
    let site = ground.start().await;
    // Two hold a task, so that the round does not end with the first result.
    let (mut one, mut two) = (Client::join(&site, 1).await, Client::join(&site, 2).await);
    let (first, _second) = (one.lease().await.expect("a lease"), two.lease().await.expect("a lease"));
    assert!(one.work(&first).await.accepted);
    assert_eq!(site.job().await["version"], 0);
    drop((one, two));
    kill(site).await;
    let site = ground.start().await;
    // Once it answers it has begun to wait for them, and nobody comes back.
    site.job().await;
    site.advance(limits::ORPHAN_MILLIS);
    site.until(|job| job["version"] == 1).await;
    let (_, facts) = ground.state_in_log();
    assert!(accepted_and_merged(&facts).1.contains(&first.task.id));
}

#[tokio::test]
async fn one_folder_has_one_coordinator() {
    let ground = Ground::new();
    let _site = ground.start().await;
    let error = ground.builder().start().await.err().expect("refused").to_string();
    assert!(error.contains("is in use by another coordinator: stop that one"), "{error}");
}

#[tokio::test]
async fn a_changed_log_is_refused_with_its_position() {
    let ground = Ground::new();
    let site = ground.start().await;
    finish(&site).await;
    site.coordinator.shutdown().await;
    let file = ground.folder().join("data/potluck.sqlite");
    let database = rusqlite::Connection::open(file).expect("a database");
    let change = "UPDATE facts SET fact = replace(fact, '\"samples\":32', '\"samples\":64') WHERE seq = \
                  (SELECT min(seq) FROM facts WHERE fact LIKE '%result_accepted%')";
    assert_eq!(database.execute(change, []).expect("changed"), 1);
    drop(database);
    let error = ground.builder().start().await.err().expect("refused").to_string();
    let expected = "its text was changed): move this folder aside and bring a backup back with `potluck restore BACKUP";
    assert!(error.starts_with("job tiny: potluck.sqlite is damaged at fact ") && error.contains(expected), "{error}");
}

#[tokio::test]
async fn missing_parameters_are_named_at_the_start() {
    let ground = Ground::new();
    ground.start().await.coordinator.shutdown().await;
    let (state, _) = ground.state_in_log();
    let base = state.base().expect("parameters").to_string();
    std::fs::remove_file(ground.folder().join("data/blobs").join(&base[..2]).join(&base)).expect("removed");
    let error = ground.builder().start().await.err().expect("refused").to_string();
    assert!(error.contains(&format!("blob {base} is missing: move this folder aside")), "{error}");
}

#[tokio::test]
async fn missing_data_is_the_owners_mistake() {
    let ground = Ground::new();
    std::fs::remove_file(ground.folder().join("tiny.csv")).expect("removed");
    let error = ground.builder().start().await.err().expect("refused");
    assert!(error.to_string().contains("tiny.csv; check data.csv in the job file"), "{error}");
    assert!(matches!(error, StartError::Job { error, .. } if error.is_mistake()));
    let twice = ground.builder().job(job_file(), ground.folder()).start().await.err().expect("refused");
    assert!(matches!(twice, StartError::Job { .. } | StartError::SameName { .. }), "{twice}");
}

/// A log on a disk that is full from some moment on.
#[derive(Default)]
struct FullDisk {
    log: MemoryLog,
    is_full: AtomicBool,
}

impl EventLog for FullDisk {
    fn append(&self, job: &JobName, expected: &Head, records: &[Record]) -> Result<(), LogError> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(LogError::DiskFull { file: "potluck.sqlite".to_owned() });
        }
        self.log.append(job, expected, records)
    }

    fn read(&self, job: &JobName, after: u64, limit: usize) -> Result<Vec<Record>, LogError> {
        self.log.read(job, after, limit)
    }

    fn head(&self, job: &JobName) -> Result<Head, LogError> {
        self.log.head(job)
    }

    fn jobs(&self) -> Result<Vec<JobName>, LogError> {
        self.log.jobs()
    }

    fn put_snapshot(&self, job: &JobName, snapshot: &Snapshot) -> Result<(), LogError> {
        self.log.put_snapshot(job, snapshot)
    }

    fn snapshot(&self, job: &JobName) -> Result<Option<Snapshot>, LogError> {
        self.log.snapshot(job)
    }
}

#[tokio::test]
async fn a_full_disk_pauses_the_job_with_a_word_and_loses_nothing() {
    let ground = Ground::new();
    let log = Arc::new(FullDisk::default());
    let site = ground.start_with(|builder| builder.log(log.clone())).await;
    let mut client = Client::join(&site, 1).await;
    let lease = client.lease().await.expect("a lease");
    let update = client.update(&lease);
    assert_eq!(client.put(&lease, &update).await.status, 204);
    let signed = client.sign(&client.statement(&lease, &update));
    log.is_full.store(true, Ordering::Relaxed);
    client.send(&potluck_protocol::ClientMessage::Result(signed)).await;
    let view = site.until(|job| job["blocked"] == "disk full").await;
    assert_eq!((&view["phase"], &view["version"]), (&"paused".into(), &0.into()));
    let accepted = |log: &MemoryLog| {
        let records = log.read(&job_name(), 0, usize::MAX).expect("records");
        records.iter().filter(|record| record.fact.contains("result_accepted")).count()
    };
    assert_eq!(accepted(&log.log), 0);
    log.is_full.store(false, Ordering::Relaxed);
    // No verdict came before: what is not durable is not acknowledged.
    match client.receive().await {
        ServerMessage::Verdict(verdict) => assert!(verdict.accepted, "{verdict:?}"),
        other => panic!("expected a verdict, got {other:?}"),
    }
    assert_eq!(accepted(&log.log), 1);
    site.until(|job| job["blocked"].is_null() && job["phase"] == "running").await;
    drop(client);
    finish(&site).await;
}

#[tokio::test]
async fn a_stop_on_a_full_disk_ends_and_its_results_count_later() {
    let ground = Ground::new();
    let log = Arc::new(FullDisk::default());
    let site = ground.start_with(|builder| builder.log(log.clone())).await;
    let mut client = Client::join(&site, 1).await;
    let lease = client.lease().await.expect("a lease");
    let update = client.update(&lease);
    assert_eq!(client.put(&lease, &update).await.status, 204);
    let signed = client.sign(&client.statement(&lease, &update));
    log.is_full.store(true, Ordering::Relaxed);
    client.send(&potluck_protocol::ClientMessage::Result(signed.clone())).await;
    site.until(|job| job["blocked"] == "disk full").await;
    drop(client);
    site.coordinator.shutdown().await;

    log.is_full.store(false, Ordering::Relaxed);
    let site = ground.start_with(|builder| builder.log(log.clone())).await;
    let mut client = Client::join(&site, 1).await;
    assert!(client.hand_in(signed).await.accepted, "the result counts once there is space");
}

#[tokio::test]
async fn a_panic_stops_the_job_with_a_word() {
    let ground = Ground::new();
    let breaks = |fact: &Fact| assert!(!matches!(fact, Fact::TaskLeased { .. }), "broken on purpose");
    let site = ground.start_with(|builder| builder.observe(breaks)).await;
    // The coordinator's own worker is the first to be leased something.
    let failed = tokio::time::timeout(PATIENCE, site.coordinator.failed()).await.expect("in time");
    assert!(failed.contains("broken on purpose"), "{failed}");
    assert_eq!(site.get("/healthz").await.status, 503);
    assert!(site.coordinator.finished().await.is_err());
    site.coordinator.shutdown().await;
}
