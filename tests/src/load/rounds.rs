//! How soon a result is acknowledged when many come at once: volunteers with made-up updates of 100 kB
//! at a real `potluck serve`, over its sockets and its HTTP, all of them on this one machine.
//!
//! A round's leases are taken first; then the results are offered at a fixed rate, whether or not
//! those before were answered, and each is timed from the moment at which it was due. Between rounds
//! the coordinator merges and evaluates; how long that takes is stated, and is no part of the rate.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ed25519_dalek::{Signer, SigningKey};
use futures::{SinkExt, StreamExt};
use potluck_protocol::{
    BlobId, ClientMessage, Hello, Lease, PROTOCOL_MAX, PROTOCOL_MIN, ServerMessage, SignedStatement, Statement,
    UpdateEncoding, VOLUNTEER_HEADER, Verdict, VolunteerKey,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use super::{Measured, Plan, percentile, rounded};
use crate::{Deadline, Job, Server, deadline::PATIENCE};

/// Volunteers, and so results in a round: what may wait for a merge, less some room.
const VOLUNTEERS: usize = 200;

/// How long a round waits for leases after the last one came: whoever has none then sits it out.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// The encoding's chunks, whose first four bytes are their scale.
const CHUNK_BYTES: usize = 4 + potluck_update::CHUNK_VALUES / 2;

/// One result that was acknowledged.
struct Acknowledged {
    /// From when it was due until its update was durable.
    uploaded: Duration,
    /// From when it was due until its verdict.
    told: Duration,
    at: Instant,
    accepted: bool,
    update_bytes: usize,
}

/// A volunteer that holds a lease and waits for its turn.
struct Ready {
    go: oneshot::Sender<Instant>,
}

/// Measures.
///
/// # Panics
/// Where the coordinator does not answer.
pub fn measure(plan: &Plan, tell: &mut dyn FnMut(&str)) -> Measured {
    let changes = [("hidden", "hidden = [410, 410]"), ("budget_samples", "budget_samples = 1_000_000_000_000")];
    let job = Job::digits(&changes);
    let server = Server::start(&job, Deadline::start());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let rows = runtime.block_on(rows(plan, &server.url, tell));
    // Who is still connected goes first: a server that is gone would surprise it.
    drop(runtime);
    drop(server);
    (rows, Vec::new())
}

async fn rows(plan: &Plan, url: &str, tell: &mut dyn FnMut(&str)) -> Vec<serde_json::Value> {
    let address = Arc::new(url.trim_start_matches("http://").to_owned());
    let (ready, mut waiting) = mpsc::channel(VOLUNTEERS);
    let (done, mut acknowledged) = mpsc::channel(VOLUNTEERS);
    for n in 0..VOLUNTEERS {
        tokio::spawn(volunteer(Arc::clone(&address), n, ready.clone(), done.clone()));
    }
    let mut rows = Vec::new();
    for &rate in &plan.rates {
        let (mut told, mut uploaded, mut refused) = (Vec::new(), Vec::new(), 0);
        let (mut took, mut between, mut update_bytes) = (Duration::ZERO, Duration::ZERO, 0);
        for round in 0..=plan.rounds {
            let began = Instant::now();
            let crowd = gather(&mut waiting).await;
            let is_counted = round > 0;
            let first = Instant::now() + Duration::from_millis(50);
            let count = crowd.len();
            for (n, Ready { go }) in crowd.into_iter().enumerate() {
                // A volunteer that is gone was not counted on.
                let _ = go.send(first + Duration::from_secs(1) * n as u32 / rate);
            }
            let mut last = first;
            for _ in 0..count {
                let one: Acknowledged = timeout(PATIENCE, acknowledged.recv()).await.expect("in time").expect("alive");
                last = last.max(one.at);
                update_bytes = one.update_bytes;
                if is_counted {
                    told.push(one.told);
                    uploaded.push(one.uploaded);
                    refused += u32::from(!one.accepted);
                }
            }
            // The first round of a rate warms up.
            if is_counted {
                took += last - first;
                between += first - began;
            }
        }
        told.sort();
        uploaded.sort();
        let results = told.len();
        tell(&format!("{rate} results/s: p99 {} ms of {results}", percentile(&told, 0.99)));
        rows.push(json!({
            "part": "acknowledgement",
            "results_per_second_offered": rate,
            "results_per_second_acknowledged": rounded(results as f64 / took.as_secs_f64()),
            "results": results,
            "refused": refused,
            "update_bytes": update_bytes,
            "millis_p50": percentile(&told, 0.5),
            "millis_p99": percentile(&told, 0.99),
            "millis_max": percentile(&told, 1.0),
            "upload_millis_p50": percentile(&uploaded, 0.5),
            "upload_millis_p99": percentile(&uploaded, 0.99),
            "seconds_between_rounds": rounded(between.as_secs_f64() / f64::from(plan.rounds)),
            "volunteers": VOLUNTEERS,
        }));
    }
    rows
}

/// Everybody who has a lease, once all have or nobody else gets one.
async fn gather(waiting: &mut mpsc::Receiver<Ready>) -> Vec<Ready> {
    let mut crowd = vec![timeout(PATIENCE, waiting.recv()).await.expect("a lease in time").expect("alive")];
    while crowd.len() < VOLUNTEERS
        && let Ok(Some(ready)) = timeout(STRAGGLERS, waiting.recv()).await
    {
        crowd.push(ready);
    }
    crowd
}

async fn volunteer(address: Arc<String>, n: usize, ready: mpsc::Sender<Ready>, done: mpsc::Sender<Acknowledged>) {
    let mut volunteer = Volunteer::join(&address, n).await;
    let values = Arc::clone(&volunteer.values);
    loop {
        let lease = volunteer.lease().await;
        let update = update(&values, &lease);
        let signed = volunteer.sign(&lease, &update);
        let (go, turn) = oneshot::channel();
        if ready.send(Ready { go }).await.is_err() {
            return;
        }
        let Ok(due) = turn.await else { return };
        tokio::time::sleep_until(due.into()).await;
        // On a slow machine a lease may be over by now; that is counted and no reason to end.
        let is_taken = volunteer.put(&lease, &update).await;
        let uploaded = due.elapsed();
        let accepted = volunteer.hand_in(signed).await.accepted && is_taken;
        let (told, at) = (due.elapsed(), Instant::now());
        let one = Acknowledged { uploaded, told, at, accepted, update_bytes: update.len() };
        if done.send(one).await.is_err() {
            return;
        }
    }
}

/// An update of the usual size for this lease, which is like no other's.
fn update(values: &[u8], lease: &Lease) -> Vec<u8> {
    let mut bytes = values.to_vec();
    for scale in bytes.chunks_mut(CHUNK_BYTES).filter_map(|chunk| chunk.first_chunk_mut::<4>()) {
        *scale = (f32::from_le_bytes(*scale) * lease.task.lr_start).to_le_bytes();
    }
    // The low bits of the first scale, a two-hundredth of it at most.
    bytes[..2].copy_from_slice(&(lease.task.id.0 as u16).to_le_bytes());
    bytes
}

struct Volunteer {
    key: SigningKey,
    address: Arc<String>,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    http: TcpStream,
    /// An update at a learning rate of one.
    values: Arc<Vec<u8>>,
}

impl Volunteer {
    async fn join(address: &Arc<String>, n: usize) -> Self {
        let mut secret = [1; 32];
        secret[..8].copy_from_slice(&(n as u64).to_le_bytes());
        let url = format!("ws://{address}/api/v1/jobs/{}/connect", Job::NAME);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.expect("connected");
        let http = TcpStream::connect(address.as_str()).await.expect("connected");
        http.set_nodelay(true).expect("set");
        let key = SigningKey::from_bytes(&secret);
        let mut volunteer = Self { key, address: Arc::clone(address), socket, http, values: Arc::default() };
        let hello = Hello {
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            build: "load".to_owned(),
            volunteer: volunteer.name(),
            seal: None,
        };
        volunteer.send(&ClientMessage::Hello(hello)).await;
        let welcome = loop {
            match volunteer.receive().await {
                ServerMessage::Welcome(welcome) => break welcome,
                // News for all may be a moment earlier.
                ServerMessage::Progress { .. } => {}
                other => panic!("expected a welcome, got {other:?}"),
            }
        };
        let count = welcome.job.program.parameters as usize;
        let values: Vec<f32> = (0..count).map(|at| ((at + n) as f32).sin()).collect();
        volunteer.values = Arc::new(potluck_update::encode(UpdateEncoding::E3m0, &values));
        volunteer
    }

    fn name(&self) -> VolunteerKey {
        VolunteerKey(self.key.verifying_key().to_bytes())
    }

    async fn send(&mut self, message: &ClientMessage) {
        let text = serde_json::to_string(message).expect("text");
        self.socket.send(Message::text(text)).await.expect("sent");
    }

    async fn receive(&mut self) -> ServerMessage {
        loop {
            let frame = self.socket.next().await.expect("a message").expect("a frame");
            if let Message::Text(text) = frame {
                return serde_json::from_str(&text).expect("a server message");
            }
        }
    }

    async fn lease(&mut self) -> Lease {
        self.send(&ClientMessage::Ask).await;
        loop {
            match self.receive().await {
                ServerMessage::Lease(lease) => return *lease,
                // What comes up is sent without being asked for again.
                ServerMessage::Wait { .. } | ServerMessage::Progress { .. } => {}
                other => panic!("expected a lease, got {other:?}"),
            }
        }
    }

    fn sign(&self, lease: &Lease, update: &[u8]) -> SignedStatement {
        let statement = Statement {
            job: Job::NAME.parse().expect("a name"),
            task: lease.task.id,
            volunteer: self.name(),
            steps: lease.task.steps,
            update: Some(BlobId::of(update)),
            train_loss: Some(0.7),
            evaluation: None,
            compute_millis: 5,
        };
        let statement = serde_json::to_string(&statement).expect("text");
        let signature = self.key.sign(&SignedStatement::message(&statement));
        SignedStatement { statement, signature: hex::encode(signature.to_bytes()) }
    }

    /// True where the update is durable.
    async fn put(&mut self, lease: &Lease, update: &[u8]) -> bool {
        let head = format!(
            "PUT /api/v1/jobs/{}/tasks/{}/update HTTP/1.1\r\nhost: {}\r\n{VOLUNTEER_HEADER}: {}\r\ncontent-length: {}\r\n\r\n",
            Job::NAME,
            lease.task.id,
            self.address,
            self.name(),
            update.len()
        );
        self.http.write_all(&[head.as_bytes(), update].concat()).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut part = [0; 1024];
            let count = self.http.read(&mut part).await.expect("an answer");
            assert!(count > 0, "the connection was closed");
            answer.extend_from_slice(&part[..count]);
        }
        // That answer has no body. Any other may have one, or the connection may end with it.
        let is_taken = answer.starts_with(b"HTTP/1.1 204");
        if !is_taken {
            self.http = TcpStream::connect(self.address.as_str()).await.expect("connected");
        }
        is_taken
    }

    async fn hand_in(&mut self, signed: SignedStatement) -> Verdict {
        self.send(&ClientMessage::Result(signed)).await;
        loop {
            match self.receive().await {
                ServerMessage::Verdict(verdict) => return verdict,
                ServerMessage::Progress { .. } | ServerMessage::Wait { .. } => {}
                other => panic!("expected a verdict, got {other:?}"),
            }
        }
    }
}
