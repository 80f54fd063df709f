//! A volunteer that makes its results up, and says whatever a test wants it to say.

use std::collections::BTreeSet;

use ed25519_dalek::{Signer, SigningKey};
use futures::{SinkExt, StreamExt};
use potluck_protocol::{
    BlobId, ClientMessage, ErrorCode, Hello, Lease, PROTOCOL_MAX, PROTOCOL_MIN, Seal, ServerMessage, SignedStatement,
    Statement, Verdict, VolunteerKey,
};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use super::site::{Answer, JOB, PATIENCE, Site};

pub(super) struct Client<'a> {
    site: &'a Site,
    pub(super) key: SigningKey,
    /// What a hello says of who welcomed it last.
    pub(super) seal: Option<Seal>,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl<'a> Client<'a> {
    /// A connection that has said nothing yet.
    pub(super) async fn silent(site: &'a Site, key: u8) -> Self {
        let url = format!("ws://{}/api/v1/jobs/{JOB}/connect", site.address);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.expect("connected");
        Self { site, key: SigningKey::from_bytes(&[key; 32]), seal: None, socket }
    }

    /// A connection that was welcomed.
    pub(super) async fn join(site: &'a Site, key: u8) -> Self {
        let mut client = Self::silent(site, key).await;
        client.greet().await;
        match client.receive().await {
            ServerMessage::Welcome(welcome) => client.seal = welcome.seal,
            other => panic!("expected a welcome, got {other:?}"),
        }
        client
    }

    pub(super) async fn greet(&mut self) {
        self.send(&self.hello(PROTOCOL_MIN, PROTOCOL_MAX)).await;
    }

    pub(super) fn volunteer(&self) -> VolunteerKey {
        VolunteerKey(self.key.verifying_key().to_bytes())
    }

    pub(super) fn hello(&self, protocol_min: u32, protocol_max: u32) -> ClientMessage {
        let volunteer = self.volunteer();
        ClientMessage::Hello(Hello { protocol_min, protocol_max, build: "test".to_owned(), volunteer, seal: self.seal })
    }

    pub(super) async fn send(&mut self, message: &ClientMessage) {
        self.send_raw(Message::text(serde_json::to_string(message).expect("text"))).await;
    }

    pub(super) async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.expect("sent");
    }

    /// The next frame of the server; `None` at the end.
    pub(super) async fn frame(&mut self) -> Option<Message> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a frame in time");
            match frame?.ok()? {
                Message::Ping(_) | Message::Pong(_) => {}
                frame => return Some(frame),
            }
        }
    }

    /// The next message that is not only news.
    pub(super) async fn receive(&mut self) -> ServerMessage {
        loop {
            let frame = self.frame().await.expect("a message");
            let message = serde_json::from_str(frame.to_text().expect("text")).expect("a server message");
            if !matches!(message, ServerMessage::Progress { .. }) {
                return message;
            }
        }
    }

    /// The code of the next message, which is an error.
    pub(super) async fn error(&mut self) -> ErrorCode {
        match self.receive().await {
            ServerMessage::Error(refusal) => refusal.code,
            other => panic!("expected an error, got {other:?}"),
        }
    }

    /// The code with which the server closes, after any messages.
    pub(super) async fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.frame().await? {
                Message::Close(frame) => return frame.map(|frame| frame.code.into()),
                _ => continue,
            }
        }
    }

    /// Asks until there is a lease; `None` where the job is finished instead.
    pub(super) async fn lease(&mut self) -> Option<Lease> {
        self.send(&ClientMessage::Ask).await;
        loop {
            match self.receive().await {
                ServerMessage::Lease(lease) => return Some(*lease),
                ServerMessage::Finished => return None,
                // What comes up is sent without being asked for again.
                ServerMessage::Wait { .. } => {}
                other => panic!("expected a lease, got {other:?}"),
            }
        }
    }

    /// An update that is different for each task, and small.
    pub(super) fn update(&self, lease: &Lease) -> Vec<u8> {
        let count = parameters(self.site);
        let values: Vec<f32> = (0..count).map(|n| (n as f32 + lease.task.id.0 as f32).sin() * 0.01).collect();
        potluck_update::encode(lease.task.recipe.update, &values)
    }

    pub(super) fn statement(&self, lease: &Lease, update: &[u8]) -> Statement {
        Statement {
            job: JOB.parse().expect("a name"),
            task: lease.task.id,
            volunteer: self.volunteer(),
            steps: lease.task.steps,
            update: Some(BlobId::of(update)),
            train_loss: Some(0.7),
            evaluation: None,
            compute_millis: 5,
        }
    }

    pub(super) fn sign(&self, statement: &Statement) -> SignedStatement {
        let statement = serde_json::to_string(statement).expect("text");
        let signature = self.key.sign(&SignedStatement::message(&statement));
        SignedStatement { statement, signature: hex::encode(signature.to_bytes()) }
    }

    pub(super) async fn put(&self, lease: &Lease, update: &[u8]) -> Answer {
        put_as(self.site, lease.task.id.0, &self.volunteer().to_string(), update).await
    }

    /// Hands a statement in and returns the verdict.
    pub(super) async fn hand_in(&mut self, signed: SignedStatement) -> Verdict {
        self.send(&ClientMessage::Result(signed)).await;
        match self.receive().await {
            ServerMessage::Verdict(verdict) => verdict,
            other => panic!("expected a verdict, got {other:?}"),
        }
    }

    /// Does a task as it should be done.
    pub(super) async fn work(&mut self, lease: &Lease) -> Verdict {
        let update = self.update(lease);
        assert_eq!(self.put(lease, &update).await.status, 204);
        let signed = self.sign(&self.statement(lease, &update));
        self.hand_in(signed).await
    }
}

/// The blocks of a lease; their order changes when they are leased again.
pub(super) fn blocks(lease: &Lease) -> BTreeSet<BlobId> {
    lease.task.blocks.iter().copied().collect()
}

/// Why a verdict is a no.
#[track_caller]
pub(super) fn refusal(verdict: &Verdict) -> ErrorCode {
    assert!(!verdict.accepted, "{verdict:?}");
    verdict.refusal.as_ref().expect("a reason").code
}

pub(super) async fn put_as(site: &Site, task: u64, volunteer: &str, update: &[u8]) -> Answer {
    let path = format!("/api/v1/jobs/{JOB}/tasks/{task}/update");
    site.request("PUT", &path, &[("x-potluck-volunteer", volunteer)], update).await
}

/// Parameters of the job's program.
pub(super) fn parameters(site: &Site) -> usize {
    site.coordinator.shared.job(JOB).expect("the job").program().parameter_count()
}
