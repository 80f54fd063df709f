//! The coordinator's own volunteer: trusted, on a thread of its own, and the only one that sees
//! the test split. It takes evaluations and hands their results in like any other, over channels
//! instead of sockets; what it is given and whether it counts is decided elsewhere.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ed25519_dalek::{Signer, SigningKey};
use potluck_engine::{Choice, Engine};
use potluck_graph::Block;
use potluck_protocol::{
    Backend, BlobId, Device, Evaluation, Lease, PROTOCOL_MAX, ServerMessage, SignedStatement, Statement, TaskKind,
    VolunteerKey, limits,
};
use potluck_scheduler::{Input, SessionId};
use potluck_volunteer::{Blob, Pace, Run, RunError, Share, StopFlag, TaskRunner};
use tokio::sync::mpsc;

use crate::{
    job::{Job, Newcomer},
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
    pub(crate) fn start(
        job: Arc<Job>,
        stores: Arc<Stores>,
        new_session: impl Fn() -> SessionId + Send + 'static,
    ) -> std::io::Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
        let key = SigningKey::from_bytes(&secret);
        // Before anybody can see the key.
        job.reserve(VolunteerKey(key.verifying_key().to_bytes()));
        let stop = StopFlag::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let name = format!("volunteer-{}", job.name());
        let thread = thread::Builder::new().name(name).spawn({
            let stop = stop.clone();
            // Made on its own thread: an engine never leaves the one it was opened on.
            move || {
                let pace = OwnThread { began: Instant::now() };
                let helper = Helper { job, stores, session: new_session(), key, runner: None, pace, stop };
                runtime.block_on(helper.run(new_session));
            }
        })?;
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
    runner: Option<TaskRunner>,
    pace: OwnThread,
    stop: StopFlag,
}

/// The job's actor is gone; so is the reason to be here.
struct Gone;

impl Helper {
    /// Helps until the actor is gone. The actor may also drop a connection that takes no messages,
    /// and no other may evaluate; so this one comes back.
    async fn run(mut self, new_session: impl Fn() -> SessionId) {
        loop {
            let (outbox, inbox) = mpsc::channel(limits::SOCKET_QUEUE_MAX);
            let left = Input::Left { session: self.session };
            if self.help(outbox, inbox).await.is_err() || self.send(left).await.is_err() {
                return;
            }
            tracing::warn!("the embedded volunteer of job {} lost its connection and joins again", self.job.name());
            self.session = new_session();
        }
    }

    fn volunteer(&self) -> VolunteerKey {
        VolunteerKey(self.key.verifying_key().to_bytes())
    }

    /// One connection, from its start until the actor ends it.
    async fn help(
        &mut self,
        outbox: mpsc::Sender<Arc<ServerMessage>>,
        mut inbox: mpsc::Receiver<Arc<ServerMessage>>,
    ) -> Result<(), Gone> {
        let (session, volunteer) = (self.session, self.volunteer());
        let newcomer = Newcomer { session, volunteer, protocol: PROTOCOL_MAX, trusted: true, seal: None, outbox };
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
                message = inbox.recv() => match message {
                    Some(message) => message,
                    None => return Ok(()),
                },
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
                // Work that comes up earlier is sent without being asked for again.
                ServerMessage::Wait { retry_millis, .. } => Some(Duration::from_millis(*retry_millis)),
                ServerMessage::Verdict(verdict) if verdict.accepted => Some(Duration::ZERO),
                ServerMessage::Verdict(_) | ServerMessage::Error(_) => Some(REST_AFTER_FAILURE),
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
        let (session, task) = (self.session, lease.task.id);
        match self.evaluate(lease).await {
            Ok(statement) => {
                let signed = self.sign(&statement);
                self.send(Input::Result { session, statement, signed, update: None }).await?;
                return Ok(true);
            }
            Err(reason) if self.stop.is_raised() => tracing::debug!("task {task} was left: {reason}"),
            Err(reason) => tracing::error!("the embedded volunteer could not compute task {task}: {reason}"),
        }
        self.send(Input::Released { session, tasks: vec![task] }).await?;
        Ok(false)
    }

    async fn evaluate(&mut self, lease: &Lease) -> Result<Statement, String> {
        let task = &lease.task;
        if !matches!(task.kind, TaskKind::Evaluate { .. }) {
            return Err("it only evaluates".to_owned());
        }
        let run = self.gather(lease).await?;
        let runner = match &mut self.runner {
            Some(runner) => runner,
            empty => {
                let engine = Engine::open(Choice::Cpu).await.map_err(|e| e.to_string())?;
                empty.insert(TaskRunner::new(engine))
            }
        };
        let (evaluation, compute_millis) = match runner.run(&run, &self.stop, &self.pace, |_| ()).await {
            Ok(Some(outcome)) => (outcome.evaluation, outcome.compute_millis),
            Ok(None) => return Err("it was stopped".to_owned()),
            Err(RunError::NotFinite { .. }) => (Some(diverged(&run)?), 0),
            Err(error) => return Err(error.to_string()),
        };
        Ok(Statement {
            job: self.job.name().clone(),
            task: task.id,
            volunteer: self.volunteer(),
            steps: 0,
            update: None,
            train_loss: None,
            evaluation,
            compute_millis,
        })
    }

    /// Everything that the task names, from the store rather than over HTTP: the test split is not
    /// there.
    async fn gather(&self, lease: &Lease) -> Result<Run, String> {
        let task = lease.task.clone();
        let base = self.stores.served(task.base).await.map_err(|e| e.to_string())?;
        let mut blocks = Vec::with_capacity(task.blocks.len());
        for id in &task.blocks {
            blocks.push(self.blob(*id, limits::BLOCK_BYTES_MAX).await?);
        }
        Ok(Run { task, program: Arc::clone(self.job.program()), base: Arc::new(base.to_vec()), blocks })
    }

    async fn blob(&self, id: BlobId, bytes_max: usize) -> Result<Blob, String> {
        match self.stores.blobs.get(id, bytes_max).await {
            Ok(bytes) => Ok(Arc::new(bytes.to_vec())),
            Err(error) => {
                self.job.report(&error).await;
                Err(error.to_string())
            }
        }
    }

    fn sign(&self, statement: &Statement) -> SignedStatement {
        let statement = serde_json::to_string(statement).expect("statements hold only text keys");
        let signature = self.key.sign(&SignedStatement::message(&statement));
        SignedStatement { statement, signature: hex::encode(signature.to_bytes()) }
    }
}

/// What is said of a model whose loss is not a number: the job has to learn of it, and JSON has no
/// word for NaN.
fn diverged(run: &Run) -> Result<Evaluation, String> {
    let mut samples = 0;
    for block in &run.blocks {
        let block = Block::decode(block, run.program.inputs()).map_err(|e| e.to_string())?;
        samples += u64::from(block.samples);
    }
    Ok(Evaluation { loss: f32::MAX, accuracy: 0.0, samples })
}
