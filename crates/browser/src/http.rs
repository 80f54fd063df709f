//! Blobs in and updates out by `fetch`, each bounded in size and in silence.
//!
//! It must not know what the bytes are, and checks nothing but their number.

use std::future::Future;

use futures::{
    channel::mpsc::UnboundedSender,
    future::{Either, select},
};
use gloo_net::http::{Request, RequestBuilder, Response};
use gloo_timers::future::TimeoutFuture;
use js_sys::{Reflect, Uint8Array};
use potluck_protocol::{BlobId, TaskId, VolunteerKey};
use potluck_volunteer::{
    Address, Blob, Event, HttpRefusal, REQUEST_MILLIS_MAX, VOLUNTEER_HEADER, answers_range, check_whole, range_from,
};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, AbortSignal, ReadableStreamDefaultReader, RequestCredentials};

use crate::clock::{Clock, text_from_js};

/// Shortest span between two words about the progress of one fetch.
const PROGRESS_MILLIS: f64 = 100.0;

/// Fetches what follows the first bytes of a blob and tells how it goes. Returns `Fetched` or `FetchFailed`.
pub(crate) async fn fetch(
    address: &Address,
    id: BlobId,
    bytes_max: usize,
    mut bytes: Vec<u8>,
    clock: &Clock,
    events: &UnboundedSender<Event>,
) -> Event {
    let progress = |bytes, total| {
        // The session may have ended.
        let _ = events.unbounded_send(Event::Fetching { id, bytes, total });
    };
    match get(&address.blob(id), bytes_max, &mut bytes, clock, progress).await {
        Ok(()) => Event::Fetched { id, bytes },
        Err(HttpRefusal { code: _, detail, retryable }) => Event::FetchFailed { id, retryable, detail, came: bytes },
    }
}

/// Puts an update. Returns `Uploaded` or `UploadFailed`.
pub(crate) async fn upload(address: &Address, volunteer: VolunteerKey, task: TaskId, bytes: &Blob) -> Event {
    match put(&address.update(task), volunteer, bytes).await {
        Ok(()) => Event::Uploaded { task },
        Err(HttpRefusal { code, detail, retryable }) => Event::UploadFailed { task, code, detail, retryable },
    }
}

/// Why this job's socket cannot open, where the coordinator says so: a browser hides the status
/// that a WebSocket was refused with.
pub(crate) async fn refusal_of_job(address: &Address) -> Option<String> {
    let patience = Patience::new().ok()?;
    let response = patience.with(bare(Request::get(&address.job()), &patience).send()).await.ok()?;
    match response.status() {
        200..300 => None,
        status => {
            let refusal = refusal(status, &response, &patience).await;
            (!refusal.retryable).then_some(refusal.detail)
        }
    }
}

/// Ends a request that is silent for too long.
struct Patience(AbortController);

impl Patience {
    fn new() -> Result<Self, HttpRefusal> {
        AbortController::new().map(Self).map_err(|e| no_answer(&e))
    }

    fn signal(&self) -> AbortSignal {
        self.0.signal()
    }

    /// One wait: for the answer's head, or for the next chunk.
    async fn with<T, E: ToString>(&self, wait: impl Future<Output = Result<T, E>>) -> Result<T, HttpRefusal> {
        let timeout = TimeoutFuture::new(REQUEST_MILLIS_MAX as u32);
        match select(std::pin::pin!(wait), timeout).await {
            Either::Left((result, _)) => result.map_err(|e| HttpRefusal::no_answer(e.to_string())),
            Either::Right(_) => {
                self.0.abort();
                Err(HttpRefusal::no_answer(format!("nothing came for {} s", REQUEST_MILLIS_MAX / 1000)))
            }
        }
    }
}

fn no_answer(error: &JsValue) -> HttpRefusal {
    HttpRefusal::no_answer(text_from_js(error))
}

/// A request without cookies that can be ended.
fn bare(request: RequestBuilder, patience: &Patience) -> RequestBuilder {
    request.credentials(RequestCredentials::Omit).abort_signal(Some(&patience.signal()))
}

/// Reads what follows `bytes` to their end, or everything anew where the answer is whole.
async fn get(
    url: &str,
    bytes_max: usize,
    bytes: &mut Vec<u8>,
    clock: &Clock,
    progress: impl Fn(u64, Option<u64>),
) -> Result<(), HttpRefusal> {
    let patience = Patience::new()?;
    let mut request = bare(Request::get(url), &patience);
    if let Some(range) = range_from(bytes.len()) {
        request = request.header("range", &range);
    }
    let response = patience.with(request.send()).await?;
    if !answers_range(response.status(), bytes)? {
        return Err(refusal(response.status(), &response, &patience).await);
    }
    // Absent where a proxy compressed the answer; then the bytes alone are counted.
    let encoded = response.headers().get("content-encoding").is_some();
    let length = response.headers().get("content-length").and_then(|text| text.parse::<u64>().ok());
    let total = length.filter(|_| !encoded).map(|length| length.saturating_add(bytes.len() as u64));
    if total.is_some_and(|total| total > bytes_max as u64) {
        patience.0.abort();
        return Err(HttpRefusal::too_large(bytes_max));
    }
    bytes.reserve_exact((total.unwrap_or(0) as usize).saturating_sub(bytes.len()));
    let mut told_at = clock.millis();
    read(&response, &patience, |chunk| {
        if bytes.len() + chunk.length() as usize > bytes_max {
            return Err(HttpRefusal::too_large(bytes_max));
        }
        let start = bytes.len();
        bytes.resize(start + chunk.length() as usize, 0);
        chunk.copy_to(&mut bytes[start..]);
        if clock.millis() >= told_at + PROGRESS_MILLIS {
            told_at = clock.millis();
            progress(bytes.len() as u64, total);
        }
        Ok(())
    })
    .await?;
    check_whole(bytes.len(), total)
}

/// Reads a body chunk by chunk; an error of `take` ends the request.
async fn read(
    response: &Response,
    patience: &Patience,
    mut take: impl FnMut(Uint8Array) -> Result<(), HttpRefusal>,
) -> Result<(), HttpRefusal> {
    let Some(body) = response.body() else { return Ok(()) };
    let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
    loop {
        let read = async { JsFuture::from(reader.read()).await.map_err(|e| text_from_js(&e)) };
        let chunk = patience.with(read).await?;
        let field = |name: &str| Reflect::get(&chunk, &name.into()).unwrap_or(JsValue::UNDEFINED);
        if field("done").is_truthy() {
            return Ok(());
        }
        let taken = match field("value").dyn_into::<Uint8Array>() {
            Ok(bytes) => take(bytes),
            Err(_) => Err(HttpRefusal::no_answer("the body is not bytes")),
        };
        if let Err(error) = taken {
            patience.0.abort();
            return Err(error);
        }
    }
}

async fn put(url: &str, volunteer: VolunteerKey, bytes: &[u8]) -> Result<(), HttpRefusal> {
    let patience = Patience::new()?;
    // An ArrayBuffer: Firefox sends other bytes for a stream, Chromium none over HTTP/1.1.
    let body = Uint8Array::from(bytes).buffer();
    let request = bare(Request::put(url), &patience)
        .header(VOLUNTEER_HEADER, &volunteer.to_string())
        .header("content-type", "application/octet-stream")
        .body(body)
        .map_err(|e| HttpRefusal::no_answer(e.to_string()))?;
    let response = patience.with(request.send()).await?;
    if response.ok() {
        return Ok(());
    }
    Err(refusal(response.status(), &response, &patience).await)
}

/// Reads a refusal, no further than its bound.
async fn refusal(status: u16, response: &Response, patience: &Patience) -> HttpRefusal {
    let mut bytes = Vec::new();
    // What cannot be read says nothing; the status says enough.
    let _ = read(response, patience, |chunk| {
        bytes.extend(chunk.to_vec());
        if bytes.len() < HttpRefusal::BODY_BYTES_MAX {
            Ok(())
        } else {
            Err(HttpRefusal::too_large(HttpRefusal::BODY_BYTES_MAX))
        }
    })
    .await;
    HttpRefusal::from_response(status, &bytes)
}
