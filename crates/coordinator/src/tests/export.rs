//! One job out of a folder and into another: what is taken over, and what is refused with nothing
//! left behind.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use potluck_protocol::{JobFile, ServerMessage, Version};
use potluck_scheduler::Phase;

use super::{
    client::Client,
    site::{Ground, JOB_FILE, PATIENCE, job_name},
    whole_job::finish,
};
use crate::{Audit, BackupError, Coordinator, export_job, import_job};

/// Half a job, exported while it is served.
async fn exported(ground: &Ground) -> PathBuf {
    let site = ground.start().await;
    let mut client = Client::join(&site, 1).await;
    let lease = client.lease().await.expect("a lease");
    assert!(client.work(&lease).await.accepted);
    site.until(|job| job["version"] == 1).await;
    let job_file = ground.folder().join("job.toml");
    fs::write(&job_file, JOB_FILE).expect("written");
    let to = ground.folder().join("tiny.potluck");
    // On a thread that may wait for the coordinator, which deletes something perhaps.
    let (data, into, runtime) = (ground.folder().join("data"), to.clone(), tokio::runtime::Handle::current());
    let export = move || runtime.block_on(export_job(&data, &job_file, &into, |_| ()));
    let copied = tokio::task::spawn_blocking(export).await.expect("it ends").expect("exported");
    assert_eq!(copied.jobs[0].0, job_name());
    drop(client);
    site.coordinator.shutdown().await;
    to
}

/// A folder that has a job of another name, and everything that is in it.
async fn elsewhere() -> (Ground, BTreeSet<PathBuf>) {
    let ground = Ground::new();
    let other = JobFile::parse(&JOB_FILE.replace("\"tiny\"", "\"other\"")).expect("a good job file");
    let builder = Coordinator::builder(ground.folder().join("data")).job(other, ground.folder());
    builder.embedded_volunteer(false).start().await.expect("started").shutdown().await;
    let files = files(&ground.folder().join("data"));
    (ground, files)
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if !path.to_string_lossy().ends_with("-wal") && !path.to_string_lossy().ends_with("-shm") {
            all.insert(path);
        }
    }
    all
}

#[tokio::test]
async fn an_exported_job_goes_on_elsewhere_and_the_original_is_believed_no_more() {
    let original = Ground::new();
    let export = exported(&original).await;
    assert!(!export.join("owner-token").exists(), "the token stays where it is");
    let (target, _) = elsewhere().await;
    let folder = target.folder().join("data");
    let (copied, _, job_file) = import_job(&export, &folder, |_| ()).await.expect("imported");
    assert!(copied.files > 0 && fs::read_to_string(job_file).expect("a job file") == JOB_FILE);
    assert_eq!(Audit::jobs(&folder).expect("jobs"), ["other".parse().expect("a name"), job_name()]);
    // The data is not there: all that it needs came along.
    fs::remove_file(target.folder().join("tiny.csv")).expect("removed");
    let site = target.start().await;
    let first = Client::join(&site, 1).await;
    let seal = first.seal;
    drop(first);
    finish(&site).await;
    site.coordinator.shutdown().await;
    let mut audit = Audit::new(job_name());
    audit.advance(&folder).await.expect("a sound log");
    assert_eq!((audit.state().phase(), audit.state().version()), (Phase::Finished, Version(3)));
    let again = import_job(&export, &folder, |_| ()).await.expect_err("it is there");
    assert!(matches!(again, BackupError::JobThere { .. }), "{again}");

    let site = original.start().await;
    let mut traveller = Client::silent(&site, 1).await;
    traveller.seal = seal;
    traveller.greet().await;
    while !matches!(traveller.receive().await, ServerMessage::Error(_)) {}
    let said = tokio::time::timeout(PATIENCE, site.coordinator.failed()).await.expect("in time");
    assert!(said.contains("another copy of this job is in use"), "{said}");
}

/// Damages an export and imports it: refused with these words, and nothing is left behind.
async fn check(damage: impl FnOnce(&Path), expected: &str) {
    let original = Ground::new();
    let export = exported(&original).await;
    damage(&export);
    let (target, before) = elsewhere().await;
    let folder = target.folder().join("data");
    let error = import_job(&export, &folder, |_| ()).await.expect_err("refused").to_string();
    assert!(error.contains(expected), "{error} does not say {expected}");
    assert_eq!(files(&folder), before, "after: {error}");
    assert_eq!(Audit::jobs(&folder).expect("jobs"), ["other".parse().expect("a name")]);
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).expect("a file");
    change(&mut bytes);
    fs::write(file, bytes).expect("written");
}

/// The largest blob: parameters or a block.
fn blob(export: &Path) -> PathBuf {
    let blobs = files(&export.join("blobs"));
    blobs.into_iter().max_by_key(|path| fs::metadata(path).expect("a file").len()).expect("a blob")
}

#[tokio::test]
async fn a_damaged_export_is_refused_and_leaves_nothing_behind() {
    check(|export| fs::remove_file(export.join("export.json")).expect("removed"), "is not an export").await;
    check(|export| fs::remove_file(blob(export)).expect("removed"), "is missing").await;
    check(|export| change(&blob(export), |bytes| bytes[3] ^= 1), "is damaged").await;
    check(|export| change(&blob(export), |bytes| bytes.truncate(4)), "is damaged").await;
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    check(|export| change(&export.join("potluck.sqlite"), cut), "potluck.sqlite").await;
    let renamed = |bytes: &mut Vec<u8>| {
        *bytes = String::from_utf8_lossy(bytes).replace("\"tiny\"", "\"../tiny\"").into_bytes();
    };
    check(|export| change(&export.join("export.json"), renamed), "is not an export (export.json:").await;
    check(|export| change(&export.join("job.toml"), renamed), "job.name").await;
    let large = |bytes: &mut Vec<u8>| bytes.resize(5000, b'0');
    check(|export| change(&export.join("seal-key"), large), "it has 5000 bytes").await;
    let earlier = |bytes: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(bytes).replacen("\"facts\": ", "\"facts\": 1", 1);
        *bytes = text.into_bytes();
    };
    check(|export| change(&export.join("export.json"), earlier), "its log is not the one that was exported").await;
}

#[tokio::test]
async fn an_export_is_not_served_and_not_written_over() {
    let ground = Ground::new();
    let export = exported(&ground).await;
    let error = Coordinator::builder(&export).start().await.err().expect("refused").to_string();
    assert!(error.contains("is an export: `potluck import"), "{error}");
    let (data, job_file) = (ground.folder().join("data"), ground.folder().join("job.toml"));
    let error = export_job(&data, &job_file, &export, |_| ()).await.expect_err("refused");
    assert!(matches!(error, BackupError::NotEmpty { .. }), "{error}");
    fs::write(&job_file, JOB_FILE.replace("\"tiny\"", "\"nobody\"")).expect("written");
    let error =
        export_job(&data, &job_file, &ground.folder().join("b"), |_| ()).await.expect_err("refused").to_string();
    assert!(error.contains("has no job nobody"), "{error}");
}
