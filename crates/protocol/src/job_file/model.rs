//! `[model]`: a preset with its sizes. What the sizes come to together is checked where the program
//! is built; here each stands in its own range, and what goes with the data.

use std::ops::RangeInclusive;

use serde::Deserialize;
use toml::Spanned;

use super::{
    DataSource,
    source::{JobFileError, Source},
};

/// `[model]`: a preset with its sizes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ModelSection {
    /// Linear layers with ReLU between them.
    Mlp {
        /// Widths of the hidden layers.
        hidden: Vec<u32>,
    },
    /// Blocks of 3x3 convolution, ReLU and 2x2 max-pooling, then one linear layer.
    Cnn {
        /// Channels of each block.
        channels: Vec<u32>,
        /// A second convolution with a skip connection in each block.
        residual: bool,
    },
    /// A transformer over the patches of an image.
    Vit {
        /// Rows and columns of a patch.
        patch: u32,
        /// Blocks.
        layers: u32,
        /// Width of the residual stream.
        width: u32,
        /// Heads.
        heads: u32,
    },
    /// A causal transformer over a text.
    Gpt(GptSection),
}

/// Sizes and choices of a `gpt`; the vocabulary comes from the text.
#[derive(Debug, Clone, PartialEq)]
pub struct GptSection {
    /// Tokens of a sample.
    pub context: u32,
    /// Blocks.
    pub layers: u32,
    /// Width of the residual stream.
    pub width: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Width of the feed-forward half.
    pub hidden: u32,
    /// Rotary positions with this base; learned ones where there is none.
    pub rotary: Option<f32>,
    /// SiLU-gated feed-forward without biases instead of GELU with them.
    pub swiglu: bool,
    /// RMS norm instead of layer norm.
    pub rms_norm: bool,
    /// The head is the embedding table again.
    pub tied_head: bool,
    /// Dropout in the residual stream.
    pub dropout: f32,
}

impl ModelSection {
    /// The preset's name in a job file.
    pub fn preset(&self) -> &'static str {
        match self {
            Self::Mlp { .. } => "mlp",
            Self::Cnn { .. } => "cnn",
            Self::Vit { .. } => "vit",
            Self::Gpt(_) => "gpt",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModel {
    preset: Spanned<String>,
    hidden: Option<Spanned<RawHidden>>,
    channels: Option<Spanned<Vec<u32>>>,
    residual: Option<Spanned<bool>>,
    patch: Option<Spanned<u32>>,
    context: Option<Spanned<u32>>,
    layers: Option<Spanned<u32>>,
    width: Option<Spanned<u32>>,
    heads: Option<Spanned<u32>>,
    kv_heads: Option<Spanned<u32>>,
    positions: Option<Spanned<String>>,
    rotary_base: Option<Spanned<f32>>,
    feed_forward: Option<Spanned<String>>,
    norm: Option<Spanned<String>>,
    tied_head: Option<Spanned<bool>>,
    dropout: Option<Spanned<f32>>,
}

/// Widths of an `mlp`'s hidden layers, or the one width of a `gpt`'s.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of widths, or one width for preset \"gpt\"")]
enum RawHidden {
    One(u32),
    List(Vec<u32>),
}

const WIDTHS: RangeInclusive<u32> = 1..=65_536;
const LAYERS: RangeInclusive<u32> = 1..=64;
const HEADS: RangeInclusive<u32> = 1..=256;

/// The presets and the keys that each takes besides `preset`.
const PRESETS: [(&str, &[&str]); 4] = [
    ("mlp", &["hidden"]),
    ("cnn", &["channels", "residual"]),
    ("vit", &["patch", "layers", "width", "heads"]),
    (
        "gpt",
        &[
            "context",
            "layers",
            "width",
            "heads",
            "kv_heads",
            "hidden",
            "positions",
            "rotary_base",
            "feed_forward",
            "norm",
            "tied_head",
            "dropout",
        ],
    ),
];

/// Where each key of a preset stands, if it does.
fn places(raw: &RawModel) -> [(&'static str, Option<usize>); 15] {
    fn at<T>(value: &Option<Spanned<T>>) -> Option<usize> {
        value.as_ref().map(|value| value.span().start)
    }
    [
        ("hidden", at(&raw.hidden)),
        ("channels", at(&raw.channels)),
        ("residual", at(&raw.residual)),
        ("patch", at(&raw.patch)),
        ("context", at(&raw.context)),
        ("layers", at(&raw.layers)),
        ("width", at(&raw.width)),
        ("heads", at(&raw.heads)),
        ("kv_heads", at(&raw.kv_heads)),
        ("positions", at(&raw.positions)),
        ("rotary_base", at(&raw.rotary_base)),
        ("feed_forward", at(&raw.feed_forward)),
        ("norm", at(&raw.norm)),
        ("tied_head", at(&raw.tied_head)),
        ("dropout", at(&raw.dropout)),
    ]
}

pub(super) fn model(source: &Source<'_>, raw: RawModel, data: &DataSource) -> Result<ModelSection, JobFileError> {
    let preset = raw.preset.clone();
    let Some((name, own)) = PRESETS.iter().find(|(name, _)| name == preset.as_ref()) else {
        let known = PRESETS.map(|(name, _)| format!("{name:?}")).join(", ");
        return Err(source.at(&preset, "model.preset", format!("expected one of {known}, got {:?}", preset.as_ref())));
    };
    for (key, at) in places(&raw) {
        if let Some(at) = at.filter(|_| !own.contains(&key)) {
            return Err(source.error(at, &format!("model.{key}"), format!("preset {name:?} has no {key}; remove it")));
        }
    }
    check_data(source, &preset, name, data)?;
    let reader = Reader { source, preset: &preset, name };
    match *name {
        "mlp" => mlp(&reader, raw),
        "cnn" => cnn(&reader, raw),
        "vit" => vit(&reader, raw),
        _ => gpt(&reader, raw),
    }
}

/// Which presets can learn from which data.
fn check_data(
    source: &Source<'_>,
    preset: &Spanned<String>,
    name: &str,
    data: &DataSource,
) -> Result<(), JobFileError> {
    let message = match (name, data) {
        ("gpt", data) if !data.is_text() => "preset \"gpt\" learns from text: name one in data.text".to_owned(),
        (name, data) if name != "gpt" && data.is_text() => {
            format!("preset {name:?} cannot learn from data.text; use \"gpt\"")
        }
        ("cnn" | "vit", DataSource::Csv { shape, .. }) if shape.len() != 3 => format!(
            "preset {name:?} needs images: say how the values of a row are arranged, such as data.shape = [1, 8, 8]"
        ),
        _ => return Ok(()),
    };
    Err(source.at(preset, "model.preset", message))
}

/// Reads the keys of one preset.
struct Reader<'a> {
    source: &'a Source<'a>,
    preset: &'a Spanned<String>,
    name: &'a str,
}

impl Reader<'_> {
    fn missing(&self, key: &str, example: &str) -> JobFileError {
        let message = format!("preset {:?} needs {key}, such as {key} = {example}", self.name);
        self.source.at(self.preset, &format!("model.{key}"), message)
    }

    fn number(
        &self,
        value: Option<Spanned<u32>>,
        key: &str,
        range: RangeInclusive<u32>,
        example: &str,
    ) -> Result<u32, JobFileError> {
        if value.is_none() {
            return Err(self.missing(key, example));
        }
        self.source.within(value, 0, range, &format!("model.{key}"))
    }

    fn widths(&self, value: Spanned<Vec<u32>>, key: &str) -> Result<Vec<u32>, JobFileError> {
        if value.as_ref().len() > 64 || !value.as_ref().iter().all(|width| WIDTHS.contains(width)) {
            let message = "expected at most 64 widths of 1 to 65536";
            return Err(self.source.at(&value, &format!("model.{key}"), message));
        }
        Ok(value.into_inner())
    }

    /// The width is cut into equal heads.
    fn heads(&self, value: Option<Spanned<u32>>, width: u32) -> Result<u32, JobFileError> {
        let span = value.as_ref().map_or(0, |value| value.span().start);
        let heads = self.number(value, "heads", HEADS, "4")?;
        if !width.is_multiple_of(heads) {
            let message = format!("expected a divisor of model.width = {width}, got {heads}");
            return Err(self.source.error(span, "model.heads", message));
        }
        Ok(heads)
    }
}

fn mlp(reader: &Reader<'_>, raw: RawModel) -> Result<ModelSection, JobFileError> {
    let Some(hidden) = raw.hidden else { return Err(reader.missing("hidden", "[128]")) };
    let span = hidden.span();
    let RawHidden::List(widths) = hidden.into_inner() else {
        return Err(reader.source.error(span.start, "model.hidden", "expected a list of widths, such as [128]"));
    };
    Ok(ModelSection::Mlp { hidden: reader.widths(Spanned::new(span, widths), "hidden")? })
}

fn cnn(reader: &Reader<'_>, raw: RawModel) -> Result<ModelSection, JobFileError> {
    let Some(channels) = raw.channels else { return Err(reader.missing("channels", "[8, 16]")) };
    let channels = reader.widths(channels, "channels")?;
    Ok(ModelSection::Cnn { channels, residual: raw.residual.is_some_and(Spanned::into_inner) })
}

fn vit(reader: &Reader<'_>, raw: RawModel) -> Result<ModelSection, JobFileError> {
    let width = reader.number(raw.width, "width", WIDTHS, "64")?;
    Ok(ModelSection::Vit {
        patch: reader.number(raw.patch, "patch", 1..=1024, "4")?,
        layers: reader.number(raw.layers, "layers", LAYERS, "2")?,
        width,
        heads: reader.heads(raw.heads, width)?,
    })
}

fn gpt(reader: &Reader<'_>, raw: RawModel) -> Result<ModelSection, JobFileError> {
    let source = reader.source;
    let width = reader.number(raw.width, "width", WIDTHS, "64")?;
    let heads = reader.heads(raw.heads, width)?;
    let kv_span = raw.kv_heads.as_ref().map_or(0, |value| value.span().start);
    let kv_heads = source.within(raw.kv_heads, heads, HEADS, "model.kv_heads")?;
    if !heads.is_multiple_of(kv_heads) {
        let message = format!("expected a divisor of model.heads = {heads}, got {kv_heads}");
        return Err(source.error(kv_span, "model.kv_heads", message));
    }
    let rotary = source.word(raw.positions, false, &[("learned", false), ("rotary", true)], "model.positions")?;
    if let Some(base) = raw.rotary_base.as_ref().filter(|_| !rotary) {
        let message = "only rotary positions have a base: set positions = \"rotary\", or remove it";
        return Err(source.at(base, "model.rotary_base", message));
    }
    let base = source.within(raw.rotary_base, 10_000.0, 1.0..=1e9, "model.rotary_base")?;
    Ok(ModelSection::Gpt(GptSection {
        context: reader.number(raw.context, "context", 1..=65_536, "64")?,
        layers: reader.number(raw.layers, "layers", LAYERS, "2")?,
        width,
        heads,
        kv_heads,
        hidden: gpt_hidden(source, raw.hidden, width)?,
        rotary: rotary.then_some(base),
        swiglu: {
            let words = [("gelu", false), ("swiglu", true)];
            source.word(raw.feed_forward, false, &words, "model.feed_forward")?
        },
        rms_norm: source.word(raw.norm, false, &[("layer", false), ("rms", true)], "model.norm")?,
        tied_head: raw.tied_head.is_some_and(Spanned::into_inner),
        dropout: source.within(raw.dropout, 0.0, 0.0..=0.9, "model.dropout")?,
    }))
}

/// Four times the width unless it is said.
fn gpt_hidden(source: &Source<'_>, hidden: Option<Spanned<RawHidden>>, width: u32) -> Result<u32, JobFileError> {
    let Some(hidden) = hidden else { return Ok(width.saturating_mul(4)) };
    let span = hidden.span();
    match hidden.into_inner() {
        RawHidden::One(hidden) => source.within(Some(Spanned::new(span, hidden)), 0, WIDTHS, "model.hidden"),
        RawHidden::List(_) => Err(source.error(span.start, "model.hidden", "expected one width, such as 256")),
    }
}
