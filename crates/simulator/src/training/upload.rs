//! What becomes of an update on its way to the merge: what arrives, and how many bytes that took.

use anyhow::Result;
use potluck_protocol::UpdateEncoding;
use potluck_update::{decode, encode};

use super::topk::{self, Residual};

/// How updates travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upload {
    /// As they are: 4 bytes a parameter.
    F32,
    /// In one of the protocol's encodings.
    Encoded(UpdateEncoding),
    /// The largest values only.
    TopK,
    /// The largest values, and what was left out added to the volunteer's next update. A residual
    /// lives as long as a visit.
    TopKFeedback {
        /// Tasks of a visit.
        visit: u64,
    },
}

/// One volunteer's end of the line.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    upload: Upload,
    residual: Residual,
    /// Tasks so far; visits of different volunteers do not end together.
    tasks: u64,
}

impl Sender {
    pub(crate) fn new(upload: Upload, volunteer: u64) -> Self {
        Self { upload, residual: Residual::default(), tasks: volunteer }
    }

    /// The values as they arrive, and the bytes that they took.
    pub(crate) fn send(&mut self, values: Vec<f32>) -> Result<(Vec<f32>, u64)> {
        self.tasks += 1;
        let count = values.len();
        let (arrived, bytes) = match self.upload {
            Upload::F32 => (values, 4 * count),
            Upload::Encoded(encoding) => {
                let bytes = encode(encoding, &values);
                (decode(encoding, count, &bytes)?, bytes.len())
            }
            Upload::TopK => (topk::sparse(&values), topk::bytes(count)),
            Upload::TopKFeedback { visit } => {
                if self.tasks.is_multiple_of(visit) {
                    self.residual = Residual::default();
                }
                (self.residual.send(&values), topk::bytes(count))
            }
        };
        Ok((arrived, bytes as u64))
    }
}
