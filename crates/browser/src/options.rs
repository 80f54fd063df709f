//! What JavaScript starts a volunteer with. Plain Rust, so that its rules are tested natively.

use potluck_volunteer::Choice;
use serde::Deserialize;

/// The plain fields of `StartOptions`; `keyPair` is read beside them, since no serialiser carries
/// a `CryptoKey`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StartOptions {
    /// The coordinator.
    pub url: String,
    /// The job's name.
    pub job: String,
    /// What to compute on.
    #[serde(default)]
    pub backend: BackendChoice,
    /// Share of the time that may be spent computing.
    #[serde(default = "whole")]
    pub share: f32,
    /// What the browser is called in the owner's tally.
    pub agent: String,
    /// The hash in the wasm's name.
    pub build: String,
}

/// What to compute on, as JavaScript says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// Whatever is measured to be faster.
    #[default]
    Auto,
    /// WebGPU or nothing.
    Webgpu,
    /// wasm SIMD.
    Cpu,
}

impl From<BackendChoice> for Choice {
    fn from(choice: BackendChoice) -> Self {
        match choice {
            BackendChoice::Auto => Self::Auto,
            BackendChoice::Webgpu => Self::Gpu,
            BackendChoice::Cpu => Self::Cpu,
        }
    }
}

fn whole() -> f32 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, backend: BackendChoice, share: f32) {
        let options: StartOptions = serde_json::from_str(json).expect("options");
        assert_eq!((options.backend, options.share), (backend, share));
    }

    #[test]
    fn defaults_are_filled_in() {
        check(r#"{"url":"http://a","job":"j","agent":"b","build":"c"}"#, BackendChoice::Auto, 1.0);
    }

    #[test]
    fn what_is_named_is_taken() {
        let json = r#"{"url":"http://a","job":"j","agent":"b","build":"c","backend":"webgpu","share":0.25}"#;
        check(json, BackendChoice::Webgpu, 0.25);
    }

    #[test]
    fn other_backends_are_refused() {
        let json = r#"{"url":"http://a","job":"j","agent":"b","build":"c","backend":"abacus"}"#;
        assert!(serde_json::from_str::<StartOptions>(json).is_err());
    }
}
