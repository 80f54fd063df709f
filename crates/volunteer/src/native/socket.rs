//! WebSockets of the native shell: one task each, bounded in what it takes in.
//!
//! It must not know what the messages say.

use std::collections::BTreeMap;

use futures::{SinkExt, StreamExt};
use potluck_protocol::limits;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::{Duration, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{self, Message, protocol::WebSocketConfig},
};

use crate::{
    address::HttpRefusal,
    session::{Event, LinkId},
};

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How long a closing socket may take to send what is queued and to say goodbye.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// The sockets of one session; seldom more than one, while an old one closes.
pub(super) struct Sockets {
    url: String,
    events: mpsc::Sender<Event>,
    outboxes: BTreeMap<LinkId, mpsc::UnboundedSender<String>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Sockets {
    pub(super) fn new(url: String, events: mpsc::Sender<Event>) -> Self {
        Self { url, events, outboxes: BTreeMap::new(), tasks: Vec::new() }
    }

    /// Answers with `Opened` and messages, and with one `Closed` in the end.
    pub(super) fn connect(&mut self, link: LinkId) {
        // Unbounded, but the session sends a handful of short messages a task.
        let (outbox, outgoing) = mpsc::unbounded_channel();
        self.outboxes.insert(link, outbox);
        let (url, events) = (self.url.clone(), self.events.clone());
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(tokio::spawn(async move {
            let refused = converse(&url, link, outgoing, &events).await;
            // The shell may have ended first.
            let _ = events.send(Event::Closed { link, refused }).await;
        }));
    }

    pub(super) fn send(&mut self, link: LinkId, text: String) {
        if let Some(outbox) = self.outboxes.get(&link) {
            // A socket that broke has said so by `Closed`.
            let _ = outbox.send(text);
        }
    }

    /// What is queued is still sent.
    pub(super) fn close(&mut self, link: LinkId) {
        self.outboxes.remove(&link);
    }

    /// Waits for goodbyes.
    pub(super) async fn ended(self) {
        let Self { outboxes, tasks, events: _, url: _ } = self;
        drop(outboxes);
        for task in tasks {
            // A task that panicked has ended too.
            let _ = timeout(CLOSE_WAIT, task).await;
        }
    }
}

/// From opening to the end. Returns why it is not worth trying again, where the coordinator said so.
async fn converse(
    url: &str,
    link: LinkId,
    mut outgoing: mpsc::UnboundedReceiver<String>,
    events: &mpsc::Sender<Event>,
) -> Option<String> {
    let config = WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .max_message_size(Some(2 * limits::MESSAGE_BYTES_MAX))
        .max_frame_size(Some(2 * limits::MESSAGE_BYTES_MAX));
    let connecting = connect_async_with_config(url, Some(config), true);
    let stream = tokio::select! {
        stream = connecting => stream,
        // Closed before it opened.
        _ = hung_up(&mut outgoing) => return None,
    };
    match stream {
        Ok((stream, _)) => {
            if events.send(Event::Opened { link }).await.is_ok() {
                talk(stream, link, outgoing, events).await;
            }
            None
        }
        Err(error) => refusal(error),
    }
}

/// Resolves once the sender is dropped; before `Opened` nothing is sent.
async fn hung_up(outgoing: &mut mpsc::UnboundedReceiver<String>) {
    while outgoing.recv().await.is_some() {}
}

/// The coordinator's no, where it is one; everything else may be better soon.
fn refusal(error: tungstenite::Error) -> Option<String> {
    let tungstenite::Error::Http(response) = error else {
        tracing::debug!("the socket did not open: {error}");
        return None;
    };
    let body = response.body().as_deref().unwrap_or_default();
    let refusal = HttpRefusal::from_response(response.status().as_u16(), body);
    (!refusal.retryable).then_some(refusal.detail)
}

async fn talk(
    mut stream: Stream,
    link: LinkId,
    mut outgoing: mpsc::UnboundedReceiver<String>,
    events: &mpsc::Sender<Event>,
) {
    loop {
        tokio::select! {
            text = outgoing.recv() => match text {
                Some(text) => {
                    if stream.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                None => break,
            },
            frame = stream.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let text = text.as_str().to_owned();
                    if events.send(Event::Message { link, text }).await.is_err() {
                        break;
                    }
                }
                // Pings are answered by the library; nothing else is ours.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) => break,
                Some(Err(_)) | None => return,
            },
        }
    }
    // Reading on until the peer's answer, or until ours is sent, lets both sides end cleanly.
    let goodbye = async {
        let _ = stream.close(None).await;
        while let Some(Ok(_)) = stream.next().await {}
    };
    let _ = timeout(CLOSE_WAIT, goodbye).await;
}
