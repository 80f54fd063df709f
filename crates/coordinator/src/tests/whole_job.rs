//! A job from its first lease to its finish, and what can be read of it on the way.

use std::collections::BTreeSet;

use potluck_protocol::BlobId;
use potluck_scheduler::{Fact, Input, SessionId};

use super::{
    client::Client,
    site::{Ground, Site},
};

/// Does everything that there is to do.
pub(super) async fn finish(site: &Site) {
    let mut client = Client::join(site, 1).await;
    while let Some(lease) = client.lease().await {
        assert!(client.work(&lease).await.accepted);
    }
}

#[tokio::test]
async fn a_job_is_trained_evaluated_and_finished() {
    let ground = Ground::new();
    let site = ground.start().await;
    finish(&site).await;
    tokio::time::timeout(super::site::PATIENCE, site.coordinator.finished()).await.expect("in time").expect("finished");
    let job = site.job().await;
    assert_eq!((&job["phase"], &job["version"], &job["samples"]), (&"finished".into(), &3.into(), &96.into()));
    assert_eq!(job["budget_samples"], 96);
    for number in [&job["accuracy"]["valid"], &job["accuracy"]["test"], &job["loss"]["valid"], &job["loss"]["test"]] {
        assert!(number.is_f64(), "{job}");
    }
    let history = site.api("jobs/tiny/history").await.json();
    let versions = history["versions"].as_array().expect("rows");
    assert_eq!((versions.len(), &history["cursor"]), (4, &serde_json::Value::Null));
    let row = |n: usize| (&versions[n]["version"], &versions[n]["samples"], &versions[n]["contributions"]);
    assert_eq!(row(0), (&0.into(), &0.into(), &0.into()));
    assert_eq!(row(3), (&3.into(), &96.into(), &1.into()));
    assert!(versions.iter().all(|row| row["loss"].is_f64() && row["accuracy"].is_f64()), "{history}");
    assert!(versions[3]["test_loss"].is_f64() && versions[2]["test_loss"].is_null(), "{history}");
    let page = site.api("jobs/tiny/history?cursor=1").await.json();
    assert_eq!(page["versions"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn the_own_worker_comes_back_when_its_connection_ends() {
    let ground = Ground::new();
    let site = ground.start().await;
    site.until(|job| job["connected"][0]["trusted"] == true).await;
    let job = site.coordinator.shared.job("tiny").expect("the job");
    // The first session is its own: nobody else has connected.
    job.send(Input::Left { session: SessionId(1) }).await.expect("the actor lives");
    finish(&site).await;
    tokio::time::timeout(super::site::PATIENCE, site.coordinator.finished()).await.expect("in time").expect("finished");
}

#[tokio::test]
async fn the_tally_counts_what_was_verified() {
    let ground = Ground::new();
    let site = ground.start().await;
    finish(&site).await;
    let tally = site.api("jobs/tiny/contributions").await.json();
    let rows = tally["contributions"].as_array().expect("rows");
    assert_eq!((rows.len(), &rows[0]["tasks"], &rows[0]["samples"]), (1, &3.into(), &96.into()));
    let flops = site.job().await["program"]["train_flops_per_sample"].as_u64().expect("a number") * 96;
    assert_eq!(rows[0]["flops"], flops);
    let key = rows[0]["volunteer"].as_str().expect("a key");
    let csv = site.api("jobs/tiny/contributions?format=csv").await;
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let csv = String::from_utf8(csv.body).expect("text");
    assert!(csv.starts_with("volunteer,agent,adapter,backend,tasks,samples,flops,first_at,last_at\r\n"), "{csv}");
    assert!(csv.contains(&format!("\r\n{key},\"\",\"\",,3,96,{flops},")), "{csv}");
    let rest = site.api(&format!("jobs/tiny/contributions?cursor={key}")).await.json();
    assert_eq!(rest["contributions"], serde_json::json!([]));
}

#[tokio::test]
async fn the_model_is_there_at_any_time_and_for_any_version() {
    let ground = Ground::new();
    let site = ground.start().await;
    let first = site.api("jobs/tiny/model.safetensors").await;
    finish(&site).await;
    let last = site.api("jobs/tiny/model.safetensors").await;
    let again = site.api("jobs/tiny/model.safetensors?version=0").await;
    assert_eq!((first.status, last.status, again.status), (200, 200, 200));
    assert_ne!(first.body, last.body);
    let length = u64::from_le_bytes(last.body[..8].try_into().expect("eight bytes")) as usize;
    let header: serde_json::Value = serde_json::from_slice(&last.body[8..8 + length]).expect("a header");
    let about = &header["__metadata__"];
    let is = |key: &str, value: &str| assert_eq!(about[key], value, "{about}");
    is("job", "tiny");
    is("version", "3");
    is("licence", "MIT");
    let program = site.api("jobs/tiny/program").await;
    is("program", &BlobId::of(&program.body).to_string());
    is("log_head", site.job().await["log"]["head"].as_str().expect("a hash"));
    let job = site.coordinator.shared.job("tiny").expect("the job");
    for parameter in job.program().parameters() {
        assert_eq!(header[&parameter.name]["dtype"], "F32", "{header}");
    }
    site.api("jobs/tiny/model.safetensors?version=9").await.refused(400, "bad_request");
    site.api("jobs/tiny/model.safetensors?version=x").await.refused(400, "bad_request");
}

#[tokio::test]
async fn blocks_of_train_and_valid_are_public_and_those_of_test_are_not() {
    let ground = Ground::new();
    let site = ground.start().await;
    let (state, _) = ground.state_in_log();
    let dataset = &state.job().expect("a job").dataset;
    assert!(!dataset.train.is_empty() && !dataset.valid.is_empty() && !dataset.test.is_empty());
    for (id, _) in dataset.train.iter().chain(&dataset.valid) {
        let answer = site.api(&format!("blobs/{id}")).await;
        assert_eq!((answer.status, BlobId::of(&answer.body)), (200, *id));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    for (id, _) in &dataset.test {
        let path = folder_of(&ground, *id);
        assert!(path.is_file(), "it is stored");
        site.api(&format!("blobs/{id}")).await.refused(404, "unknown_blob");
    }
}

fn folder_of(ground: &Ground, id: BlobId) -> std::path::PathBuf {
    let name = id.to_string();
    ground.folder().join("data/blobs").join(&name[..2]).join(name)
}

#[tokio::test]
async fn every_commit_names_its_delta_and_the_end_is_stored_whole() {
    let ground = Ground::new();
    let site = ground.start().await;
    finish(&site).await;
    tokio::time::timeout(super::site::PATIENCE, site.coordinator.finished()).await.expect("in time").expect("finished");
    site.coordinator.shutdown().await;
    let (state, facts) = ground.state_in_log();
    let mut merged = BTreeSet::new();
    for fact in &facts {
        if let Fact::Committed { version, base, delta, parts, .. } = fact {
            assert!(folder_of(&ground, delta.expect("a delta")).is_file());
            assert_eq!(folder_of(&ground, *base).is_file(), version.0 == 3, "only the last is stored whole");
            assert!(parts.iter().all(|part| merged.insert(part.task)), "no task is merged twice");
        }
    }
    assert_eq!(merged.len(), 3);
    let files = |folder: &str| -> usize {
        let folders = std::fs::read_dir(ground.folder().join("data").join(folder).join("tiny")).expect("a folder");
        let inside = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.expect("an entry").path();
            if path.is_dir() { std::fs::read_dir(path).expect("a folder").count() } else { 1 }
        };
        folders.map(inside).sum()
    };
    let checkpoint = state.last_checkpoint();
    assert_eq!((checkpoint.version.0, checkpoint.momentum.is_some(), checkpoint.feedback.is_some()), (3, true, true));
    assert_eq!((files("updates"), files("momenta")), (0, 2));
}

#[tokio::test]
async fn observers_see_every_fact_in_order() {
    let ground = Ground::new();
    let site = ground.start().await;
    finish(&site).await;
    let seen = site.facts.clone();
    site.coordinator.shutdown().await;
    let (_, facts) = ground.state_in_log();
    assert!(matches!(facts[0], Fact::JobCreated { .. }));
    assert_eq!(*seen.lock().expect("whole"), facts);
}

#[tokio::test]
async fn pages_can_follow_a_job() {
    let ground = Ground::new();
    let site = ground.start().await;
    let following = site.api("jobs/tiny/events");
    let working = async {
        finish(&site).await;
        site.coordinator.shared.close();
    };
    let (events, ()) = tokio::join!(following, working);
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    let text = String::from_utf8(events.body).expect("text");
    let first = text.strip_prefix("event: job\ndata: ").expect("the state comes first");
    let first: serde_json::Value = serde_json::from_str(first.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["phase"], "running");
    assert!(text.contains("event: version\ndata: {\"version\":3,"), "{text}");
}
