//! The owner's controls; each needs the token of the first start.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
};
use potluck_protocol::{ErrorCode, RecipeChange, limits};
use potluck_scheduler::Control;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{problem::Problem, shared::Shared};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    control: Word,
    /// A part of what `GET jobs/{job}` shows as `recipe`; with `set`, and with nothing else.
    train: Option<Map<String, Value>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Pause,
    Resume,
    Stop,
    Set,
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
    job.control(control_from_json(&body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn control_from_json(body: &[u8]) -> Result<Control, Problem> {
    let expected =
        "expected {\"control\": \"pause\"}, \"resume\" or \"stop\", or {\"control\": \"set\", \"train\": {...}}";
    let bad = |reason: String| Problem::new(ErrorCode::BadRequest, format!("{expected}: {reason}"));
    let Request { control, train } = serde_json::from_slice(body).map_err(|e| bad(e.to_string()))?;
    match (control, train) {
        (Word::Pause, None) => Ok(Control::Pause),
        (Word::Resume, None) => Ok(Control::Resume),
        (Word::Stop, None) => Ok(Control::Stop),
        (Word::Set, Some(train)) => Ok(Control::Set(Box::new(change_from_json(train)?))),
        (Word::Set, None) => Err(bad("train is missing".to_owned())),
        (_, Some(_)) => Err(bad("train goes with \"set\" only".to_owned())),
    }
}

/// Read field by field, so that an error names its own.
fn change_from_json(train: Map<String, Value>) -> Result<RecipeChange, Problem> {
    for (field, value) in &train {
        let alone = Value::Object(Map::from_iter([(field.clone(), value.clone())]));
        if let Err(error) = serde_json::from_value::<RecipeChange>(alone) {
            let field: String = field.chars().take(limits::JOB_NAME_BYTES_MAX).collect();
            return Err(Problem::new(ErrorCode::BadRequest, format!("train.{field}: {error}; nothing was changed")));
        }
    }
    serde_json::from_value(Value::Object(train)).map_err(|e| Problem::new(ErrorCode::BadRequest, e.to_string()))
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
