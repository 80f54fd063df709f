//! What a volunteer signs: the JSON text of a result, byte for byte as it was sent.

use serde::{Deserialize, Serialize};

use crate::{BlobId, Evaluation, JobName, TaskId, VolunteerKey, limits};

/// What a volunteer says it did. Signed as text, so that no two parties ever need to serialise it
/// the same way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The job.
    pub job: JobName,
    /// The leased task.
    pub task: TaskId,
    /// The signer.
    pub volunteer: VolunteerKey,
    /// Optimizer steps that were done; fewer than leased for a partial hand-in (at least 4).
    pub steps: u32,
    /// SHA-256 of the encoded update; `None` for an evaluation.
    pub update: Option<BlobId>,
    /// Mean training loss over the task's last step; `None` for an evaluation.
    pub train_loss: Option<f32>,
    /// The result of an evaluation; `None` for training.
    pub evaluation: Option<Evaluation>,
    /// Time the volunteer spent computing, by its own clock. Informative, never believed.
    pub compute_millis: u64,
}

/// A statement with its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedStatement {
    /// The JSON text of a [`Statement`]; these UTF-8 bytes, after [`SignedStatement::DOMAIN`], are
    /// what is signed.
    pub statement: String,
    /// Ed25519 signature (RFC 8032), 128 lower-case hexadecimal digits.
    pub signature: String,
}

/// Why a signed statement cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The text is too long to be a statement.
    #[error("statement is {got} bytes, at most {max}")]
    TooLong {
        /// Its length.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// The text is not a statement.
    #[error("statement is not valid: {0}")]
    NotValid(String),
    /// The signature is not 128 hexadecimal digits.
    #[error("signature is not 128 hexadecimal digits")]
    SignatureNotHex,
}

impl SignedStatement {
    /// Prefixed to the text before signing, so that a signature can never be mistaken for one over
    /// another kind of message.
    pub const DOMAIN: &'static [u8] = b"potluck result v1\n";

    /// The bytes to sign for this text.
    pub fn message(statement: &str) -> Vec<u8> {
        [Self::DOMAIN, statement.as_bytes()].concat()
    }

    /// Reads the statement and the signature's bytes. Does not verify: that needs a key library.
    pub fn parse(&self) -> Result<(Statement, [u8; 64]), StatementError> {
        let Self { statement, signature } = self;
        if statement.len() > limits::STATEMENT_BYTES_MAX {
            return Err(StatementError::TooLong { got: statement.len(), max: limits::STATEMENT_BYTES_MAX });
        }
        let parsed = serde_json::from_str(statement).map_err(|e| StatementError::NotValid(e.to_string()))?;
        let mut bytes = [0; 64];
        hex::decode_to_slice(signature, &mut bytes).map_err(|_| StatementError::SignatureNotHex)?;
        Ok((parsed, bytes))
    }
}
