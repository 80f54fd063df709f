//! The native shell against a coordinator of a hundred lines that misbehaves on purpose.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{
        Path, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use ed25519_dalek::{Signature, VerifyingKey};
use potluck_engine::Choice;
use potluck_protocol::{BlobId, ClientMessage, ErrorCode, Refusal, ServerMessage, SignedStatement, Statement, Verdict};
use tokio::sync::oneshot;

use super::*;
use crate::{VOLUNTEER_HEADER, fixture::Job};

/// What the coordinator saw, in short.
#[derive(Default)]
struct Seen {
    log: Vec<String>,
    /// Updates that were put, by their id.
    updates: Vec<BlobId>,
}

struct Coordinator {
    job: Job,
    seen: Mutex<Seen>,
    /// Tasks to lease before the job is done.
    tasks: u64,
    /// The first bytes of the base, attempt at an upload and answer to a result go wrong.
    trouble: bool,
}

type Shared = Arc<Coordinator>;

impl Coordinator {
    fn note(&self, line: impl Into<String>) {
        self.seen.lock().expect("unpoisoned").log.push(line.into());
    }

    fn count(&self, line: &str) -> usize {
        self.seen.lock().expect("unpoisoned").log.iter().filter(|l| *l == line).count()
    }

    /// Serves on a free port until the test ends.
    async fn start(tasks: u64, trouble: bool) -> (Shared, String) {
        let this = Arc::new(Self { job: Job::new(), seen: Mutex::default(), tasks, trouble });
        let router = Router::new()
            .route("/api/v1/jobs/digits/connect", get(connect))
            .route("/api/v1/blobs/{id}", get(blob))
            .route("/api/v1/jobs/digits/tasks/{task}/update", put(update))
            .fallback(async || (StatusCode::NOT_FOUND, r#"{"code":"unknown_job","detail":"no such job here"}"#))
            .with_state(Arc::clone(&this));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (this, url)
    }
}

async fn blob(State(this): State<Shared>, Path(id): Path<String>) -> Response {
    let id: BlobId = id.parse().expect("an id");
    let first = this.count(&format!("blob {id}")) == 0;
    this.note(format!("blob {id}"));
    match this.job.blob(id) {
        Some(mut bytes) if this.trouble && first && id == BlobId::of(&this.job.base) => {
            bytes[3] ^= 1;
            bytes.into_response()
        }
        Some(bytes) => bytes.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn update(State(this): State<Shared>, Path(task): Path<u64>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers[VOLUNTEER_HEADER].len(), 64);
    this.note(format!("update of task {task}"));
    if this.trouble && this.count(&format!("update of task {task}")) == 1 {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    this.seen.lock().expect("unpoisoned").updates.push(BlobId::of(&body));
    StatusCode::NO_CONTENT
}

async fn connect(State(this): State<Shared>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|socket| async move {
        this.note("connect");
        converse(&this, socket).await;
    })
}

async fn converse(this: &Coordinator, mut socket: WebSocket) {
    while let Some(Ok(frame)) = socket.recv().await {
        let Message::Text(text) = frame else { continue };
        let answers = match serde_json::from_str(&text).expect("a message") {
            ClientMessage::Hello(_) => vec![ServerMessage::Welcome(Box::new(this.job.welcome()))],
            ClientMessage::Device(device) => {
                this.note(format!("device {:?} forced {}", device.backend, device.forced));
                vec![]
            }
            ClientMessage::Ask => {
                let results = this.count("result") as u64;
                if results >= this.tasks {
                    vec![ServerMessage::Finished]
                } else {
                    vec![ServerMessage::Lease(Box::new(this.job.lease(results + 1)))]
                }
            }
            ClientMessage::Result(signed) => {
                let statement = verified(&signed);
                let again = this.count(&format!("sent {}", statement.task)) > 0;
                this.note(format!("sent {}", statement.task));
                if this.trouble && !again {
                    // The line breaks before the answer.
                    return;
                }
                this.note("result");
                vec![this.judge(&statement)]
            }
            ClientMessage::Release { tasks } => {
                this.note(format!("release {tasks:?}"));
                vec![]
            }
            ClientMessage::Bye => {
                this.note("bye");
                vec![]
            }
        };
        for answer in answers {
            let text = serde_json::to_string(&answer).expect("serialises");
            if socket.send(Message::text(text)).await.is_err() {
                return;
            }
        }
    }
}

impl Coordinator {
    fn judge(&self, statement: &Statement) -> ServerMessage {
        let uploaded = statement.update.is_some_and(|id| self.seen.lock().expect("unpoisoned").updates.contains(&id));
        let refusal = Refusal { code: ErrorCode::UpdateMissing, detail: String::new() };
        ServerMessage::Verdict(Verdict {
            task: statement.task,
            accepted: uploaded,
            refusal: (!uploaded).then_some(refusal),
            credited_samples: 64 * statement.task.0,
            credited_tasks: statement.task.0,
        })
    }
}

fn verified(signed: &SignedStatement) -> Statement {
    let (statement, signature) = signed.parse().expect("a statement");
    let key = VerifyingKey::from_bytes(&statement.volunteer.0).expect("a key");
    let message = SignedStatement::message(&signed.statement);
    key.verify_strict(&message, &Signature::from_bytes(&signature)).expect("its signature");
    statement
}

/// Long enough for the slowest machine; a hang fails instead of hanging.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it ends")
}

fn volunteer(url: &str, job: &str) -> Volunteer {
    Volunteer::new(url, job).backend(Choice::Cpu)
}

#[tokio::test]
async fn helps_until_the_job_is_done_through_every_trouble() {
    let (coordinator, url) = Coordinator::start(2, true).await;
    let summary = soon(volunteer(&url, "digits").run(std::future::pending())).await.expect("helps");
    assert_eq!(summary, Summary { tasks: 2, samples: 128, finished: true });
    let job = &coordinator.job;
    let fetched = |bytes: &[u8]| coordinator.count(&format!("blob {}", BlobId::of(bytes)));
    assert_eq!(fetched(&job.base), 2, "the damaged base is fetched again");
    assert_eq!([fetched(&job.blocks[0]), fetched(&job.blocks[1])], [1, 1], "blocks are cached");
    assert_eq!(coordinator.count("connect"), 3, "once more for each broken line");
    assert_eq!(coordinator.count("device Cpu forced true"), 3);
    assert_eq!([coordinator.count("update of task 1"), coordinator.count("update of task 2")], [2, 2]);
}

#[tokio::test]
async fn stops_when_told() {
    let (coordinator, url) = Coordinator::start(1000, false).await;
    let (tell, told) = oneshot::channel();
    let mut tell = Some(tell);
    let mut last = None;
    let (report, reported) = std::sync::mpsc::channel();
    let helper = volunteer(&url, "digits").on_event(move |event| {
        if matches!(event, VolunteerEvent::Helping { .. })
            && let Some(tell) = tell.take()
        {
            tell.send(()).expect("the test listens");
        }
        report.send(event).expect("the test listens");
    });
    let summary = soon(helper.run(async { told.await.expect("told") })).await.expect("stops");
    assert!(!summary.finished);
    while let Ok(event) = reported.try_recv() {
        last = Some(event);
    }
    assert_eq!(last, Some(VolunteerEvent::Stopped));
    assert_eq!(coordinator.count("bye"), 1);
}

#[tokio::test]
async fn a_job_that_is_not_there_is_an_error() {
    let (_coordinator, url) = Coordinator::start(1, false).await;
    let error = soon(volunteer(&url, "letters").run(std::future::pending())).await.expect_err("not there");
    assert_eq!(error.to_string(), "cannot help here: no such job here");
}

#[tokio::test]
async fn bad_addresses_and_names_are_errors() {
    let run = |url: &'static str, job: &'static str| volunteer(url, job).run(std::future::pending());
    assert!(matches!(run("localhost", "digits").await, Err(VolunteerError::Address(_))));
    assert!(matches!(run("http://localhost", "No Name").await, Err(VolunteerError::Job(_))));
}

/// TLS against a server that speaks none: the handshake begins, which needs its whole machinery,
/// and fails as any broken line does.
#[tokio::test]
async fn a_broken_tls_line_is_offline() {
    let (_coordinator, url) = Coordinator::start(1, false).await;
    let (tell, told) = oneshot::channel();
    let mut tell = Some(tell);
    let helper = volunteer(&url.replace("http:", "https:"), "digits").on_event(move |event| {
        if matches!(event, VolunteerEvent::Offline { .. })
            && let Some(tell) = tell.take()
        {
            tell.send(()).expect("the test listens");
        }
    });
    let summary = soon(helper.run(async { told.await.expect("told") })).await.expect("stops");
    assert_eq!(summary, Summary { tasks: 0, samples: 0, finished: false });
}
