//! The owner's job file. Parsed once, here; every error points at its line and says what was
//! expected. Knows nothing of the file system: paths stay as they were written.

use std::fmt;

use serde::Deserialize;
use toml::Spanned;

use crate::{JobName, Optimizer, OuterStep, Recipe, Schedule, UpdateEncoding, limits};

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

/// `[data]`: a CSV file with one sample a row.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSection {
    /// Path of the CSV file, relative to the job file.
    pub csv: String,
    /// The column that holds the class, a whole number from 0.
    pub label: String,
    /// Every other value is divided by this.
    pub scale: f32,
    /// Licence of the data.
    pub licence: String,
    /// Where the data comes from.
    pub source: String,
    /// Share of the samples kept for `valid`.
    pub valid: f32,
    /// Share of the samples kept for `test`.
    pub test: f32,
    /// Seed of the one shuffle at ingest.
    pub seed: u64,
    /// Samples in a block.
    pub block_samples: u32,
}

/// `[model]`: a preset with its sizes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ModelSection {
    /// Linear layers with ReLU between them.
    Mlp {
        /// Widths of the hidden layers.
        hidden: Vec<u32>,
    },
}

/// `[visitors]`: who may embed the job.
#[derive(Debug, Clone, PartialEq)]
pub struct VisitorsSection {
    /// Origins whose pages may show the widget; `*` alone allows every site.
    pub origins: Vec<String>,
}

/// Why a job file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct JobFileError {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// The field, such as `train.steps`; empty where TOML itself is broken.
    pub field: String,
    /// What was expected and what was found.
    pub message: String,
}

impl fmt::Display for JobFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, field, message } = self;
        let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
        write!(f, "line {line}, column {column}: {field}{message}")
    }
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
struct RawData {
    csv: Spanned<String>,
    label: Spanned<String>,
    #[serde(default)]
    scale: Option<Spanned<f32>>,
    public: Spanned<bool>,
    licence: Spanned<String>,
    source: Spanned<String>,
    #[serde(default)]
    valid: Option<Spanned<f32>>,
    #[serde(default)]
    test: Option<Spanned<f32>>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    block_samples: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    preset: Spanned<String>,
    #[serde(default)]
    hidden: Option<Spanned<Vec<u32>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrain {
    lr: Option<Spanned<f32>>,
    schedule: Option<Schedule>,
    ramp_steps: Option<Spanned<u32>>,
    clip_norm: Option<Spanned<f32>>,
    steps: Option<Spanned<u32>>,
    batch: Option<Spanned<u32>>,
    budget_samples: Spanned<u64>,
    target_accuracy: Option<Spanned<f32>>,
    optimizer: Option<RawOptimizer>,
    weight_decay: Option<Spanned<f32>>,
    outer: Option<Spanned<OuterStep>>,
    update: Option<UpdateEncoding>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawOptimizer {
    Adamw,
    Muon,
    Sgd,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVisitors {
    origins: Spanned<Vec<Spanned<String>>>,
}

/// Turns byte offsets into lines.
struct Source<'a>(&'a str);

impl Source<'_> {
    fn error(&self, offset: usize, field: &str, message: impl Into<String>) -> JobFileError {
        let offset = (0..=offset.min(self.0.len())).rev().find(|&at| self.0.is_char_boundary(at)).unwrap_or(0);
        let before = &self.0[..offset];
        JobFileError {
            line: before.matches('\n').count() + 1,
            column: before.chars().rev().take_while(|&c| c != '\n').count() + 1,
            field: field.to_owned(),
            message: message.into(),
        }
    }

    fn at<T>(&self, spanned: &Spanned<T>, field: &str, message: impl Into<String>) -> JobFileError {
        self.error(spanned.span().start, field, message)
    }

    /// A text that is there, is not blank, and fits a widget.
    fn text(&self, value: Spanned<String>, field: &str) -> Result<String, JobFileError> {
        let length = value.as_ref().len();
        if value.as_ref().trim().is_empty() {
            return Err(self.at(&value, field, "expected a text, got an empty one"));
        }
        if length > limits::TEXT_FIELD_BYTES_MAX {
            let max = limits::TEXT_FIELD_BYTES_MAX;
            return Err(self.at(&value, field, format!("expected at most {max} bytes, got {length}")));
        }
        Ok(value.into_inner())
    }

    fn within(
        &self,
        value: Option<Spanned<f32>>,
        default: f32,
        range: std::ops::RangeInclusive<f32>,
        field: &str,
    ) -> Result<f32, JobFileError> {
        let Some(value) = value else { return Ok(default) };
        if !range.contains(value.as_ref()) {
            let message = format!("expected {} to {}, got {}", range.start(), range.end(), value.as_ref());
            return Err(self.at(&value, field, message));
        }
        Ok(value.into_inner())
    }
}

impl JobFile {
    /// Reads a job file. The first problem is returned with its line.
    pub fn parse(text: &str) -> Result<Self, JobFileError> {
        let source = Source(text);
        if text.len() > limits::JOB_FILE_BYTES_MAX {
            let max = limits::JOB_FILE_BYTES_MAX;
            return Err(source.error(0, "", format!("expected at most {max} bytes, got {}", text.len())));
        }
        let raw: RawFile = toml::from_str(text)
            .map_err(|e| source.error(e.span().map_or(0, |s| s.start), &field_at(text, &e), e.message()))?;
        Ok(Self {
            job: job(&source, raw.job.into_inner())?,
            data: data(&source, raw.data.into_inner())?,
            model: model(&source, raw.model.into_inner())?,
            train: train(&source, raw.train)?,
            visitors: visitors(&source, raw.visitors)?,
        })
    }
}

/// The `table.key` that a TOML error points at, found in the text itself.
fn field_at(text: &str, error: &toml::de::Error) -> String {
    let Some(span) = error.span() else { return String::new() };
    let before = &text[..span.start.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let table = text[..line_start + line.len()]
        .lines()
        .filter_map(|l| l.trim().strip_prefix('[')?.split(']').next())
        .next_back()
        .unwrap_or_default();
    match line.split_once('=') {
        Some((key, _)) if table.is_empty() => key.trim().to_owned(),
        Some((key, _)) => format!("{table}.{}", key.trim()),
        None => table.to_owned(),
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

fn data(source: &Source<'_>, raw: RawData) -> Result<DataSection, JobFileError> {
    let RawData { csv, label, scale, public, licence, source: origin, valid, test, seed, block_samples } = raw;
    if !*public.as_ref() {
        let message = "expected true: strangers compute on this data, so it must be public";
        return Err(source.at(&public, "data.public", message));
    }
    let scale_value = scale.as_ref().map_or(1.0, |s| *s.as_ref());
    if let Some(scale) = scale.as_ref().filter(|_| !scale_value.is_finite() || scale_value <= 0.0) {
        return Err(source.at(scale, "data.scale", format!("expected a number above 0, got {scale_value}")));
    }
    let block = block_samples.as_ref().map_or(64, |b| *b.as_ref());
    if let Some(spanned) = block_samples.as_ref().filter(|_| block == 0 || block > limits::BLOCK_SAMPLES_MAX) {
        let message = format!("expected 1 to {}, got {block}", limits::BLOCK_SAMPLES_MAX);
        return Err(source.at(spanned, "data.block_samples", message));
    }
    Ok(DataSection {
        csv: source.text(csv, "data.csv")?,
        label: source.text(label, "data.label")?,
        scale: scale_value,
        licence: source.text(licence, "data.licence")?,
        source: source.text(origin, "data.source")?,
        valid: source.within(valid, 0.1, 0.01..=0.4, "data.valid")?,
        test: source.within(test, 0.1, 0.01..=0.4, "data.test")?,
        seed: seed.unwrap_or(1),
        block_samples: block,
    })
}

fn model(source: &Source<'_>, raw: RawModel) -> Result<ModelSection, JobFileError> {
    let RawModel { preset, hidden } = raw;
    match preset.as_ref().as_str() {
        "mlp" => {
            let Some(hidden) = hidden else {
                return Err(source.at(&preset, "model.hidden", "preset \"mlp\" needs hidden, such as hidden = [128]"));
            };
            let widths_fit = hidden.as_ref().iter().all(|w| (1..=65_536).contains(w)) && hidden.as_ref().len() <= 64;
            if !widths_fit {
                return Err(source.at(&hidden, "model.hidden", "expected at most 64 widths of 1 to 65536"));
            }
            Ok(ModelSection::Mlp { hidden: hidden.into_inner() })
        }
        other => Err(source.at(&preset, "model.preset", format!("expected \"mlp\", got {other:?}"))),
    }
}

fn train(source: &Source<'_>, raw: Spanned<RawTrain>) -> Result<Recipe, JobFileError> {
    let table_start = raw.span().start;
    let RawTrain {
        lr,
        schedule,
        ramp_steps,
        clip_norm,
        steps,
        batch,
        budget_samples,
        target_accuracy,
        optimizer,
        weight_decay,
        outer,
        update,
    } = raw.into_inner();
    fn value<T: Copy>(field: &Option<Spanned<T>>, default: T) -> T {
        field.as_ref().map_or(default, |f| *f.as_ref())
    }
    let optimizer = match optimizer {
        None | Some(RawOptimizer::Adamw) => Optimizer::default(),
        Some(RawOptimizer::Muon) => Optimizer::muon(),
        Some(RawOptimizer::Sgd) => Optimizer::sgd(),
    };
    let decay = weight_decay.as_ref().map(|d| *d.as_ref());
    let recipe = Recipe {
        optimizer: decay.map_or(optimizer, |decay| optimizer.with_weight_decay(decay)),
        lr: value(&lr, 4e-3),
        schedule: schedule.unwrap_or(Schedule::Cosine),
        ramp_steps: value(&ramp_steps, 3),
        clip_norm: value(&clip_norm, 1.0),
        steps: value(&steps, 8),
        batch: value(&batch, 32),
        budget_samples: *budget_samples.as_ref(),
        target_accuracy: target_accuracy.as_ref().map(|t| *t.as_ref()),
        outer: value(&outer, OuterStep::default()),
        update: update.unwrap_or_default(),
    };
    let Some((field, expected)) = recipe.problem() else { return Ok(recipe) };
    let start = |span: Option<std::ops::Range<usize>>| span.map_or(table_start, |s| s.start);
    let offset = match field {
        "lr" => start(lr.map(|f| f.span())),
        "ramp_steps" => start(ramp_steps.map(|f| f.span())),
        "clip_norm" => start(clip_norm.map(|f| f.span())),
        "steps" => start(steps.map(|f| f.span())),
        "batch" => start(batch.map(|f| f.span())),
        "budget_samples" => budget_samples.span().start,
        "target_accuracy" => start(target_accuracy.map(|f| f.span())),
        "optimizer" => start(weight_decay.map(|f| f.span())),
        "outer" => start(outer.map(|f| f.span())),
        _ => table_start,
    };
    Err(source.error(offset, &format!("train.{field}"), format!("expected {expected}")))
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

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"[job]
name = "digits"
title = "Handwritten digits"
owner = "A school"
contact = "https://example.org"
licence = "MIT"

[data]
csv = "digits.csv"
label = "label"
scale = 16
public = true
licence = "CC BY 4.0"
source = "UCI"

[model]
preset = "mlp"
hidden = [128]

[train]
budget_samples = 60000
"#;

    #[track_caller]
    fn check(from: &str, to: &str, expected: Expect) {
        assert!(GOOD.contains(from), "{from}");
        let error = JobFile::parse(&GOOD.replacen(from, to, 1)).expect_err("an error");
        expected.assert_eq(&error.to_string());
    }

    #[test]
    fn a_good_file_gets_the_defaults() {
        let file = JobFile::parse(GOOD).expect("a good file");
        assert_eq!(file.train.steps, 8);
        assert_eq!(file.data.scale, 16.0);
        assert_eq!(file.visitors.origins, ["*"]);
    }

    #[test]
    fn a_missing_field_is_named() {
        check("owner = \"A school\"\n", "", expect!["line 1, column 1: job: missing field `owner`"]);
    }

    #[test]
    fn an_unknown_field_is_named_with_the_choices() {
        check(
            "scale = 16",
            "skale = 16",
            expect![
                "line 11, column 1: data.skale: unknown field `skale`, expected one of `csv`, `label`, `scale`, `public`, `licence`, `source`, `valid`, `test`, `seed`, `block_samples`"
            ],
        );
    }

    #[test]
    fn a_wrong_type_is_named() {
        check(
            "hidden = [128]",
            "hidden = \"128\"",
            expect![[r#"line 18, column 10: model.hidden: invalid type: string "128", expected a sequence"#]],
        );
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        check(
            "budget_samples = 60000",
            "budget_samples = 60000\nsteps = 99",
            expect!["line 22, column 9: train.steps: expected 4 to 16, got 99"],
        );
    }

    #[test]
    fn an_optimizer_is_chosen_by_name() {
        let text =
            GOOD.replace("budget_samples = 60000", "budget_samples = 60000\noptimizer = \"muon\"\nweight_decay = 0.0");
        let file = JobFile::parse(&text).expect("a good file");
        assert_eq!(file.train.optimizer, Optimizer::muon().with_weight_decay(0.0));
        check(
            "budget_samples = 60000",
            "budget_samples = 60000\noptimizer = \"adam\"",
            expect![
                "line 22, column 13: train.optimizer: unknown variant `adam`, expected one of `adamw`, `muon`, `sgd`"
            ],
        );
    }

    #[test]
    fn private_data_is_refused() {
        check(
            "public = true",
            "public = false",
            expect![
                "line 12, column 10: data.public: expected true: strangers compute on this data, so it must be public"
            ],
        );
    }

    #[test]
    fn a_bad_contact_is_refused() {
        check(
            "https://example.org",
            "somewhere",
            expect![[
                r#"line 5, column 11: job.contact: expected an e-mail address or an https:// address, got "somewhere""#
            ]],
        );
    }

    #[test]
    fn broken_toml_points_at_its_line() {
        check(
            "label = \"label\"",
            "label = \"label",
            expect![[r#"line 10, column 15: data.label: invalid basic string, expected `"`"#]],
        );
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in 0..GOOD.len(), byte in any::<char>(), cut in 0..40usize) {
            let mut text = GOOD[..at].to_owned();
            text.push(byte);
            text.push_str(&GOOD[(at + cut).min(GOOD.len())..]);
            let _ = JobFile::parse(&text);
        }
    }
}
