//! Uploads that are wrong, and those that are right.

use potluck_protocol::UpdateEncoding;

use super::{
    client::{Client, parameters, put_as},
    site::{Ground, JOB},
};

/// A lease that was just given.
macro_rules! leased {
    ($ground:ident, $site:ident, $client:ident, $lease:ident) => {
        let $ground = Ground::new();
        let $site = $ground.start().await;
        let mut $client = Client::join(&$site, 1).await;
        let $lease = $client.lease().await.expect("a lease");
    };
}

#[tokio::test]
async fn an_oversized_update_is_refused_by_its_length() {
    leased!(ground, site, client, lease);
    let mut update = client.update(&lease);
    update.push(0);
    client.put(&lease, &update).await.refused(413, "too_large");
    update.resize(50 << 20, 0);
    client.put(&lease, &update).await.refused(413, "too_large");
}

#[tokio::test]
async fn an_oversized_update_of_unknown_length_is_refused_as_it_comes() {
    leased!(ground, site, client, lease);
    let path = format!("/api/v1/jobs/{JOB}/tasks/{}/update", lease.task.id);
    let key = client.volunteer().to_string();
    let headers = [("x-potluck-volunteer", key.as_str()), ("transfer-encoding", "chunked")];
    let mut body = Vec::new();
    for _ in 0..100 {
        body.extend_from_slice(b"400\r\n");
        body.extend_from_slice(&[0; 0x400]);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    site.request("PUT", &path, &headers, &body).await.refused(413, "too_large");
    let update = client.update(&lease);
    let body = [format!("{:x}\r\n", update.len()).as_bytes(), &update, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(site.request("PUT", &path, &headers, &body).await.status, 204, "chunks are fine");
}

#[tokio::test]
async fn a_short_update_is_malformed() {
    leased!(ground, site, client, lease);
    let update = client.update(&lease);
    client.put(&lease, &update[1..]).await.refused(422, "update_malformed");
    client.put(&lease, b"").await.refused(422, "update_malformed");
}

#[tokio::test]
async fn nan_and_infinity_are_refused_and_never_stored() {
    leased!(ground, site, client, lease);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut update = client.update(&lease);
        update[..4].copy_from_slice(&bad.to_le_bytes());
        client.put(&lease, &update).await.refused(422, "update_not_finite");
    }
    let stored = std::fs::read_dir(ground.folder().join("data/updates").join(JOB)).expect("a folder");
    assert_eq!(stored.count(), 0);
}

#[tokio::test]
async fn bytes_of_another_encoding_are_malformed() {
    leased!(ground, site, client, lease);
    let mut update = client.update(&lease);
    // A negative scale is what no encoder writes.
    update[..4].copy_from_slice(&(-1f32).to_le_bytes());
    client.put(&lease, &update).await.refused(422, "update_malformed");
    let int8 = potluck_update::encode(UpdateEncoding::Int8, &vec![0.5; parameters(&site)]);
    client.put(&lease, &int8).await.refused(413, "too_large");
}

#[tokio::test]
async fn strangers_and_unknown_tasks_are_refused() {
    leased!(ground, site, client, lease);
    let update = client.update(&lease);
    let task = lease.task.id.0;
    put_as(&site, task, &"0".repeat(64), &update).await.refused(403, "not_your_task");
    put_as(&site, task, "nobody", &update).await.refused(400, "bad_request");
    put_as(&site, 999, &client.volunteer().to_string(), &update).await.refused(404, "unknown_task");
    let path = "/api/v1/jobs/tiny/tasks/soup/update";
    site.request("PUT", path, &[], &update).await.refused(404, "unknown_task");
    let path = "/api/v1/jobs/nothing/tasks/1/update";
    site.request("PUT", path, &[], &update).await.refused(404, "unknown_job");
    let expected = serde_json::json!({ "bad_request": 1, "not_your_task": 1, "unknown_task": 2 });
    site.until(|job| job["refused"] == expected).await;
}

#[tokio::test]
async fn a_refusal_makes_no_page_anew() {
    leased!(ground, site, client, lease);
    let job = site.coordinator.shared.job(JOB).expect("the job");
    let mut is_same = false;
    // A tick may come in between, which shows the refusals, but not each time.
    for _ in 0..20 {
        let before = job.view().await.expect("a view");
        put_as(&site, lease.task.id.0, "nobody", &client.update(&lease)).await.refused(400, "bad_request");
        is_same |= std::sync::Arc::ptr_eq(&before, &job.view().await.expect("a view"));
    }
    assert!(is_same);
    site.until(|job| job["refused"] == serde_json::json!({ "bad_request": 20 })).await;
}

#[tokio::test]
async fn the_same_upload_twice_is_fine() {
    leased!(ground, site, client, lease);
    let update = client.update(&lease);
    assert_eq!(client.put(&lease, &update).await.status, 204);
    assert_eq!(client.put(&lease, &update).await.status, 204);
    let metrics = String::from_utf8(site.get("/metrics").await.body).expect("text");
    assert!(metrics.contains("potluck_uploads_total{job=\"tiny\"} 1\n"), "{metrics}");
    assert!(client.work(&lease).await.accepted);
}

#[tokio::test]
async fn updates_are_never_served() {
    leased!(ground, site, client, lease);
    let update = client.update(&lease);
    assert_eq!(client.put(&lease, &update).await.status, 204);
    let id = potluck_protocol::BlobId::of(&update);
    site.api(&format!("blobs/{id}")).await.refused(404, "unknown_blob");
}

#[tokio::test]
async fn an_accepted_update_outlives_uploads_that_began_before_it() {
    let ground = Ground::new();
    let site = ground.start().await;
    // Two hold a task, so that the round does not end with the first result.
    let (mut one, mut two) = (Client::join(&site, 1).await, Client::join(&site, 2).await);
    let (lease, other) = (one.lease().await.expect("a lease"), two.lease().await.expect("a lease"));
    assert!(one.work(&lease).await.accepted);
    let job = site.coordinator.shared.job(JOB).expect("the job");
    for n in 1..=2 * potluck_protocol::limits::UPLOADS_PER_TASK_MAX {
        let values = vec![0.01 * n as f32; parameters(&site)];
        let update = potluck_update::encode(UpdateEncoding::E3m0, &values);
        // As an upload goes on whose lease was looked at earlier.
        job.take_update(lease.task.id, UpdateEncoding::E3m0, update.into()).await.expect("taken");
    }
    assert!(two.work(&other).await.accepted);
    site.until(|job| job["version"] == 1).await;
}
