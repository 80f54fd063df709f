//! Two copies of one job: whoever was welcomed by one brings the proof of it to the other.

use std::{path::Path, sync::Arc};

use potluck_protocol::{ClientMessage, ErrorCode, ServerMessage};
use potluck_scheduler::Fact;

use super::{
    client::Client,
    site::{Ground, PATIENCE, Site, job_name},
};
use crate::{EventLog, MemoryLog};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Starts a job, stops it and copies its folder in a way that no folder can notice, such as a
/// snapshot of a whole disk.
async fn twins() -> (Ground, Ground) {
    let (original, twin) = (Ground::new(), Ground::new());
    original.start().await.coordinator.shutdown().await;
    copy(&original.folder().join("data"), &twin.folder().join("data"));
    std::fs::remove_file(twin.folder().join("data/place")).expect("a place");
    (original, twin)
}

async fn reason(site: &Site) -> String {
    tokio::time::timeout(PATIENCE, site.coordinator.failed()).await.expect("in time")
}

#[tokio::test]
async fn a_volunteer_of_the_other_copy_ends_this_one() {
    let (original, twin) = twins().await;
    let (site, other) = (original.start().await, twin.start().await);
    let seal = Client::join(&site, 1).await.seal;
    assert!(seal.is_some());
    let mut traveller = Client::silent(&other, 1).await;
    traveller.seal = seal;
    traveller.greet().await;
    loop {
        match traveller.receive().await {
            ServerMessage::Welcome(_) => {}
            ServerMessage::Error(refusal) => break assert_eq!(refusal.code, ErrorCode::Internal),
            other => panic!("expected an error, got {other:?}"),
        }
    }
    let said = reason(&other).await;
    assert!(
        said.contains("another copy of this job is in use") && said.contains("restore FOLDER --new-epoch"),
        "{said}"
    );
    other.coordinator.shutdown().await;
    // It stays so: the proof is in the log.
    let error = twin.builder().start().await.err().expect("refused").to_string();
    assert!(error.contains("another copy of this job is in use"), "{error}");
    let (_, facts) = twin.state_in_log();
    assert!(facts.iter().any(|fact| matches!(fact, Fact::Deposed { .. })));
    // The one that nobody spoke against goes on.
    Client::join(&site, 2).await;
    assert_eq!(site.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn of_two_coordinators_on_one_log_the_first_is_fenced() {
    // Where a file system has no locks the log is what they meet at.
    let (first, second) = (Ground::new(), Ground::new());
    let log = Arc::new(MemoryLog::default());
    let site = first.start_with(|builder| builder.log(log.clone()).embedded_volunteer(false)).await;
    let mut client = Client::join(&site, 1).await;
    let lease = client.lease().await.expect("a lease");
    copy(&first.folder().join("data/blobs"), &second.folder().join("data/blobs"));
    let other = second.start_with(|builder| builder.log(log.clone()).embedded_volunteer(false)).await;
    let update = client.update(&lease);
    assert_eq!(client.put(&lease, &update).await.status, 204);
    client.send(&ClientMessage::Result(client.sign(&client.statement(&lease, &update)))).await;
    let said = reason(&site).await;
    assert!(said.contains("another coordinator wrote to it; stop one of them"), "{said}");
    // Nothing of the first's came after the second had begun, and that one goes on.
    let records = log.read(&job_name(), 0, usize::MAX).expect("records");
    assert!(!records.iter().any(|record| record.fact.contains("result_accepted")));
    Client::join(&other, 2).await.lease().await.expect("a lease");
}

#[tokio::test]
async fn a_clock_that_was_set_back_stands_until_it_has_caught_up() {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut client = Client::join(&site, 1).await;
    let lease = client.lease().await.expect("a lease");
    assert!(client.work(&lease).await.accepted);
    drop(client);
    site.coordinator.shutdown().await;
    let newest = ground.state_in_log().0.newest_at();
    ground.set_back(3_600_000);
    let site = ground.start().await;
    assert!(site.coordinator.shared.now() >= newest);
    let mut client = Client::join(&site, 1).await;
    let lease = client.lease().await.expect("a lease");
    assert!(client.work(&lease).await.accepted);
    drop(client);
    site.coordinator.shutdown().await;
    assert!(ground.state_in_log().0.newest_at() >= newest);
}

#[tokio::test]
async fn seals_that_prove_nothing_are_ignored() {
    let ground = Ground::new();
    let site = ground.start().await;
    let seal = Client::join(&site, 1).await.seal.expect("a seal");
    let mut forged = seal;
    forged.epoch += 1;
    let other_ground = Ground::new();
    let foreign = other_ground.start().await;
    let elsewhere = Client::join(&foreign, 1).await.seal.expect("a seal");
    foreign.coordinator.shutdown().await;
    for seal in [seal, forged, elsewhere] {
        let mut client = Client::silent(&site, 2).await;
        client.seal = Some(seal);
        client.greet().await;
        assert!(matches!(client.receive().await, ServerMessage::Welcome(_)));
    }
    site.coordinator.shutdown().await;
    // A leader of the same log, before a restart.
    let site = ground.start().await;
    let mut client = Client::silent(&site, 2).await;
    client.seal = Some(seal);
    client.greet().await;
    let ServerMessage::Welcome(welcome) = client.receive().await else { panic!("expected a welcome") };
    let newer = welcome.seal.expect("a seal");
    assert_eq!((newer.line, newer.epoch > seal.epoch), (seal.line, true));
}
