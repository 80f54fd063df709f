//! One WebSocket: texts out, texts in.
//!
//! It must not know what they say.

use std::{future::poll_fn, pin::Pin};

use futures::{
    Sink, SinkExt, StreamExt,
    channel::mpsc::{UnboundedReceiver, UnboundedSender},
    future::{Either, select},
};
use gloo_net::websocket::{Message, State, futures::WebSocket};
use gloo_timers::future::TimeoutFuture;
use potluck_volunteer::{Address, Event, LinkId};

use crate::http::refusal_of_job;

/// What a closing socket gets to hand its last words to the network.
const FLUSH_MILLIS: u32 = 10;
/// How often that is looked at, at most: a second in all.
const FLUSH_LOOKS_MAX: u32 = 100;

/// From opening to the end, which is told by `Closed`. Ends when the sender of `outgoing` is
/// dropped; what is queued by then is still sent.
pub(crate) async fn converse(
    address: &Address,
    link: LinkId,
    outgoing: UnboundedReceiver<String>,
    events: &UnboundedSender<Event>,
) {
    let opened = match WebSocket::open(&address.connect()) {
        Ok(socket) => talk(socket, link, outgoing, events).await,
        Err(_) => false,
    };
    let refused = if opened { None } else { refusal_of_job(address).await };
    // The session may have ended.
    let _ = events.unbounded_send(Event::Closed { link, refused });
}

/// True where the socket opened.
async fn talk(
    mut socket: WebSocket,
    link: LinkId,
    mut outgoing: UnboundedReceiver<String>,
    events: &UnboundedSender<Event>,
) -> bool {
    // Resolves when it opens and when it fails to.
    let opening = poll_fn(|context| Pin::new(&mut socket).poll_ready(context));
    match select(opening, outgoing.next()).await {
        // Closed before it opened; nothing is sent before.
        Either::Right(_) => return true,
        Either::Left(_) => {}
    }
    if !matches!(socket.state(), State::Open) {
        return false;
    }
    let _ = events.unbounded_send(Event::Opened { link });
    loop {
        match select(outgoing.next(), socket.next()).await {
            Either::Left((Some(text), _)) => {
                if socket.send(Message::Text(text)).await.is_err() {
                    return true;
                }
            }
            Either::Left((None, _)) => {
                flush(&socket).await;
                return true;
            }
            Either::Right((Some(Ok(Message::Text(text))), _)) => {
                let _ = events.unbounded_send(Event::Message { link, text });
            }
            // The protocol has no binary messages.
            Either::Right((Some(Ok(Message::Bytes(_))), _)) => {}
            Either::Right((Some(Err(_)) | None, _)) => return true,
        }
    }
}

/// Waits until the last words have left: the worker may be ended right after.
async fn flush(socket: &WebSocket) {
    for _ in 0..FLUSH_LOOKS_MAX {
        if socket.buffered_amount() == 0 || !matches!(socket.state(), State::Open) {
            return;
        }
        TimeoutFuture::new(FLUSH_MILLIS).await;
    }
}
