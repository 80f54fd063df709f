//! A coordinator for one test: its own folder, port and clock, and a tiny job.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use potluck_protocol::{JobFile, JobName, Millis};
use potluck_scheduler::{Fact, State};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{Builder, Coordinator, EventLog, SqliteLog, clock::Clock};

pub(super) const JOB: &str = "tiny";

/// Longest that anything in these tests may take; met only where something hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const JOB_FILE: &str = r#"
[job]
name = "tiny"
title = "Two moons"
text = "A test."
owner = "The tests"
contact = "https://example.org"
licence = "MIT"

[data]
csv = "tiny.csv"
label = "label"
public = true
licence = "CC0"
source = "made up"
block_samples = 8

[model]
preset = "mlp"
hidden = [4]

[train]
budget_samples = 96
steps = 4
batch = 8

[visitors]
origins = ["https://example.org", "http://localhost:9000"]
"#;

/// Two blobs of points that a line can tell apart, 120 of them.
fn csv() -> String {
    let mut text = "x,y,label\n".to_owned();
    for n in 0..120u32 {
        let (label, wobble) = (n % 2, f64::from(n * 7919 % 100) / 100.0);
        let centre = f64::from(label) * 2.0 - 1.0;
        text += &format!("{},{},{label}\n", centre + wobble * 0.5, centre - wobble * 0.5);
    }
    text
}

pub(super) fn job_file() -> JobFile {
    JobFile::parse(JOB_FILE).expect("a good job file")
}

pub(super) fn job_name() -> JobName {
    JOB.parse().expect("a name")
}

/// A running coordinator.
pub(super) struct Site {
    pub(super) coordinator: Coordinator,
    pub(super) address: SocketAddr,
    pub(super) facts: Arc<Mutex<Vec<Fact>>>,
    hand: Arc<AtomicU64>,
}

/// Where a coordinator keeps its things; outlives it.
pub(super) struct Ground {
    folder: tempfile::TempDir,
    job: JobFile,
    hand: Arc<AtomicU64>,
}

impl Ground {
    pub(super) fn new() -> Self {
        Self::with_budget(96)
    }

    /// The same job, going on for so many samples.
    pub(super) fn with_budget(budget_samples: u64) -> Self {
        let mut job = job_file();
        job.train.budget_samples = budget_samples;
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("tiny.csv"), csv()).expect("written");
        Self { folder, job, hand: Arc::new(AtomicU64::new(1_700_000_000_000)) }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn builder(&self) -> Builder {
        let hand = Arc::clone(&self.hand);
        Coordinator::builder(self.folder.path().join("data"))
            .job(self.job.clone(), self.folder.path())
            .clock(Clock::new(move || hand.load(Ordering::Relaxed)))
    }

    /// Turns the clock back.
    pub(super) fn set_back(&self, millis: Millis) {
        self.hand.fetch_sub(millis, Ordering::Relaxed);
    }

    pub(super) async fn start(&self) -> Site {
        self.start_with(|builder| builder).await
    }

    pub(super) async fn start_with(&self, settings: impl FnOnce(Builder) -> Builder) -> Site {
        let facts = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&facts);
        let builder = self.builder().observe(move |fact| seen.lock().expect("whole").push(fact.clone()));
        let coordinator = settings(builder).start().await.expect("started");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = coordinator.serve(listener).expect("served");
        Site { coordinator, address, facts, hand: Arc::clone(&self.hand) }
    }

    /// What the log adds up to, read without a coordinator.
    pub(super) fn state_in_log(&self) -> (State, Vec<Fact>) {
        let log = SqliteLog::open(&self.folder.path().join("data/potluck.sqlite")).expect("a log");
        let records = log.read(&job_name(), 0, usize::MAX).expect("records");
        let facts: Vec<Fact> = records.iter().map(|r| serde_json::from_str(&r.fact).expect("a fact")).collect();
        let mut state = State::default();
        facts.iter().for_each(|fact| state.apply(fact));
        (state, facts)
    }
}

/// One answer over HTTP.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// A header's value; names are lower-case here.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        Some(line[name.len() + 1..].trim())
    }

    /// Checks that this is a problem document with this status and code.
    #[track_caller]
    pub(super) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!((self.status, body["code"].as_str()), (status, Some(code)), "{body}");
        let complete = body["type"] == format!("urn:potluck:error:{code}")
            && body["status"] == status
            && ["title", "detail"].iter().all(|key| body[key].as_str().is_some_and(|text| !text.is_empty()));
        assert!(complete, "{body}");
    }
}

impl Site {
    pub(super) fn advance(&self, millis: Millis) {
        self.hand.fetch_add(millis, Ordering::Relaxed);
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"").await
    }

    pub(super) async fn api(&self, path: &str) -> Answer {
        self.get(&format!("/api/v1/{path}")).await
    }

    /// A job's view.
    pub(super) async fn job(&self) -> Value {
        self.api(&format!("jobs/{JOB}")).await.json()
    }

    pub(super) async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        if !headers.iter().any(|(name, _)| *name == "transfer-encoding") {
            head += &format!("content-length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.raw(&[head.as_bytes(), b"\r\n", body].concat()).await
    }

    /// Sends bytes as they are and reads until the connection closes.
    pub(super) async fn raw(&self, bytes: &[u8]) -> Answer {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.expect("connected");
            // A refused upload may be answered, and closed, before all of it is sent.
            let _ = stream.write_all(bytes).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time");
        parse(&answer)
    }

    /// Waits until the job's view is as wanted.
    pub(super) async fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let job = self.coordinator.shared.job(JOB).expect("the job");
        let mut changes = job.changes();
        let waiting = async {
            loop {
                let view = self.job().await;
                if wanted(&view) {
                    return view;
                }
                changes.changed().await.expect("the job lives");
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it comes true in time")
    }
}

fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}"));
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let body = &answer[end + 4..];
    let body = if head.contains("transfer-encoding: chunked") { unchunk(body) } else { body.to_vec() };
    Answer { status, head, body }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let length = std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(length) = length.filter(|length| *length > 0 && end + 2 + length <= rest.len()) else { break };
        body.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = rest.get(end + 4 + length..).unwrap_or_default();
    }
    body
}
