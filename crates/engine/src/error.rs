//! What can go wrong between a valid program and its result.

/// Why the engine could not do something. The weights that it was given are untouched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// This machine or browser offers no WebGPU adapter.
    #[error("no WebGPU adapter: {0}")]
    NoAdapter(String),
    /// The adapter gives no device with WebGPU's default limits.
    #[error("the adapter gives no device: {0}")]
    NoDevice(String),
    /// The device was lost: reset, unplugged or taken away.
    #[error("the GPU device was lost: {0}")]
    DeviceLost(String),
    /// The device reported an error: validation, or out of memory.
    #[error("the GPU reported an error: {0}")]
    Device(String),
    /// The adapter compiles none of a kernel's shaders.
    #[error("this adapter compiles no shader of a kernel: {0}")]
    Shader(String),
    /// The tiers that a trainer was to have are not those of its plan: made for another program, batch
    /// or release.
    #[error(
        "dispatch {index} of the plan has no tier {tier}: take the tiers from a trainer of the same program and recipe"
    )]
    Tier {
        /// The first dispatch that is out of place.
        index: usize,
        /// What was asked for, or `none` or `too many`.
        tier: String,
    },
    /// A tensor of this plan is larger than a device has to offer.
    #[error("{what} needs {bytes} bytes, at most {max}")]
    TooLarge {
        /// Which tensor or total.
        what: String,
        /// What it needs.
        bytes: u64,
        /// What there is.
        max: u64,
    },
    /// More of something than a device takes at once.
    #[error("{got} {what}, at most {max}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        got: u32,
        /// What there may be.
        max: u32,
    },
    /// The caller's weights are not the program's.
    #[error("expected {expected} weights, got {got}")]
    WeightCount {
        /// In the program.
        expected: usize,
        /// Given.
        got: usize,
    },
    /// The caller's weights hold NaN or infinity.
    #[error("weight {index} is {value}")]
    WeightNotFinite {
        /// The first bad one.
        index: usize,
        /// Its text: `NaN` or `inf`.
        value: String,
    },
    /// The caller's batch does not have the program's columns.
    #[error("column {column} of the batch has {got} values, expected {expected}")]
    BatchShape {
        /// Index of the column.
        column: usize,
        /// By program and batch size.
        expected: usize,
        /// Given.
        got: usize,
    },
    /// A label or token is not below the number of classes or words.
    #[error("value {value} at row {row} of column {column}, expected below {bound}")]
    OutOfBounds {
        /// Index of the column.
        column: usize,
        /// The row.
        row: usize,
        /// The value.
        value: u32,
        /// Classes or words of the program.
        bound: u32,
    },
}
