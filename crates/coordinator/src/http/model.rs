//! `model.safetensors`: any version, for other tools.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use potluck_protocol::{ErrorCode, JobCard, Version};
use serde::Deserialize;

use crate::{
    http::api::bad_query,
    job::Job,
    problem::Problem,
    shared::{ModelFile, Shared},
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
    let file = file(&shared, job, row, &view.log).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}-{version}.safetensors\"", job.name())),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, file).into_response())
}

/// The version's file. Facts that are newer than the file, other than what it says of its version,
/// do not make another: it names the log as of when it was made.
async fn file(shared: &Shared, job: &Job, row: VersionRow, log: &LogView) -> Result<Bytes, Problem> {
    let mut last = shared.model_file().await;
    if let Some(made) = last.as_ref().filter(|made| made.job == *job.name() && made.row == row) {
        return Ok(made.bytes.clone());
    }
    let base = shared.served(row.base).await?;
    let metadata = metadata(job, &row, log);
    let (program, job) = (Arc::clone(job.program()), job.name().clone());
    // The lock goes along: who asked may be gone before the file is made.
    let made = tokio::task::spawn_blocking(move || {
        *last = None;
        let weights =
            potluck_update::weights_from_bytes(&base, program.parameter_count()).map_err(|e| e.to_string())?;
        drop(base);
        let bytes = potluck_data::safetensors_from(&program, &weights, &metadata).map_err(|e| e.to_string())?;
        let bytes = Bytes::from(bytes);
        *last = Some(ModelFile { job, row, bytes: bytes.clone() });
        Ok(bytes)
    });
    let internal = |detail: String| Problem::new(ErrorCode::Internal, detail);
    made.await.map_err(|e| internal(e.to_string()))?.map_err(internal)
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
