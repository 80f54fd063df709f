//! The owner's controls, with and without the token.

use potluck_protocol::{ClientMessage, ServerMessage, UpdateEncoding, WaitReason};

use super::{
    client::{Client, parameters},
    site::{Answer, Ground, Site},
    whole_job::finish,
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
    control(&site, Some(&token), &[b' '; 4096]).await.refused(413, "too_large");
    for (body, expected) in [
        (r#"{"control":"set"}"#, "train is missing"),
        (r#"{"control":"stop","train":{}}"#, "train goes with \"set\" only"),
        (r#"{"control":"set","train":{},"more":1}"#, "unknown field `more`"),
        (r#"{"control":"set","train":{"lr":0.1,"bach":4}}"#, "train.bach: unknown field `bach`, expected one of"),
        (r#"{"control":"set","train":{"lr":"fast"}}"#, "train.lr: invalid type: string \"fast\", expected f32"),
        (r#"{"control":"set","train":{"steps":-1}}"#, "train.steps: invalid value: integer `-1`, expected u32"),
        (r#"{"control":"set","train":{"steps":99}}"#, "train.steps: expected 4 to 16, got 99; nothing was changed"),
        (r#"{"control":"set","train":{"outer":{"lr":9}}}"#, "train.outer: expected lr above 0 and at most 2"),
    ] {
        let answer = control(&site, Some(&token), body.as_bytes()).await;
        answer.refused(400, "bad_request");
        let detail = answer.json()["detail"].to_string().replace("\\\"", "\"");
        assert!(detail.contains(expected), "{detail} does not say {expected}");
    }
    let job = site.job().await;
    assert_eq!(
        (&job["changes"], &job["strategy"], &job["mode"]),
        (&serde_json::json!([]), &"auto".into(), &"rounds".into())
    );
}

#[tokio::test]
async fn what_is_out_counts_as_it_was_leased_and_what_comes_next_is_changed() {
    let ground = Ground::new();
    let site = ground.start().await;
    let token = token(&site);
    let mut client = Client::join(&site, 1).await;
    let before = client.lease().await.expect("a lease");
    let set = br#"{"control":"set","train":{"lr":0.002,"update":"int8","steps":5,"budget_samples":112}}"#;
    assert_eq!(control(&site, Some(&token), set).await.status, 204);
    // Its bytes are of the other encoding, and right.
    assert_eq!(before.task.recipe.update, UpdateEncoding::E3m0);
    assert!(client.work(&before).await.accepted);
    let after = client.lease().await.expect("a lease");
    let recipe = &after.task.recipe;
    assert_eq!((recipe.update, recipe.lr, after.task.steps), (UpdateEncoding::Int8, 0.002, 5));
    let old = potluck_update::encode(UpdateEncoding::E3m0, &vec![0.01; parameters(&site)]);
    client.put(&after, &old).await.refused(422, "update_malformed");
    assert!(client.work(&after).await.accepted);
    // The same bytes again, as after a lost answer, whatever the recipe is by now.
    let set = br#"{"control":"set","train":{"update":"e3m0"}}"#;
    assert_eq!(control(&site, Some(&token), set).await.status, 204);
    assert_eq!(client.put(&after, &client.update(&after)).await.status, 204);
    let view = site.job().await;
    let fields = |n: usize| {
        let rows = view["changes"][n]["differences"].as_array().expect("rows").iter();
        rows.map(|row| row["field"].as_str().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (fields(0), fields(1)),
        (["lr", "steps", "budget_samples", "update"].map(str::to_owned).to_vec(), vec!["update".to_owned()])
    );
    let lr = &view["changes"][0]["differences"][0];
    assert_eq!((&lr["from"], &lr["to"], &view["budget_samples"]), (&"0.004".into(), &"0.002".into(), &112.into()));
    drop(client);
    site.coordinator.shutdown().await;
    // The log alone says the same, and goes on with it.
    let site = ground.start().await;
    let again = site.job().await;
    assert_eq!((&again["recipe"], &again["changes"]), (&view["recipe"], &view["changes"]));
    finish(&site).await;
    let site_folder = ground.folder().join("data");
    site.coordinator.shutdown().await;
    let mut audit = crate::Audit::new(super::site::job_name());
    audit.advance(&site_folder).await.expect("a sound log");
}

#[tokio::test]
async fn a_finished_job_is_extended() {
    let ground = Ground::new();
    let site = ground.start_with(|builder| builder.keep_updates(true)).await;
    let token = token(&site);
    finish(&site).await;
    site.until(|job| job["phase"] == "finished").await;
    for word in ["pause", "resume"] {
        let body = format!(r#"{{"control":"{word}"}}"#);
        control(&site, Some(&token), body.as_bytes()).await.refused(409, "job_finished");
    }
    let set = br#"{"control":"set","train":{"lr":0.002}}"#;
    control(&site, Some(&token), set).await.refused(409, "job_finished");
    let extend = br#"{"control":"set","train":{"budget_samples":160}}"#;
    assert_eq!(control(&site, Some(&token), extend).await.status, 204);
    assert_eq!(site.job().await["phase"], "running");
    finish(&site).await;
    let job = site.until(|job| job["phase"] == "finished").await;
    assert_eq!((&job["samples"], &job["accuracy"]["test"].is_f64()), (&160.into(), &true));
    site.coordinator.shutdown().await;
    let mut audit = crate::Audit::new(super::site::job_name());
    audit.advance(&ground.folder().join("data")).await.expect("a sound log");
    assert_eq!((audit.version_count(), audit.remade_count()), (5, 5));
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
