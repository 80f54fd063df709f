//! Errors of the HTTP API: `application/problem+json` (RFC 9457) with the stable codes of the
//! protocol.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use potluck_protocol::{ErrorCode, Refusal};
use serde::Serialize;

/// An answer that says what was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: ErrorCode,
    pub(crate) detail: String,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: ErrorCode,
    detail: &'a str,
}

impl Problem {
    /// A problem with the status that belongs to its code.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { status: status(code), code, detail: detail.into() }
    }

    /// A request that no address takes.
    pub(crate) fn no_address() -> Self {
        let detail = "there is nothing at this address; the API is under /api/v1";
        Self { status: StatusCode::NOT_FOUND, code: ErrorCode::BadRequest, detail: detail.to_owned() }
    }

    /// A method that the address does not take.
    pub(crate) fn no_method() -> Self {
        let detail = "this address does not take that method";
        Self { status: StatusCode::METHOD_NOT_ALLOWED, code: ErrorCode::BadRequest, detail: detail.to_owned() }
    }

    /// The pages were not built into this binary.
    pub(crate) fn no_pages() -> Self {
        let detail = "the pages are missing from this build: run `cargo xtask build`, then start again";
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code: ErrorCode::Internal, detail: detail.to_owned() }
    }

    /// The same words for a WebSocket.
    pub(crate) fn refusal(&self) -> Refusal {
        Refusal { code: self.code, detail: self.detail.clone() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, code, detail } = self;
        let name = name(code);
        let body = Body {
            r#type: format!("urn:potluck:error:{name}"),
            title: title(code),
            status: status.as_u16(),
            code,
            detail: &detail,
        };
        let body = serde_json::to_string(&body).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The code's name on the wire.
pub(crate) fn name(code: ErrorCode) -> String {
    let text = serde_json::to_string(&code).unwrap_or_default();
    text.trim_matches('"').to_owned()
}

fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnknownJob | ErrorCode::UnknownTask | ErrorCode::UnknownBlob => StatusCode::NOT_FOUND,
        ErrorCode::NotYourTask | ErrorCode::BadSignature => StatusCode::FORBIDDEN,
        ErrorCode::LeaseExpired => StatusCode::GONE,
        ErrorCode::AlreadyMerged | ErrorCode::UpdateMissing | ErrorCode::OutOfOrder | ErrorCode::JobFinished => {
            StatusCode::CONFLICT
        }
        ErrorCode::UpdateMalformed
        | ErrorCode::UpdateNotFinite
        | ErrorCode::ResultMismatch
        | ErrorCode::NormOutOfRange => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::TooManyLeases => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Full => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::NotAuthorised => StatusCode::UNAUTHORIZED,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn title(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::BadJson => "Not JSON",
        ErrorCode::UnknownMessage => "Unknown message",
        ErrorCode::TooLarge => "Too large",
        ErrorCode::OutOfOrder => "Out of order",
        ErrorCode::UnknownJob => "No such job",
        ErrorCode::UnknownTask => "No such task",
        ErrorCode::UnknownBlob => "No such blob",
        ErrorCode::NotYourTask => "Somebody else's task",
        ErrorCode::BadSignature => "Bad signature",
        ErrorCode::LeaseExpired => "Lease expired",
        ErrorCode::AlreadyMerged => "Already merged",
        ErrorCode::UpdateMissing => "Update missing",
        ErrorCode::UpdateMalformed => "Malformed update",
        ErrorCode::UpdateNotFinite => "Update not finite",
        ErrorCode::ResultMismatch => "Result does not fit the lease",
        ErrorCode::NormOutOfRange => "Update's norm out of range",
        ErrorCode::TooManyLeases => "Too many leases",
        ErrorCode::Full => "Full",
        ErrorCode::NotAuthorised => "Not authorised",
        ErrorCode::JobFinished => "Job finished",
        ErrorCode::Internal => "Internal error",
        _ => "Bad request",
    }
}
