//! Native volunteers, all in this process, that write down every word of thanks.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::Instant,
};

use potluck_protocol::{Millis, TaskId, Version};
use potluck_volunteer::{Choice, Volunteer, VolunteerEvent};
use tokio::{runtime::Runtime, sync::watch, task::JoinHandle};

use crate::{
    Deadline, Job,
    crash::{Kind, Moment},
};

/// A visitor's tab waits a second before it connects again. In this haste it tries forty times as
/// soon, and is at work again before the next kill.
pub const HASTE: u32 = 40;

/// What a test may wait for.
enum News {
    Joined,
    Acknowledged,
    Version(Version),
}

/// What they were told.
#[derive(Debug, Default)]
struct Heard {
    acknowledged: BTreeSet<TaskId>,
    away: Vec<Millis>,
}

/// Volunteers at work.
#[derive(Debug)]
pub struct Fleet {
    runtime: Option<Runtime>,
    volunteers: Mutex<Vec<JoinHandle<Result<(), String>>>>,
    heard: Arc<Mutex<Heard>>,
    news: Receiver<News>,
    stop: watch::Sender<bool>,
}

impl Fleet {
    /// So many volunteers for the job at this address, in so much haste.
    ///
    /// # Panics
    /// Where there are no threads for them.
    pub fn start(url: &str, count: usize, haste: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let (tell, news) = channel();
        let (stop, stopped) = watch::channel(false);
        let volunteers = (0..count).map(|_| {
            let volunteer = Volunteer::new(url, Job::NAME).backend(Choice::Cpu).haste(haste);
            let volunteer = volunteer.on_event(listener(Arc::clone(&heard), tell.clone()));
            let mut stopped = stopped.clone();
            runtime.spawn(async move {
                let stop = async move {
                    let _ = stopped.wait_for(|stop| *stop).await;
                };
                volunteer.run(stop).await.map(drop).map_err(|e| format!("a volunteer gave up: {e}"))
            })
        });
        let volunteers = Mutex::new(volunteers.collect());
        Self { runtime: Some(runtime), volunteers, heard, news, stop }
    }

    /// The tasks that volunteers were told count.
    pub fn acknowledged(&self) -> BTreeSet<TaskId> {
        self.heard().acknowledged.clone()
    }

    /// After how long those who lost their connection try again, one span for each time.
    pub fn away(&self) -> Vec<Millis> {
        self.heard().away.clone()
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many have been welcomed since the start.
    ///
    /// # Panics
    /// Once the deadline has passed.
    pub fn wait_for_joined(&self, count: usize, deadline: Deadline) {
        let mut joined = 0;
        while joined < count {
            let news = self.news.recv_timeout(deadline.left("volunteers to join"));
            joined += usize::from(matches!(news, Ok(News::Joined)));
        }
    }

    /// Waits for the moment of a kill.
    pub fn wait(&self, moment: Moment) {
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
                Ok(News::Version(_) | News::Joined) => false,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            };
            left -= u32::from(is_it);
            if left == 0 {
                return;
            }
        }
    }

    /// Waits until all of them have ended, as they do by themselves when the job is done.
    ///
    /// # Errors
    /// Where one of them gave up before.
    pub fn end(&self) -> Result<(), String> {
        // The coordinator may be gone before the last of them was told.
        self.stop.send_replace(true);
        let volunteers = std::mem::take(&mut *self.volunteers.lock().unwrap_or_else(PoisonError::into_inner));
        let left = Deadline::start().left("the volunteers' end");
        let Some(runtime) = &self.runtime else { return Ok(()) };
        runtime.block_on(async {
            for volunteer in volunteers {
                let ended = tokio::time::timeout(left, volunteer).await.map_err(|_| "a volunteer does not end")?;
                ended.map_err(|e| format!("a volunteer broke: {e}"))??;
            }
            Ok(())
        })
    }
}

/// Leaves them to their fate. A runtime must not be waited for inside another, where a fleet may be
/// dropped too.
impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn listener(heard: Arc<Mutex<Heard>>, tell: Sender<News>) -> impl FnMut(VolunteerEvent) + Send + 'static {
    move |event| {
        let news = match event {
            VolunteerEvent::Joined { .. } => News::Joined,
            VolunteerEvent::Credited { task, .. } => {
                heard.lock().unwrap_or_else(PoisonError::into_inner).acknowledged.insert(task);
                News::Acknowledged
            }
            VolunteerEvent::Progress { version, .. } => News::Version(version),
            VolunteerEvent::Offline { retry_millis } => {
                return heard.lock().unwrap_or_else(PoisonError::into_inner).away.push(retry_millis);
            }
            _ => return,
        };
        // Nobody may be waiting.
        let _ = tell.send(news);
    }
}
