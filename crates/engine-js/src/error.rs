//! What JavaScript is told when something is wrong: a stable code and a sentence.

use potluck_engine::EngineError;
use potluck_graph::{DType, ProgramError};

/// Why a call failed. Nothing has changed in the trainer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JsFault {
    /// The program is not one.
    #[error("{0}")]
    Program(#[from] ProgramError),
    /// The options are not ones.
    #[error("options: {0}")]
    Options(String),
    /// The recipe that the options make is out of bounds.
    #[error("options: {field} must be {expected}")]
    Recipe {
        /// Which.
        field: &'static str,
        /// What is expected and what came.
        expected: String,
    },
    /// No preset of this name.
    #[error("{got:?} is no preset, expected one of mlp, cnn, gpt, vit")]
    Preset {
        /// What came.
        got: String,
    },
    /// A column that the program asks for is not in the batch.
    #[error("the batch has no column {name:?}, expected {expected}")]
    ColumnMissing {
        /// Its name.
        name: String,
        /// All names of the program.
        expected: String,
    },
    /// The batch has a column that the program does not ask for.
    #[error("the program has no column {name:?}, expected {expected}")]
    ColumnUnknown {
        /// Its name.
        name: String,
        /// All names of the program.
        expected: String,
    },
    /// The column is not the typed array of its type.
    #[error("column {name:?} must be a {}", array_of(*.expected))]
    ColumnType {
        /// Its name.
        name: String,
        /// By the program.
        expected: DType,
    },
    /// The column has another number of values than the batch.
    #[error("column {name:?} has {got} values, expected {samples} samples of {each} = {}", *.samples as u64 * *.each)]
    ColumnLength {
        /// Its name.
        name: String,
        /// Samples of the batch.
        samples: u32,
        /// Values of a sample.
        each: u64,
        /// Given.
        got: usize,
    },
    /// The engine's own.
    #[error("{0}")]
    Engine(#[from] EngineError),
}

fn array_of(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "Float32Array",
        DType::U32 => "Uint32Array",
    }
}

impl JsFault {
    /// The stable word that JavaScript finds in `error.code`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Program(_) => "program",
            Self::Options(_) | Self::Recipe { .. } => "options",
            Self::Preset { .. } => "preset",
            Self::ColumnMissing { .. } | Self::ColumnUnknown { .. } => "column-name",
            Self::ColumnType { .. } => "column-type",
            Self::ColumnLength { .. } => "column-length",
            Self::Engine(error) => match error {
                EngineError::NoAdapter(_) | EngineError::NoDevice(_) => "no-adapter",
                EngineError::DeviceLost(_) => "device-lost",
                EngineError::TooLarge { .. } => "too-large",
                EngineError::WeightCount { .. } | EngineError::WeightNotFinite { .. } => "weights",
                EngineError::BatchShape { .. } => "column-length",
                EngineError::OutOfBounds { .. } => "column-value",
                _ => "device",
            },
        }
    }
}
