//! `model.safetensors`: any version, for other tools.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
};
use potluck_protocol::{ErrorCode, JobCard, Version, limits};
use serde::Deserialize;

use crate::{
    http::api::bad_query,
    job::Job,
    problem::Problem,
    shared::Shared,
    views::{LogView, VersionRow},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelQuery {
    version: Option<u64>,
}

/// `GET jobs/{job}/model.safetensors?version=`: without a version, the newest one.
pub(super) async fn model(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    query: Result<Query<ModelQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(ModelQuery { version }) = query.map_err(bad_query)?;
    let job = shared.job(&name)?;
    let view = job.view().await?;
    let version = version.map_or(view.version, Version);
    let row = job.version(version).await?.ok_or_else(|| {
        let detail = format!("{version} does not exist; the newest is {}", view.version);
        Problem::new(ErrorCode::BadRequest, detail)
    })?;
    if !shared.is_public(row.base) {
        let detail = format!("the parameters of {version} were not kept: of old versions every sixteenth is");
        return Err(Problem::new(ErrorCode::UnknownBlob, detail));
    }
    let bytes = shared.blob(row.base, limits::BLOB_BYTES_MAX).await?;
    let metadata = metadata(job, &row, &view.log);
    let program = Arc::clone(job.program());
    let made = tokio::task::spawn_blocking(move || {
        let weights =
            potluck_update::weights_from_bytes(&bytes, program.parameter_count()).map_err(|e| e.to_string())?;
        potluck_data::safetensors_from(&program, &weights, &metadata).map_err(|e| e.to_string())
    });
    let internal = |detail: String| Problem::new(ErrorCode::Internal, detail);
    let file = made.await.map_err(|e| internal(e.to_string()))?.map_err(internal)?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}-{version}.safetensors\"", job.name())),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, file).into_response())
}

/// What the file says about itself.
fn metadata(job: &Job, row: &VersionRow, log: &LogView) -> BTreeMap<String, String> {
    let JobCard { name, title, owner, contact, licence, data_licence, data_source, .. } = job.card();
    let mut metadata = BTreeMap::from(
        [
            ("job", name.to_string()),
            ("title", title.clone()),
            ("owner", owner.clone()),
            ("contact", contact.clone()),
            ("licence", licence.clone()),
            ("data_licence", data_licence.clone()),
            ("data_source", data_source.clone()),
            ("version", row.version.0.to_string()),
            ("samples", row.samples.to_string()),
            ("program", job.program().id().to_string()),
            ("parameters_sha256", row.base.to_string()),
            ("log_facts", log.facts.to_string()),
            ("log_head", log.head.clone()),
            ("made_by", concat!("potluck ", env!("CARGO_PKG_VERSION")).to_owned()),
            // What loaders of this format look for.
            ("format", "pt".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    let numbers = [
        ("valid_loss", row.loss),
        ("valid_accuracy", row.accuracy),
        ("test_loss", row.test_loss),
        ("test_accuracy", row.test_accuracy),
    ];
    metadata.extend(numbers.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_string()))));
    metadata
}
