//! How much room a coordinator's folder has: by its owner's quota and by the disk itself. Where there
//! is none, rubbish goes first; then leases pause until there is room again. Nothing that was
//! acknowledged depends on it: what waits for room is told to nobody.
//!
//! It must not know what the bytes are.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use potluck_protocol::limits;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};

use crate::job::Job;

/// How often room is looked for where there is none, and the folder measured where it has a quota.
const LOOK: Duration = Duration::from_secs(1);

/// Measuring takes at most one part in so many of the time, however many files there are.
const MEASURE_SHARE: u32 = 50;

/// What has to be free again: one part in so many of a quota.
const FREED_SHARE: u64 = 50;

/// Written and deleted to see whether the disk takes anything: a group of facts or a small version.
const PROBE_BYTES: usize = 1 << 20;

/// Whether there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is.
    Enough,
    /// The folder holds as much as its owner lets it.
    Quota {
        /// Bytes that it holds.
        used: u64,
        /// Bytes that it may hold.
        max: u64,
    },
    /// The disk took no more.
    Full,
}

impl Room {
    /// In two words, where there is none.
    pub(crate) fn blocked(self) -> Option<&'static str> {
        match self {
            Self::Enough => None,
            Self::Quota { .. } => Some("disk quota"),
            Self::Full => Some("disk full"),
        }
    }
}

/// The room of one folder.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    max: Option<u64>,
    room: watch::Sender<Room>,
    /// Bytes of uploads since the folder was last measured.
    taken: AtomicU64,
    measured: AtomicU64,
    ending: watch::Sender<bool>,
}

impl Disk {
    /// The room of a folder that may hold so many bytes, or all that the disk takes.
    pub(crate) fn new(folder: &Path, max: Option<u64>) -> Self {
        Self {
            folder: folder.to_owned(),
            max,
            room: watch::Sender::new(Room::Enough),
            taken: AtomicU64::default(),
            measured: AtomicU64::default(),
            ending: watch::Sender::new(false),
        }
    }

    /// Whether there is room now.
    pub(crate) fn room(&self) -> Room {
        *self.room.borrow()
    }

    /// Hears of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<Room> {
        self.room.subscribe()
    }

    /// So many bytes were stored.
    pub(crate) fn took(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The disk did not take something; `why` names the file.
    pub(crate) fn is_full(&self, why: &dyn std::fmt::Display) {
        let is_new = self.room.send_if_modified(|room| {
            let is_new = *room != Room::Full;
            *room = Room::Full;
            is_new
        });
        if is_new {
            tracing::warn!("paused: {why}");
        }
    }

    /// Waits until it is worth another try; false where there will be none.
    pub(crate) async fn wait(&self) -> bool {
        let (mut room, mut ending) = (self.changes(), self.ending.subscribe());
        let there_is = async {
            // Both senders live as long as this does.
            let _ = room.wait_for(|room| *room != Room::Full).await;
        };
        tokio::select! {
            () = there_is => true,
            _ = ending.wait_for(|ending| *ending) => false,
        }
    }

    /// Ends every wait.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Looks for room until [`Disk::end`].
    pub(crate) async fn watch(self: Arc<Self>, jobs: Vec<Arc<Job>>) {
        let mut ending = self.ending.subscribe();
        tokio::select! {
            () = self.look_again_and_again(&jobs) => {}
            _ = ending.wait_for(|ending| *ending) => {}
        }
    }

    async fn look_again_and_again(&self, jobs: &[Arc<Job>]) {
        let mut measure_at = Instant::now();
        loop {
            match (self.room(), self.max) {
                (Room::Full, _) => self.probe(jobs).await,
                (_, Some(max)) if Instant::now() >= measure_at || self.is_near(max) => {
                    let began = Instant::now();
                    self.measure(max, jobs).await;
                    measure_at = Instant::now() + MEASURE_SHARE * began.elapsed();
                }
                _ => {}
            }
            let mut changes = self.changes();
            tokio::select! {
                () = sleep(LOOK) => {}
                // A disk that has just become full is not probed at once.
                _ = changes.changed() => sleep(LOOK).await,
            }
        }
    }

    /// True where what was stored since may have used the quota up.
    fn is_near(&self, max: u64) -> bool {
        let [measured, taken] = [&self.measured, &self.taken].map(|bytes| bytes.load(Ordering::Relaxed));
        self.room() == Room::Enough && measured + taken >= max
    }

    /// Sees whether the disk takes something, after whatever can go has gone.
    async fn probe(&self, jobs: &[Arc<Job>]) {
        collect(jobs).await;
        let path = self.folder.join("probe");
        let takes = spawn_blocking(move || write_and_delete(&path)).await;
        if matches!(takes, Ok(Ok(()))) {
            tracing::warn!("the disk has room again: going on");
            self.room.send_replace(Room::Enough);
        }
    }

    /// Compares what the folder holds with the quota. Rubbish goes before anything pauses.
    async fn measure(&self, max: u64, jobs: &[Arc<Job>]) {
        let Some(mut used) = self.used().await else { return };
        if used >= max {
            collect(jobs).await;
            used = self.used().await.unwrap_or(used);
        }
        let is_over = match self.room() {
            // Without a distance it would pause and go on with every upload.
            Room::Quota { .. } => used > max - max / FREED_SHARE,
            _ => used >= max,
        };
        let room = if is_over { Room::Quota { used, max } } else { Room::Enough };
        let was = self.room();
        if was == Room::Full || was == room {
            return;
        }
        if room.blocked() != was.blocked() {
            match room {
                Room::Quota { used, max } => tracing::warn!(
                    "paused: disk quota: {} holds {used} bytes, --disk-max allows {max}: raise it, or make the job \
                     smaller; nothing that was acknowledged is lost",
                    self.folder.display()
                ),
                _ => tracing::warn!("the folder is below its quota again: going on"),
            }
        }
        self.room.send_replace(room);
    }

    async fn used(&self) -> Option<u64> {
        let folder = self.folder.clone();
        self.taken.store(0, Ordering::Relaxed);
        let used = spawn_blocking(move || bytes_below(&folder)).await.ok()?;
        self.measured.store(used, Ordering::Relaxed);
        Some(used)
    }
}

/// Lets every job delete what it does not need.
async fn collect(jobs: &[Arc<Job>]) {
    let all = async {
        for job in jobs {
            job.collect().await;
        }
    };
    // A job whose log waits for room collects nothing now.
    let _ = tokio::time::timeout(Duration::from_millis(limits::STOP_MILLIS_MAX), all).await;
}

fn write_and_delete(path: &Path) -> io::Result<()> {
    let written = fs::File::create(path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE_BYTES])?;
        file.sync_all()
    });
    fs::remove_file(path).and(written)
}

/// Bytes of all files below a folder; what vanishes meanwhile has none.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes_of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes_of).sum()
}
