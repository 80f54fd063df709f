//! The presets' configurations, as JavaScript writes them.

use potluck_graph::{
    Program,
    preset::{self, CnnConfig, FeedForward, GptConfig, Norm, Positions, VitConfig},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::error::JsFault;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mlp {
    features: u32,
    hidden: Vec<u32>,
    classes: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Cnn {
    image: [u32; 3],
    channels: Vec<u32>,
    #[serde(default)]
    residual: bool,
    classes: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Gpt {
    vocabulary: u32,
    context: u32,
    layers: u32,
    width: u32,
    heads: u32,
    kv_heads: Option<u32>,
    hidden: Option<u32>,
    /// The base of rotary positions; learned ones where it is not given.
    rotary_base: Option<f32>,
    #[serde(default)]
    swiglu: bool,
    #[serde(default)]
    rms_norm: bool,
    #[serde(default)]
    tied_head: bool,
    #[serde(default)]
    dropout: f32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Vit {
    image: [u32; 3],
    patch: u32,
    layers: u32,
    width: u32,
    heads: u32,
    classes: u32,
}

/// The program of a preset by its name, with its configuration as JSON.
///
/// # Errors
/// An unknown name, a configuration of another form, or sizes that make no program.
pub fn program(name: &str, config: &str) -> Result<Program, JsFault> {
    let program = match name {
        "mlp" => {
            read(config).and_then(|Mlp { features, hidden, classes }| Ok(preset::mlp(features, &hidden, classes)?))
        }
        "cnn" => read(config).and_then(|Cnn { image, channels, residual, classes }| {
            Ok(preset::cnn(&CnnConfig { image, channels, residual, classes })?)
        }),
        "gpt" => read(config).and_then(|config: Gpt| Ok(preset::gpt(&config.into())?)),
        "vit" => read(config).and_then(|Vit { image, patch, layers, width, heads, classes }| {
            Ok(preset::vit(&VitConfig { image, patch, layers, width, heads, classes })?)
        }),
        other => return Err(JsFault::Preset { got: other.to_owned() }),
    }?;
    Ok(program)
}

fn read<T: DeserializeOwned>(config: &str) -> Result<T, JsFault> {
    serde_json::from_str(config).map_err(|error| JsFault::Options(error.to_string()))
}

impl From<Gpt> for GptConfig {
    fn from(gpt: Gpt) -> Self {
        let Gpt {
            vocabulary,
            context,
            layers,
            width,
            heads,
            kv_heads,
            hidden,
            rotary_base,
            swiglu,
            rms_norm,
            tied_head,
            dropout,
        } = gpt;
        let usual = Self::gpt2(vocabulary, context, layers, width, heads);
        Self {
            kv_heads: kv_heads.unwrap_or(usual.kv_heads),
            hidden: hidden.unwrap_or(usual.hidden),
            positions: rotary_base.map_or(usual.positions, |base| Positions::Rotary { base }),
            feed_forward: if swiglu { FeedForward::SwiGlu } else { FeedForward::Gelu },
            norm: if rms_norm { Norm::Rms } else { Norm::Layer },
            tied_head,
            dropout,
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_the_program_of_the_same_sizes() {
        let json = r#"{"vocabulary": 65, "context": 64, "layers": 2, "width": 64, "heads": 4}"#;
        let expected = preset::gpt(&GptConfig::gpt2(65, 64, 2, 64, 4)).expect("a good program");
        assert_eq!(program("gpt", json), Ok(expected));
        let expected = preset::mlp(4, &[3], 2).expect("a good program");
        assert_eq!(program("mlp", r#"{"features": 4, "hidden": [3], "classes": 2}"#), Ok(expected));
    }

    #[test]
    fn a_wrong_name_or_size_is_told() {
        let told = |name, json| program(name, json).expect_err("a fault").to_string();
        assert_eq!(told("rnn", "{}"), r#""rnn" is no preset, expected one of mlp, cnn, gpt, vit"#);
        assert_eq!(told("mlp", r#"{"features": 4}"#), "options: missing field `hidden` at line 1 column 15");
        let json = r#"{"image": [1, 2, 2], "channels": [4, 4], "classes": 2}"#;
        assert!(told("cnn", json).starts_with("node 11 (pool2d)"), "{}", told("cnn", json));
    }
}
