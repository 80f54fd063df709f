//! Everything wrong that can be said on a socket, and that the server is still there afterwards.

use potluck_protocol::{ClientMessage, Device, ErrorCode, ServerMessage, TaskId, WaitReason, limits};
use tokio_tungstenite::tungstenite::Message;

use super::{
    client::{Client, blocks},
    site::Ground,
};

/// Says this after a good hello and expects an error; the connection goes on.
async fn check(message: impl Into<Message>, expected: ErrorCode) {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut client = Client::join(&site, 1).await;
    client.send_raw(message.into()).await;
    assert_eq!(client.error().await, expected);
    assert!(client.lease().await.is_some(), "the connection goes on");
    assert_eq!(site.job().await["volunteers"], 1);
}

#[tokio::test]
async fn bad_json_is_named() {
    check("{", ErrorCode::BadJson).await;
}

#[tokio::test]
async fn an_unknown_message_is_named() {
    check(r#"{"type":"mine_coins"}"#, ErrorCode::UnknownMessage).await;
}

#[tokio::test]
async fn an_unknown_field_is_named() {
    check(r#"{"type":"release","tasks":[],"more":1}"#, ErrorCode::UnknownMessage).await;
}

#[tokio::test]
async fn binary_frames_are_refused() {
    check(Message::binary(vec![1, 2, 3]), ErrorCode::BadJson).await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused() {
    check("x".repeat(limits::MESSAGE_BYTES_MAX + 1), ErrorCode::TooLarge).await;
}

#[tokio::test]
async fn hello_is_said_once() {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut client = Client::join(&site, 1).await;
    client.send(&client.hello(1, 1)).await;
    assert_eq!(client.error().await, ErrorCode::OutOfOrder);
}

#[tokio::test]
async fn what_comes_before_hello_is_out_of_order() {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut client = Client::silent(&site, 1).await;
    client.send(&ClientMessage::Ask).await;
    assert_eq!(client.error().await, ErrorCode::OutOfOrder);
    client.send(&client.hello(1, 1)).await;
    assert!(matches!(client.receive().await, ServerMessage::Welcome(_)));
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_the_connection() {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut client = Client::join(&site, 1).await;
    client.send_raw("x".repeat(1 << 20).into()).await;
    assert_eq!(client.error().await, ErrorCode::TooLarge);
    assert_eq!(client.close_code().await, Some(1009));
    site.until(|job| job["volunteers"] == 0).await;
}

#[tokio::test]
async fn too_many_bad_messages_close_the_connection() {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut client = Client::join(&site, 1).await;
    for _ in 0..limits::BAD_MESSAGES_MAX {
        client.send_raw("nonsense".into()).await;
        assert_eq!(client.error().await, ErrorCode::BadJson);
    }
    assert_eq!(client.close_code().await, Some(1008));
    let metrics = String::from_utf8(site.get("/metrics").await.body).expect("text");
    let expected = format!("potluck_bad_messages_total{{job=\"tiny\"}} {}", limits::BAD_MESSAGES_MAX);
    assert!(metrics.contains(&expected), "{metrics}");
}

#[tokio::test]
async fn what_is_said_of_a_device_is_bounded() {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut client = Client::join(&site, 1).await;
    let good = Device {
        agent: "Test 1".to_owned(),
        adapter: "None".to_owned(),
        backend: potluck_protocol::Backend::Wasm,
        forced: true,
        challenge: vec![(potluck_protocol::Backend::Wasm, 100.0)],
    };
    let long = Device { agent: "x".repeat(limits::DEVICE_TEXT_BYTES_MAX + 1), ..good.clone() };
    client.send(&ClientMessage::Device(long)).await;
    assert_eq!(client.error().await, ErrorCode::TooLarge);
    let negative = Device { challenge: vec![(potluck_protocol::Backend::Wasm, -1.0)], ..good.clone() };
    client.send(&ClientMessage::Device(negative)).await;
    assert_eq!(client.error().await, ErrorCode::BadRequest);
    client.send(&ClientMessage::Device(good)).await;
    let is_there =
        |row: &serde_json::Value| row["agent"] == "Test 1" && row["backend"] == "wasm" && row["forced"] == true;
    site.until(|job| job["connected"].as_array().is_some_and(|rows| rows.iter().any(is_there))).await;
}

#[tokio::test]
async fn more_leases_than_one_may_hold_cannot_be_released() {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut client = Client::join(&site, 1).await;
    client.send(&ClientMessage::Release { tasks: (0..100).map(TaskId).collect() }).await;
    assert_eq!(client.error().await, ErrorCode::BadRequest);
}

#[tokio::test]
async fn other_protocols_are_told_to_reload() {
    let ground = Ground::new();
    let site = ground.start().await;
    for (min, max, word) in [(0, 0, "older"), (5, 9, "newer")] {
        let mut client = Client::silent(&site, 1).await;
        client.send(&client.hello(min, max)).await;
        match client.receive().await {
            ServerMessage::Reload { protocol_min: 1, protocol_max: 4, reason } => assert!(reason.contains(word)),
            other => panic!("expected reload, got {other:?}"),
        }
        assert_eq!(client.close_code().await, Some(1000));
    }
    let mut client = Client::silent(&site, 1).await;
    client.send(&client.hello(0, 9)).await;
    match client.receive().await {
        ServerMessage::Welcome(welcome) => assert_eq!((welcome.protocol, welcome.seal.is_some()), (4, true)),
        other => panic!("expected welcome, got {other:?}"),
    }
}

#[tokio::test]
async fn who_is_one_too_many_waits_and_steps_in_when_somebody_leaves() {
    let ground = Ground::with_budget(32 * 40);
    let site = ground.start().await;
    let mut seated = Vec::new();
    for key in 1..=4 {
        let mut client = Client::join(&site, key).await;
        client.lease().await.expect("a lease");
        seated.push(client);
    }
    for (protocol, expected) in [(3, WaitReason::Busy), (4, WaitReason::Enough)] {
        let mut old = Client::silent(&site, 10 + protocol as u8).await;
        old.send(&old.hello(1, protocol)).await;
        old.receive().await;
        old.send(&ClientMessage::Ask).await;
        match old.receive().await {
            ServerMessage::Wait { reason, .. } => assert_eq!(reason, expected),
            other => panic!("expected a wait, got {other:?}"),
        }
        old.send(&ClientMessage::Bye).await;
    }
    let mut next = Client::join(&site, 5).await;
    next.send(&ClientMessage::Ask).await;
    match next.receive().await {
        ServerMessage::Wait { reason: WaitReason::Enough, .. } => {}
        other => panic!("expected a wait, got {other:?}"),
    }
    seated[0].send(&ClientMessage::Bye).await;
    match next.receive().await {
        ServerMessage::Lease(_) => {}
        other => panic!("expected a lease, got {other:?}"),
    }
}

#[tokio::test]
async fn nobody_goes_by_the_key_of_the_coordinators_own_worker() {
    let ground = Ground::new();
    let site = ground.start().await;
    let job = site.until(|job| job["connected"][0]["trusted"] == true).await;
    let mut client = Client::silent(&site, 1).await;
    let ClientMessage::Hello(mut hello) = client.hello(1, 1) else { panic!("no hello") };
    hello.volunteer = job["connected"][0]["key"].as_str().expect("a key").parse().expect("a key");
    client.send(&ClientMessage::Hello(hello)).await;
    assert_eq!(client.error().await, ErrorCode::NotAuthorised);
    assert_eq!(client.close_code().await, Some(1008));
}

#[tokio::test]
async fn goodbye_frees_the_lease_for_the_next() {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut first = Client::join(&site, 1).await;
    let lease = first.lease().await.expect("a lease");
    first.send(&ClientMessage::Bye).await;
    assert_eq!(first.close_code().await, Some(1000));
    let mut second = Client::join(&site, 2).await;
    let again = second.lease().await.expect("a lease");
    assert_eq!(blocks(&again), blocks(&lease));
    assert_ne!(again.task.id, lease.task.id);
}

#[tokio::test]
async fn at_a_stop_who_has_just_connected_hears_when_to_come_again_too() {
    let ground = Ground::new();
    let site = ground.start().await;
    let mut clients = [Client::join(&site, 1).await, Client::silent(&site, 2).await];
    let shared = &site.coordinator.shared;
    let job = shared.job("tiny").expect("the job");
    assert_eq!(job.connected(), 2);
    shared.close();
    clients[1].greet().await;
    for client in &mut clients {
        while !matches!(client.receive().await, ServerMessage::Leaving { .. }) {}
        assert_eq!(client.close_code().await, Some(1001));
        // Our answer goes out with the next read.
        assert!(client.frame().await.is_none());
    }
    job.all_gone().await;
    assert_eq!(job.told(), 2);
}
