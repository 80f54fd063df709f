//! The owner's controls; each needs the token of the first start.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
};
use potluck_protocol::{ErrorCode, limits};
use potluck_scheduler::Control;
use serde::Deserialize;

use crate::{problem::Problem, shared::Shared};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    control: Control,
}

/// `POST jobs/{job}/control`; answers once the fact is durable.
pub(super) async fn control(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    // Before anything else, so that nobody learns from the answers without the token.
    authorise(&shared, &headers)?;
    let job = shared.job(&name)?;
    let max = limits::CONTROL_BYTES_MAX;
    let body = body.map_err(|_| Problem::new(ErrorCode::TooLarge, format!("a control has at most {max} bytes")))?;
    let expected = "expected {\"control\": \"pause\"}, \"resume\" or \"stop\"";
    let Request { control } =
        serde_json::from_slice(&body).map_err(|e| Problem::new(ErrorCode::BadRequest, format!("{expected}: {e}")))?;
    job.control(control).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn authorise(shared: &Shared, headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|value| value.strip_prefix("Bearer "));
    if token.is_some_and(|token| shared.is_owner(token.trim())) {
        return Ok(());
    }
    let detail = "send the owner token of this coordinator's folder as `Authorization: Bearer TOKEN`";
    Err(Problem::new(ErrorCode::NotAuthorised, detail))
}
