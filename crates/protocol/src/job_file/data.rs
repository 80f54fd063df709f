//! `[data]`: where the samples come from. Each kind of source has keys of its own; a key of another
//! kind is an error rather than silence.

use serde::Deserialize;
use toml::Spanned;

use super::source::{JobFileError, Source};
use crate::limits;

/// `[data]`: where the samples come from and how they are split.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSection {
    /// The file or folder, and how it is read.
    pub from: DataSource,
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

/// What holds the samples. Paths are relative to the job file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum DataSource {
    /// A CSV file with one sample a row.
    Csv {
        /// Its path.
        path: String,
        /// The column that holds the class, a whole number from 0.
        label: String,
        /// Every other value is divided by this.
        scale: f32,
        /// How the values of a row are arranged, such as `[1, 8, 8]`; empty for a plain list.
        shape: Vec<u32>,
    },
    /// MNIST's own format, plain or gzipped: a file of images and one of labels.
    Idx {
        /// Path of the images.
        images: String,
        /// Path of the labels.
        labels: String,
        /// Every value is divided by this.
        scale: f32,
    },
    /// A folder with one folder of PNG or JPEG files for each class.
    Images {
        /// Its path.
        folder: String,
        /// Channels of a sample.
        colour: Colour,
    },
    /// numpy's own format: an array of samples and one of labels.
    Npy {
        /// Path of the samples, `[samples, ..]`.
        values: String,
        /// Path of the labels, `[samples]`.
        labels: String,
        /// Every value is divided by this.
        scale: f32,
    },
    /// One sample a line: a JSON object with a list of numbers and a class.
    Jsonl {
        /// Its path.
        path: String,
        /// The key of the numbers, nested lists for images.
        values: String,
        /// The key of the class, a whole number from 0.
        label: String,
        /// Every value is divided by this.
        scale: f32,
    },
    /// A text, cut into windows that do not overlap.
    Text {
        /// Its path.
        path: String,
        /// What a token is.
        unit: TextUnit,
    },
}

/// Channels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// One channel.
    Grey,
    /// Red, green and blue.
    Rgb,
}

/// What a token of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextUnit {
    /// A Unicode character; the alphabet is what occurs in the text.
    Characters,
    /// A byte; the alphabet is all 256.
    Bytes,
}

impl DataSource {
    /// The path that names the data in messages.
    pub fn path(&self) -> &str {
        match self {
            Self::Csv { path, .. } | Self::Jsonl { path, .. } | Self::Text { path, .. } => path,
            Self::Idx { images, .. } => images,
            Self::Images { folder, .. } => folder,
            Self::Npy { values, .. } => values,
        }
    }

    /// The key of the job file that holds [`DataSource::path`].
    pub fn key(&self) -> &'static str {
        match self {
            Self::Csv { .. } => "data.csv",
            Self::Idx { .. } => "data.idx",
            Self::Images { .. } => "data.images",
            Self::Npy { .. } => "data.npy",
            Self::Jsonl { .. } => "data.jsonl",
            Self::Text { .. } => "data.text",
        }
    }

    /// True for text.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text { .. })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawData {
    csv: Option<Spanned<String>>,
    idx: Option<Spanned<String>>,
    images: Option<Spanned<String>>,
    npy: Option<Spanned<String>>,
    jsonl: Option<Spanned<String>>,
    text: Option<Spanned<String>>,
    label: Option<Spanned<String>>,
    labels: Option<Spanned<String>>,
    values: Option<Spanned<String>>,
    scale: Option<Spanned<f32>>,
    shape: Option<Spanned<Vec<u32>>>,
    colour: Option<Spanned<String>>,
    unit: Option<Spanned<String>>,
    public: Spanned<bool>,
    licence: Spanned<String>,
    source: Spanned<String>,
    valid: Option<Spanned<f32>>,
    test: Option<Spanned<f32>>,
    seed: Option<u64>,
    block_samples: Option<Spanned<u32>>,
}

/// The kinds of data by the key that names their path, and the further keys that each takes.
const KINDS: [(&str, &[&str]); 6] = [
    ("csv", &["label", "scale", "shape"]),
    ("idx", &["labels", "scale"]),
    ("images", &["colour"]),
    ("npy", &["labels", "scale"]),
    ("jsonl", &["values", "label", "scale"]),
    ("text", &["unit"]),
];

pub(super) fn data(source: &Source<'_>, raw: Spanned<RawData>) -> Result<DataSection, JobFileError> {
    let table_start = raw.span().start;
    let mut raw = raw.into_inner();
    if !*raw.public.as_ref() {
        let message = "expected true: strangers compute on this data, so it must be public";
        return Err(source.at(&raw.public, "data.public", message));
    }
    Ok(DataSection {
        from: from(source, table_start, &mut raw)?,
        licence: source.text(raw.licence, "data.licence")?,
        source: source.text(raw.source, "data.source")?,
        valid: source.within(raw.valid, 0.1, 0.01..=0.4, "data.valid")?,
        test: source.within(raw.test, 0.1, 0.01..=0.4, "data.test")?,
        seed: raw.seed.unwrap_or(1),
        block_samples: source.within(raw.block_samples, 64, 1..=limits::BLOCK_SAMPLES_MAX, "data.block_samples")?,
    })
}

fn from(source: &Source<'_>, table_start: usize, raw: &mut RawData) -> Result<DataSource, JobFileError> {
    let kind = the_kind(source, table_start, raw)?;
    check_keys(source, kind, raw)?;
    let scale = |raw: &mut RawData, default: f32| positive(source, raw.scale.take(), default);
    let needs = |value: Option<Spanned<String>>, key: &str, example: &str| match value {
        Some(value) => source.text(value, &format!("data.{key}")),
        None => Err(source.error(table_start, &format!("data.{key}"), format!("{kind} needs {example}"))),
    };
    let path = |value: Option<Spanned<String>>| needs(value, kind, "a path");
    Ok(match kind {
        "csv" => DataSource::Csv {
            path: path(raw.csv.take())?,
            label: needs(raw.label.take(), "label", "label, the column with the class, such as label = \"label\"")?,
            scale: scale(raw, 1.0)?,
            shape: shape(source, raw.shape.take())?,
        },
        "idx" => DataSource::Idx {
            images: path(raw.idx.take())?,
            labels: needs(raw.labels.take(), "labels", "labels, the file beside the images with their classes")?,
            scale: scale(raw, 255.0)?,
        },
        "images" => DataSource::Images {
            folder: path(raw.images.take())?,
            colour: {
                let words = [("grey", Colour::Grey), ("rgb", Colour::Rgb)];
                source.word(raw.colour.take(), Colour::Rgb, &words, "data.colour")?
            },
        },
        "npy" => DataSource::Npy {
            values: path(raw.npy.take())?,
            labels: needs(raw.labels.take(), "labels", "labels, the .npy file with the classes")?,
            scale: scale(raw, 1.0)?,
        },
        "jsonl" => DataSource::Jsonl {
            path: path(raw.jsonl.take())?,
            values: needs(raw.values.take(), "values", "values, the key of the numbers, such as values = \"pixels\"")?,
            label: needs(raw.label.take(), "label", "label, the key of the class, such as label = \"label\"")?,
            scale: scale(raw, 1.0)?,
        },
        _ => DataSource::Text {
            path: path(raw.text.take())?,
            unit: {
                let words = [("characters", TextUnit::Characters), ("bytes", TextUnit::Bytes)];
                source.word(raw.unit.take(), TextUnit::Characters, &words, "data.unit")?
            },
        },
    })
}

/// Where each of the kinds' own keys stands, if it does.
fn places(raw: &RawData) -> [(&'static str, Option<usize>); 13] {
    let text = |value: &Option<Spanned<String>>| value.as_ref().map(|v| v.span().start);
    [
        ("csv", text(&raw.csv)),
        ("idx", text(&raw.idx)),
        ("images", text(&raw.images)),
        ("npy", text(&raw.npy)),
        ("jsonl", text(&raw.jsonl)),
        ("text", text(&raw.text)),
        ("label", text(&raw.label)),
        ("labels", text(&raw.labels)),
        ("values", text(&raw.values)),
        ("scale", raw.scale.as_ref().map(|v| v.span().start)),
        ("shape", raw.shape.as_ref().map(|v| v.span().start)),
        ("colour", text(&raw.colour)),
        ("unit", text(&raw.unit)),
    ]
}

fn the_kind(source: &Source<'_>, table_start: usize, raw: &RawData) -> Result<&'static str, JobFileError> {
    let is_kind = |key: &str| KINDS.iter().any(|(kind, _)| *kind == key);
    let mut named = places(raw).into_iter().filter_map(|(key, at)| Some((key, at?))).filter(|(key, _)| is_kind(key));
    let known = KINDS.map(|(kind, _)| kind).join(", ");
    let Some((first, _)) = named.next() else {
        return Err(source.error(table_start, "data", format!("expected one of {known} with the path of the data")));
    };
    match named.next() {
        None => Ok(first),
        Some((second, at)) => {
            let message = format!("{first} is there already; expected only one of {known}");
            Err(source.error(at, &format!("data.{second}"), message))
        }
    }
}

/// Keys that belong to another kind would be read by nobody.
fn check_keys(source: &Source<'_>, kind: &str, raw: &RawData) -> Result<(), JobFileError> {
    let own = KINDS.iter().find(|(name, _)| *name == kind).map_or(&[][..], |(_, keys)| keys);
    for (key, at) in places(raw) {
        let Some(at) = at.filter(|_| key != kind && !own.contains(&key)) else { continue };
        let takers: Vec<&str> = KINDS.iter().filter(|(_, keys)| keys.contains(&key)).map(|(name, _)| *name).collect();
        let message = format!("{kind} has no {key} (it belongs to {}); remove it", takers.join(", "));
        return Err(source.error(at, &format!("data.{key}"), message));
    }
    Ok(())
}

fn positive(source: &Source<'_>, value: Option<Spanned<f32>>, default: f32) -> Result<f32, JobFileError> {
    let Some(value) = value else { return Ok(default) };
    let scale = *value.as_ref();
    if !scale.is_finite() || scale <= 0.0 {
        return Err(source.at(&value, "data.scale", format!("expected a number above 0, got {scale}")));
    }
    Ok(scale)
}

fn shape(source: &Source<'_>, value: Option<Spanned<Vec<u32>>>) -> Result<Vec<u32>, JobFileError> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let extents = value.as_ref();
    let count = extents.iter().try_fold(1u64, |all, &extent| all.checked_mul(extent.into()));
    let fits = count.is_some_and(|count| (1..=limits::FEATURES_MAX as u64).contains(&count));
    if extents.is_empty() || extents.len() > 3 || !fits {
        let message = "expected one to three extents above 0, such as shape = [1, 8, 8] for channels, rows, columns";
        return Err(source.at(&value, "data.shape", message));
    }
    Ok(value.into_inner())
}
