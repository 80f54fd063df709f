//! The native shell: a volunteer on an operating system, for the command line, for servers and for
//! tests. Sockets on tokio, blobs over HTTP, the computing on a thread of its own.
//!
//! It must not decide anything: that is the session's.

mod http;
mod key;
mod socket;
#[cfg(test)]
mod tests;
mod thread;

use std::{
    collections::{BTreeSet, VecDeque},
    future::Future,
    path::PathBuf,
    pin::pin,
    time::{Duration, Instant},
};

use potluck_engine::Choice;
use potluck_protocol::{IdError, JobName, Millis, limits};
use tokio::sync::mpsc;

pub use key::KeyError;
use {http::Http, key::Key, socket::Sockets, thread::Computer};

use crate::{
    address::{Address, AddressError},
    pace::Share,
    report::VolunteerEvent,
    session::{Action, Config, Event, Session, TimerId},
};

/// Events on their way to the session: a step, a chunk, a message. Senders wait where it is full.
const EVENTS_MAX: usize = 64;

/// How long the parts of the shell may take to end after the session has.
const END_WAIT: Duration = Duration::from_secs(5);

/// A volunteer to be.
///
/// ```no_run
/// # async fn example() -> Result<(), potluck_volunteer::VolunteerError> {
/// use potluck_volunteer::{Choice, Volunteer};
///
/// let stop = std::future::pending();
/// let summary = Volunteer::new("http://localhost:8000", "digits")
///     .backend(Choice::Cpu)
///     .on_event(|event| eprintln!("{event:?}"))
///     .run(stop)
///     .await?;
/// assert!(summary.tasks > 0);
/// # Ok(())
/// # }
/// ```
pub struct Volunteer {
    url: String,
    job: String,
    choice: Choice,
    key_file: Option<PathBuf>,
    agent: String,
    share: Share,
    haste: u32,
    on_event: Box<dyn FnMut(VolunteerEvent) + Send>,
}

/// What a volunteer's key has come to in a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Tasks that count.
    pub tasks: u64,
    /// Samples that count.
    pub samples: u64,
    /// True where the job is done, false where it was left.
    pub finished: bool,
}

/// Why a volunteer could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolunteerError {
    /// The coordinator's address is not one.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The job's name is not one.
    #[error(transparent)]
    Job(#[from] IdError),
    /// The key could not be read or made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No thread for the computing.
    #[error("no thread to compute on: {0}")]
    Thread(std::io::Error),
    /// This program is too old or too new for the coordinator.
    #[error("this program and the coordinator speak different protocols: {reason}")]
    UpdateNeeded {
        /// The coordinator's words.
        reason: String,
    },
    /// The job is not there, or this machine cannot help with it.
    #[error("cannot help here: {reason}")]
    Unsupported {
        /// For people.
        reason: String,
    },
}

impl Volunteer {
    /// A volunteer for a job of the coordinator at `url`.
    pub fn new(url: impl Into<String>, job: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            job: job.into(),
            choice: Choice::Auto,
            key_file: None,
            agent: concat!("potluck ", env!("CARGO_PKG_VERSION")).to_owned(),
            share: Share::default(),
            haste: 1,
            on_event: Box::new(|_| ()),
        }
    }

    /// What to compute on; measured and chosen unless named.
    #[must_use]
    pub fn backend(mut self, choice: Choice) -> Self {
        self.choice = choice;
        self
    }

    /// Where the key is kept, so that it is the same next time; made there where it is missing. A
    /// key of this run alone without it.
    #[must_use]
    pub fn key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key_file = Some(path.into());
        self
    }

    /// What this program is called in the owner's tally.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = agent.into();
        self
    }

    /// The share of the time to compute; keep a clone to change it later.
    #[must_use]
    pub fn share(mut self, share: Share) -> Self {
        self.share = share;
        self
    }

    /// Divides every wait before trying again by this. For workers of the owner's own: they are few,
    /// and a coordinator that was away does not mind them all at once.
    #[must_use]
    pub fn haste(mut self, haste: u32) -> Self {
        self.haste = haste.max(1);
        self
    }

    /// Hears what happens.
    #[must_use]
    pub fn on_event(mut self, on_event: impl FnMut(VolunteerEvent) + Send + 'static) -> Self {
        self.on_event = Box::new(on_event);
        self
    }

    /// Helps until the job is done or `stop` resolves; then hands in what is there. Needs a tokio
    /// runtime with time and I/O.
    ///
    /// # Errors
    /// What is wrong with the address, name or key; that the job is not there; that this machine
    /// or version cannot help. A lost connection is none: it is opened again.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<Summary, VolunteerError> {
        let Self { url, job, choice, key_file, agent, share, haste, on_event } = self;
        let job: JobName = job.parse()?;
        let address = Address::new(&url, job.clone())?;
        let key = match key_file {
            Some(path) => Key::kept_in(&path)?,
            None => Key::fresh()?,
        };
        let config = Config {
            job,
            volunteer: key.volunteer(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            seed: key::random_seed()?,
            cache_bytes_max: limits::BLOB_CACHE_BYTES_MAX,
            kept: None,
            haste,
        };
        let (events, inbox) = mpsc::channel(EVENTS_MAX);
        let computer = Computer::start(choice, agent.clone(), share, events.clone()).map_err(VolunteerError::Thread)?;
        let mut shell = Shell {
            session: Session::new(config),
            began: Instant::now(),
            local: VecDeque::from([Event::Start]),
            timers: BTreeSet::new(),
            sockets: Sockets::new(address.connect(), events.clone()),
            http: Http::new(address, key.volunteer(), &agent, events),
            computer,
            key,
            on_event,
            tally: (0, 0),
        };
        let last = shell.run(inbox, stop).await;
        let Shell { sockets, http, computer, tally: (tasks, samples), .. } = shell;
        http.stop();
        // Each is bounded by itself; together they are by this.
        let _ = tokio::time::timeout(END_WAIT, async { tokio::join!(sockets.ended(), computer.ended()) }).await;
        match last {
            VolunteerEvent::UpdateNeeded { reason } => Err(VolunteerError::UpdateNeeded { reason }),
            VolunteerEvent::Unsupported { reason } => Err(VolunteerError::Unsupported { reason }),
            last => Ok(Summary { tasks, samples, finished: last == VolunteerEvent::Finished }),
        }
    }
}

struct Shell {
    session: Session,
    began: Instant,
    /// Events that are known at once.
    local: VecDeque<Event>,
    timers: BTreeSet<(Instant, TimerId)>,
    sockets: Sockets,
    http: Http,
    computer: Computer,
    key: Key,
    on_event: Box<dyn FnMut(VolunteerEvent) + Send>,
    tally: (u64, u64),
}

impl Shell {
    /// Carries actions out and events in until the last one, which it returns.
    async fn run(&mut self, mut inbox: mpsc::Receiver<Event>, stop: impl Future<Output = ()>) -> VolunteerEvent {
        let mut stop = pin!(stop);
        let mut stopping = false;
        loop {
            let event = match self.local.pop_front() {
                Some(event) => event,
                None => {
                    let due = self.timers.first().map(|(at, _)| *at);
                    tokio::select! {
                        // The visitor first: a flood of messages must not put a stop off.
                        biased;
                        () = &mut stop, if !stopping => {
                            stopping = true;
                            Event::Stop
                        }
                        () = sleep_until(due) => self.fired(),
                        event = inbox.recv() => event.expect("this shell holds a sender"),
                    }
                }
            };
            let now = self.began.elapsed().as_millis() as Millis;
            for action in self.session.handle(now, event) {
                if let Some(last) = self.perform(action) {
                    return last;
                }
            }
        }
    }

    fn fired(&mut self) -> Event {
        let (_, timer) = self.timers.pop_first().expect("a timer was due");
        Event::Woke { timer }
    }

    /// Carries one action out, or begins to; the last report is returned.
    fn perform(&mut self, action: Action) -> Option<VolunteerEvent> {
        match action {
            Action::Connect { link } => self.sockets.connect(link),
            Action::Send { link, text } => self.sockets.send(link, text),
            Action::Close { link } => self.sockets.close(link),
            Action::Fetch { id, bytes_max, have } => self.http.fetch(id, bytes_max, have),
            Action::Upload { task, bytes } => self.http.upload(task, bytes),
            Action::Challenge(challenge) => self.computer.challenge(challenge),
            Action::Run(run) => self.computer.run(run),
            Action::Halt => self.computer.halt(),
            Action::Sign { task, message } => {
                let signature = self.key.sign(&message);
                self.local.push_back(Event::Signed { task, signature });
            }
            Action::Sleep { timer, millis } => {
                self.timers.insert((Instant::now() + Duration::from_millis(millis), timer));
            }
            // Who starts this program stays, and fetches a whole version once.
            Action::Keep { version: _ } => {}
            Action::Report(event) => {
                if let VolunteerEvent::Credited { tasks, samples, .. } = event {
                    self.tally = (tasks, samples);
                }
                let last = event.is_last().then(|| event.clone());
                (self.on_event)(event);
                return last;
            }
        }
        None
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
