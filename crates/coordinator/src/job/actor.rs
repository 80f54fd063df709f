//! The one task that owns a job: takes inputs, lets the scheduler decide, makes the facts durable,
//! then does what follows from them. Nobody sees an effect of a fact that could still be lost.

use std::{
    collections::{BTreeSet, VecDeque},
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::FutureExt;
use potluck_protocol::{
    BlobId, ErrorCode, JobCard, LeaderId, Refusal, ServerMessage, Verdict, VolunteerKey, Welcome, limits,
};
use potluck_scheduler::{Checkpoint, Core, Effect, Fact, Input};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinError, JoinHandle},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    Outlets,
    board::{self, Devices, Shown},
    chores::Chores,
    journal::{Journal, JournalError},
    mail::{self, Message, Newcomer, Query},
    merge::{Bench, Made, MergeError, Order, Whole},
    outboxes::Outboxes,
    snapshots::Snapshots,
};
use crate::{Observer, clock::Clock, disk::Room, lineage::Sealer, stores::Stores, views::JobView};

/// How often the scheduler is told that time passes.
const TICK: Duration = Duration::from_millis(250);

/// Uploads of a task whose result never came are dropped this often.
const TIDY: Duration = Duration::from_secs(10);

/// Leases that were out before a restart are over by then, and with them their uploads.
const SWEEP_AFTER: Duration = Duration::from_millis(3 * limits::LEASE_MILLIS_MAX);

/// Why the actor cannot go on. The state in memory is ahead of the log, or the log asks for
/// something that cannot be done; either way only a new start helps.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error(
        "another copy of this job is in use, led by {by} since epoch {epoch}: a volunteer brought its seal. This folder \
         is a copy of that one, or was copied or restored there. Stop one of them for good; \
         `potluck restore FOLDER --new-epoch` makes a folder the one that counts"
    )]
    Deposed { by: LeaderId, epoch: u64 },
    #[error("{0}")]
    Harmed(String),
    #[error("a task of the coordinator broke: {0}")]
    Broken(String),
}

/// What some messages came to, before it is durable.
#[derive(Default)]
struct Batch {
    facts: Vec<Fact>,
    effects: Vec<Effect>,
    controls: Vec<(oneshot::Sender<Option<Refusal>>, Option<Refusal>)>,
    queries: Vec<Query>,
    collects: Vec<oneshot::Sender<()>>,
    /// Somebody came, left or said what device it has; or there is room, or none.
    view_changed: bool,
    /// Why this is the last batch: somebody was welcomed by another copy of the job, or something that
    /// is needed is gone.
    failure: Option<Failure>,
    stop: bool,
}

/// What an actor is made of.
pub(super) struct Parts {
    pub(super) card: JobCard,
    pub(super) core: Core,
    pub(super) journal: Journal,
    pub(super) bench: Bench,
    /// The newest version.
    pub(super) whole: Whole,
    pub(super) mail: mpsc::Receiver<Message>,
    pub(super) outlets: Arc<Outlets>,
    pub(super) stores: Arc<Stores>,
    pub(super) clock: Clock,
    pub(super) sealer: Sealer,
    /// The facts of this start: that it began and, before that, the job's first.
    pub(super) made: Vec<Fact>,
    pub(super) snapshots: Snapshots,
    /// Follows the part of the log that this start did not read.
    pub(super) past: Option<JoinHandle<Result<(), JournalError>>>,
}

/// The actor of one job.
pub(crate) struct Actor {
    card: JobCard,
    core: Core,
    journal: Journal,
    bench: Bench,
    /// The newest version; while the next one is made, it is in there.
    whole: Option<Whole>,
    mail: mpsc::Receiver<Message>,
    /// What came while the disk was full; it is next.
    held: VecDeque<Message>,
    outlets: Arc<Outlets>,
    stores: Arc<Stores>,
    clock: Clock,
    observers: Vec<Observer>,
    outboxes: Outboxes,
    devices: Devices,
    shown: Shown,
    /// What was shown last, or could have been; all of it durable.
    last_shown: Shown,
    merging: Option<JoinHandle<Result<Made, MergeError>>>,
    chores: Chores,
    sealer: Sealer,
    /// Durable already, but shown to nobody yet.
    made: Vec<Fact>,
    snapshots: Snapshots,
    /// Until it has ended well nothing is deleted.
    past: Option<JoinHandle<Result<(), JournalError>>>,
}

impl Actor {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { card, core, journal, bench, whole, mail, outlets, stores, clock, sealer, made, snapshots, past } =
            parts;
        let chores = Chores::new(card.name.clone(), bench.clone(), Arc::clone(&stores), &core);
        Self {
            card,
            core,
            journal,
            bench,
            whole: Some(whole),
            mail,
            held: VecDeque::new(),
            outlets,
            stores,
            clock,
            observers: Vec::new(),
            outboxes: Outboxes::default(),
            devices: Devices::new(),
            shown: None,
            last_shown: None,
            merging: None,
            chores,
            sealer,
            made,
            snapshots,
            past,
        }
    }

    /// Calls these with every fact.
    pub(crate) fn observed_by(mut self, observers: Vec<Observer>) -> Self {
        self.observers = observers;
        self
    }

    /// Runs until it is told to stop or fails; then everybody who asks learns so.
    pub(crate) async fn run(mut self) {
        // A panic is a failure like any other: nothing is decided after it, and whoever watches the
        // job learns of it.
        let lived = AssertUnwindSafe(self.live()).catch_unwind().await;
        let lived = lived.unwrap_or_else(|panic| Err(Failure::Broken(panic_text(&*panic).to_owned())));
        // After a failure the state may be ahead of the log.
        let last = lived.is_ok().then_some((self.journal.head(), self.core.state()));
        self.snapshots.finish(last).await;
        if let Some(past) = self.past.take() {
            past.abort();
        }
        if let Err(failure) = lived {
            let text = failure.to_string();
            tracing::error!("job {} has stopped: {text}", self.card.name);
            // It is set here and nowhere else.
            let _ = self.outlets.failure.set(text);
            let detail = "the coordinator cannot go on with this job; its owner has to look".to_owned();
            self.outboxes.broadcast(ServerMessage::Error(Refusal { code: ErrorCode::Internal, detail }));
        }
        // Nothing is written to the folder after this task has ended.
        if let Some(merging) = self.merging.take() {
            let _ = merging.await;
        }
        self.chores.done().await;
        mail::shut(self.mail).await;
        self.outlets.changes.send_modify(|revision| *revision += 1);
    }

    async fn live(&mut self) -> Result<(), Failure> {
        let made = std::mem::take(&mut self.made);
        self.publish(&made);
        self.handle(vec![Message::Input(Input::Started)]).await?;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tidy = interval(TIDY);
        let mut room = self.stores.disk.changes();
        let mut sweep_at = Some(Instant::now() + SWEEP_AFTER);
        loop {
            let first = tokio::select! {
                () = std::future::ready(()), if !self.held.is_empty() => {
                    let Some(message) = self.held.pop_front() else { continue };
                    message
                }
                message = self.mail.recv() => match message {
                    Some(message) => message,
                    None => return Ok(()),
                },
                _ = ticks.tick() => {
                    self.refresh();
                    if self.chores.is_awaited() {
                        self.chores.start();
                    }
                    Message::Input(Input::Tick)
                }
                checked = finished(&mut self.past) => {
                    self.past = None;
                    checked.map_err(|e| Failure::Broken(e.to_string()))??;
                    tracing::info!("job {}: the facts before the snapshot follow from each other", self.card.name);
                    continue;
                }
                // The stores outlive this.
                _ = room.changed() => Message::Input(Input::Room { is_there: *room.borrow_and_update() == Room::Enough }),
                merged = finished(&mut self.merging) => {
                    self.merging = None;
                    Message::Merged(Box::new(merged.map_err(|e| Failure::Broken(e.to_string()))??))
                }
                _ = tidy.tick() => {
                    if sweep_at.take_if(|at| *at <= Instant::now()).is_some() {
                        self.chores.sweep_uploads(self.core.state());
                    }
                    self.tidy();
                    continue;
                }
            };
            let mut messages = vec![first];
            while messages.len() < limits::GROUP_COMMIT_MAX
                && let Some(message) = self.held.pop_front().or_else(|| self.mail.try_recv().ok())
            {
                messages.push(message);
            }
            if self.handle(messages).await? {
                return self.drain().await;
            }
        }
    }

    /// Commits the version that is being made, if it is soon: what is under way need not be done
    /// twice. One that takes longer is made again at the next start. Then the newest version is
    /// stored whole, so that the next start makes nothing again.
    async fn drain(&mut self) -> Result<(), Failure> {
        if self.merging.is_some() {
            let wait = Duration::from_millis(limits::STOP_MILLIS_MAX);
            let Ok(merged) = timeout(wait, finished(&mut self.merging)).await else { return Ok(()) };
            self.merging = None;
            let merged = merged.map_err(|e| Failure::Broken(e.to_string()))??;
            self.handle(vec![Message::Merged(Box::new(merged))]).await?;
        }
        self.checkpoint().await
    }

    /// Stores the newest version with what the next merge needs, unless it is.
    async fn checkpoint(&mut self) -> Result<(), Failure> {
        let version = self.core.state().version();
        let Some(whole) = self.whole.as_ref().filter(|_| self.core.state().last_checkpoint().version != version) else {
            return Ok(());
        };
        // Where there is no room for it, the next start makes the version again.
        let checkpoint = match self.bench.store(version, whole).await {
            Err(error) if error.is_full() => {
                self.stores.disk.is_full(&error);
                return Ok(());
            }
            stored => stored?,
        };
        let fact = self.checkpoint_fact(checkpoint);
        match self.journal.append(std::slice::from_ref(&fact)).await {
            Err(error) if error.is_full() => {
                self.stores.disk.is_full(&error);
                return Ok(());
            }
            appended => appended?,
        }
        self.core.apply(&fact);
        self.publish(&[fact]);
        Ok(())
    }

    /// The fact of a checkpoint whose blobs are durable.
    fn checkpoint_fact(&self, checkpoint: Checkpoint) -> Fact {
        let Checkpoint { version, momentum, feedback } = checkpoint;
        Fact::Checkpointed { at: self.clock.now(), version, momentum, feedback }
    }

    /// Decides upon these messages, one append for all of them, then effects and answers. True
    /// where it is time to stop.
    async fn handle(&mut self, messages: Vec<Message>) -> Result<bool, Failure> {
        let mut batch = Batch::default();
        for message in messages {
            self.decide(message, &mut batch)?;
        }
        let Batch { facts, effects, controls, mut queries, collects, view_changed, failure, stop } = batch;
        self.append(&facts, &mut queries).await?;
        if view_changed || !facts.is_empty() {
            self.shown = None;
        }
        self.publish(&facts);
        for effect in effects {
            self.carry_out(effect);
        }
        for (answer, refusal) in controls {
            // Who asked may be gone.
            let _ = answer.send(refusal);
        }
        for query in queries {
            self.answer(query);
        }
        for answer in collects {
            self.chores.collect(self.core.state(), answer);
            self.chores.start();
        }
        if view_changed || !facts.is_empty() {
            self.outlets.changes.send_modify(|revision| *revision += 1);
        }
        if facts.iter().any(|fact| matches!(fact, Fact::Finished { .. })) {
            self.checkpoint().await?;
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        self.snapshots.offer(self.journal.head(), self.core.state());
        Ok(stop)
    }

    /// Makes facts durable. While the disk is full that waits, and with it all that follows from them;
    /// pages are shown what was durable before, and why it goes no further.
    async fn append(&mut self, facts: &[Fact], queries: &mut Vec<Query>) -> Result<(), Failure> {
        loop {
            let error = match self.journal.append(facts).await {
                Err(error) if error.is_full() => error,
                other => return other.map_err(Failure::from),
            };
            self.stores.disk.is_full(&error);
            *queries = std::mem::take(queries).into_iter().filter_map(|query| self.answer_meanwhile(query)).collect();
            self.outlets.changes.send_modify(|revision| *revision += 1);
            if !self.room_is_back().await {
                return Err(error.into());
            }
        }
    }

    /// Waits until the disk takes something again; false where it is time to stop instead.
    async fn room_is_back(&mut self) -> bool {
        let stores = Arc::clone(&self.stores);
        let mut wait = std::pin::pin!(stores.disk.wait());
        loop {
            let message = tokio::select! {
                is_back = &mut wait => return is_back,
                message = self.mail.recv(), if self.held.len() < limits::MAILBOX_MAX => message,
            };
            match message {
                None | Some(Message::Stop) => return false,
                // What the facts on the way need no more is still needed until they are durable.
                Some(Message::Collect(answer)) => {
                    // Who asked may wait no more.
                    let _ = answer.send(());
                }
                Some(Message::Query(query)) => self.held.extend(self.answer_meanwhile(query).map(Message::Query)),
                Some(message) => self.held.push_back(message),
            }
        }
    }

    /// What can be said while facts wait for room: where the job stood before them, and that it waits.
    /// Any other question is given back.
    fn answer_meanwhile(&self, query: Query) -> Option<Query> {
        match (query, &self.last_shown) {
            (Query::View(answer), Some(view)) => {
                // Who asked may be gone.
                let _ = answer.send(Arc::new(board::blocked(JobView::clone(view), Room::Full)));
                None
            }
            (query, _) => Some(query),
        }
    }

    fn decide(&mut self, message: Message, batch: &mut Batch) -> Result<(), Failure> {
        match message {
            Message::Merged(made) => self.merged(*made, batch)?,
            Message::Join(newcomer) => self.join(newcomer, batch),
            Message::Input(mut input) => {
                self.pin(&mut input);
                self.step(&input, batch);
            }
            Message::Control(control, answer) => {
                let refusal = potluck_scheduler::refusal(self.core.state(), &control);
                if refusal.is_none() {
                    self.step(&Input::Control(control), batch);
                }
                batch.controls.push((answer, refusal));
            }
            Message::Query(query) => batch.queries.push(query),
            Message::Collect(answer) => batch.collects.push(answer),
            Message::Harmed(id, what) => {
                if self.core.state().retained().contains(&id) {
                    batch.failure = Some(Failure::Harmed(what));
                }
            }
            Message::Stop => batch.stop = true,
        }
        Ok(())
    }

    /// A version was made: the one in memory from here on, once the scheduler has committed it.
    fn merged(&mut self, made: Made, batch: &mut Batch) -> Result<(), Failure> {
        let Made { version, parts, outer, whole, delta, checkpoint } = made;
        let input = Input::Merged { version, base: whole.id, delta: BlobId::of(&delta), parts, outer };
        self.step(&input, batch);
        if self.core.state().version() != version {
            return Err(Failure::Broken(format!("{version} was made and is not committed")));
        }
        self.whole = Some(whole);
        if let Some(checkpoint) = checkpoint {
            let fact = self.checkpoint_fact(checkpoint);
            self.core.apply(&fact);
            batch.facts.push(fact);
        }
        Ok(())
    }

    fn join(&mut self, newcomer: Newcomer, batch: &mut Batch) {
        let Newcomer { session, volunteer, protocol, trusted, seal, outbox } = newcomer;
        if let Some(seal) = seal.filter(|seal| self.sealer.is_foreign(self.core.state().lineage(), seal)) {
            let fact = Fact::Deposed { at: self.clock.now(), by: seal.leader };
            self.core.apply(&fact);
            batch.facts.push(fact);
            batch.failure = Some(Failure::Deposed { by: seal.leader, epoch: seal.epoch });
        }
        self.outboxes.open(session, protocol, outbox);
        if let Some(message) = self.welcome(protocol) {
            batch.effects.push(Effect::Send { session, message });
        }
        self.step(&Input::Joined { session, volunteer, trusted }, batch);
    }

    /// `None` where there is no job yet or nothing to train on, which ingesting rules out.
    fn welcome(&self, protocol: u32) -> Option<ServerMessage> {
        let state = self.core.state();
        let job = state.job()?;
        let (challenge_block, _) = *job.dataset.train.first()?;
        Some(ServerMessage::Welcome(Box::new(Welcome {
            protocol,
            job: self.card.clone(),
            program: job.program,
            recipe: job.recipe.clone(),
            challenge_block,
            base: state.base()?,
            seal: self.sealer.seal(state.lineage()).filter(|_| protocol >= 2),
            deltas: if protocol >= 3 { state.deltas_to(state.version()) } else { Vec::new() },
        })))
    }

    /// From the moment that a result may be accepted its update must stay until it is merged. One
    /// that was pushed out by later uploads on the way here is missing.
    fn pin(&self, input: &mut Input) {
        let Input::Result { session, statement, update, .. } = input else { return };
        let Some(id) = update.as_ref().map(|facts| facts.id) else { return };
        let of = self.core.presence().connected().find(|(id, _)| id == session);
        let lease = self.core.state().lease(statement.task);
        let is_theirs = of.zip(lease).is_some_and(|((_, session), lease)| session.volunteer == lease.volunteer);
        if is_theirs && !self.bench.uploads.pin(statement.task, id) {
            *update = None;
        }
    }

    fn step(&mut self, input: &Input, batch: &mut Batch) {
        match input {
            Input::Joined { .. } | Input::Room { .. } => batch.view_changed = true,
            Input::Measured { session, device } => {
                batch.view_changed = true;
                let of = self.core.presence().connected().find(|(id, _)| id == session);
                if let Some(volunteer) = of.map(|(_, session)| session.volunteer) {
                    self.devices.insert(volunteer, device.clone());
                }
            }
            Input::Left { session } => {
                batch.view_changed = true;
                self.outboxes.close(*session);
            }
            _ => {}
        }
        let (facts, effects) = self.core.step(self.clock.now(), input);
        batch.facts.extend(facts);
        batch.effects.extend(effects);
    }

    /// Tells observers and pages of durable facts.
    fn publish(&mut self, facts: &[Fact]) {
        let mut rows = BTreeSet::new();
        for fact in facts {
            self.observers.iter().for_each(|observer| observer(&self.card.name, fact));
            match fact {
                Fact::Committed { version, base, delta, .. } => {
                    // Of a version that is stored whole too: who holds the one before takes fewer bytes.
                    self.stores.publish(*delta);
                    let bytes = self.whole.as_ref().filter(|whole| whole.id == *base).map(|whole| whole.bytes.clone());
                    if let Some(making) = self.core.state().making(*version) {
                        self.stores.publish_version(*base, making, bytes);
                    }
                    rows.insert(*version);
                }
                Fact::Evaluated { version, .. } => drop(rows.insert(*version)),
                Fact::ResultAccepted { late, .. } => {
                    self.outlets.accepted.fetch_add(1, Ordering::Relaxed);
                    self.outlets.late.fetch_add(u64::from(*late), Ordering::Relaxed);
                }
                _ => {}
            }
        }
        for row in rows.into_iter().filter_map(|version| board::version(&self.core, version)) {
            // Nobody may be looking.
            let _ = self.outlets.rows.send(Arc::new(row));
        }
        if facts.iter().any(|fact| matches!(fact, Fact::Committed { .. } | Fact::Checkpointed { .. })) {
            self.chores.committed(self.core.state());
            self.start_chores();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send { session, message } => {
                if let ServerMessage::Verdict(Verdict { refusal: Some(refusal), .. }) = &message {
                    self.outlets.refused.fetch_add(1, Ordering::Relaxed);
                    self.outlets.refusals.count(refusal.code);
                }
                self.outboxes.send(session, message);
            }
            Effect::Broadcast { message } => self.outboxes.broadcast(message),
            Effect::Merge { version, parts, outer } => match self.whole.take() {
                Some(before) => {
                    let order = Order { version, parts, outer };
                    let stores = Arc::clone(&self.stores);
                    self.merging = Some(tokio::spawn(merged(self.bench.clone(), order, before, stores)));
                }
                None => tracing::error!("{version} is asked for while another is made"),
            },
            _ => tracing::error!("the scheduler asks for something that this coordinator does not know"),
        }
    }

    fn answer(&mut self, query: Query) {
        // Who asked may be gone; then the answer is dropped.
        match query {
            Query::View(answer) => {
                if let Some(view) = self.view() {
                    let _ = answer.send(view);
                }
            }
            Query::History { after, rows_max, answer } => {
                let _ = answer.send(board::history(&self.core, after, rows_max));
            }
            Query::Version { version, answer } => {
                let _ = answer.send(board::version(&self.core, version));
            }
            Query::Contributions { after, rows_max, answer } => {
                let _ = answer.send(board::contributions(&self.core, &self.devices, after, rows_max));
            }
            Query::Lease { task, answer } => {
                let _ = answer.send(board::lease(&self.core, task));
            }
        }
    }

    /// What pages see. Only asked for where everything in memory is durable.
    fn view(&mut self) -> Shown {
        if self.shown.is_none() {
            let (room, refused) = (self.stores.disk.room(), self.outlets.refusals.all());
            self.shown = board::job(&self.core, &self.card, self.journal.head(), room, refused).map(Arc::new);
        }
        self.shown.clone()
    }

    /// Shows what was refused since the last tick: anybody can be refused, and none of them is to make
    /// what all pages share be made anew.
    fn refresh(&mut self) {
        let refused = self.outlets.refusals.all();
        if self.shown.take_if(|shown| shown.refused != refused).is_some() {
            self.outlets.changes.send_modify(|revision| *revision += 1);
        }
        self.last_shown = self.view();
    }

    /// Forgets what nothing needs any more.
    fn tidy(&mut self) {
        let (state, presence) = (self.core.state(), self.core.presence());
        let connected: BTreeSet<VolunteerKey> = presence.connected().map(|(_, session)| session.volunteer).collect();
        self.devices.retain(|volunteer, _| connected.contains(volunteer) || state.tally(volunteer).is_some());
        self.chores.forget_uploads(state);
        self.start_chores();
    }

    fn start_chores(&mut self) {
        if self.past.is_none() {
            self.chores.start();
        }
    }
}

/// What a panic says.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked")
}

/// A merge, as often as it takes for the disk to take its version.
async fn merged(bench: Bench, order: Order, before: Whole, stores: Arc<Stores>) -> Result<Made, MergeError> {
    let mut made = bench.make(order, before).await?;
    loop {
        let error = match bench.keep(&mut made).await {
            Ok(()) => return Ok(made),
            Err(error) if error.is_full() => error,
            Err(error) => return Err(error),
        };
        stores.disk.is_full(&error);
        if !stores.disk.wait().await {
            return Err(error);
        }
    }
}

/// The end of a task; never where none is under way.
async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}
