//! Results that are wrong, late, somebody else's or sent twice.

use potluck_protocol::{ClientMessage, ErrorCode, SignedStatement, Statement, TaskId, limits};

use super::{
    client::{Client, blocks, refusal},
    site::{Ground, Site},
};

/// Sends a result that is not what it should be and expects an error frame; nothing is credited.
async fn check_error(spoil: impl FnOnce(&Client<'_>, Statement) -> SignedStatement, expected: ErrorCode) {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut client = Client::join(&site, 1).await;
    let lease = client.lease().await.expect("a lease");
    let update = client.update(&lease);
    assert_eq!(client.put(&lease, &update).await.status, 204);
    let signed = spoil(&client, client.statement(&lease, &update));
    client.send(&ClientMessage::Result(signed)).await;
    assert_eq!(client.error().await, expected);
    nothing_counts(&site).await;
    is_counted(&site, expected).await;
    let signed = client.sign(&client.statement(&lease, &update));
    assert!(client.hand_in(signed).await.accepted, "the true result still counts");
}

/// The same where the verdict is no.
async fn check_verdict(spoil: impl FnOnce(&mut Statement), expected: ErrorCode) {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut client = Client::join(&site, 1).await;
    let lease = client.lease().await.expect("a lease");
    let update = client.update(&lease);
    assert_eq!(client.put(&lease, &update).await.status, 204);
    let mut statement = client.statement(&lease, &update);
    spoil(&mut statement);
    let verdict = client.hand_in(client.sign(&statement)).await;
    assert_eq!(refusal(&verdict), expected);
    nothing_counts(&site).await;
    is_counted(&site, expected).await;
}

/// Its code, and no other, was counted once.
async fn is_counted(site: &Site, code: ErrorCode) {
    let code = serde_json::to_value(code).expect("a name");
    let code = code.as_str().expect("a name");
    site.until(|job| job["refused"] == serde_json::json!({ code: 1 })).await;
    let metrics = String::from_utf8(site.get("/metrics").await.body).expect("text");
    let expected = format!("potluck_refusals_total{{job=\"tiny\",code=\"{code}\"}} 1\n");
    assert!(metrics.contains(&expected), "{metrics}");
}

async fn nothing_counts(site: &Site) {
    let job = site.job().await;
    assert_eq!((&job["version"], &job["samples"]), (&0.into(), &0.into()));
    let contributions = site.api("jobs/tiny/contributions").await.json();
    assert_eq!(contributions["contributions"], serde_json::json!([]));
}

#[tokio::test]
async fn a_wrong_signature_is_refused() {
    let spoil = |client: &Client<'_>, statement| {
        let mut signed = client.sign(&statement);
        signed.statement = signed.statement.replace("\"steps\":4", "\"steps\":5");
        signed
    };
    check_error(spoil, ErrorCode::BadSignature).await;
}

#[tokio::test]
async fn a_signature_that_is_no_hex_is_refused() {
    let spoil =
        |client: &Client<'_>, statement| SignedStatement { signature: "zz".repeat(64), ..client.sign(&statement) };
    check_error(spoil, ErrorCode::BadSignature).await;
}

#[tokio::test]
async fn another_signer_than_said_hello_is_refused() {
    let spoil = |client: &Client<'_>, statement: Statement| {
        let volunteer = potluck_protocol::VolunteerKey([7; 32]);
        client.sign(&Statement { volunteer, ..statement })
    };
    check_error(spoil, ErrorCode::BadSignature).await;
}

#[tokio::test]
async fn a_statement_of_another_job_is_refused() {
    let spoil = |client: &Client<'_>, statement: Statement| {
        client.sign(&Statement { job: "other".parse().expect("a name"), ..statement })
    };
    check_error(spoil, ErrorCode::ResultMismatch).await;
}

#[tokio::test]
async fn a_statement_that_is_none_is_refused() {
    let spoil = |client: &Client<'_>, statement| {
        let SignedStatement { signature, .. } = client.sign(&statement);
        SignedStatement { statement: "{}".to_owned(), signature }
    };
    check_error(spoil, ErrorCode::UnknownMessage).await;
}

#[tokio::test]
async fn a_statement_over_the_limit_is_refused() {
    let spoil = |client: &Client<'_>, statement| {
        let SignedStatement { signature, .. } = client.sign(&statement);
        SignedStatement { statement: " ".repeat(limits::STATEMENT_BYTES_MAX + 1), signature }
    };
    check_error(spoil, ErrorCode::TooLarge).await;
}

#[tokio::test]
async fn a_task_that_was_never_leased_is_unknown() {
    check_verdict(|statement| statement.task = TaskId(999), ErrorCode::UnknownTask).await;
}

#[tokio::test]
async fn more_steps_than_leased_are_refused() {
    check_verdict(|statement| statement.steps += 1, ErrorCode::ResultMismatch).await;
}

#[tokio::test]
async fn a_loss_that_is_not_finite_is_refused() {
    check_verdict(|statement| statement.train_loss = None, ErrorCode::ResultMismatch).await;
}

#[tokio::test]
async fn an_update_that_was_not_uploaded_is_missed() {
    let never = potluck_protocol::BlobId::of(b"never uploaded");
    check_verdict(|statement| statement.update = Some(never), ErrorCode::UpdateMissing).await;
}

#[tokio::test]
async fn an_infinite_loss_never_reaches_the_log() {
    let spoil = |client: &Client<'_>, statement| {
        // JSON has no infinity, but it has numbers that no f32 holds.
        let statement = client.sign(&statement).statement.replace("0.7", "1e300");
        let signature = ed25519_dalek::Signer::sign(&client.key, &SignedStatement::message(&statement));
        SignedStatement { statement, signature: hex::encode(signature.to_bytes()) }
    };
    check_error(spoil, ErrorCode::UnknownMessage).await;
}

#[tokio::test]
async fn somebody_elses_task_is_refused() {
    let ground = Ground::new();
    let site = ground.start().await;
    let (mut holder, mut thief) = (Client::join(&site, 1).await, Client::join(&site, 2).await);
    let lease = holder.lease().await.expect("a lease");
    let update = thief.update(&lease);
    thief.put(&lease, &update).await.refused(403, "not_your_task");
    let signed = thief.sign(&thief.statement(&lease, &update));
    assert_eq!(refusal(&thief.hand_in(signed).await), ErrorCode::NotYourTask);
    // The upload, and the result.
    site.until(|job| job["refused"] == serde_json::json!({ "not_your_task": 2 })).await;
    assert!(holder.work(&lease).await.accepted);
}

#[tokio::test]
async fn an_expired_lease_is_refused() {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut client = Client::join(&site, 1).await;
    let lease = client.lease().await.expect("a lease");
    let update = client.update(&lease);
    assert_eq!(client.put(&lease, &update).await.status, 204);
    site.advance(lease.expiry_millis + 1);
    client.put(&lease, &client.update(&lease)[1..]).await.refused(410, "lease_expired");
    let signed = client.sign(&client.statement(&lease, &update));
    assert_eq!(refusal(&client.hand_in(signed).await), ErrorCode::LeaseExpired);
    nothing_counts(&site).await;
    // The blocks are trained by whoever asks next.
    let again = client.lease().await.expect("a lease");
    assert_eq!(blocks(&again), blocks(&lease));
}

#[tokio::test]
async fn the_same_result_again_gets_the_same_answer_and_counts_once() {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut client = Client::join(&site, 1).await;
    let lease = client.lease().await.expect("a lease");
    let update = client.update(&lease);
    let signed = client.sign(&client.statement(&lease, &update));
    let first = client.work(&lease).await;
    let second = client.hand_in(signed.clone()).await;
    drop(client);
    let mut client = Client::join(&site, 1).await;
    assert_eq!(client.put(&lease, &update).await.status, 204, "an upload again is fine");
    let third = client.hand_in(signed).await;
    assert!(first.accepted && first.credited_tasks == 1, "{first:?}");
    assert_eq!((&second, &third), (&first, &first));
    let next = client.lease().await.expect("another lease");
    let other = client.update(&next);
    client.put(&lease, &other).await.refused(422, "result_mismatch");
}
