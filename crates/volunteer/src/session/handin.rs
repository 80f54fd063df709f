//! Results on their way: uploaded and signed, then sent, then kept until the coordinator answers.
//! Sent again on a new connection: the coordinator gives the same answer to the same result.
//!
//! It must not know how the result was computed.

use std::sync::Arc;

use potluck_protocol::{
    BlobId, ClientMessage, ErrorCode, Refusal, SignedStatement, Statement, Task, TaskId, TaskKind, Verdict, limits,
};

use super::{Action, LinkId, Purpose, Session, Wish, backoff::TRANSFER};
use crate::{
    cache::Blob,
    report::{LocalCode, VolunteerEvent},
    work::Outcome,
};

/// Attempts at one upload; with back-off about half a minute, longer than a restart takes.
const UPLOADS_MAX: u32 = 7;

/// Times that one result is sent before its silence counts as a no.
const SENDS_MAX: u32 = 4;

/// One result.
#[derive(Debug)]
pub(super) struct Handin {
    task: TaskId,
    statement: String,
    update: Option<Blob>,
    upload: Upload,
    upload_failures: u32,
    signature: Option<[u8; 64]>,
    sends: u32,
    /// The connection that its lease came on.
    leased_on: LinkId,
    /// The connection it was sent on last.
    sent_on: Option<LinkId>,
}

#[derive(Debug, PartialEq, Eq)]
enum Upload {
    /// Waits for the line, which is for one at a time.
    Queued,
    UnderWay,
    /// Waits for its back-off to pass.
    Resting,
    Done,
}

impl Session {
    /// Takes an outcome in, if it is worth handing in, and gives the lease back if not.
    pub(super) fn hand_in(&mut self, task: &Task, leased_on: LinkId, outcome: Outcome) {
        if let Err(detail) = fits(task, &outcome) {
            self.report(VolunteerEvent::refused_by_us(LocalCode::TaskFailed, detail, Some(task.id)));
            self.release([task.id]);
            return self.rest_before_asking();
        }
        let Outcome { task, steps, update, train_loss, evaluation, compute_millis } = outcome;
        let statement = Statement {
            job: self.config.job.clone(),
            task,
            volunteer: self.config.volunteer,
            steps,
            update: update.as_deref().map(BlobId::of),
            train_loss,
            evaluation,
            compute_millis,
        };
        let statement = serde_json::to_string(&statement).expect("statements hold only text keys");
        self.actions.push(Action::Sign { task, message: SignedStatement::message(&statement) });
        let update = update.map(Arc::new);
        let upload = if update.is_some() { Upload::Queued } else { Upload::Done };
        self.handins.push_back(Handin {
            task,
            statement,
            update,
            upload,
            upload_failures: 0,
            signature: None,
            sends: 0,
            leased_on,
            sent_on: None,
        });
    }

    /// Sends the next update off once the line is free.
    pub(super) fn advance_uploads(&mut self) {
        if self.handins.iter().any(|h| h.upload == Upload::UnderWay) {
            return;
        }
        let Some(handin) = self.handins.iter_mut().find(|h| h.upload == Upload::Queued) else { return };
        let Some(bytes) = handin.update.clone() else { return };
        handin.upload = Upload::UnderWay;
        self.actions.push(Action::Upload { task: handin.task, bytes });
    }

    /// True while an update is not there yet.
    pub(super) fn is_uploading(&self) -> bool {
        self.handins.iter().any(|h| h.upload != Upload::Done)
    }

    /// Sends what is ready and was not sent on this connection.
    pub(super) fn advance_handins(&mut self) {
        let Some((link, _)) = self.joined() else { return };
        let mut messages = Vec::new();
        for handin in &mut self.handins {
            let Some(signature) = handin.signature else { continue };
            if handin.upload == Upload::Done && handin.sent_on != Some(link) {
                handin.sent_on = Some(link);
                handin.sends += 1;
                let signature = hex::encode(signature);
                let statement = handin.statement.clone();
                messages.push(ClientMessage::Result(SignedStatement { statement, signature }));
            }
        }
        for message in &messages {
            self.send(link, message);
        }
    }

    pub(super) fn awaits_verdict(&self) -> bool {
        self.joined().is_some_and(|(link, _)| self.handins.iter().any(|h| h.sent_on == Some(link)))
    }

    /// Work is asked for once the last result is sent, in trouble, or signed with its update on the way:
    /// where nobody waits for a round, the coordinator gives it at once, and the device computes on
    /// while the line is busy. After a failure its answer is awaited first: a second failure must be
    /// able to put the next task off.
    pub(super) fn may_ask(&self) -> bool {
        if self.task_failures > 0 && !self.handins.is_empty() {
            return false;
        }
        let link = self.joined().map(|(link, _)| link);
        // On a new connection an ask gives up what was leased on the one before, so the result is first.
        let on_its_way = |h: &Handin| {
            let is_sending = h.signature.is_some() && h.upload == Upload::UnderWay;
            Some(h.leased_on) == link && (is_sending || h.upload_failures > 0)
        };
        let settled = |h: &Handin| h.sent_on.is_some() || on_its_way(h);
        self.handins.len() < limits::LEASES_PER_VOLUNTEER_MAX && self.handins.iter().all(settled)
    }

    /// On a new connection; one that was never answered is not sent for ever.
    pub(super) fn link_is_new(&mut self) {
        let (kept, silent) = self.handins.drain(..).partition(|h| h.sends < SENDS_MAX);
        self.handins = kept;
        for Handin { task, .. } in silent {
            let detail = format!("no answer to {SENDS_MAX} attempts at handing it in");
            self.report(VolunteerEvent::refused_by_us(LocalCode::UploadFailed, detail, Some(task)));
        }
    }

    pub(super) fn hands_in(&self, task: TaskId) -> bool {
        self.handins.iter().any(|h| h.task == task)
    }

    fn handin(&mut self, task: TaskId) -> Option<&mut Handin> {
        self.handins.iter_mut().find(|h| h.task == task)
    }

    fn drop_handin(&mut self, task: TaskId) -> bool {
        let before = self.handins.len();
        self.handins.retain(|h| h.task != task);
        self.cancel(Purpose::Upload(task));
        self.handins.len() < before
    }

    pub(super) fn signed(&mut self, task: TaskId, signature: [u8; 64]) {
        if let Some(handin) = self.handin(task) {
            handin.signature.get_or_insert(signature);
        }
    }

    pub(super) fn sign_failed(&mut self, task: TaskId, detail: &str) {
        if self.handin(task).is_some_and(|h| h.signature.is_none()) {
            self.drop_handin(task);
            let detail = format!("could not be signed: {detail}");
            self.report(VolunteerEvent::refused_by_us(LocalCode::TaskFailed, detail, Some(task)));
            self.release([task]);
            self.rest_before_asking();
        }
    }

    pub(super) fn uploaded(&mut self, task: TaskId) {
        if let Some(handin) = self.handin(task).filter(|h| h.upload == Upload::UnderWay) {
            handin.upload = Upload::Done;
        }
    }

    pub(super) fn upload_failed(&mut self, task: TaskId, code: Option<ErrorCode>, detail: &str, retryable: bool) {
        let Some(handin) = self.handin(task).filter(|h| h.upload == Upload::UnderWay) else { return };
        handin.upload_failures += 1;
        let failures = handin.upload_failures;
        if retryable && failures < UPLOADS_MAX {
            handin.upload = Upload::Resting;
            let millis = self.span(TRANSFER, failures);
            return self.sleep(millis, Purpose::Upload(task));
        }
        self.drop_handin(task);
        self.report(match code {
            Some(code) => VolunteerEvent::refused_by_peer(code, detail, Some(task)),
            None => VolunteerEvent::refused_by_us(LocalCode::UploadFailed, detail, Some(task)),
        });
        self.release([task]);
        self.rest_before_asking();
    }

    pub(super) fn upload_again(&mut self, task: TaskId) {
        if let Some(handin) = self.handin(task).filter(|h| h.upload == Upload::Resting) {
            handin.upload = Upload::Queued;
        }
    }

    pub(super) fn judged(&mut self, verdict: Verdict) {
        let Verdict { task, accepted, refusal, credited_samples, credited_tasks } = verdict;
        if self.handin(task).is_none_or(|h| h.sent_on.is_none()) {
            // An answer to what was not asked, or the second answer to a result that was sent twice.
            return;
        }
        if accepted {
            self.drop_handin(task);
            self.task_failures = 0;
            return self.report(VolunteerEvent::Credited { task, tasks: credited_tasks, samples: credited_samples });
        }
        let unsaid = Refusal { code: ErrorCode::BadRequest, detail: "refused without a reason".to_owned() };
        self.turned_down(task, &refusal.unwrap_or(unsaid));
    }

    /// An error that answers a result without naming it: the oldest that was sent.
    pub(super) fn refused_oldest(&mut self, refusal: &Refusal) -> bool {
        let Some(task) = self.handins.iter().find(|h| h.sent_on.is_some()).map(|h| h.task) else { return false };
        self.turned_down(task, refusal);
        true
    }

    fn turned_down(&mut self, task: TaskId, refusal: &Refusal) {
        let Refusal { code, detail } = refusal;
        let Some(handin) = self.handin(task) else { return };
        // The bytes may have been lost with a restart, or the disk may be full: worth another try.
        let again = matches!(code, ErrorCode::UpdateMissing | ErrorCode::Internal | ErrorCode::Full);
        if again && handin.update.is_some() && handin.sends < SENDS_MAX {
            handin.sent_on = None;
            handin.upload = Upload::Resting;
            handin.upload_failures += 1;
            let failures = handin.upload_failures;
            let millis = self.span(TRANSFER, failures);
            return self.sleep(millis, Purpose::Upload(task));
        }
        self.drop_handin(task);
        self.report(VolunteerEvent::refused_by_peer(*code, detail.clone(), Some(task)));
        // Somebody was faster, or this device is slow: no reason to rest.
        if !matches!(code, ErrorCode::LeaseExpired | ErrorCode::AlreadyMerged) && self.wish == Wish::Help {
            self.rest_before_asking();
        }
    }
}

/// Whether an outcome answers its task; the runner is not believed either.
fn fits(task: &Task, outcome: &Outcome) -> Result<(), String> {
    let Outcome { task: _, steps, update, train_loss, evaluation, compute_millis: _ } = outcome;
    match task.kind {
        TaskKind::Train => {
            if *steps < limits::TASK_STEPS_MIN || *steps > task.steps {
                return Err(format!("{steps} steps of {} were done", task.steps));
            }
            if !train_loss.is_some_and(f32::is_finite) {
                return Err("the training loss is not finite".to_owned());
            }
            match update {
                Some(bytes) if bytes.len() <= limits::UPDATE_BYTES_MAX => Ok(()),
                Some(bytes) => Err(format!("the update is {} bytes", bytes.len())),
                None => Err("there is no update".to_owned()),
            }
        }
        _ if evaluation.is_some_and(|e| e.loss.is_finite() && e.accuracy.is_finite()) => Ok(()),
        _ => Err("the evaluation is not finite".to_owned()),
    }
}
