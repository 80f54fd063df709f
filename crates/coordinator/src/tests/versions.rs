//! Versions: deltas, checkpoints, and what is made of them when it is asked for.

use std::{path::PathBuf, sync::Arc};

use potluck_protocol::{BlobId, ServerMessage, Version};
use potluck_scheduler::{Fact, State};
use potluck_update::{apply_delta, weights_from_bytes};

use super::{
    client::Client,
    restart::kill,
    site::{Ground, Site, job_name},
};
use crate::{EventLog, Head, MemoryLog};

/// Makes so many versions, each of one task.
async fn advance(site: &Site, versions: u64) {
    let mut client = Client::join(site, 1).await;
    for _ in 0..versions {
        let lease = client.lease().await.expect("a lease");
        assert!(client.work(&lease).await.accepted);
        let next = lease.task.base_version.0 + 1;
        site.until(|job| job["version"].as_u64() >= Some(next)).await;
    }
}

fn blob_file(ground: &Ground, store: &str, id: BlobId) -> PathBuf {
    let name = id.to_string();
    ground.folder().join("data").join(store).join(&name[..2]).join(name)
}

fn base(state: &State, version: u64) -> BlobId {
    state.record(Version(version)).expect("a version").base
}

async fn fetched(site: &Site, id: BlobId) -> Vec<u8> {
    let answer = site.api(&format!("blobs/{id}")).await;
    assert_eq!((answer.status, BlobId::of(&answer.body)), (200, id));
    answer.body
}

/// Those of versions that are stored whole, too.
async fn told_deltas_can_be_fetched(ground: &Ground, site: &Site) {
    let (state, _) = ground.state_in_log();
    let told = state.deltas_to(state.version());
    assert_eq!(told.len(), 3);
    for step in told {
        fetched(site, step.delta).await;
    }
}

#[tokio::test]
async fn versions_between_checkpoints_are_made_again_after_a_kill() {
    let ground = Ground::new();
    let site = ground.start().await;
    advance(&site, 2).await;
    kill(site).await;
    let (before, _) = ground.state_in_log();
    assert_eq!((before.version(), before.last_checkpoint().version), (Version(2), Version(0)));
    for version in [1, 2] {
        assert!(!blob_file(&ground, "blobs", base(&before, version)).exists(), "no version is stored whole");
    }
    // Even a delta that the disk has lost is made again.
    let lost = before.record(Version(2)).and_then(|record| record.delta).expect("a delta");
    std::fs::remove_file(blob_file(&ground, "blobs", lost)).expect("removed");

    let site = ground.start().await;
    let mut theta =
        weights_from_bytes(&fetched(&site, base(&before, 0)).await, super::client::parameters(&site)).expect("f32");
    for version in [1, 2] {
        let record = before.record(Version(version)).expect("a version");
        let delta = fetched(&site, record.delta.expect("a delta")).await;
        theta = apply_delta(&theta, &delta, record.base).expect("leads to the version");
        let whole = fetched(&site, record.base).await;
        assert_eq!(weights_from_bytes(&whole, theta.len()).expect("f32"), theta);
        assert_eq!(site.api(&format!("jobs/tiny/model.safetensors?version={version}")).await.status, 200);
    }
    super::whole_job::finish(&site).await;
    site.coordinator.shutdown().await;
    let (after, _) = ground.state_in_log();
    assert_eq!((after.version(), base(&after, 2)), (Version(3), base(&before, 2)));
}

#[tokio::test]
async fn each_sixteenth_version_is_stored_and_its_updates_are_needed_no_more() {
    let ground = Ground::with_budget(32 * 40);
    let site = ground.start().await;
    advance(&site, 17).await;
    told_deltas_can_be_fetched(&ground, &site).await;
    kill(site).await;
    let (state, facts) = ground.state_in_log();
    let stored = facts.iter().filter_map(|fact| match fact {
        Fact::Checkpointed { version, .. } => Some(version.0),
        _ => None,
    });
    assert_eq!(stored.collect::<Vec<_>>(), [16]);
    let checkpoint = *state.last_checkpoint();
    assert!(
        blob_file(&ground, "blobs", base(&state, 16)).is_file()
            && !blob_file(&ground, "blobs", base(&state, 17)).exists()
    );
    for stored in [checkpoint.momentum, checkpoint.feedback] {
        assert!(blob_file(&ground, "momenta/tiny", stored.expect("stored")).is_file());
    }
    let folds: Vec<u64> = state.folds().iter().map(|fold| fold.version.0).collect();
    assert_eq!(folds, [17]);

    // A start makes the seventeenth again, from its one update; a stop stores it.
    let site = ground.start().await;
    told_deltas_can_be_fetched(&ground, &site).await;
    fetched(&site, base(&state, 17)).await;
    fetched(&site, base(&state, 5)).await;
    site.coordinator.shutdown().await;
    let (state, _) = ground.state_in_log();
    assert_eq!(state.last_checkpoint().version, Version(17));
    assert!(state.unsettled().next().is_none(), "no update is needed any more");
}

#[test]
fn a_log_from_before_there_were_deltas_stores_every_version_whole() {
    let golden = include_str!("../../../../tests/golden/log-v1.jsonl");
    let mut state = State::default();
    for line in golden.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("a record");
        let fact: Fact = serde_json::from_str(record["fact"].as_str().expect("a text")).expect("an old fact");
        state.apply(&fact);
    }
    let checkpoint = state.last_checkpoint();
    assert_eq!((state.version(), checkpoint.version, checkpoint.feedback), (Version(5), Version(5), None));
    assert!(state.folds().is_empty() && state.history().all(|record| record.stored && record.delta.is_none()));
    assert!(state.retained().contains(&checkpoint.momentum.expect("a momentum")));
    assert_eq!(state.deltas_to(Version(5)), []);
}

#[tokio::test]
async fn an_update_that_is_gone_is_named_with_its_version() {
    let ground = Ground::new();
    let site = ground.start().await;
    advance(&site, 2).await;
    kill(site).await;
    let (state, _) = ground.state_in_log();
    let update = state.folds()[0].parts[0].update;
    let updates = ground.folder().join("data/updates");
    std::fs::rename(&updates, ground.folder().join("elsewhere")).expect("moved away");
    let error = ground.builder().start().await.err().expect("refused").to_string();
    let expected = format!("job tiny: v1 cannot be made: blob {update} is missing: ");
    assert!(error.starts_with(&expected) && error.contains("potluck restore"), "{error}");
    std::fs::remove_dir_all(&updates).expect("an empty folder");
    std::fs::rename(ground.folder().join("elsewhere"), &updates).expect("moved back");
    ground.start().await;
}

#[tokio::test]
async fn a_version_that_comes_out_another_is_refused() {
    let ground = Ground::new();
    let site = ground.start().await;
    advance(&site, 2).await;
    kill(site).await;
    let (state, facts) = ground.state_in_log();
    // As if an older program had computed otherwise: only the log knows.
    let (log, mut head) = (MemoryLog::default(), Head::genesis(&job_name()));
    for mut fact in facts {
        if let Fact::Committed { version: Version(2), base, .. } = &mut fact {
            *base = BlobId([7; 32]);
        }
        let record = head.next(1, 1, serde_json::to_string(&fact).expect("text"));
        log.append(&job_name(), &head, std::slice::from_ref(&record)).expect("appended");
        head = Head::from(&record);
    }
    let error = ground.builder().log(Arc::new(log)).start().await.err().expect("refused").to_string();
    let told =
        format!("v2 is {} in the log, but its checkpoint and its updates make {}", BlobId([7; 32]), base(&state, 2));
    assert!(error.contains(&told) && error.contains("restore the folder from a backup"), "{error}");
}

#[tokio::test]
async fn who_speaks_version_3_is_told_of_the_last_three_deltas() {
    let ground = Ground::with_budget(32 * 40);
    let site = ground.start().await;
    advance(&site, 5).await;
    let (state, _) = ground.state_in_log();
    let expected = state.deltas_to(Version(5));
    assert_eq!(
        expected.iter().map(|step| step.from).collect::<Vec<_>>(),
        [4, 3, 2].map(|version| base(&state, version))
    );
    for (protocol, expected) in [(3, expected), (2, vec![]), (1, vec![])] {
        let mut client = Client::silent(&site, 10 + protocol as u8).await;
        client.send(&client.hello(1, protocol)).await;
        match client.receive().await {
            ServerMessage::Welcome(welcome) => assert_eq!((welcome.protocol, &welcome.deltas), (protocol, &expected)),
            other => panic!("expected a welcome, got {other:?}"),
        }
        assert_eq!(client.lease().await.expect("a lease").deltas, expected);
    }
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let ground = Ground::new();
    let site = ground.start().await;
    let (state, _) = ground.state_in_log();
    let id = base(&state, 0);
    let whole = fetched(&site, id).await;
    let path = format!("/api/v1/blobs/{id}");
    let rest = site.request("GET", &path, &[("range", "bytes=10-")], b"").await;
    assert_eq!((rest.status, rest.body.as_slice()), (206, &whole[10..]));
    let of = format!("bytes 10-{}/{}", whole.len() - 1, whole.len());
    assert_eq!(rest.header("content-range"), Some(of.as_str()));
    let beyond = site.request("GET", &path, &[("range", &format!("bytes={}-", whole.len()))], b"").await;
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (416, Some(format!("bytes */{}", whole.len()).as_str()))
    );
    let odd = site.request("GET", &path, &[("range", "bytes=-3")], b"").await;
    assert_eq!((odd.status, &odd.body, odd.header("accept-ranges")), (200, &whole, Some("bytes")));
}
