//! What anyone may read of the jobs.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use potluck_protocol::{BlobId, ErrorCode, Version, VolunteerKey, limits};
use serde::Deserialize;

use super::range::Range;
use crate::{
    problem::Problem,
    shared::Shared,
    views::{ContributionRow, ContributionsPage, HistoryPage, JobRow, JobView},
};

/// `no-store`: these answers change with every commit.
const FRESH: (header::HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// `GET jobs`
pub(super) async fn jobs(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let mut rows = Vec::new();
    for job in shared.jobs() {
        let JobView { card, phase, version, samples, budget_samples, volunteers, .. } = &*job.view().await?;
        let (name, title, owner) = (card.name.clone(), card.title.clone(), card.owner.clone());
        let (phase, version, samples, budget_samples) = (*phase, *version, *samples, *budget_samples);
        rows.push(JobRow { name, title, owner, phase, version, samples, budget_samples, volunteers: *volunteers });
    }
    // A coordinator has a handful of jobs, so the list ends with its first page.
    Ok(([FRESH], Json(serde_json::json!({ "jobs": rows, "cursor": null }))).into_response())
}

/// `GET jobs/{job}`
pub(super) async fn job(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let view = shared.job(&name)?.view().await?;
    Ok(([FRESH], Json(&*view)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    cursor: Option<u64>,
}

/// `GET jobs/{job}/history`
pub(super) async fn history(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(HistoryQuery { cursor }) = query.map_err(bad_query)?;
    let versions = shared.job(&name)?.history(cursor.map(Version), limits::PAGE_ROWS_MAX).await?;
    let full = versions.len() == limits::PAGE_ROWS_MAX;
    let cursor = versions.last().filter(|_| full).map(|row| row.version.0);
    Ok(([FRESH], Json(HistoryPage { versions, cursor })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContributionsQuery {
    cursor: Option<VolunteerKey>,
    format: Option<Format>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    Json,
    Csv,
}

/// `GET jobs/{job}/contributions`
pub(super) async fn contributions(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    query: Result<Query<ContributionsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(ContributionsQuery { cursor, format }) = query.map_err(bad_query)?;
    let job = shared.job(&name)?;
    if format == Some(Format::Csv) {
        let rows = job.contributions(cursor, usize::MAX).await?;
        let disposition = format!("attachment; filename=\"{}-contributions.csv\"", job.name());
        let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8"), (header::CONTENT_DISPOSITION, &disposition)];
        return Ok(([FRESH], headers, csv(&rows)).into_response());
    }
    let contributions = job.contributions(cursor, limits::PAGE_ROWS_MAX).await?;
    let full = contributions.len() == limits::PAGE_ROWS_MAX;
    let cursor = contributions.last().filter(|_| full).map(|row| row.volunteer);
    Ok(([FRESH], Json(ContributionsPage { contributions, cursor })).into_response())
}

fn csv(rows: &[ContributionRow]) -> String {
    let mut text = "volunteer,agent,adapter,backend,tasks,samples,flops,first_at,last_at\r\n".to_owned();
    for ContributionRow { volunteer, agent, adapter, backend, tasks, samples, flops, first_at, last_at } in rows {
        let backend = backend.and_then(|b| serde_json::to_string(&b).ok()).unwrap_or_default();
        let (agent, adapter) = (csv_text(agent.as_deref()), csv_text(adapter.as_deref()));
        let backend = backend.trim_matches('"');
        text += &format!("{volunteer},{agent},{adapter},{backend},{tasks},{samples},{flops},{first_at},{last_at}\r\n");
    }
    text
}

/// A peer's text in quotes (RFC 4180). A first character that spreadsheets take for a formula gets
/// an apostrophe in front.
fn csv_text(text: Option<&str>) -> String {
    let text = text.unwrap_or_default();
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

/// `GET jobs/{job}/program`
pub(super) async fn program(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let json = shared.job(&name)?.program_json().clone();
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "max-age=60")], json).into_response())
}

/// `GET jobs/{job}/config.json`
pub(super) async fn config(shared: State<Arc<Shared>>, name: Path<String>) -> Result<Response, Problem> {
    file(shared, name, "config.json").await
}

/// `GET jobs/{job}/tokenizer.json`
pub(super) async fn tokenizer(shared: State<Arc<Shared>>, name: Path<String>) -> Result<Response, Problem> {
    file(shared, name, "tokenizer.json").await
}

/// What goes with the model's parameters, fixed when the job was made.
async fn file(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    file: &'static str,
) -> Result<Response, Problem> {
    let job = shared.job(&name)?;
    let missing = || Problem::new(ErrorCode::UnknownBlob, format!("the model of this job has no {file}"));
    let bytes = shared.served(job.file(file).ok_or_else(missing)?).await?;
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "max-age=60")], bytes).into_response())
}

/// `GET blobs/{sha256}`: only what jobs name publicly, so neither test blocks nor uploads.
///
/// A download that broke off goes on with `Range`: the name is the hash, so the rest always fits.
pub(super) async fn blob(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let unknown = || Problem::new(ErrorCode::UnknownBlob, "there is no public blob of that name here");
    let id: BlobId = id.parse().map_err(|_| unknown())?;
    if !shared.is_public(id) {
        return Err(unknown());
    }
    let bytes = shared.served(id).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::ACCEPT_RANGES, "bytes"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ];
    let headers = (headers, [(header::ETAG, format!("\"{id}\""))]);
    let range = request.get(header::RANGE).and_then(|value| Range::parse(value.to_str().ok()?, bytes.len()));
    Ok(match range {
        None => (headers, Body::from(bytes)).into_response(),
        Some(Range::Of { start, end }) => {
            let of = [(header::CONTENT_RANGE, format!("bytes {start}-{}/{}", end - 1, bytes.len()))];
            (StatusCode::PARTIAL_CONTENT, headers, of, Body::from(bytes.slice(start..end))).into_response()
        }
        Some(Range::Beyond) => {
            let of = [(header::CONTENT_RANGE, format!("bytes */{}", bytes.len()))];
            (StatusCode::RANGE_NOT_SATISFIABLE, of).into_response()
        }
    })
}

pub(super) fn bad_query(rejection: QueryRejection) -> Problem {
    Problem::new(ErrorCode::BadRequest, rejection.body_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_of_hostile_texts_stays_one_field() {
        assert_eq!(csv_text(Some("a \"b\", c\n")), "\"a \"\"b\"\", c\n\"");
        assert_eq!(csv_text(Some("=1+1")), "\"'=1+1\"");
        assert_eq!(csv_text(None), "\"\"");
    }
}
