//! A folder with a quota: rubbish goes first, then work pauses, and nothing that was acknowledged is
//! lost. And what is rubbish: whatever a job has been through, all that it needs stays.

use std::path::Path;

use potluck_graph::random::SplitMix64;
use potluck_protocol::{BlobId, ClientMessage, Lease, ServerMessage, WaitReason, limits};

use super::{
    client::Client,
    site::{Ground, PATIENCE, Site, job_name},
    whole_job::finish,
};
use crate::needed::{self, Depth};

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let found = entry.metadata().expect("metadata");
            if found.is_dir() { bytes_below(&entry.path()) } else { found.len() }
        })
        .sum()
}

/// What the folder of a job that has begun holds.
async fn usual_bytes(ground: &Ground) -> u64 {
    ground.start().await.coordinator.shutdown().await;
    bytes_below(&ground.folder().join("data"))
}

/// Far more than a tiny job writes while it is looked at.
const ROOM: u64 = 4 << 20;

#[tokio::test]
async fn at_the_quota_work_pauses_and_goes_on_when_there_is_room() {
    let ground = Ground::new();
    let max = usual_bytes(&ground).await + ROOM;
    let site = ground.start_with(|builder| builder.disk_max(max)).await;
    let (mut client, mut other) = (Client::join(&site, 1).await, Client::join(&site, 2).await);
    let lease = client.lease().await.expect("a lease");
    let update = client.update(&lease);
    let ballast = ground.folder().join("data/ballast");
    std::fs::write(&ballast, vec![1; ROOM as usize]).expect("written");
    let view = site.until(|job| job["blocked"] == "disk quota").await;
    assert_eq!(view["phase"], "paused");
    // Who is at work is told to hand in later, who is not gets nothing.
    let answer = client.put(&lease, &update).await;
    answer.refused(503, "full");
    assert_eq!(answer.header("retry-after"), Some("5"));
    other.send(&ClientMessage::Ask).await;
    match other.receive().await {
        ServerMessage::Wait { reason, .. } => assert_eq!(reason, WaitReason::Paused),
        other => panic!("expected to wait, got {other:?}"),
    }
    assert_eq!(site.get("/healthz").await.status, 200);
    std::fs::remove_file(&ballast).expect("removed");
    site.until(|job| job["blocked"].is_null() && job["phase"] == "running").await;
    // The lease that waited is pushed, and the update is taken.
    match other.receive().await {
        ServerMessage::Lease(lease) => assert!(other.work(&lease).await.accepted),
        other => panic!("expected a lease, got {other:?}"),
    }
    assert!(client.work(&lease).await.accepted);
    drop((client, other));
    finish(&site).await;
}

#[tokio::test]
async fn rubbish_goes_before_anything_pauses() {
    let ground = Ground::new();
    let max = usual_bytes(&ground).await + ROOM;
    let orphan = BlobId::of(b"an upload whose result never came");
    let name = orphan.to_string();
    let folder = ground.folder().join("data/updates/tiny").join(&name[..2]);
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join(&name), vec![1; ROOM as usize]).expect("written");
    let site = ground.start_with(|builder| builder.disk_max(max)).await;
    let mut client = Client::join(&site, 1).await;
    let gone = async {
        while folder.join(&name).exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("collected in time");
    let lease = client.lease().await.expect("a lease: nothing has paused");
    assert!(client.work(&lease).await.accepted);
}

/// Collects, and then looks for everything that the log's state needs.
async fn check_collection(ground: &Ground, site: &Site, what: &str) {
    let job = site.coordinator.shared.job("tiny").expect("the job");
    loop {
        let (state, before) = ground.state_in_log();
        job.collect().await;
        let stores = crate::stores::Stores::in_folder(&ground.folder().join("data")).expect("stores");
        let found = needed::check(&stores, &job_name(), &state, Depth::Everything).await;
        // Where the job went on meanwhile, it may need less than it did.
        if ground.state_in_log().1.len() == before.len() {
            return found.unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
}

/// Listens until a message like this, a lease or the end of the job; returns the leases.
async fn heard(client: &mut Client<'_>, is_last: impl Fn(&ServerMessage) -> bool) -> Vec<Lease> {
    let mut leases = Vec::new();
    loop {
        match client.receive().await {
            message if is_last(&message) => return leases,
            ServerMessage::Lease(lease) => {
                leases.push(*lease);
                if is_last(&ServerMessage::Wait { retry_millis: 0, reason: WaitReason::Round }) {
                    return leases;
                }
            }
            ServerMessage::Finished | ServerMessage::Error(_) => return leases,
            _ => {}
        }
    }
}

/// A random job: who has a lease uploads, hands in, gives back, leaves or does nothing; the
/// coordinator is stopped or dropped now and then. After every step all that is not needed goes.
async fn random_history(seed: u64) {
    let mut random = SplitMix64::new(seed);
    let ground = Ground::with_budget(1_000_000);
    let mut site = ground.start().await;
    for life in 0..3 {
        let mut clients: Vec<Client<'_>> = Vec::new();
        for key in 1..=3 {
            clients.push(Client::join(&site, key).await);
        }
        let mut leases: Vec<(usize, Lease)> = Vec::new();
        for step in 0..8 {
            let what = format!("seed {seed}, life {life}, step {step}");
            let who = random.below(3) as usize;
            match leases.iter().position(|(of, _)| *of == who) {
                None => {
                    clients[who].send(&ClientMessage::Ask).await;
                    heard(&mut clients[who], |message| matches!(message, ServerMessage::Wait { .. }))
                        .await
                        .into_iter()
                        .for_each(|lease| leases.push((who, lease)));
                }
                Some(at) => match random.below(4) {
                    0 => {
                        let (_, lease) = &leases[at];
                        let update = clients[who].update(lease);
                        clients[who].put(lease, &update).await;
                    }
                    1 => {
                        let (_, lease) = leases.remove(at);
                        clients[who].send(&ClientMessage::Release { tasks: vec![lease.task.id] }).await;
                    }
                    _ => {
                        let (_, lease) = leases.remove(at);
                        let update = clients[who].update(&lease);
                        clients[who].put(&lease, &update).await;
                        let signed = clients[who].sign(&clients[who].statement(&lease, &update));
                        clients[who].send(&ClientMessage::Result(signed)).await;
                        // Whether it came in time is not the question here.
                        let is_verdict = |message: &ServerMessage| matches!(message, ServerMessage::Verdict(_));
                        let pushed = heard(&mut clients[who], is_verdict).await;
                        leases.extend(pushed.into_iter().map(|lease| (who, lease)));
                    }
                },
            }
            site.advance(1 + u64::from(random.below(3)) * limits::ORPHAN_MILLIS);
            check_collection(&ground, &site, &what).await;
        }
        drop(clients);
        site.coordinator.shutdown().await;
        // A crash may have left what no fact names.
        let name = BlobId::of(&seed.to_le_bytes()).to_string();
        for store in ["updates", "momenta"] {
            let folder = ground.folder().join("data").join(store).join("tiny").join(&name[..2]);
            std::fs::create_dir_all(&folder).expect("made");
            std::fs::write(folder.join(&name), "left behind").expect("written");
        }
        site = ground.start().await;
        check_collection(&ground, &site, "after a start").await;
        for store in ["updates", "momenta"] {
            let orphan = ground.folder().join("data").join(store).join("tiny").join(&name[..2]).join(&name);
            assert!(!orphan.exists(), "seed {seed}: an orphan stays among {store}");
        }
    }
    let (state, _) = ground.state_in_log();
    assert!(state.version().0 > 0, "seed {seed}: nothing was merged");
    site.coordinator.shutdown().await;
}

#[tokio::test]
async fn whatever_happens_what_is_needed_stays_and_orphans_go() {
    for seed in 0..4 {
        random_history(seed).await;
    }
}
