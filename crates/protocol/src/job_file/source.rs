//! Where in the text of a job file something stands, and errors that say it.

use std::{fmt, ops::RangeInclusive};

use toml::Spanned;

use crate::limits;

/// Why a job file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct JobFileError {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// The field, such as `train.steps`; empty where TOML itself is broken.
    pub field: String,
    /// What was expected and what was found.
    pub message: String,
}

impl fmt::Display for JobFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, field, message } = self;
        let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
        write!(f, "line {line}, column {column}: {field}{message}")
    }
}

/// Turns byte offsets into lines.
pub(super) struct Source<'a>(pub(super) &'a str);

impl Source<'_> {
    pub(super) fn error(&self, offset: usize, field: &str, message: impl Into<String>) -> JobFileError {
        let offset = (0..=offset.min(self.0.len())).rev().find(|&at| self.0.is_char_boundary(at)).unwrap_or(0);
        let before = &self.0[..offset];
        JobFileError {
            line: before.matches('\n').count() + 1,
            column: before.chars().rev().take_while(|&c| c != '\n').count() + 1,
            field: field.to_owned(),
            message: message.into(),
        }
    }

    pub(super) fn at<T>(&self, spanned: &Spanned<T>, field: &str, message: impl Into<String>) -> JobFileError {
        self.error(spanned.span().start, field, message)
    }

    /// The error of TOML itself, with the field that it is about.
    pub(super) fn toml(&self, error: &toml::de::Error) -> JobFileError {
        self.error(error.span().map_or(0, |span| span.start), &self.field_of(error), error.message())
    }

    /// The `table.key` that a TOML error points at, found in the text itself.
    fn field_of(&self, error: &toml::de::Error) -> String {
        let text = self.0;
        let Some(span) = error.span() else { return String::new() };
        let before = &text[..span.start.min(text.len())];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let table = text[..line_start + line.len()]
            .lines()
            .filter_map(|l| l.trim().strip_prefix('[')?.split(']').next())
            .next_back()
            .unwrap_or_default();
        match line.split_once('=') {
            Some((key, _)) if table.is_empty() => key.trim().to_owned(),
            Some((key, _)) => format!("{table}.{}", key.trim()),
            None => table.to_owned(),
        }
    }

    /// A text that is there, is not blank, and fits a widget.
    pub(super) fn text(&self, value: Spanned<String>, field: &str) -> Result<String, JobFileError> {
        let length = value.as_ref().len();
        if value.as_ref().trim().is_empty() {
            return Err(self.at(&value, field, "expected a text, got an empty one"));
        }
        if length > limits::TEXT_FIELD_BYTES_MAX {
            let max = limits::TEXT_FIELD_BYTES_MAX;
            return Err(self.at(&value, field, format!("expected at most {max} bytes, got {length}")));
        }
        Ok(value.into_inner())
    }

    /// A number in a range, or the default where there is none.
    pub(super) fn within<T: PartialOrd + fmt::Display + Copy>(
        &self,
        value: Option<Spanned<T>>,
        default: T,
        range: RangeInclusive<T>,
        field: &str,
    ) -> Result<T, JobFileError> {
        let Some(value) = value else { return Ok(default) };
        if !range.contains(value.as_ref()) {
            let message = format!("expected {} to {}, got {}", range.start(), range.end(), value.as_ref());
            return Err(self.at(&value, field, message));
        }
        Ok(value.into_inner())
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &self,
        value: Option<Spanned<String>>,
        default: T,
        words: &[(&str, T)],
        field: &str,
    ) -> Result<T, JobFileError> {
        let Some(value) = value else { return Ok(default) };
        match words.iter().find(|(word, _)| word == value.as_ref()) {
            Some((_, meaning)) => Ok(*meaning),
            None => {
                let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
                Err(self.at(&value, field, format!("expected {}, got {:?}", known.join(" or "), value.as_ref())))
            }
        }
    }
}
