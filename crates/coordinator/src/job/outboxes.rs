//! The ways to everybody who is connected. Nobody is waited for: a peer that does not keep up is cut
//! off, but for news, which it misses instead.

use std::{collections::BTreeMap, sync::Arc};

use potluck_protocol::{ServerMessage, WaitReason};
use potluck_scheduler::SessionId;
use tokio::sync::mpsc;

/// The way to one connection.
struct Outbox {
    /// What its peer speaks.
    protocol: u32,
    queue: mpsc::Sender<Arc<ServerMessage>>,
}

/// One for each connection.
#[derive(Default)]
pub(super) struct Outboxes(BTreeMap<SessionId, Outbox>);

impl Outboxes {
    pub(super) fn open(&mut self, session: SessionId, protocol: u32, queue: mpsc::Sender<Arc<ServerMessage>>) {
        self.0.insert(session, Outbox { protocol, queue });
    }

    pub(super) fn close(&mut self, session: SessionId) {
        self.0.remove(&session);
    }

    /// To one, without what it does not speak.
    pub(super) fn send(&mut self, session: SessionId, mut message: ServerMessage) {
        let Some(Outbox { protocol, queue }) = self.0.get(&session) else { return };
        match &mut message {
            ServerMessage::Lease(lease) if *protocol < 3 => lease.deltas.clear(),
            ServerMessage::Wait { reason, .. } if *protocol < 4 && *reason == WaitReason::Enough => {
                *reason = WaitReason::Busy;
            }
            _ => {}
        }
        if queue.try_send(Arc::new(message)).is_err() {
            // Its socket sees the closed queue, closes, and says that it left.
            self.0.remove(&session);
        }
    }

    /// To all.
    pub(super) fn broadcast(&mut self, message: ServerMessage) {
        let message = Arc::new(message);
        let takes = |queue: &mpsc::Sender<_>| misses(queue, &message) || queue.try_send(Arc::clone(&message)).is_ok();
        self.0.retain(|_, outbox| takes(&outbox.queue));
    }
}

/// True for news that this peer is not sent: one that is busy loses those rather than its connection,
/// and room is left for what matters.
fn misses(outbox: &mpsc::Sender<Arc<ServerMessage>>, message: &ServerMessage) -> bool {
    matches!(message, ServerMessage::Progress { .. }) && outbox.capacity() <= outbox.max_capacity() / 2
}

#[cfg(test)]
mod tests {
    use potluck_protocol::Version;

    use super::*;

    #[test]
    fn who_is_busy_misses_news_and_nothing_else() {
        let (outbox, _inbox) = mpsc::channel(4);
        let (version, samples, budget_samples) = (Version(1), 1, 2);
        let news = ServerMessage::Progress { version, samples, budget_samples, accuracy: None, volunteers: 1 };
        for expected in [false, false, true, true] {
            assert_eq!(misses(&outbox, &news), expected);
            assert!(!misses(&outbox, &ServerMessage::Finished));
            outbox.try_send(Arc::new(ServerMessage::Finished)).expect("there is room");
        }
    }
}
