//! The owner's job file. Parsed once, here; every error points at its line and says what was
//! expected. Knows nothing of the file system: paths stay as they were written.

mod data;
mod model;
mod source;
#[cfg(test)]
mod tests;
mod train;

use serde::Deserialize;
use toml::Spanned;

pub use data::{Colour, DataSection, DataSource, TextUnit};
pub use model::{GptSection, ModelSection};
pub use source::JobFileError;

use self::{data::RawData, model::RawModel, source::Source, train::RawTrain};
use crate::{JobName, Recipe, StrategyName, limits};

/// A job file that was read and found complete.
#[derive(Debug, Clone, PartialEq)]
pub struct JobFile {
    /// What people are told.
    pub job: JobSection,
    /// Where the samples come from.
    pub data: DataSection,
    /// What is trained.
    pub model: ModelSection,
    /// How it is trained.
    pub train: Recipe,
    /// How the work is paced and merged: `strategy` in `[train]`.
    pub strategy: StrategyName,
    /// Who may embed it.
    pub visitors: VisitorsSection,
}

/// `[job]`: what people are told. All of it is mandatory but `text`.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSection {
    /// Name in addresses.
    pub name: JobName,
    /// One line.
    pub title: String,
    /// One paragraph.
    pub text: String,
    /// Who runs it.
    pub owner: String,
    /// An e-mail address or an https address.
    pub contact: String,
    /// Licence of the model.
    pub licence: String,
}

/// `[visitors]`: who may embed the job.
#[derive(Debug, Clone, PartialEq)]
pub struct VisitorsSection {
    /// Origins whose pages may show the widget; `*` alone allows every site.
    pub origins: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    job: Spanned<RawJob>,
    data: Spanned<RawData>,
    model: Spanned<RawModel>,
    train: Spanned<RawTrain>,
    #[serde(default)]
    visitors: Option<RawVisitors>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJob {
    name: Spanned<String>,
    title: Spanned<String>,
    #[serde(default)]
    text: Option<Spanned<String>>,
    owner: Spanned<String>,
    contact: Spanned<String>,
    licence: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVisitors {
    origins: Spanned<Vec<Spanned<String>>>,
}

impl JobFile {
    /// Reads a job file. The first problem is returned with its line.
    pub fn parse(text: &str) -> Result<Self, JobFileError> {
        let source = Source(text);
        if text.len() > limits::JOB_FILE_BYTES_MAX {
            let max = limits::JOB_FILE_BYTES_MAX;
            return Err(source.error(0, "", format!("expected at most {max} bytes, got {}", text.len())));
        }
        let raw: RawFile = toml::from_str(text).map_err(|e| source.toml(&e))?;
        let job = job(&source, raw.job.into_inner())?;
        let data = data::data(&source, raw.data)?;
        let model = model::model(&source, raw.model.into_inner(), &data.from)?;
        let (train, strategy) = train::train(&source, raw.train, &model)?;
        Ok(Self { job, train, strategy, data, model, visitors: visitors(&source, raw.visitors)? })
    }
}

fn job(source: &Source<'_>, raw: RawJob) -> Result<JobSection, JobFileError> {
    let RawJob { name, title, text, owner, contact, licence } = raw;
    let parsed_name = name.as_ref().parse().map_err(|e: crate::IdError| source.at(&name, "job.name", e.to_string()))?;
    let reachable = contact.as_ref().starts_with("https://")
        || contact.as_ref().split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
    if !reachable {
        let message = format!("expected an e-mail address or an https:// address, got {:?}", contact.as_ref());
        return Err(source.at(&contact, "job.contact", message));
    }
    Ok(JobSection {
        name: parsed_name,
        title: source.text(title, "job.title")?,
        text: text.map(|t| source.text(t, "job.text")).transpose()?.unwrap_or_default(),
        owner: source.text(owner, "job.owner")?,
        contact: source.text(contact, "job.contact")?,
        licence: source.text(licence, "job.licence")?,
    })
}

fn visitors(source: &Source<'_>, raw: Option<RawVisitors>) -> Result<VisitorsSection, JobFileError> {
    let Some(RawVisitors { origins }) = raw else {
        return Ok(VisitorsSection { origins: vec!["*".to_owned()] });
    };
    if origins.as_ref().is_empty() {
        return Err(source.at(&origins, "visitors.origins", "expected at least one origin, or \"*\" for every site"));
    }
    let mut checked = Vec::new();
    for origin in origins.into_inner() {
        let host = origin.as_ref().strip_prefix("https://").or_else(|| origin.as_ref().strip_prefix("http://"));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-.:*[]".contains(c);
        let good = origin.as_ref() == "*" || host.is_some_and(|h| !h.is_empty() && h.chars().all(plain));
        if !good {
            let message =
                format!("expected an origin such as \"https://example.org\", or \"*\", got {:?}", origin.as_ref());
            return Err(source.at(&origin, "visitors.origins", message));
        }
        checked.push(origin.into_inner());
    }
    Ok(VisitorsSection { origins: checked })
}
