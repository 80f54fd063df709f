//! The state as text and back, so that a start need not fold the whole log. Knows nothing of where
//! such a text is kept or whether it may be believed.

use crate::State;

/// Version of the text, and of the fold: the state that another program made of the same facts must
/// be the one that this program makes. Raised with every change to [`State::apply`] or to anything
/// in the state that gives old facts another meaning; a field that is added or renamed counts too.
/// A text of another version is not read, which costs the next start a whole fold and nothing else.
pub const STATE_SCHEMA: u32 = 6;

/// Why a text is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It is none, or another program's.
    #[error("it is not the text of a state ({0})")]
    Unreadable(String),
    /// It would be read back as another state: JSON has no infinity, say.
    #[error("the state cannot be written as it is")]
    Inexact,
}

impl State {
    /// The state as JSON of [`STATE_SCHEMA`].
    ///
    /// # Errors
    ///
    /// [`StateError::Inexact`].
    pub fn to_text(&self) -> Result<String, StateError> {
        let text = serde_json::to_string(self).map_err(|_| StateError::Inexact)?;
        let same = Self::from_text(&text).is_ok_and(|back| back == *self);
        if same { Ok(text) } else { Err(StateError::Inexact) }
    }

    /// The state that [`State::to_text`] wrote.
    ///
    /// # Errors
    ///
    /// [`StateError::Unreadable`].
    pub fn from_text(text: &str) -> Result<Self, StateError> {
        serde_json::from_str(text).map_err(|e| StateError::Unreadable(e.to_string()))
    }
}
