//! The API's edges: wrong addresses, methods and queries, and the headers that go with all answers.

use super::site::Ground;

#[tokio::test]
async fn unknown_jobs_are_named_everywhere() {
    let ground = Ground::new();
    let site = ground.start().await;
    let below = ["", "/history", "/contributions", "/program", "/model.safetensors", "/events", "/connect"];
    for path in below {
        site.api(&format!("jobs/nothing{path}")).await.refused(404, "unknown_job");
        site.api(&format!("jobs/No%20Job{path}")).await.refused(404, "unknown_job");
    }
    for path in ["/widget/nothing", "/join/nothing"] {
        site.get(path).await.refused(404, "unknown_job");
    }
}

#[tokio::test]
async fn other_addresses_methods_and_queries_are_refused() {
    let ground = Ground::new();
    let site = ground.start().await;
    site.get("/nothing").await.refused(404, "bad_request");
    site.api("nothing").await.refused(404, "bad_request");
    site.request("POST", "/api/v1/jobs", &[], b"").await.refused(405, "bad_request");
    site.request("DELETE", "/api/v1/jobs/tiny", &[], b"").await.refused(405, "bad_request");
    site.api("jobs/tiny/history?cursor=soup").await.refused(400, "bad_request");
    let beyond = site.api("jobs/tiny/history?cursor=18446744073709551615").await.json();
    assert_eq!(beyond["versions"], serde_json::json!([]));
    site.api("jobs/tiny/history?page=2").await.refused(400, "bad_request");
    site.api("jobs/tiny/contributions?format=xml").await.refused(400, "bad_request");
    site.api("jobs/tiny/connect").await.refused(400, "bad_request");
    site.api("blobs/soup").await.refused(404, "unknown_blob");
    site.api(&format!("blobs/{}", "0".repeat(64))).await.refused(404, "unknown_blob");
    site.api("blobs/..%2f..%2fpotluck.sqlite").await.refused(404, "unknown_blob");
}

#[tokio::test]
async fn every_answer_forbids_guessing_its_type() {
    let ground = Ground::new();
    let site = ground.start().await;
    for path in ["/", "/nothing", "/api/v1/jobs", "/api/v1/jobs/nothing", "/metrics", "/healthz", "/embed.js"] {
        let answer = site.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
    }
}

#[tokio::test]
async fn anyone_may_read_and_nobody_elses_script_may_write() {
    let ground = Ground::new();
    let site = ground.start().await;
    let origin = [("origin", "https://elsewhere.test")];
    let any = |answer: &super::site::Answer| answer.header("access-control-allow-origin").map(str::to_owned);
    for path in ["/api/v1/jobs", "/api/v1/jobs/tiny", "/api/v1/jobs/nothing", "/api/v1/jobs/tiny/program"] {
        assert_eq!(any(&site.request("GET", path, &origin, b"").await), Some("*".to_owned()), "{path}");
    }
    let preflight = [("origin", "https://elsewhere.test"), ("access-control-request-method", "PUT")];
    for path in ["/api/v1/jobs/tiny/tasks/1/update", "/api/v1/jobs/tiny/control"] {
        assert_eq!(any(&site.request("OPTIONS", path, &preflight, b"").await), None, "{path}");
        assert_eq!(any(&site.request("POST", path, &origin, b"").await), None, "{path}");
    }
}

#[tokio::test]
async fn the_list_names_the_jobs() {
    let ground = Ground::new();
    let site = ground.start().await;
    let list = site.api("jobs").await.json();
    let row = &list["jobs"][0];
    assert_eq!((&row["name"], &row["title"], &row["phase"]), (&"tiny".into(), &"Two moons".into(), &"running".into()));
    assert_eq!(list["cursor"], serde_json::Value::Null);
    let job = site.job().await;
    assert_eq!((&job["card"]["owner"], &job["card"]["data_licence"]), (&"The tests".into(), &"CC0".into()));
    let program = site.api("jobs/tiny/program").await;
    let parsed = potluck_graph::Program::parse(&program.body).expect("a program");
    assert_eq!(job["program"]["parameters"], parsed.facts().parameters);
    let id = potluck_protocol::BlobId::of(&program.body);
    assert_eq!(site.api(&format!("blobs/{id}")).await.body, program.body);
}

#[tokio::test]
async fn operators_see_health_numbers_and_who_runs_this() {
    let ground = Ground::new();
    let site = ground.start().await;
    let health = site.get("/healthz").await;
    assert_eq!((health.status, health.json()), (200, serde_json::json!({ "status": "ok", "jobs": {} })));
    let metrics = String::from_utf8(site.get("/metrics").await.body).expect("text");
    for line in
        ["# TYPE potluck_volunteers gauge", "potluck_volunteers{job=\"tiny\"} 0", "potluck_job_up{job=\"tiny\"} 1"]
    {
        assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
    }
    let about = site.get("/.well-known/potluck.json").await.json();
    assert_eq!((&about["software"], &about["jobs"][0]["owner"]), (&"potluck".into(), &"The tests".into()));
}

#[tokio::test]
async fn garbage_instead_of_http_is_survived() {
    let ground = Ground::new();
    let site = ground.start().await;
    for garbage in [&b"\x16\x03\x01\x02\x00garbage\r\n\r\n"[..], b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n"] {
        assert_eq!(site.raw(garbage).await.status, 400);
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20));
    assert!((400..500).contains(&site.raw(long.as_bytes()).await.status));
    assert_eq!(site.get("/healthz").await.status, 200);
}

/// What a browser sends to open a WebSocket.
const UPGRADE: &str = "GET /api/v1/jobs/tiny/connect HTTP/1.1\r\nhost: here\r\nupgrade: websocket\r\n\
    connection: close, upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn scripts_of_other_origins_may_not_connect() {
    let ground = Ground::new();
    let site = ground.start().await;
    for origin in ["https://elsewhere.test", "http://here:81", "null"] {
        let upgrade = UPGRADE.replacen("\r\nupgrade:", &format!("\r\norigin: {origin}\r\nupgrade:"), 1);
        site.raw(upgrade.as_bytes()).await.refused(403, "bad_request");
    }
}

#[tokio::test]
async fn a_full_house_is_said_before_anything_is_opened() {
    let ground = Ground::new();
    let site = ground.start().await;
    let shared = &site.coordinator.shared;
    let job = shared.job("tiny").expect("the job");
    let places: Vec<_> = std::iter::from_fn(|| job.connection()).collect();
    assert_eq!(places.len(), potluck_protocol::limits::CONNECTIONS_MAX);
    let full = site.raw(UPGRADE.as_bytes()).await;
    full.refused(503, "full");
    assert_eq!(full.header("retry-after"), Some("5"));
    let places: Vec<_> = std::iter::from_fn(|| shared.event_stream()).collect();
    assert_eq!(places.len(), potluck_protocol::limits::EVENT_STREAMS_MAX);
    site.api("jobs/tiny/events").await.refused(503, "full");
}
