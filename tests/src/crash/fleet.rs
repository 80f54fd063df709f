//! Native volunteers, all in this process, that write down every word of thanks.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::Instant,
};

use potluck_protocol::{TaskId, Version};
use potluck_volunteer::{Choice, Volunteer, VolunteerEvent};
use tokio::{runtime::Runtime, sync::watch, task::JoinHandle};

use super::{Kind, Moment};
use crate::{Deadline, Job};

/// A visitor's tab waits a second before it connects again. These try forty times as soon, so that
/// they are at work again before the next kill.
const HASTE: u32 = 40;

/// What a kill may wait for.
enum News {
    Acknowledged,
    Version(Version),
}

/// Volunteers at work.
pub(super) struct Fleet {
    runtime: Runtime,
    volunteers: Mutex<Vec<JoinHandle<Result<(), String>>>>,
    acknowledged: Arc<Mutex<BTreeSet<TaskId>>>,
    news: Receiver<News>,
    stop: watch::Sender<bool>,
}

impl Fleet {
    pub(super) fn start(url: &str, count: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        let (tell, news) = channel();
        let (stop, stopped) = watch::channel(false);
        let volunteers = (0..count).map(|_| {
            let volunteer = Volunteer::new(url, Job::NAME).backend(Choice::Cpu).haste(HASTE);
            let volunteer = volunteer.on_event(listener(Arc::clone(&acknowledged), tell.clone()));
            let mut stopped = stopped.clone();
            runtime.spawn(async move {
                let stop = async move {
                    let _ = stopped.wait_for(|stop| *stop).await;
                };
                volunteer.run(stop).await.map(drop).map_err(|e| format!("a volunteer gave up: {e}"))
            })
        });
        let volunteers = Mutex::new(volunteers.collect());
        Self { runtime, volunteers, acknowledged, news, stop }
    }

    /// The tasks that volunteers were told count.
    pub(super) fn acknowledged(&self) -> BTreeSet<TaskId> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the moment of a kill.
    pub(super) fn wait(&self, moment: Moment) {
        let until = Instant::now() + moment.span;
        while self.news.try_recv().is_ok() {}
        let (mut left, mut newest) = (moment.count, Version(0));
        loop {
            let is_it = match self.news.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(News::Acknowledged) => moment.kind == Kind::Acknowledgement,
                // Everybody is told of each version; the first to hear counts.
                Ok(News::Version(version)) if version > newest => {
                    newest = version;
                    moment.kind == Kind::Version
                }
                Ok(News::Version(_)) => false,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            };
            left -= u32::from(is_it);
            if left == 0 {
                return;
            }
        }
    }

    /// Waits until all of them were told that the job is done.
    pub(super) fn end(&self) -> Result<(), String> {
        // The coordinator may be gone before the last of them was told.
        self.stop.send_replace(true);
        let volunteers = std::mem::take(&mut *self.volunteers.lock().unwrap_or_else(PoisonError::into_inner));
        let left = Deadline::start().left("the volunteers' end");
        self.runtime.block_on(async {
            for volunteer in volunteers {
                let ended = tokio::time::timeout(left, volunteer).await.map_err(|_| "a volunteer does not end")?;
                ended.map_err(|e| format!("a volunteer broke: {e}"))??;
            }
            Ok(())
        })
    }

    /// Leaves them to their fate.
    pub(super) fn abandon(&self) {
        self.stop.send_replace(true);
    }
}

fn listener(
    acknowledged: Arc<Mutex<BTreeSet<TaskId>>>,
    tell: Sender<News>,
) -> impl FnMut(VolunteerEvent) + Send + 'static {
    move |event| {
        let news = match event {
            VolunteerEvent::Credited { task, .. } => {
                acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(task);
                News::Acknowledged
            }
            VolunteerEvent::Progress { version, .. } => News::Version(version),
            _ => return,
        };
        // Nobody may be waiting.
        let _ = tell.send(news);
    }
}
