//! What comes to the actor of a job: who joins, what the scheduler is told, what pages ask.

use std::sync::Arc;

use potluck_protocol::{BlobId, Refusal, Seal, ServerMessage, TaskId, Version, VolunteerKey};
use potluck_scheduler::{Control, Input, SessionId};
use tokio::sync::{mpsc, oneshot};

use super::merge::Made;
use crate::{
    problem::Problem,
    views::{ContributionRow, JobView, LeaseView, VersionRow},
};

/// Somebody who has said a good hello.
pub(crate) struct Newcomer {
    pub(crate) session: SessionId,
    pub(crate) volunteer: VolunteerKey,
    /// What both speak.
    pub(crate) protocol: u32,
    pub(crate) trusted: bool,
    /// Who welcomed it last.
    pub(crate) seal: Option<Seal>,
    /// Closed by the actor where it is full: a peer that slow is better gone.
    pub(crate) outbox: mpsc::Sender<Arc<ServerMessage>>,
}

/// What comes to the actor.
pub(crate) enum Message {
    Join(Newcomer),
    Input(Input),
    Merged(Box<Made>),
    /// Answered once it is durable, or with why it cannot be done.
    Control(Control, oneshot::Sender<Option<Refusal>>),
    Query(Query),
    /// Delete what is not needed; answered when that is done.
    Collect(oneshot::Sender<()>),
    /// A blob was read and is not what it was.
    Harmed(BlobId, String),
    /// End after what came before.
    Stop,
}

/// A question; its answer shows nothing that is not durable.
pub(crate) enum Query {
    View(oneshot::Sender<Arc<JobView>>),
    History { after: Option<Version>, rows_max: usize, answer: oneshot::Sender<Vec<VersionRow>> },
    Version { version: Version, answer: oneshot::Sender<Option<VersionRow>> },
    Contributions { after: Option<VolunteerKey>, rows_max: usize, answer: oneshot::Sender<Vec<ContributionRow>> },
    Lease { task: TaskId, answer: oneshot::Sender<Result<LeaseView, Problem>> },
}

/// Lets nothing more in and drops what came. A mailbox that is just dropped may keep what somebody was
/// putting in at that moment, who then waits for an answer for ever.
pub(super) async fn shut<T>(mut mail: mpsc::Receiver<T>) {
    mail.close();
    while mail.recv().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_put_in_while_a_mailbox_is_shut_is_dropped_too() {
        let (mailbox, mail) = mpsc::channel(2);
        let (answer, mut answered) = oneshot::channel::<()>();
        mailbox.try_send(None).expect("room");
        // A sender that has its place, but not yet put its message there.
        let place = mailbox.reserve().await.expect("room");
        let late = async {
            mailbox.closed().await;
            place.send(Some(answer));
        };
        tokio::join!(shut(mail), late);
        assert_eq!(answered.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
