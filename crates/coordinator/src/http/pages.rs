//! Pages, scripts and wasm, with the headers that make the widget work on other sites and nowhere
//! else.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use potluck_protocol::limits;

use super::{
    gzip,
    headers::{DASHBOARD_POLICY, Frame, ISOLATED, widget_policy},
};
use crate::{problem::Problem, shared::Shared};

pub(super) const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Kept, but asked about before every use.
const REVALIDATED: HeaderValue = HeaderValue::from_static("no-cache");
/// `embed.js` sits on other people's pages: a fix should reach them within minutes.
const MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// `/`
pub(super) async fn dashboard() -> Result<Response, Problem> {
    let page = file("dashboard/index.html", REVALIDATED)?;
    Ok(([(header::CONTENT_SECURITY_POLICY, DASHBOARD_POLICY)], page).into_response())
}

/// `/embed.js`: runs on other sites, so they may load it in any mode.
pub(super) async fn embed() -> Result<Response, Problem> {
    let any_origin = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))];
    Ok((any_origin, cross_origin(), file("embed.js", MINUTES)?).into_response())
}

/// `/widget/{job}`: what sites show in a frame, if the job's owner lets them.
pub(super) async fn widget(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let policy = widget_policy(&headers, Frame::Origins(shared.job(&name)?.origins()));
    widget_page(policy)
}

/// `/join/{job}`: the same page, looked at directly.
pub(super) async fn join(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    shared.job(&name)?;
    widget_page(widget_policy(&headers, Frame::Nobody))
}

fn widget_page(policy: HeaderValue) -> Result<Response, Problem> {
    let page = file("widget/index.html", REVALIDATED)?;
    Ok(([(header::CONTENT_SECURITY_POLICY, policy)], ISOLATED, page).into_response())
}

/// `/assets/{path}`: everything that the pages load.
pub(super) async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    // An address is never longer than the longest name; the rest is noise.
    if path.len() > limits::ASSET_PATH_BYTES_MAX {
        return Err(Problem::no_address());
    }
    let file = match gzip::of(&path, &headers).await {
        Some(packed) => packed,
        None => file(&path, REVALIDATED)?,
    };
    if is_worker(&path) {
        // A worker obeys the policy on its own file, not that of the page that starts it.
        let policy = [(header::CONTENT_SECURITY_POLICY, widget_policy(&headers, Frame::Nobody))];
        return Ok((policy, ISOLATED, file).into_response());
    }
    Ok((cross_origin(), file).into_response())
}

fn is_worker(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with("worker.") && name.ends_with(".js"))
}

fn cross_origin() -> [(HeaderName, HeaderValue); 1] {
    [(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"))]
}

/// A built file; `caching` is what is said of names without a hash.
fn file(path: &str, caching: HeaderValue) -> Result<Response, Problem> {
    let Some(asset) = potluck_www::asset(path) else {
        return Err(if potluck_www::www_missing() { Problem::no_pages() } else { Problem::no_address() });
    };
    let caching = if asset.immutable { IMMUTABLE } else { caching };
    let content_type = HeaderValue::from_static(asset.content_type);
    let body = Body::from(bytes::Bytes::from(asset.bytes.into_owned()));
    Ok(([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, caching)], body).into_response())
}
