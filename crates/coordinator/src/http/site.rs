//! What operators and auditors look at: health, metrics, who runs this and with which code.

use std::{fmt::Write, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use potluck_protocol::{BlobId, PROTOCOL_MAX, PROTOCOL_MIN};
use serde_json::json;

use crate::{
    problem::Problem,
    shared::Shared,
    views::{JobView, Phase},
};

/// `/manifest.json`: hash and size of every file that a browser may get.
pub(super) async fn manifest() -> Result<Response, Problem> {
    let asset = potluck_www::asset("manifest.json").ok_or_else(Problem::no_pages)?;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    Ok((headers, asset.bytes.into_owned()).into_response())
}

/// `/.well-known/potluck.json`
pub(super) async fn well_known(State(shared): State<Arc<Shared>>) -> Response {
    let jobs: Vec<_> = shared
        .jobs()
        .map(|job| {
            let card = job.card();
            json!({ "name": card.name, "title": card.title, "owner": card.owner, "contact": card.contact })
        })
        .collect();
    let manifest = potluck_www::asset("manifest.json").map(|asset| BlobId::of(&asset.bytes));
    let body = json!({
        "software": "potluck",
        "version": env!("CARGO_PKG_VERSION"),
        "source": env!("CARGO_PKG_REPOSITORY"),
        "protocol_min": PROTOCOL_MIN,
        "protocol_max": PROTOCOL_MAX,
        "jobs": jobs,
        "manifest": "/manifest.json",
        "manifest_sha256": manifest,
    });
    ([(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")], Json(body)).into_response()
}

/// `/healthz`: 200 while every job can make progress, 503 with the reasons where one cannot.
pub(super) async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let ill: serde_json::Map<_, _> =
        shared.jobs().filter_map(|job| Some((job.name().to_string(), job.failure()?.into()))).collect();
    let (status, text) =
        if ill.is_empty() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "failed") };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(json!({ "status": text, "jobs": ill }))).into_response()
}

/// `/metrics`, in Prometheus' text format 0.0.4.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let mut text = String::new();
    let mut views = Vec::new();
    for job in shared.jobs() {
        views.push((job.name().clone(), job.failure().is_none(), job.counts(), job.view().await.ok()));
    }
    let mut metric = |name: &str, kind: &str, help: &str, value: &dyn Fn(usize) -> Option<f64>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP potluck_{name} {help}\n# TYPE potluck_{name} {kind}");
        for (index, (job, ..)) in views.iter().enumerate() {
            if let Some(value) = value(index) {
                let _ = writeln!(text, "potluck_{name}{{job=\"{job}\"}} {value}");
            }
        }
    };
    let view = |index: usize| -> Option<&JobView> { views[index].3.as_deref() };
    let count = |index: usize| views[index].2;
    let flag = |is: bool| Some(f64::from(u8::from(is)));
    metric("job_up", "gauge", "1 while the job's actor runs.", &|i| flag(views[i].1));
    metric("job_blocked", "gauge", "1 while the job has no room for new work: disk full, or its quota.", &|i| {
        flag(view(i)?.blocked.is_some())
    });
    metric("job_running", "gauge", "1 while the job leases work.", &|i| flag(view(i)?.phase == Phase::Running));
    metric("volunteers", "gauge", "Connected volunteers.", &|i| Some(view(i)?.volunteers as f64));
    metric("version", "gauge", "Newest version of the parameters.", &|i| Some(view(i)?.version.0 as f64));
    metric("samples_merged_total", "counter", "Samples merged.", &|i| Some(view(i)?.samples as f64));
    metric("valid_accuracy", "gauge", "Newest accuracy on valid.", &|i| view(i)?.accuracy.valid.map(f64::from));
    metric("valid_loss", "gauge", "Newest loss on valid.", &|i| view(i)?.loss.valid.map(f64::from));
    metric("facts_total", "counter", "Facts in the log.", &|i| Some(view(i)?.log.facts as f64));
    metric("results_accepted_total", "counter", "Results accepted since the start.", &|i| {
        Some(count(i).accepted as f64)
    });
    metric("results_late_total", "counter", "Of them, too late to be merged.", &|i| Some(count(i).late as f64));
    metric("results_refused_total", "counter", "Results refused since the start.", &|i| Some(count(i).refused as f64));
    metric("bad_messages_total", "counter", "Malformed messages since the start.", &|i| Some(count(i).bad as f64));
    metric("uploads_total", "counter", "Updates taken in since the start.", &|i| Some(count(i).uploads as f64));
    metric("upload_bytes_total", "counter", "Bytes of them.", &|i| Some(count(i).upload_bytes as f64));
    let help = "Refused since the start, by code: results, their updates and messages.";
    let _ = writeln!(text, "# HELP potluck_refusals_total {help}\n# TYPE potluck_refusals_total counter");
    for (job, .., view) in &views {
        for (code, count) in view.iter().flat_map(|view| &view.refused) {
            let _ = writeln!(text, "potluck_refusals_total{{job=\"{job}\",code=\"{code}\"}} {count}");
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], text)
        .into_response()
}
