//! The coordinator's addresses, in one place for every shell.
//!
//! It must not know how a request is made.

pub use potluck_protocol::VOLUNTEER_HEADER;
use potluck_protocol::{BlobId, ErrorCode, JobName, Millis, TaskId, limits};
use serde::Deserialize;

/// Where one job is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `https://host[/prefix]`, without a slash at the end.
    base: String,
    job: JobName,
}

/// Why a text is not a coordinator's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Neither `http://` nor `https://`, or no host.
    #[error("a coordinator's address starts with http:// or https:// and names a host, got {got:?}")]
    NotHttp {
        /// What was given, cut to 80 characters.
        got: String,
    },
}

impl Address {
    /// The job at this coordinator.
    ///
    /// # Errors
    /// Where `url` is not an http(s) address with a host. A query or fragment is cut off.
    pub fn new(url: &str, job: JobName) -> Result<Self, AddressError> {
        let end = url.find(['?', '#']).unwrap_or(url.len());
        let base = url[..end].trim_end_matches('/');
        let host = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://")).unwrap_or_default();
        if host.is_empty() || host.starts_with('/') || host.contains(char::is_whitespace) {
            return Err(AddressError::NotHttp { got: url.chars().take(80).collect() });
        }
        Ok(Self { base: base.to_owned(), job })
    }

    /// The WebSocket.
    pub fn connect(&self) -> String {
        let Self { base, job } = self;
        // `http` becomes `ws` and `https` becomes `wss`.
        format!("ws{}/api/v1/jobs/{job}/connect", &base["http".len()..])
    }

    /// The job's name.
    pub fn name(&self) -> &JobName {
        &self.job
    }

    /// What the job is and how it stands.
    pub fn job(&self) -> String {
        let Self { base, job } = self;
        format!("{base}/api/v1/jobs/{job}")
    }

    /// What the version of an earlier visit is called where it is kept; nothing is there to be fetched.
    pub fn kept_version(&self) -> String {
        format!("{}/kept-version", self.job())
    }

    /// A blob.
    pub fn blob(&self, id: BlobId) -> String {
        format!("{}/api/v1/blobs/{id}", self.base)
    }

    /// Where the update of a task is put.
    pub fn update(&self, task: TaskId) -> String {
        let Self { base, job } = self;
        format!("{base}/api/v1/jobs/{job}/tasks/{task}/update")
    }
}

/// What an HTTP answer means for the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRefusal {
    /// The stable code of the body, where it is `application/problem+json` of ours.
    pub code: Option<ErrorCode>,
    /// For people.
    pub detail: String,
    /// True where the same request may succeed later.
    pub retryable: bool,
}

/// The fields of a problem document (RFC 9457) that we use.
#[derive(Deserialize)]
struct Problem {
    code: Option<ErrorCode>,
    detail: Option<String>,
}

impl HttpRefusal {
    /// Longest body that is looked at: a problem document is below 1 KiB.
    pub const BODY_BYTES_MAX: usize = 4 << 10;

    /// Reads the refusal out of a status that is not 2xx, and its body.
    pub fn from_response(status: u16, body: &[u8]) -> Self {
        let body = body.get(..Self::BODY_BYTES_MAX).unwrap_or(body);
        let problem = serde_json::from_slice(body).unwrap_or(Problem { code: None, detail: None });
        let detail = problem.detail.unwrap_or_else(|| format!("status {status}"));
        let detail = detail.chars().take(limits::TEXT_FIELD_BYTES_MAX).collect();
        // 408 request timeout, 425 too early, 429 too many requests; 5xx is the server's trouble.
        let retryable = matches!(status, 408 | 425 | 429 | 500..=599);
        Self { code: problem.code, detail, retryable }
    }

    /// A request that got no answer at all.
    pub fn no_answer(detail: impl Into<String>) -> Self {
        Self { code: None, detail: detail.into(), retryable: true }
    }

    /// An answer that is larger than it may be.
    pub fn too_large(bytes_max: usize) -> Self {
        Self { code: Some(ErrorCode::TooLarge), detail: format!("more than {bytes_max} bytes"), retryable: false }
    }
}

/// The `Range` header that asks for what follows the first `have` bytes, where there are any.
pub fn range_from(have: usize) -> Option<String> {
    (have > 0).then(|| format!("bytes={have}-"))
}

/// Takes the status of an answer to [`range_from`]: `bytes` stay where the rest follows, and are
/// dropped where the whole does. False where no body of the blob does. The name of what comes out is
/// checked, so nothing else of the answer needs to be believed.
///
/// # Errors
/// The server has no rest, so `bytes` are not the beginning of what it has: to be fetched anew.
pub fn answers_range(status: u16, bytes: &mut Vec<u8>) -> Result<bool, HttpRefusal> {
    match status {
        200 => bytes.clear(),
        206 if !bytes.is_empty() => {}
        416 if !bytes.is_empty() => {
            bytes.clear();
            return Err(HttpRefusal::no_answer("there is no rest"));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// # Errors
/// Fewer bytes came than were announced: not every client takes that for an error.
pub fn check_whole(bytes: usize, total: Option<u64>) -> Result<(), HttpRefusal> {
    if total.is_some_and(|total| total > bytes as u64) { Err(HttpRefusal::no_answer("it broke off")) } else { Ok(()) }
}

/// Longest wait for the first byte of an answer; past it the request is tried again.
pub const REQUEST_MILLIS_MAX: Millis = 30_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobName {
        "digits".parse().expect("a job name")
    }

    #[track_caller]
    fn check(url: &str, connect: &str) {
        assert_eq!(Address::new(url, job()).expect("an address").connect(), connect);
    }

    #[test]
    fn the_socket_follows_the_scheme_and_prefix() {
        check("http://127.0.0.1:8000", "ws://127.0.0.1:8000/api/v1/jobs/digits/connect");
        check("https://example.org/potluck/", "wss://example.org/potluck/api/v1/jobs/digits/connect");
        check("https://example.org/?a=b#c", "wss://example.org/api/v1/jobs/digits/connect");
    }

    #[test]
    fn blobs_and_updates_have_addresses() {
        let address = Address::new("http://h", job()).expect("an address");
        assert_eq!(address.update(TaskId(9)), "http://h/api/v1/jobs/digits/tasks/9/update");
        assert_eq!(address.blob(BlobId([0; 32])), format!("http://h/api/v1/blobs/{}", "0".repeat(64)));
    }

    #[test]
    fn other_texts_are_refused() {
        for url in ["", "example.org", "ftp://example.org", "http://", "https:///path", "http://a b"] {
            assert!(Address::new(url, job()).is_err(), "{url}");
        }
    }

    #[test]
    fn the_rest_follows_or_everything_does() {
        let after = |status| {
            let mut bytes = vec![1, 2];
            (answers_range(status, &mut bytes).map_err(|refusal| refusal.retryable), bytes.len())
        };
        assert_eq!([206, 200, 416, 503].map(after), [(Ok(true), 2), (Ok(true), 0), (Err(true), 0), (Ok(false), 2)]);
        assert_eq!(answers_range(206, &mut Vec::new()), Ok(false));
        assert!(check_whole(1, Some(2)).is_err() && check_whole(2, Some(2)).is_ok() && check_whole(1, None).is_ok());
        assert_eq!([range_from(0), range_from(7)], [None, Some("bytes=7-".to_owned())]);
    }

    #[test]
    fn a_problem_document_is_read() {
        let body = br#"{"type":"about:blank","title":"Gone","status":410,"code":"lease_expired","detail":"too late"}"#;
        let expected =
            HttpRefusal { code: Some(ErrorCode::LeaseExpired), detail: "too late".to_owned(), retryable: false };
        assert_eq!(HttpRefusal::from_response(410, body), expected);
        assert!(HttpRefusal::from_response(503, b"<html>").retryable);
        assert!(!HttpRefusal::from_response(404, &[0xff; 9999]).retryable);
    }
}
