//! The program that a job file's `[model]` and the data ask for, and the files that go with its
//! parameters to whoever uses the model.

use potluck_graph::{
    Program, ProgramError,
    preset::{self, CnnConfig, FeedForward, GptConfig, Norm, Positions, VitConfig},
};
use potluck_protocol::{DataSource, GptSection, JobFile, ModelSection};
use serde_json::{Value, json};

use crate::{Contents, DataError};

/// What goes with a model's parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// `config.json`: the preset with its sizes, and how a sample becomes the input.
    pub config: String,
    /// `tokenizer.json`, for text.
    pub tokenizer: Option<String>,
}

/// Builds the preset for this data.
pub(crate) fn program(model: &ModelSection, contents: &Contents) -> Result<Program, DataError> {
    let built = match (model, contents) {
        (ModelSection::Mlp { hidden }, Contents::Labelled { shape, classes, .. }) => {
            preset::mlp(shape.iter().product(), hidden, *classes)
        }
        (ModelSection::Cnn { channels, residual }, Contents::Labelled { shape, classes, .. }) => {
            let image = image(model, shape)?;
            preset::cnn(&CnnConfig { image, channels: channels.clone(), residual: *residual, classes: *classes })
        }
        (ModelSection::Vit { patch, layers, width, heads }, Contents::Labelled { shape, classes, .. }) => {
            let image = image(model, shape)?;
            let (patch, layers, width, heads, classes) = (*patch, *layers, *width, *heads, *classes);
            preset::vit(&VitConfig { image, patch, layers, width, heads, classes })
        }
        (ModelSection::Gpt(section), Contents::Text { alphabet, .. }) => preset::gpt(&gpt(section, alphabet.len())),
        _ => return Err(DataError::UnknownPreset),
    };
    built.map_err(|error: ProgramError| DataError::Program { data: contents.to_string(), error })
}

/// Channels, rows and columns.
fn image(model: &ModelSection, shape: &[u32]) -> Result<[u32; 3], DataError> {
    shape.try_into().map_err(|_| DataError::NoImages { preset: model.preset(), shape: shape.to_vec() })
}

fn gpt(section: &GptSection, vocabulary: u32) -> GptConfig {
    let GptSection { context, layers, width, heads, kv_heads, hidden, rotary, swiglu, rms_norm, tied_head, dropout } =
        *section;
    GptConfig {
        vocabulary,
        context,
        layers,
        width,
        heads,
        kv_heads,
        hidden,
        positions: rotary.map_or(Positions::Learned, |base| Positions::Rotary { base }),
        feed_forward: if swiglu { FeedForward::SwiGlu } else { FeedForward::Gelu },
        norm: if rms_norm { Norm::Rms } else { Norm::Layer },
        tied_head,
        dropout,
    }
}

impl ModelFiles {
    pub(crate) fn of(job: &JobFile, contents: &Contents) -> Self {
        let mut config = sizes(&job.model);
        config["preset"] = json!(job.model.preset());
        config["job"] = json!(job.job.name.as_str());
        let tokenizer = match contents {
            Contents::Labelled { shape, classes, names } => {
                config["input_shape"] = json!(shape);
                config["input_scale"] = json!(scale(&job.data.from));
                config["classes"] = json!(classes);
                if !names.is_empty() {
                    config["class_names"] = json!(names);
                }
                None
            }
            Contents::Text { alphabet, .. } => {
                config["vocabulary"] = json!(alphabet.len());
                Some(alphabet.tokenizer_json())
            }
        };
        Self { config: format!("{config:#}\n"), tokenizer }
    }

    /// The files by name.
    pub fn by_name(self) -> impl Iterator<Item = (&'static str, String)> {
        let Self { config, tokenizer } = self;
        [("config.json", Some(config)), ("tokenizer.json", tokenizer)]
            .into_iter()
            .filter_map(|(name, text)| Some((name, text?)))
    }
}

fn sizes(model: &ModelSection) -> Value {
    match model {
        ModelSection::Mlp { hidden } => json!({"hidden": hidden}),
        ModelSection::Cnn { channels, residual } => json!({"channels": channels, "residual": residual}),
        ModelSection::Vit { patch, layers, width, heads } => {
            json!({"patch": patch, "layers": layers, "width": width, "heads": heads})
        }
        ModelSection::Gpt(section) => {
            let GptSection {
                context,
                layers,
                width,
                heads,
                kv_heads,
                hidden,
                rotary,
                swiglu,
                rms_norm,
                tied_head,
                dropout,
            } = section;
            json!({
                "context": context, "layers": layers, "width": width, "heads": heads, "kv_heads": kv_heads,
                "hidden": hidden, "positions": if rotary.is_some() { "rotary" } else { "learned" },
                "rotary_base": rotary, "feed_forward": if *swiglu { "swiglu" } else { "gelu" },
                "norm": if *rms_norm { "rms" } else { "layer" }, "tied_head": tied_head, "dropout": dropout,
            })
        }
        _ => json!({}),
    }
}

/// What an input value was divided by.
fn scale(from: &DataSource) -> f32 {
    match from {
        DataSource::Csv { scale, .. }
        | DataSource::Idx { scale, .. }
        | DataSource::Npy { scale, .. }
        | DataSource::Jsonl { scale, .. } => *scale,
        DataSource::Images { .. } => 255.0,
        _ => 1.0,
    }
}
