//! The addresses of a coordinator: the API under `/api/v1`, the widget's and the dashboard's pages,
//! and what operators look at.
//!
//! Handlers check, ask a job's actor and answer. They decide nothing about training.

mod api;
mod control;
mod events;
mod gzip;
mod headers;
mod model;
mod pages;
mod range;
mod serve;
mod site;
pub(crate) mod socket;
mod upload;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    routing::{any, get, post, put},
};
use potluck_protocol::limits;
use tower_http::{
    compression::CompressionLayer,
    cors::{Any, CorsLayer},
    set_header::SetResponseHeaderLayer,
    timeout::TimeoutLayer,
};

use crate::{problem::Problem, shared::Shared};

pub(crate) use serve::serve;

/// All addresses. It holds on to `shared` and to nothing else.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let everywhere = |name: &'static str, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    Router::new()
        .nest("/api/v1", api())
        .merge(pages())
        .fallback(|| async { Problem::no_address() })
        .method_not_allowed_fallback(|| async { Problem::no_method() })
        .layer(everywhere("x-content-type-options", "nosniff"))
        .layer(everywhere("referrer-policy", "no-referrer"))
        .with_state(shared)
}

fn timeout() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, Duration::from_millis(limits::REQUEST_MILLIS_MAX))
}

/// What anyone on any site may read, without cookies or other credentials.
fn readable_by_all() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD])
        .expose_headers([header::CONTENT_LENGTH, header::CONTENT_RANGE])
}

fn api() -> Router<Arc<Shared>> {
    let texts = Router::new()
        .route("/jobs", get(api::jobs))
        .route("/jobs/{job}", get(api::job))
        .route("/jobs/{job}/history", get(api::history))
        .route("/jobs/{job}/contributions", get(api::contributions))
        .route("/jobs/{job}/program", get(api::program))
        .route("/jobs/{job}/config.json", get(api::config))
        .route("/jobs/{job}/tokenizer.json", get(api::tokenizer))
        .layer(CompressionLayer::new());
    // Compression gains nothing on floats and would lose the length that progress bars need.
    let bytes =
        Router::new().route("/jobs/{job}/model.safetensors", get(model::model)).route("/blobs/{id}", get(api::blob));
    let streams = Router::new().route("/jobs/{job}/events", get(events::events));
    let controls = Router::new()
        .route("/jobs/{job}/control", post(control::control))
        .layer(DefaultBodyLimit::max(limits::CONTROL_BYTES_MAX));
    // No timeout, compression or CORS on these two: one lives long, and both are for the widget's
    // own origin and for native volunteers. Without CORS other sites' scripts cannot send an update's
    // header; a WebSocket knows no CORS, so that its handler looks at `Origin` itself.
    let work = Router::new()
        .route("/jobs/{job}/connect", any(socket::connect))
        .route("/jobs/{job}/tasks/{task}/update", put(upload::update));
    Router::new()
        .merge(texts.merge(bytes).layer(timeout()).merge(streams).layer(readable_by_all()))
        .merge(controls.layer(timeout()))
        .merge(work)
}

fn pages() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(pages::dashboard))
        .route("/embed.js", get(pages::embed))
        .route("/widget/{job}", get(pages::widget))
        .route("/join/{job}", get(pages::join))
        .route("/assets/{*path}", get(pages::asset))
        .route("/manifest.json", get(site::manifest))
        .route("/.well-known/potluck.json", get(site::well_known))
        .route("/metrics", get(site::metrics))
        .route("/healthz", get(site::healthz))
        .layer(CompressionLayer::new())
        .layer(timeout())
}
