//! What ends the command early, and with which exit code.

use potluck_coordinator::{OpenError, StartError};

/// Each is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// A file or an argument is wrong; the person can mend it.
    #[error("{0}")]
    Mistake(String),
    /// Something failed on the way.
    #[error("{0}")]
    Failure(String),
}

impl CliError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Mistake(_) => 2,
            Self::Failure(_) => 1,
        }
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        let text = error.to_string();
        match error {
            StartError::SameName { .. } => Self::Mistake(text),
            StartError::Job { error, .. } if error.is_mistake() => Self::Mistake(text),
            _ => Self::Failure(text),
        }
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        let text = error.to_string();
        if error.is_mistake() { Self::Mistake(text) } else { Self::Failure(text) }
    }
}
