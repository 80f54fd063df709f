//! Text into windows of tokens. Windows do not overlap, not even by a target: a window of
//! `context + 1` tokens gives `context` inputs and, one further, as many targets.

use std::path::Path;

use potluck_protocol::{TextUnit, limits};

use super::{Windows, file};
use crate::{Alphabet, DataError};

pub(super) fn read(folder: &Path, path: &str, unit: TextUnit, context: u32) -> Result<Windows, DataError> {
    let bytes = file::bytes(folder, path, "data.text", limits::TEXT_BYTES_MAX)?;
    let (alphabet, mut tokens) = match unit {
        TextUnit::Bytes => (Alphabet::bytes(), bytes.into_iter().map(u32::from).collect::<Vec<u32>>()),
        TextUnit::Characters => characters(path, bytes)?,
    };
    let window = context as usize + 1;
    if tokens.len() < window {
        return Err(DataError::TextTooShort { file: path.to_owned(), got: tokens.len(), context });
    }
    tokens.truncate(tokens.len() / window * window);
    Ok(Windows { context, tokens, alphabet })
}

fn characters(path: &str, bytes: Vec<u8>) -> Result<(Alphabet, Vec<u32>), DataError> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count();
        DataError::NotUtf8 { file: path.to_owned(), line, byte: error.as_bytes()[at] }
    })?;
    // Editors write a mark at the front that is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let alphabet = Alphabet::of(text);
    if alphabet.len() > limits::CLASSES_MAX {
        return Err(DataError::TooManySymbols { file: path.to_owned(), got: alphabet.len(), max: limits::CLASSES_MAX });
    }
    if alphabet.len() == 1 {
        return Err(DataError::OneSymbol { file: path.to_owned() });
    }
    let tokens = alphabet.encode(text);
    Ok((alphabet, tokens))
}
