//! The WebSocket of a volunteer: `hello`, then messages both ways, each bounded in size, number
//! and time. It authenticates and validates; what a message means is the actor's matter.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        Path, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use potluck_protocol::{
    ClientMessage, Device, ErrorCode, Hello, PROTOCOL_MAX, PROTOCOL_MIN, Refusal, ServerMessage, limits,
};
use potluck_scheduler::{Input, SessionId};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use crate::{
    job::{Job, Newcomer, verify},
    problem::Problem,
    shared::{Shared, closed},
};

/// Read at once; a message may be larger and is put together from such pieces.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// `GET jobs/{job}/connect`
pub(super) async fn connect(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let job = Arc::clone(shared.job(&name)?);
    if !is_same_origin(&headers) {
        let detail = "a page of another origin may not connect; it may show the widget in a frame".to_owned();
        return Err(Problem { status: StatusCode::FORBIDDEN, code: ErrorCode::BadRequest, detail });
    }
    let upgrade = upgrade.map_err(|e| Problem::new(ErrorCode::BadRequest, e.body_text()))?;
    let full = || Problem::new(ErrorCode::Full, "this job has as many volunteers connected as it may; try again later");
    let permit = job.connection().ok_or_else(full)?;
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * limits::MESSAGE_BYTES_MAX)
        // One more than we take, so that a message that is only just too large is answered; the
        // library refuses what is larger still before it allocates.
        .max_frame_size(2 * limits::MESSAGE_BYTES_MAX)
        .max_message_size(2 * limits::MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let closing = shared.closing();
        let line = Line { socket, closing, bad_messages: 0 };
        Visit { shared, job, line }.run().await;
        drop(permit);
    }))
}

/// False where a browser says that a script of another origin asks: nothing else keeps those from
/// opening a WebSocket. Programs that are no browsers name no origin.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    // A proxy may put its own name for this host into `host`; no script can set either of the two.
    let hosts = [headers.get(header::HOST), headers.get("x-forwarded-host")];
    let mut hosts = hosts.into_iter().flatten().filter_map(|host| host.to_str().ok());
    authority.is_some_and(|authority| hosts.any(|host| host.eq_ignore_ascii_case(authority)))
}

/// Why a conversation ends. Every end but a lost connection is said to the peer.
enum End {
    /// The peer is gone, or cannot be reached.
    Lost,
    /// The peer said goodbye or was answered for the last time.
    Done,
    /// The peer broke the rules.
    Refused(&'static str),
    /// A message was larger than a frame may be.
    TooLarge,
    /// The coordinator stops, and has said when to come again.
    Left,
    /// The coordinator stops, or the job's actor has.
    Closing,
}

/// The socket itself.
struct Line {
    socket: WebSocket,
    closing: watch::Receiver<bool>,
    bad_messages: u32,
}

impl Line {
    async fn send(&mut self, message: &ServerMessage) -> Result<(), End> {
        let text = serde_json::to_string(message).map_err(|_| End::Closing)?;
        self.send_raw(Message::text(text)).await
    }

    async fn send_raw(&mut self, message: Message) -> Result<(), End> {
        let sent = timeout(Duration::from_millis(limits::SEND_MILLIS_MAX), self.socket.send(message)).await;
        sent.map_err(|_| End::Lost)?.map_err(|_| End::Lost)
    }

    /// Answers a message that is wrong; too many of them end the conversation.
    async fn refuse(&mut self, job: &Job, refusal: Refusal) -> Result<(), End> {
        job.count_bad_message(refusal.code);
        self.bad_messages += 1;
        self.send(&ServerMessage::Error(refusal)).await?;
        if self.bad_messages >= limits::BAD_MESSAGES_MAX {
            return Err(End::Refused("too many malformed messages"));
        }
        Ok(())
    }

    /// True where the peer answered, and so has read all that was said.
    async fn close(mut self, end: &End) -> bool {
        let (code, reason) = match end {
            End::Lost => return false,
            End::Done => (close_code::NORMAL, ""),
            End::Refused(reason) => (close_code::POLICY, *reason),
            End::TooLarge => (close_code::SIZE, "message too large"),
            End::Left | End::Closing => (close_code::AWAY, "the coordinator stops"),
        };
        if self.send_raw(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await.is_err() {
            return false;
        }
        // The peer's answer ends the connection; one that never comes does so too.
        let answer = async {
            let mut has_answered = false;
            while let Some(Ok(message)) = self.socket.recv().await {
                has_answered |= matches!(message, Message::Close(_));
            }
            has_answered
        };
        timeout(Duration::from_millis(limits::STOP_MILLIS_MAX), answer).await.unwrap_or(false)
    }
}

/// What a received frame holds.
enum Heard {
    Message(Box<ClientMessage>),
    Wrong(Refusal),
    /// A ping, a pong: a sign of life.
    Life,
}

/// Reads one frame.
fn hear(frame: Option<Result<Message, axum::Error>>) -> Result<Heard, End> {
    match frame {
        None | Some(Ok(Message::Close(_))) => Err(End::Lost),
        Some(Err(e)) if is_oversize(&e) => Err(End::TooLarge),
        Some(Err(_)) => Err(End::Lost),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(Heard::Life),
        Some(Ok(Message::Binary(_))) => {
            Ok(Heard::Wrong(refusal(ErrorCode::BadJson, "messages are JSON texts, not binary frames")))
        }
        Some(Ok(Message::Text(text))) => Ok(match message_from_text(&text) {
            Ok(message) => Heard::Message(Box::new(message)),
            Err(refusal) => Heard::Wrong(refusal),
        }),
    }
}

fn message_from_text(text: &str) -> Result<ClientMessage, Refusal> {
    let max = limits::MESSAGE_BYTES_MAX;
    if text.len() > max {
        return Err(refusal(
            ErrorCode::TooLarge,
            format!("a message has at most {max} bytes, this one {}", text.len()),
        ));
    }
    serde_json::from_str(text).map_err(|e| {
        let code = if e.is_data() { ErrorCode::UnknownMessage } else { ErrorCode::BadJson };
        refusal(code, e.to_string())
    })
}

/// The library's own limit was hit. Its error type is not part of axum's interface, its text is
/// stable: "Space limit exceeded: Message too long: ...".
fn is_oversize(error: &axum::Error) -> bool {
    error.to_string().contains("too long")
}

fn refusal(code: ErrorCode, detail: impl Into<String>) -> Refusal {
    // Details may quote the peer; what goes back has a bound.
    Refusal { code, detail: detail.into().chars().take(limits::TEXT_FIELD_BYTES_MAX).collect() }
}

/// One volunteer's stay.
struct Visit {
    shared: Arc<Shared>,
    job: Arc<Job>,
    line: Line,
}

impl Visit {
    async fn run(mut self) {
        let end = match self.converse().await {
            Ok(()) => End::Done,
            Err(end) => end,
        };
        if matches!(end, End::TooLarge) {
            self.job.count_bad_message(ErrorCode::TooLarge);
            let max = limits::MESSAGE_BYTES_MAX;
            let refusal = refusal(ErrorCode::TooLarge, format!("a message has at most {max} bytes"));
            let _ = self.line.send(&ServerMessage::Error(refusal)).await;
        }
        let has_answered = self.line.close(&end).await;
        if has_answered && matches!(end, End::Left) {
            self.job.count_told();
        }
    }

    async fn converse(&mut self) -> Result<(), End> {
        let wait = Duration::from_millis(limits::HELLO_WAIT_MILLIS);
        let mut closing = self.line.closing.clone();
        // Who has just connected hears when to come again, too, if its hello is not far.
        let too_late = async {
            closed(&mut closing).await;
            sleep(Duration::from_millis(limits::LAST_VERDICTS_MILLIS_MAX)).await;
        };
        let hello = tokio::select! {
            hello = timeout(wait, self.hello()) => hello.map_err(|_| End::Refused("no hello came"))??,
            () = too_late => return Err(End::Closing),
        };
        let Hello { protocol_min, protocol_max, build: _, volunteer, seal } = hello;
        let Some(protocol) = negotiate(protocol_min, protocol_max) else {
            return self.line.send(&reload(protocol_max)).await;
        };
        if self.job.is_reserved(&volunteer) {
            let refusal = refusal(ErrorCode::NotAuthorised, "this key is the coordinator's own worker's");
            self.line.refuse(&self.job, refusal).await?;
            return Err(End::Refused("somebody else's key"));
        }
        let (outbox, inbox) = mpsc::channel(limits::SOCKET_QUEUE_MAX);
        let session = self.shared.new_session();
        let newcomer = Newcomer { session, volunteer, protocol, trusted: false, seal, outbox };
        self.job.join(newcomer).await.map_err(|_| End::Closing)?;
        let end = Talk { visit: self, session, volunteer, inbox, protocol, owed: 0 }.run().await;
        let _ = self.job.send(Input::Left { session }).await;
        end
    }

    async fn hello(&mut self) -> Result<Hello, End> {
        loop {
            let refusal = match hear(self.line.socket.recv().await)? {
                Heard::Message(message) => match *message {
                    ClientMessage::Hello(hello) => return Ok(hello),
                    _ => refusal(ErrorCode::OutOfOrder, "the first message is hello"),
                },
                Heard::Wrong(refusal) => refusal,
                Heard::Life => continue,
            };
            self.line.refuse(&self.job, refusal).await?;
        }
    }
}

/// The newest version that both speak.
fn negotiate(peer_min: u32, peer_max: u32) -> Option<u32> {
    let newest = peer_max.min(PROTOCOL_MAX);
    (newest >= peer_min.max(PROTOCOL_MIN)).then_some(newest)
}

fn reload(peer_max: u32) -> ServerMessage {
    let reason = if peer_max < PROTOCOL_MIN {
        "This page is older than the coordinator: load it again."
    } else {
        "This page is newer than the coordinator, which will be updated: try again later."
    };
    ServerMessage::Reload { protocol_min: PROTOCOL_MIN, protocol_max: PROTOCOL_MAX, reason: reason.to_owned() }
}

/// A visit after its welcome.
struct Talk<'a> {
    visit: &'a mut Visit,
    session: SessionId,
    volunteer: potluck_protocol::VolunteerKey,
    inbox: mpsc::Receiver<Arc<ServerMessage>>,
    protocol: u32,
    /// Results that were handed on and have no verdict yet.
    owed: u32,
}

impl Talk<'_> {
    async fn run(mut self) -> Result<(), End> {
        let period = Duration::from_millis(limits::PING_MILLIS);
        let mut pings = interval_at(Instant::now() + period, period);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let silence = Duration::from_millis(limits::SILENCE_MILLIS_MAX);
        let mut heard_at = Instant::now();
        let mut allowance = Allowance::new();
        loop {
            let Line { socket, closing, .. } = &mut self.visit.line;
            tokio::select! {
                frame = allowance.read(socket) => {
                    heard_at = Instant::now();
                    match hear(frame)? {
                        Heard::Message(message) => self.handle(*message).await?,
                        Heard::Wrong(refusal) => self.refuse(refusal).await?,
                        Heard::Life => {}
                    }
                }
                // `None`: the actor ended, or dropped a peer that takes no messages.
                message = self.inbox.recv() => match message {
                    Some(message) => self.pass_on(&message).await?,
                    None => return Err(End::Closing),
                },
                _ = pings.tick() => {
                    if heard_at.elapsed() >= silence {
                        return Err(End::Lost);
                    }
                    self.visit.line.send_raw(Message::Ping(bytes::Bytes::new())).await?;
                }
                () = closed(closing) => return self.say_the_rest().await,
            }
        }
    }

    /// Waits for the verdicts that are owed, says whatever else the actor said, the end of the job
    /// above all, and when to come again: to everybody another time.
    async fn say_the_rest(&mut self) -> Result<(), End> {
        let until = Instant::now() + Duration::from_millis(limits::LAST_VERDICTS_MILLIS_MAX);
        while self.owed > 0 {
            match timeout(until.saturating_duration_since(Instant::now()), self.inbox.recv()).await {
                Ok(Some(message)) => self.pass_on(&message).await?,
                Ok(None) | Err(_) => break,
            }
        }
        while let Ok(message) = self.inbox.try_recv() {
            self.pass_on(&message).await?;
        }
        if self.protocol >= 2 {
            let retry_millis = self.visit.job.leave_millis();
            self.visit.line.send(&ServerMessage::Leaving { retry_millis }).await?;
            return Err(End::Left);
        }
        Err(End::Closing)
    }

    async fn pass_on(&mut self, message: &ServerMessage) -> Result<(), End> {
        if matches!(message, ServerMessage::Verdict(_)) {
            self.owed = self.owed.saturating_sub(1);
        }
        self.visit.line.send(message).await
    }

    async fn refuse(&mut self, refusal: Refusal) -> Result<(), End> {
        self.visit.line.refuse(&self.visit.job, refusal).await
    }

    async fn handle(&mut self, message: ClientMessage) -> Result<(), End> {
        let session = self.session;
        let input = match message {
            ClientMessage::Hello(_) => {
                return self.refuse(refusal(ErrorCode::OutOfOrder, "hello was said already")).await;
            }
            ClientMessage::Device(device) => match check_device(&device) {
                Ok(()) => Input::Measured { session, device },
                Err(refusal) => return self.refuse(refusal).await,
            },
            ClientMessage::Ask => Input::Asked { session },
            ClientMessage::Release { tasks } if tasks.len() > limits::LEASES_PER_VOLUNTEER_MAX => {
                let max = limits::LEASES_PER_VOLUNTEER_MAX;
                return self.refuse(refusal(ErrorCode::BadRequest, format!("at most {max} leases are held"))).await;
            }
            ClientMessage::Release { tasks } => Input::Released { session, tasks },
            ClientMessage::Bye => {
                // It gives back what it holds; that it left is said on the way out.
                let _ = self.visit.job.send(Input::Bye { session }).await;
                return Err(End::Done);
            }
            ClientMessage::Result(signed) => match verify(&self.visit.job, self.volunteer, signed).await {
                Ok((statement, signed, update)) => {
                    self.owed += 1;
                    Input::Result { session, statement, signed, update }
                }
                Err(refusal) => return self.refuse(refusal).await,
            },
        };
        self.visit.job.send(input).await.map_err(|_| End::Closing)
    }
}

/// What a peer says of its device is shown to people, so it is kept to a size.
fn check_device(device: &Device) -> Result<(), Refusal> {
    let Device { agent, adapter, backend: _, forced: _, challenge } = device;
    let max = limits::DEVICE_TEXT_BYTES_MAX;
    if agent.len() > max || adapter.len() > max {
        return Err(refusal(ErrorCode::TooLarge, format!("agent and adapter have at most {max} bytes")));
    }
    let speeds_fit = challenge.len() <= limits::CHALLENGES_MAX
        && challenge.iter().all(|(_, speed)| speed.is_finite() && *speed >= 0.0);
    if !speeds_fit {
        return Err(refusal(ErrorCode::BadRequest, "challenge holds one speed from 0 for each backend"));
    }
    Ok(())
}

/// How much a socket may say: a bucket of messages that fills with time. Past it the socket is
/// read later, which slows down its sender and nobody else.
struct Allowance {
    messages: f64,
    at: Instant,
}

impl Allowance {
    const RATE: f64 = limits::SOCKET_MESSAGES_PER_SECOND_MAX as f64;

    fn new() -> Self {
        Self { messages: 2.0 * Self::RATE, at: Instant::now() }
    }

    async fn read(&mut self, socket: &mut WebSocket) -> Option<Result<Message, axum::Error>> {
        let now = Instant::now();
        self.messages = (self.messages + (now - self.at).as_secs_f64() * Self::RATE).min(2.0 * Self::RATE);
        self.at = now;
        if self.messages < 1.0 {
            tokio::time::sleep(Duration::from_secs_f64((1.0 - self.messages) / Self::RATE)).await;
        }
        let frame = socket.recv().await;
        self.messages -= 1.0;
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&'static str, &str)], expected: bool) {
        let pairs = headers.iter().map(|(name, value)| (header::HeaderName::from_static(name), value.parse()));
        let headers: HeaderMap = pairs.map(|(name, value)| (name, value.expect("a value"))).collect();
        assert_eq!(is_same_origin(&headers), expected, "{headers:?}");
    }

    #[test]
    fn an_origin_has_to_be_the_host_that_is_asked() {
        check(&[("host", "here:80")], true);
        check(&[("host", "here:80"), ("origin", "http://here:80")], true);
        check(&[("host", "Here"), ("origin", "https://here")], true);
        check(&[("host", "inside:1"), ("x-forwarded-host", "here"), ("origin", "https://here")], true);
        check(&[("host", "here:80"), ("origin", "http://here:81")], false);
        check(&[("host", "here"), ("origin", "https://here.elsewhere")], false);
        check(&[("host", "null"), ("origin", "null")], false);
        check(&[("origin", "https://here")], false);
    }
}
