//! The volunteer's side of a connection as a state machine: what happened goes in, what is to be
//! done comes out.
//!
//! It reads no clock and does no I/O, so the browser, the command line, the simulator and the tests
//! drive the same one. It must not know how anything is sent, fetched, signed or computed, and it
//! believes none of them: bytes are checked against their names, answers against what was asked.

mod api;
mod backoff;
mod chain;
mod fetcher;
mod handin;
mod link;
#[cfg(test)]
mod properties;
mod tasks;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use potluck_graph::{Program, random::SplitMix64};
use potluck_protocol::{BlobId, Device, Lease, Millis, Seal, TaskId, Welcome, limits};

use crate::report::{LocalCode, VolunteerEvent, WaitingFor};
pub use api::{Action, Config, Event, LinkId, TimerId};
use {backoff::Backoff, chain::Chain, fetcher::Fetcher, handin::Handin};

/// See the module.
#[derive(Debug)]
pub struct Session {
    config: Config,
    now: Millis,
    actions: Vec<Action>,
    random: SplitMix64,
    timers: BTreeMap<TimerId, Purpose>,
    timers_made: u64,

    link: Link,
    links_made: u64,
    connect_failures: u32,
    /// Of the last welcome.
    seal: Option<Seal>,
    /// When the next connection is tried, while there is none.
    connect_at: Millis,
    bad_messages: u32,
    /// An `ask` has no answer yet. Never two.
    asked: bool,
    /// Why there is no work, and until when nothing is asked.
    waiting: Option<(WaitingFor, Millis)>,
    /// When patience with what the coordinator owes ends, while it owes anything.
    answer_by: Option<Millis>,

    fetcher: Fetcher,
    /// How the parameters of what is gathered are made, where they are not fetched whole.
    chain: Option<Chain>,
    /// The version that the shell keeps.
    kept: Option<BlobId>,
    program: Option<(BlobId, Arc<Program>)>,
    /// What was measured, on which program.
    device: Option<(BlobId, Device)>,
    work: Work,
    /// Leases that came while another was at work.
    queue: VecDeque<Held>,
    handins: VecDeque<Handin>,
    task_failures: u32,

    wish: Wish,
    shown: Option<VolunteerEvent>,
    shown_at: Millis,
}

/// The connection.
#[derive(Debug)]
enum Link {
    /// Nothing under way; a timer may be.
    Down,
    /// Waiting for the socket to open.
    Opening(LinkId),
    /// `hello` was said.
    Greeting(LinkId),
    /// The coordinator said welcome.
    Joined(LinkId, Box<Welcome>),
}

/// What is being worked at; one thing at a time.
#[derive(Debug)]
enum Work {
    None,
    /// Gathering the program, a block and the parameters for the challenge.
    ChallengeGathering,
    Challenging,
    Gathering(Box<Held>),
    Running(Box<Held>),
}

/// A lease, when it came, and on which connection.
#[derive(Debug)]
struct Held {
    lease: Lease,
    at: Millis,
    on: LinkId,
}

/// What the visitor wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// The shell has not started the session yet.
    NotYet,
    Help,
    Pause,
    Stop,
    /// It is over.
    Ended,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Connect,
    /// The coordinator owes an answer.
    Answer,
    Ask,
    /// A wait has lasted long enough to be told.
    ShowWait,
    Fetch(BlobId),
    Upload(TaskId),
    /// Stopping has taken long enough.
    StopNow,
}

/// A coordinator that owes an answer for this long is gone, whatever the socket says: half-open
/// connections look healthy from inside a browser.
const ANSWER_MILLIS_MAX: Millis = 30_000;

/// How long a stop may take to hand in what is there.
const STOP_MILLIS_MAX: Millis = 5_000;

/// Shortest span between two reports of the same kind of progress: ten a second look smooth.
const REPORT_MILLIS_MIN: Millis = 100;

impl Session {
    /// A session that waits for [`Event::Start`].
    pub fn new(mut config: Config) -> Self {
        let mut fetcher = Fetcher::new(config.cache_bytes_max);
        let kept = config.kept.take().map(|version| fetcher.hold(version));
        Self {
            now: 0,
            actions: Vec::new(),
            random: SplitMix64::new(config.seed),
            timers: BTreeMap::new(),
            timers_made: 0,
            link: Link::Down,
            links_made: 0,
            connect_failures: 0,
            seal: None,
            connect_at: 0,
            bad_messages: 0,
            asked: false,
            waiting: None,
            answer_by: None,
            fetcher,
            chain: None,
            kept,
            program: None,
            device: None,
            work: Work::None,
            queue: VecDeque::new(),
            handins: VecDeque::new(),
            task_failures: 0,
            wish: Wish::NotYet,
            shown: None,
            shown_at: 0,
            config,
        }
    }

    /// True once the last event was reported; nothing is done any more.
    pub fn has_ended(&self) -> bool {
        self.wish == Wish::Ended
    }

    /// Takes in what happened at `now` (milliseconds since any fixed point, never falling) and says
    /// what to do, in this order.
    pub fn handle(&mut self, now: Millis, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        match (self.wish, &event) {
            (Wish::Ended, _) => return Vec::new(),
            (Wish::NotYet, Event::Start) => self.wish = Wish::Help,
            (Wish::NotYet, Event::Stop) => self.end(VolunteerEvent::Stopped),
            (Wish::NotYet, _) => return Vec::new(),
            _ => self.take_in(event),
        }
        self.advance();
        std::mem::take(&mut self.actions)
    }

    /// How long to wait after so many failures.
    fn span(&mut self, backoff: Backoff, failures: u32) -> Millis {
        backoff.span(failures, &mut self.random) / Millis::from(self.config.haste.max(1))
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Start => {}
            Event::Opened { link } => self.opened(link),
            Event::Message { link, text } => self.message(link, &text),
            Event::Closed { link, refused } => self.closed(link, refused),
            Event::Woke { timer } => self.woke(timer),
            Event::Fetching { id, bytes, total } => self.fetching(id, bytes, total),
            Event::Fetched { id, bytes } => {
                let arrival = self.fetcher.arrived(id, bytes);
                self.blob_arrived(id, arrival, LocalCode::BlobMismatch, "other bytes than its name or size says");
            }
            Event::FetchFailed { id, retryable, detail, came } => {
                let arrival = self.fetcher.failed(id, retryable, came);
                self.blob_arrived(id, arrival, LocalCode::BlobMissing, &detail);
            }
            Event::Measured { device, fallback } => self.measured(device, fallback),
            Event::MeasureStopped => self.measure_stopped(),
            Event::MeasureFailed { reason } => self.measure_failed(reason),
            Event::DeviceChanged { device, reason } => self.device_changed(device, reason),
            Event::Step { task, step, steps, loss } => self.stepped(task, step, steps, loss),
            Event::TaskDone { outcome } => self.task_done(outcome),
            Event::TaskStopped { task } => self.task_stopped(task),
            Event::TaskFailed { task, reason, fatal } => self.task_failed(task, reason, fatal),
            Event::Uploaded { task } => self.uploaded(task),
            Event::UploadFailed { task, code, detail, retryable } => {
                self.upload_failed(task, code, &detail, retryable);
            }
            Event::Signed { task, signature } => self.signed(task, signature),
            Event::SignFailed { task, detail } => self.sign_failed(task, &detail),
            Event::Pause => self.pause(),
            Event::Resume => self.resume(),
            Event::Stop => self.stop(),
        }
    }

    /// Starts whatever can be started now. Called after every event, so that no handler has to
    /// know what comes next.
    fn advance(&mut self) {
        if self.wish == Wish::Ended {
            return;
        }
        self.advance_link();
        self.advance_uploads();
        self.advance_handins();
        match self.wish {
            Wish::Help => self.advance_work(),
            Wish::Stop => self.advance_stop(),
            Wish::NotYet | Wish::Pause | Wish::Ended => {}
        }
        self.advance_watchdog();
    }

    fn pause(&mut self) {
        if self.wish != Wish::Help {
            return;
        }
        self.wish = Wish::Pause;
        self.put_down_work();
        self.report(VolunteerEvent::Paused);
    }

    fn resume(&mut self) {
        if self.wish != Wish::Pause {
            return;
        }
        self.wish = Wish::Help;
        self.stop_waiting();
        self.show_idle();
    }

    fn stop(&mut self) {
        if self.wish == Wish::Stop {
            return;
        }
        self.wish = Wish::Stop;
        self.put_down_work();
        self.report(VolunteerEvent::Stopping);
        self.sleep(STOP_MILLIS_MAX, Purpose::StopNow);
    }

    /// Ends once nothing computes and nothing can be handed in any more.
    fn advance_stop(&mut self) {
        let computing = matches!(self.work, Work::Running(_) | Work::Challenging);
        let joined = matches!(self.link, Link::Joined(..));
        if !computing && (self.handins.is_empty() || !joined) {
            self.end(VolunteerEvent::Stopped);
        }
    }

    /// The last thing a session does.
    fn end(&mut self, last: VolunteerEvent) {
        if matches!(self.work, Work::Running(_) | Work::Challenging) {
            self.actions.push(Action::Halt);
        }
        if let Link::Joined(link, _) = self.link {
            self.send(link, &potluck_protocol::ClientMessage::Bye);
        }
        if let Link::Opening(link) | Link::Greeting(link) | Link::Joined(link, _) = self.link {
            self.actions.push(Action::Close { link });
        }
        self.wish = Wish::Ended;
        self.work = Work::None;
        self.link = Link::Down;
        self.fetcher = Fetcher::new(0);
        self.handins.clear();
        self.actions.push(Action::Report(last));
    }

    fn woke(&mut self, timer: TimerId) {
        let Some(purpose) = self.timers.remove(&timer) else { return };
        match purpose {
            // What waited for these is done by `advance`.
            Purpose::Connect | Purpose::Ask => {}
            Purpose::ShowWait => self.show_wait(),
            Purpose::Answer => self.patience_checked(),
            Purpose::Fetch(id) => self.fetcher.rested(id),
            Purpose::Upload(task) => self.upload_again(task),
            Purpose::StopNow => self.end(VolunteerEvent::Stopped),
        }
    }

    /// One timer a purpose: a new one takes the place of an older.
    fn sleep(&mut self, millis: Millis, purpose: Purpose) {
        self.cancel(purpose);
        self.timers_made += 1;
        let timer = TimerId(self.timers_made);
        self.timers.insert(timer, purpose);
        self.actions.push(Action::Sleep { timer, millis });
    }

    fn cancel(&mut self, purpose: Purpose) {
        self.timers.retain(|_, p| *p != purpose);
    }

    fn is_sleeping(&self, purpose: Purpose) -> bool {
        self.timers.values().any(|p| *p == purpose)
    }

    /// Reports without conditions.
    fn report(&mut self, event: VolunteerEvent) {
        if event.is_state() {
            self.shown = Some(event.clone());
            self.shown_at = self.now;
        }
        self.actions.push(Action::Report(event));
    }

    /// Reports a state that holds only while helping: a pause or stop of the visitor covers it.
    fn show(&mut self, state: VolunteerEvent) {
        if self.wish == Wish::Help && self.shown.as_ref() != Some(&state) {
            self.report(state);
        }
    }

    /// Shows what holds while nothing is computed.
    fn show_idle(&mut self) {
        self.show(match self.link {
            Link::Joined(..) => VolunteerEvent::Waiting { reason: WaitingFor::Asking, retry_millis: 0 },
            Link::Opening(_) | Link::Greeting(_) => VolunteerEvent::Connecting,
            Link::Down => VolunteerEvent::Offline { retry_millis: self.connect_at.saturating_sub(self.now) },
        });
    }

    /// The same for states that change many times a second; `is_last` for the end of a series.
    fn show_progress(&mut self, state: VolunteerEvent, is_last: bool) {
        let same_kind =
            self.shown.as_ref().is_some_and(|s| std::mem::discriminant(s) == std::mem::discriminant(&state));
        if is_last || !same_kind || self.now >= self.shown_at + REPORT_MILLIS_MIN {
            self.show(state);
        }
    }
}

// A lease may come at any time, so the queue holds what the protocol allows beside the one at work.
const QUEUE_MAX: usize = limits::LEASES_PER_VOLUNTEER_MAX - 1;
const _: () = assert!(QUEUE_MAX >= 1);
