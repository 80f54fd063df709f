//! Blobs in and updates out over HTTP, on tokio's blocking threads.
//!
//! It must not know what the bytes are, and checks nothing but their number.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use potluck_protocol::{BlobId, TaskId, VolunteerKey};
use tokio::sync::mpsc;

use crate::{
    address::{Address, HttpRefusal, REQUEST_MILLIS_MAX, VOLUNTEER_HEADER, answers_range, check_whole, range_from},
    cache::Blob,
    pace::StopFlag,
    session::Event,
};

/// Read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Shortest span between two words about the progress of one fetch.
const PROGRESS_SPAN: Duration = Duration::from_millis(100);

pub(super) struct Http {
    client: ureq::Agent,
    address: Address,
    volunteer: VolunteerKey,
    events: mpsc::Sender<Event>,
    stop: StopFlag,
}

impl Http {
    pub(super) fn new(address: Address, volunteer: VolunteerKey, agent: &str, events: mpsc::Sender<Event>) -> Self {
        let patience = Some(Duration::from_millis(REQUEST_MILLIS_MAX));
        let client = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(patience)
            .timeout_recv_response(patience)
            .timeout_per_read(patience)
            .timeout_per_write(patience)
            .user_agent(agent)
            .build()
            .new_agent();
        Self { client, address, volunteer, events, stop: StopFlag::default() }
    }

    /// Ends what is under way soon.
    pub(super) fn stop(&self) {
        self.stop.raise();
    }

    /// Answers with `Fetched` or `FetchFailed`.
    pub(super) fn fetch(&self, id: BlobId, bytes_max: usize, mut bytes: Vec<u8>) {
        let (client, url) = (self.client.clone(), self.address.blob(id));
        let (events, stop) = (self.events.clone(), self.stop.clone());
        tokio::task::spawn_blocking(move || {
            let progress = |bytes, total| {
                // Progress is worth no waiting: it is dropped where the session is busy.
                let _ = events.try_send(Event::Fetching { id, bytes, total });
            };
            let event = match get(&client, &url, bytes_max, &mut bytes, &stop, progress) {
                Ok(()) => Event::Fetched { id, bytes },
                Err(HttpRefusal { detail, retryable, .. }) => Event::FetchFailed { id, retryable, detail, came: bytes },
            };
            // The shell may have ended first.
            let _ = events.blocking_send(event);
        });
    }

    /// Answers with `Uploaded` or `UploadFailed`.
    pub(super) fn upload(&self, task: TaskId, bytes: Blob) {
        let (client, url) = (self.client.clone(), self.address.update(task));
        let (events, volunteer) = (self.events.clone(), self.volunteer);
        tokio::task::spawn_blocking(move || {
            let event = match put(&client, &url, volunteer, &bytes) {
                Ok(()) => Event::Uploaded { task },
                Err(HttpRefusal { code, detail, retryable }) => Event::UploadFailed { task, code, detail, retryable },
            };
            let _ = events.blocking_send(event);
        });
    }
}

/// Reads what follows `bytes` to their end, or everything anew where the answer is whole.
fn get(
    client: &ureq::Agent,
    url: &str,
    bytes_max: usize,
    bytes: &mut Vec<u8>,
    stop: &StopFlag,
    progress: impl Fn(u64, Option<u64>),
) -> Result<(), HttpRefusal> {
    let mut request = client.get(url);
    if let Some(range) = range_from(bytes.len()) {
        request = request.header("range", range);
    }
    let mut response = request.call().map_err(|e| HttpRefusal::no_answer(e.to_string()))?;
    let status = response.status().as_u16();
    let length = response.body().content_length();
    let mut body = response.body_mut().as_reader();
    if !answers_range(status, bytes)? {
        return Err(refusal(status, body));
    }
    let total = length.map(|length| length.saturating_add(bytes.len() as u64));
    if total.is_some_and(|total| total > bytes_max as u64) {
        return Err(HttpRefusal::too_large(bytes_max));
    }
    bytes.reserve_exact(length.unwrap_or(0) as usize);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut told_at = Instant::now();
    loop {
        let count = body.read(&mut chunk).map_err(|e| HttpRefusal::no_answer(e.to_string()))?;
        if count == 0 {
            return check_whole(bytes.len(), total);
        }
        if bytes.len() + count > bytes_max {
            return Err(HttpRefusal::too_large(bytes_max));
        }
        bytes.extend_from_slice(&chunk[..count]);
        if stop.is_raised() {
            return Err(HttpRefusal::no_answer("stopped"));
        }
        if told_at.elapsed() >= PROGRESS_SPAN {
            told_at = Instant::now();
            progress(bytes.len() as u64, total);
        }
    }
}

fn put(client: &ureq::Agent, url: &str, volunteer: VolunteerKey, bytes: &[u8]) -> Result<(), HttpRefusal> {
    let mut response = client
        .put(url)
        .header(VOLUNTEER_HEADER, volunteer.to_string())
        .content_type("application/octet-stream")
        .send(bytes)
        .map_err(|e| HttpRefusal::no_answer(e.to_string()))?;
    let status = response.status().as_u16();
    if response.status().is_success() {
        return Ok(());
    }
    Err(refusal(status, response.body_mut().as_reader()))
}

fn refusal(status: u16, body: impl Read) -> HttpRefusal {
    let mut bytes = Vec::new();
    // What cannot be read says nothing; the status says enough.
    let _ = body.take(HttpRefusal::BODY_BYTES_MAX as u64).read_to_end(&mut bytes);
    HttpRefusal::from_response(status, &bytes)
}
