//! Runs that ended before: a line of JSON each in a file, so that an interrupted simulation goes on.
//!
//! A run is known by its size, its arm with every setting, and its seed. Not by the program that made
//! it: who changes how an arm is computed starts with another file.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::training::{Arm, Outcome, Size};

#[derive(Debug, Default)]
pub(crate) struct Resume {
    path: Option<PathBuf>,
    known: Mutex<BTreeMap<String, Outcome>>,
}

impl Resume {
    /// What the file holds; without one, or where there is no such file yet, nothing.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = if path.exists() { std::fs::read_to_string(path)? } else { String::new() };
        let line = |(index, line): (usize, &str)| {
            entry(line).with_context(|| format!("{}, line {}: no run of a simulation", path.display(), index + 1))
        };
        let known = text.lines().enumerate().map(line).collect::<Result<_>>()?;
        Ok(Self { path: Some(path.to_owned()), known: Mutex::new(known) })
    }

    pub(crate) fn known(&self, size: Size, arm: &Arm, seed: u64) -> Option<Outcome> {
        self.known.lock().ok()?.get(&key(size, arm, seed)).copied()
    }

    /// Writes a run down, if there is a file.
    pub(crate) fn note(&self, size: Size, arm: &Arm, seed: u64, outcome: &Outcome) -> Result<()> {
        let (Some(path), Ok(_alone)) = (&self.path, self.known.lock()) else { return Ok(()) };
        let file = OpenOptions::new().create(true).append(true).open(path);
        writeln!(file?, "{}", line(&key(size, arm, seed), outcome))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn key(size: Size, arm: &Arm, seed: u64) -> String {
    format!("{size:?} {arm:?} {seed}")
}

fn line(key: &str, outcome: &Outcome) -> String {
    let Outcome { loss, tasks, up_bytes, down_bytes, commits, staleness, span } = *outcome;
    // JSON has no NaN: a run without a loss diverged.
    let loss = loss.is_finite().then_some(loss);
    let value = json!({
        "key": key, "loss": loss, "tasks": tasks, "up_bytes": up_bytes, "down_bytes": down_bytes, "commits": commits,
        "staleness": staleness, "span": span,
    });
    value.to_string()
}

fn entry(line: &str) -> Option<(String, Outcome)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let count = |name: &str| value[name].as_u64();
    let outcome = Outcome {
        loss: value["loss"].as_f64().unwrap_or(f64::NAN),
        tasks: count("tasks")?,
        up_bytes: count("up_bytes")?,
        down_bytes: count("down_bytes")?,
        commits: count("commits")?,
        staleness: count("staleness")?,
        span: count("span")?,
    };
    Some((value["key"].as_str()?.to_owned(), outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_comes_back_as_it_was_written() {
        let outcome = Outcome { loss: 2.125, tasks: 3, up_bytes: 4, down_bytes: 5, commits: 6, staleness: 7, span: 8 };
        assert_eq!(entry(&line("a run", &outcome)), Some(("a run".to_owned(), outcome)));
        let diverged = line("another", &Outcome { loss: f64::NAN, ..outcome });
        assert!(entry(&diverged).is_some_and(|(_, outcome)| outcome.loss.is_nan()));
        assert_eq!(entry("{}"), None);
    }
}
