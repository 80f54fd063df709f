//! The connection: opening it, greeting, reading messages, noticing that it is gone.
//!
//! It must not know what a task is beyond handing leases on.

use potluck_protocol::{
    BlobId, ClientMessage, ErrorCode, Hello, Lease, Millis, PROTOCOL_MAX, PROTOCOL_MIN, Refusal, ServerMessage,
    WaitReason, Welcome, limits,
};

use super::{
    ANSWER_MILLIS_MAX, Action, Held, Link, LinkId, Purpose, QUEUE_MAX, Session, Work,
    backoff::{CONNECT, TASK},
};
use crate::report::{LocalCode, VolunteerEvent, WaitingFor};

/// Shortest wait before asking again, whatever the coordinator says: it bounds what a coordinator
/// that answers `wait 0` costs both sides.
const ASK_MILLIS_MIN: Millis = 100;

/// A wait is told once it has lasted this long.
const WAIT_SHOWN_MILLIS: Millis = 500;

/// Shortest and longest span until the next connection that a coordinator may ask for when it leaves.
const LEAVE_MILLIS_MIN: Millis = 500;
const LEAVE_MILLIS_MAX: Millis = 120_000;

/// Longest such wait: a tab that slept through the end of a pause is back within a minute.
const ASK_MILLIS_MAX: Millis = 60_000;

impl Session {
    /// The socket that can carry messages now.
    pub(super) fn joined(&self) -> Option<(LinkId, &Welcome)> {
        if let Link::Joined(link, welcome) = &self.link { Some((*link, welcome)) } else { None }
    }

    pub(super) fn send(&mut self, link: LinkId, message: &ClientMessage) {
        let text = serde_json::to_string(message).expect("messages hold only text keys");
        self.actions.push(Action::Send { link, text });
    }

    pub(super) fn advance_link(&mut self) {
        if !matches!(self.link, Link::Down) || self.is_sleeping(Purpose::Connect) {
            return;
        }
        self.links_made += 1;
        let link = LinkId(self.links_made);
        self.link = Link::Opening(link);
        self.actions.push(Action::Connect { link });
        self.show_link(VolunteerEvent::Connecting);
    }

    /// A connection that is lost while a task is computed is no news: the task goes on.
    fn show_link(&mut self, state: VolunteerEvent) {
        if !matches!(self.work, Work::Running(_) | Work::Challenging) {
            self.show(state);
        }
    }

    /// Keeps watch while the coordinator owes an answer.
    pub(super) fn advance_watchdog(&mut self) {
        let owed = match &self.link {
            Link::Down => false,
            Link::Opening(_) | Link::Greeting(_) => true,
            Link::Joined(..) => self.asked || self.awaits_verdict(),
        };
        if !owed {
            self.answer_by = None;
        } else if self.answer_by.is_none() {
            self.answer_by = Some(self.now + ANSWER_MILLIS_MAX);
            // A timer of an earlier debt serves as well: it looks at the clock when it fires.
            if !self.is_sleeping(Purpose::Answer) {
                self.sleep(ANSWER_MILLIS_MAX, Purpose::Answer);
            }
        }
    }

    pub(super) fn patience_checked(&mut self) {
        match self.answer_by {
            None => {}
            Some(by) if by <= self.now => self.drop_link(),
            Some(by) => self.sleep(by - self.now, Purpose::Answer),
        }
    }

    pub(super) fn opened(&mut self, link: LinkId) {
        if !matches!(self.link, Link::Opening(current) if current == link) {
            return;
        }
        self.link = Link::Greeting(link);
        let hello = Hello {
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            build: self.config.build.clone(),
            volunteer: self.config.volunteer,
            seal: self.seal,
        };
        self.send(link, &ClientMessage::Hello(hello));
    }

    /// The coordinator goes away for a while, and says when it would like to see us again. It says
    /// another span to everybody: sooner would be a stampede.
    fn told_to_leave(&mut self, retry_millis: Millis) {
        let (Link::Greeting(link) | Link::Joined(link, _)) = self.link else { return };
        self.actions.push(Action::Close { link });
        let retry_millis = retry_millis.clamp(LEAVE_MILLIS_MIN, LEAVE_MILLIS_MAX);
        self.lose_link(retry_millis / Millis::from(self.config.haste.max(1)));
    }

    pub(super) fn closed(&mut self, link: LinkId, refused: Option<String>) {
        let (Link::Opening(current) | Link::Greeting(current) | Link::Joined(current, _)) = self.link else { return };
        if current != link {
            return;
        }
        if let Some(reason) = refused {
            self.link = Link::Down;
            return self.end(VolunteerEvent::Unsupported { reason });
        }
        self.lost_link();
    }

    /// Gives up a socket that may look healthy.
    pub(super) fn drop_link(&mut self) {
        let (Link::Opening(link) | Link::Greeting(link) | Link::Joined(link, _)) = self.link else { return };
        self.actions.push(Action::Close { link });
        self.lost_link();
    }

    fn lost_link(&mut self) {
        self.connect_failures += 1;
        let retry_millis = self.span(CONNECT, self.connect_failures);
        self.lose_link(retry_millis);
    }

    fn lose_link(&mut self, retry_millis: Millis) {
        self.link = Link::Down;
        self.asked = false;
        self.stop_waiting();
        self.answer_by = None;
        // Leases that were not begun go to somebody else once the coordinator misses us.
        self.queue.clear();
        if matches!(self.work, Work::ChallengeGathering) {
            // The next welcome says what to gather; what came so far is cached.
            self.work = Work::None;
            self.fetcher.abandon();
        }
        self.connect_at = self.now + retry_millis;
        self.sleep(retry_millis, Purpose::Connect);
        self.show_link(VolunteerEvent::Offline { retry_millis });
    }

    pub(super) fn message(&mut self, link: LinkId, text: &str) {
        let (Link::Greeting(current) | Link::Joined(current, _)) = self.link else { return };
        if current != link {
            return;
        }
        match parse(text) {
            Ok(message) => self.obey(link, message),
            Err(detail) => self.bad_message(detail),
        }
    }

    fn bad_message(&mut self, detail: String) {
        self.report(VolunteerEvent::refused_by_us(LocalCode::BadMessage, detail, None));
        self.bad_messages += 1;
        if self.bad_messages >= limits::BAD_MESSAGES_MAX {
            self.bad_messages = 0;
            self.drop_link();
        }
    }

    fn obey(&mut self, link: LinkId, message: ServerMessage) {
        let greeting = matches!(self.link, Link::Greeting(_));
        if !matches!(message, ServerMessage::Progress { .. }) {
            // An answer puts the end of patience off; progress answers nothing.
            self.answer_by = None;
        }
        match message {
            ServerMessage::Welcome(welcome) if greeting => return self.welcomed(link, welcome),
            ServerMessage::Reload { reason, .. } => return self.end(VolunteerEvent::UpdateNeeded { reason }),
            ServerMessage::Finished => return self.end(VolunteerEvent::Finished),
            ServerMessage::Leaving { retry_millis } => return self.told_to_leave(retry_millis),
            ServerMessage::Error(refusal) => return self.refused(&refusal),
            _ if greeting => return self.bad_message("a message came before welcome".to_owned()),
            _ => {}
        }
        // The connection works: what comes after a welcome proves more than the welcome.
        self.connect_failures = 0;
        match message {
            ServerMessage::Lease(lease) => self.leased(link, *lease),
            ServerMessage::Wait { retry_millis, reason } => self.told_to_wait(retry_millis, reason),
            ServerMessage::Verdict(verdict) => self.judged(verdict),
            ServerMessage::Progress { version, samples, budget_samples, accuracy, volunteers } => {
                self.report(VolunteerEvent::Progress { version, samples, budget_samples, accuracy, volunteers });
            }
            _ => self.bad_message("welcome came twice".to_owned()),
        }
    }

    fn welcomed(&mut self, link: LinkId, welcome: Box<Welcome>) {
        if let Err(reason) = fits(&welcome) {
            return self.end(VolunteerEvent::Unsupported { reason });
        }
        let (card, volunteer) = (Box::new(welcome.job.clone()), self.config.volunteer);
        let program: BlobId = welcome.program;
        self.seal = welcome.seal;
        self.link = Link::Joined(link, welcome);
        self.report(VolunteerEvent::Joined { card, volunteer });
        // Another program means another measurement; the same device only has to be named again.
        match &self.device {
            Some((measured, device)) if *measured == program => {
                let message = ClientMessage::Device(device.clone());
                self.send(link, &message);
            }
            Some(_) => self.device = None,
            None => {}
        }
        self.link_is_new();
        if !matches!(self.work, Work::Running(_)) && self.device.is_some() {
            self.show_idle();
        }
    }

    fn refused(&mut self, refusal: &Refusal) {
        let Refusal { code, detail } = refusal;
        if *code == ErrorCode::UnknownJob {
            return self.end(VolunteerEvent::Unsupported { reason: detail.clone() });
        }
        if is_about_a_result(*code) && self.refused_oldest(refusal) {
            return;
        }
        self.report(VolunteerEvent::refused_by_peer(*code, detail.clone(), None));
        if self.asked {
            // It may have been the answer; if another comes, it is as welcome as a push.
            self.asked = false;
            self.rest_before_asking();
        }
    }

    fn told_to_wait(&mut self, retry_millis: Millis, reason: WaitReason) {
        self.asked = false;
        let retry_millis = retry_millis.clamp(ASK_MILLIS_MIN, ASK_MILLIS_MAX);
        self.sleep(retry_millis, Purpose::Ask);
        self.waiting = Some((reason.into(), self.now + retry_millis));
        // With few volunteers every task ends with a wait of milliseconds, for the commit: not
        // worth a flicker.
        if !self.is_sleeping(Purpose::ShowWait) {
            self.sleep(WAIT_SHOWN_MILLIS.min(retry_millis), Purpose::ShowWait);
        }
    }

    pub(super) fn stop_waiting(&mut self) {
        self.cancel(Purpose::Ask);
        self.waiting = None;
    }

    pub(super) fn show_wait(&mut self) {
        let Some((reason, until)) = self.waiting else { return };
        if matches!(self.work, Work::None) && self.joined().is_some() {
            self.show(VolunteerEvent::Waiting { reason, retry_millis: until.saturating_sub(self.now) });
        }
    }

    /// Waits after something went wrong with a task, longer each time.
    pub(super) fn rest_before_asking(&mut self) {
        self.task_failures = self.task_failures.saturating_add(1);
        if self.asked {
            return;
        }
        let retry_millis = self.span(TASK, self.task_failures);
        self.sleep(retry_millis, Purpose::Ask);
        if matches!(self.work, Work::None) && self.joined().is_some() {
            self.show(VolunteerEvent::Waiting { reason: WaitingFor::Retry, retry_millis });
        }
    }

    fn leased(&mut self, on: LinkId, lease: Lease) {
        self.asked = false;
        self.stop_waiting();
        let held = Held { lease, at: self.now, on };
        if self.holds(held.lease.task.id) {
            return;
        }
        if self.wants_leases() && self.queue.len() < QUEUE_MAX && self.accepts(&held) {
            self.queue.push_back(held);
        } else {
            self.release([held.lease.task.id]);
        }
    }

    /// Asks for work, unless an answer is owed or a wait is on.
    pub(super) fn ask(&mut self) {
        let Some((link, _)) = self.joined() else { return };
        if self.asked || self.is_sleeping(Purpose::Ask) {
            return;
        }
        self.stop_waiting();
        self.asked = true;
        self.send(link, &ClientMessage::Ask);
    }
}

/// Errors come in the order of what they answer; these answer no `ask`.
fn is_about_a_result(code: ErrorCode) -> bool {
    use ErrorCode as C;
    matches!(
        code,
        C::UnknownTask
            | C::NotYourTask
            | C::BadSignature
            | C::LeaseExpired
            | C::AlreadyMerged
            | C::UpdateMissing
            | C::UpdateMalformed
            | C::UpdateNotFinite
            | C::ResultMismatch
            | C::NormOutOfRange
    )
}

fn parse(text: &str) -> Result<ServerMessage, String> {
    if text.len() > limits::MESSAGE_BYTES_MAX {
        return Err(format!("message is {} bytes, at most {}", text.len(), limits::MESSAGE_BYTES_MAX));
    }
    serde_json::from_str(text).map_err(|e| e.to_string())
}

/// Whether this job fits a volunteer at all, before anything of it is fetched.
fn fits(welcome: &Welcome) -> Result<(), String> {
    let Welcome { protocol, job, program: _, recipe, challenge_block: _, base: _, seal: _, deltas: _ } = welcome;
    if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(protocol) {
        return Err(format!("the coordinator chose protocol {protocol}, which is not spoken here"));
    }
    let parameters = job.program.parameters;
    if parameters > limits::PARAMETERS_MAX {
        return Err(format!("the program has {parameters} parameters, at most {}", limits::PARAMETERS_MAX));
    }
    let first = parameters * 4 + (limits::PROGRAM_BYTES_MAX + limits::BLOCK_BYTES_MAX) as u64;
    if first > limits::FIRST_DOWNLOAD_BYTES_MAX {
        let max = limits::FIRST_DOWNLOAD_BYTES_MAX;
        return Err(format!("the first download would be up to {first} bytes, at most {max}"));
    }
    match recipe.problem() {
        Some((field, expected)) => Err(format!("the recipe's {field} is not {expected}")),
        None => Ok(()),
    }
}

// Weights, gradients, two moments, the base and the update of the largest program that passes
// `fits` stay below what training may take in a tab.
const _: () = assert!(6 * limits::FIRST_DOWNLOAD_BYTES_MAX <= limits::TAB_MEMORY_BYTES_MAX);
