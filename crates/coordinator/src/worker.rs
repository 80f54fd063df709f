//! The coordinator's own volunteer: trusted, on a thread of its own, and the only one that sees
//! the test split. It takes leases and hands results in like any other, over channels instead of
//! sockets; what it is given and whether it counts is decided elsewhere.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ed25519_dalek::{Signer, SigningKey};
use potluck_protocol::{
    Backend, BlobId, Device, Lease, PROTOCOL_MAX, ServerMessage, SignedStatement, Statement, TaskId, VolunteerKey,
    limits,
};
use potluck_scheduler::{Input, SessionId};
use potluck_volunteer::{Blob, Choice, Compute, Event, Outcome, Pace, Run, Share, StopFlag};
use tokio::sync::mpsc;

use crate::{
    job::{Job, Newcomer, verify},
    stores::Stores,
};

/// Waits before it asks again after something went wrong, so that a defect does not fill the log.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// A running worker. Dropping it does not stop it.
pub(crate) struct Worker {
    thread: thread::JoinHandle<()>,
    stop: StopFlag,
}

impl Worker {
    /// Starts a worker for one job.
    pub(crate) fn start(job: Arc<Job>, stores: Arc<Stores>, session: SessionId) -> std::io::Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
        let stop = StopFlag::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let helper = Helper {
            key: SigningKey::from_bytes(&secret),
            compute: Compute::new(Choice::Cpu, agent()),
            pace: OwnThread { began: Instant::now() },
            stop: stop.clone(),
            job,
            stores,
            session,
        };
        let name = format!("worker-{}", helper.job.name());
        let thread = thread::Builder::new().name(name).spawn(move || runtime.block_on(helper.run()))?;
        Ok(Self { thread, stop })
    }

    /// Ends what it computes; it is gone soon after its job's actor is.
    pub(crate) fn stop(&self) {
        self.stop.raise();
    }

    /// Waits until it is gone.
    pub(crate) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the embedded worker panicked");
        }
    }
}

fn agent() -> String {
    format!("potluck {} (embedded)", env!("CARGO_PKG_VERSION"))
}

/// Computing is all that its thread does, so it never has to make room.
struct OwnThread {
    began: Instant,
}

impl Pace for OwnThread {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn rest(&self, span: Duration) {
        if !span.is_zero() {
            tokio::time::sleep(span).await;
        }
    }

    fn share(&self) -> Share {
        Share::default()
    }
}

struct Helper {
    job: Arc<Job>,
    stores: Arc<Stores>,
    session: SessionId,
    key: SigningKey,
    compute: Compute,
    pace: OwnThread,
    stop: StopFlag,
}

/// The job's actor is gone; so is the reason to be here.
struct Gone;

impl Helper {
    async fn run(mut self) {
        let (outbox, inbox) = mpsc::channel(limits::SOCKET_QUEUE_MAX);
        // `Gone` is the only way out, and nothing is left to do about it.
        let _ = self.help(outbox, inbox).await;
    }

    fn volunteer(&self) -> VolunteerKey {
        VolunteerKey(self.key.verifying_key().to_bytes())
    }

    async fn help(
        &mut self,
        outbox: mpsc::Sender<Arc<ServerMessage>>,
        mut inbox: mpsc::Receiver<Arc<ServerMessage>>,
    ) -> Result<(), Gone> {
        let (session, volunteer) = (self.session, self.volunteer());
        let newcomer = Newcomer { session, volunteer, protocol: PROTOCOL_MAX, trusted: true, outbox };
        self.job.join(newcomer).await.map_err(|_| Gone)?;
        let device = Device {
            agent: agent(),
            adapter: String::new(),
            backend: Backend::Cpu,
            forced: true,
            challenge: Vec::new(),
        };
        self.send(Input::Measured { session, device }).await?;
        self.send(Input::Asked { session }).await?;
        // While this is set there is no work, and asking again is due then.
        let mut ask_at: Option<tokio::time::Instant> = None;
        loop {
            let due = async {
                match ask_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                message = inbox.recv() => message.ok_or(Gone)?,
                () = due => {
                    ask_at = None;
                    self.send(Input::Asked { session }).await?;
                    continue;
                }
            };
            let wait = match &*message {
                ServerMessage::Lease(lease) => match self.work(lease).await? {
                    // The verdict comes next, and with it the time to ask.
                    true => None,
                    false => Some(REST_AFTER_FAILURE),
                },
                ServerMessage::Wait { retry_millis, .. } => Some(Duration::from_millis(*retry_millis)),
                ServerMessage::Verdict(verdict) if verdict.accepted => Some(Duration::ZERO),
                ServerMessage::Verdict(_) | ServerMessage::Error(_) => Some(REST_AFTER_FAILURE),
                // A new version may want an evaluation, sooner than the last answer said.
                ServerMessage::Progress { .. } if ask_at.is_some() => Some(Duration::ZERO),
                _ => continue,
            };
            ask_at = wait.map(|wait| tokio::time::Instant::now() + wait);
        }
    }

    async fn send(&self, input: Input) -> Result<(), Gone> {
        self.job.send(input).await.map_err(|_| Gone)
    }

    /// Computes a lease and hands it in; false where it had to be given back.
    async fn work(&mut self, lease: &Lease) -> Result<bool, Gone> {
        let task = lease.task.id;
        match self.compute(lease).await {
            Ok((signed, update)) => {
                let handed_in = self.hand_in(signed, update, task).await?;
                if handed_in {
                    return Ok(true);
                }
            }
            Err(reason) if self.stop.is_raised() => tracing::debug!("task {task} was left: {reason}"),
            Err(reason) => tracing::error!("the embedded worker could not compute task {task}: {reason}"),
        }
        self.send(Input::Released { session: self.session, tasks: vec![task] }).await?;
        Ok(false)
    }

    async fn compute(&mut self, lease: &Lease) -> Result<(SignedStatement, Option<Vec<u8>>), String> {
        let task = &lease.task;
        let run = Run {
            task: task.clone(),
            program: Arc::clone(self.job.program()),
            base: self.blob(task.base, limits::BLOB_BYTES_MAX).await?,
            blocks: {
                let mut blocks = Vec::with_capacity(task.blocks.len());
                for id in &task.blocks {
                    blocks.push(self.blob(*id, limits::BLOCK_BYTES_MAX).await?);
                }
                blocks
            },
        };
        match self.compute.run(&run, &self.stop, &self.pace, |_| ()).await {
            Event::TaskDone { outcome } => Ok(self.sign(outcome)),
            Event::TaskFailed { reason, .. } => Err(reason),
            _ => Err("it was stopped".to_owned()),
        }
    }

    async fn blob(&self, id: BlobId, bytes_max: usize) -> Result<Blob, String> {
        let bytes = self.stores.blobs.get(id, bytes_max).await.map_err(|e| e.to_string())?;
        Ok(Arc::new(bytes.to_vec()))
    }

    fn sign(&self, outcome: Outcome) -> (SignedStatement, Option<Vec<u8>>) {
        let Outcome { task, steps, update, train_loss, evaluation, compute_millis } = outcome;
        let statement = Statement {
            job: self.job.name().clone(),
            task,
            volunteer: self.volunteer(),
            steps,
            update: update.as_deref().map(BlobId::of),
            train_loss,
            evaluation,
            compute_millis,
        };
        let statement = serde_json::to_string(&statement).expect("statements hold only text keys");
        let signature = self.key.sign(&SignedStatement::message(&statement));
        (SignedStatement { statement, signature: hex::encode(signature.to_bytes()) }, update)
    }

    /// Goes the way of every result; false where it was turned away at the door.
    async fn hand_in(&self, signed: SignedStatement, update: Option<Vec<u8>>, task: TaskId) -> Result<bool, Gone> {
        if let Some(bytes) = update
            && let Err(error) = self.job.take_update(task, bytes.into()).await
        {
            tracing::error!("the embedded worker's update of task {task} was refused: {}", error.detail);
            return Ok(false);
        }
        match verify(&self.job, self.volunteer(), signed).await {
            Ok((statement, signed, update)) => {
                self.send(Input::Result { session: self.session, statement, signed, update }).await?;
                Ok(true)
            }
            Err(refusal) => {
                tracing::error!("the embedded worker's result of task {task} was refused: {}", refusal.detail);
                Ok(false)
            }
        }
    }
}
