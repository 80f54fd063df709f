//! The owner's controls, with and without the token.

use potluck_protocol::{ClientMessage, ServerMessage, WaitReason};

use super::{
    client::Client,
    site::{Answer, Ground, Site},
};

async fn control(site: &Site, token: Option<&str>, body: &[u8]) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    site.request("POST", "/api/v1/jobs/tiny/control", &headers, body).await
}

fn token(site: &Site) -> String {
    let text = std::fs::read_to_string(site.coordinator.owner_token_file()).expect("a token");
    text.trim().to_owned()
}

#[tokio::test]
async fn nothing_is_controlled_without_the_token() {
    let ground = Ground::new();
    let site = ground.start().await;
    let stop = br#"{"control":"stop"}"#;
    control(&site, None, stop).await.refused(401, "not_authorised");
    control(&site, Some("guess"), stop).await.refused(401, "not_authorised");
    control(&site, Some(&token(&site).to_uppercase()), stop).await.refused(401, "not_authorised");
    assert_eq!(site.job().await["phase"], "running");
}

#[tokio::test]
async fn bad_controls_are_named() {
    let ground = Ground::new();
    let site = ground.start().await;
    let token = token(&site);
    control(&site, Some(&token), b"stop").await.refused(400, "bad_request");
    control(&site, Some(&token), br#"{"control":"explode"}"#).await.refused(400, "bad_request");
    control(&site, Some(&token), &[b' '; 2048]).await.refused(413, "too_large");
}

#[tokio::test]
async fn a_job_is_paused_resumed_and_stopped() {
    let ground = Ground::new();
    let site = ground.start().await;
    let token = token(&site);
    assert_eq!(control(&site, Some(&token), br#"{"control":"pause"}"#).await.status, 204);
    assert_eq!(site.job().await["phase"], "paused");
    let mut client = Client::join(&site, 1).await;
    client.send(&ClientMessage::Ask).await;
    match client.receive().await {
        ServerMessage::Wait { reason: WaitReason::Paused, .. } => {}
        other => panic!("expected to wait, got {other:?}"),
    }
    assert_eq!(control(&site, Some(&token), br#"{"control":"resume"}"#).await.status, 204);
    // What comes up is sent to those who wait.
    assert!(matches!(client.receive().await, ServerMessage::Lease(_)));
    assert_eq!(control(&site, Some(&token), br#"{"control":"stop"}"#).await.status, 204);
    client.send(&ClientMessage::Bye).await;
    site.until(|job| job["phase"] == "finished").await;
}
