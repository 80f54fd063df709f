//! Starts from a snapshot of the state: what they come to, and what they do not believe.

use potluck_scheduler::Phase;

use super::{
    client::Client,
    site::{Ground, PATIENCE, Site, job_name},
    whole_job::finish,
};
use crate::{EventLog, Head, Snapshot, SqliteLog};

/// Snapshots as often as that.
const FACTS: u64 = 4;

async fn start(ground: &Ground) -> Site {
    ground.start_with(|builder| builder.snapshot_facts(FACTS)).await
}

/// A job that was stopped on its way, with a snapshot of its last state.
async fn stopped() -> Ground {
    let ground = Ground::new();
    let site = start(&ground).await;
    let mut client = Client::join(&site, 1).await;
    let lease = client.lease().await.expect("a lease");
    assert!(client.work(&lease).await.accepted);
    site.until(|job| job["version"] == 1).await;
    drop(client);
    site.coordinator.shutdown().await;
    ground
}

fn log(ground: &Ground) -> SqliteLog {
    SqliteLog::open(&ground.folder().join("data/potluck.sqlite")).expect("a log")
}

/// Changes the database behind the program's back.
fn change(ground: &Ground, statement: &str) {
    let database = rusqlite::Connection::open(ground.folder().join("data/potluck.sqlite")).expect("a database");
    assert_eq!(database.execute(statement, []).expect("changed"), 1);
}

const CHANGE_A_FACT: &str = "UPDATE facts SET fact = replace(fact, '\"epoch\":1', '\"epoch\":2') WHERE seq = 2";
const CHANGE_IT_BACK: &str = "UPDATE facts SET fact = replace(fact, '\"epoch\":2', '\"epoch\":1') WHERE seq = 2";

#[tokio::test]
async fn a_stopped_job_goes_on_from_its_last_state() {
    let ground = stopped().await;
    let (log, name) = (log(&ground), job_name());
    let kept = log.snapshot(&name).expect("readable").expect("kept");
    assert_eq!(kept.head, log.head(&name).expect("a head"));
    let (before, _) = ground.state_in_log();
    let site = start(&ground).await;
    assert_eq!(site.job().await["samples"], before.samples());
    finish(&site).await;
    tokio::time::timeout(PATIENCE, site.coordinator.finished()).await.expect("in time").expect("finished");
    site.coordinator.shutdown().await;
    let (state, _) = ground.state_in_log();
    assert_eq!((state.phase(), state.samples()), (Phase::Finished, 96));
}

#[tokio::test]
async fn damage_before_a_snapshot_is_found_beside_the_work() {
    let ground = stopped().await;
    change(&ground, CHANGE_A_FACT);
    // It starts, so it did not fold that fact.
    let site = start(&ground).await;
    let failed = tokio::time::timeout(PATIENCE, site.coordinator.failed()).await.expect("in time");
    assert!(failed.contains("damaged at fact 2 of tiny (its text was changed): move"), "{failed}");
    site.coordinator.shutdown().await;
}

/// A start that does not believe the snapshot folds the whole log: it comes to the same, and where
/// the log is damaged it is refused.
async fn check_ignored(spoil: impl Fn(&SqliteLog, Snapshot)) {
    let ground = stopped().await;
    {
        let log = log(&ground);
        let kept = log.snapshot(&job_name()).expect("readable").expect("kept");
        spoil(&log, kept);
    }
    change(&ground, CHANGE_A_FACT);
    let error = ground.builder().snapshot_facts(FACTS).start().await.err().expect("refused").to_string();
    assert!(error.contains("damaged at fact 2 of tiny (its text was changed): move"), "{error}");
    change(&ground, CHANGE_IT_BACK);
    let site = start(&ground).await;
    assert_eq!(site.job().await["version"], 1);
    site.coordinator.shutdown().await;
}

/// The same snapshot with its hash made anew.
fn put(log: &SqliteLog, head: Head, schema: u32, state: String) {
    log.put_snapshot(&job_name(), &Snapshot::new(&job_name(), head, schema, state)).expect("kept");
}

#[tokio::test]
async fn a_snapshot_of_another_hash_schema_log_or_form_is_ignored() {
    check_ignored(|log, kept| log.put_snapshot(&job_name(), &Snapshot { schema: 0, ..kept }).expect("kept")).await;
    check_ignored(|log, kept| put(log, kept.head, kept.schema + 1, kept.state)).await;
    check_ignored(|log, kept| {
        let mut head = kept.head;
        head.hash.0[0] ^= 1;
        put(log, head, kept.schema, kept.state);
    })
    .await;
    check_ignored(|log, kept| put(log, Head { seq: kept.head.seq + 9, ..kept.head }, kept.schema, kept.state)).await;
    check_ignored(|log, kept| put(log, kept.head, kept.schema, kept.state.replacen('{', "[", 1))).await;
}
