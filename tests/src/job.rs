//! Job files for tests: the digits example, changed where a test needs it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A copy of the digits example in a folder of its own, beside the folder for its coordinator.
#[derive(Debug)]
pub struct Job {
    root: tempfile::TempDir,
}

/// The example's folder in the repository.
pub fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits")
}

impl Job {
    /// The job's name in addresses.
    pub const NAME: &'static str = "digits";

    /// The example with lines replaced: each change is the start of a line and what stands there
    /// instead.
    ///
    /// # Panics
    /// Where the example has no such line, so that a test cannot miss its change.
    pub fn digits(changes: &[(&str, &str)]) -> Self {
        let mut text = fs::read_to_string(digits().join("job.toml")).expect("the example's job file");
        for (start, new) in changes {
            let old = text.lines().find(|line| line.starts_with(start));
            let old = old.unwrap_or_else(|| panic!("the example has no line that starts with {start:?}")).to_owned();
            text = text.replacen(&old, new, 1);
        }
        let job = Self { root: tempfile::tempdir().expect("a folder") };
        fs::write(job.file(), text).expect("written");
        fs::copy(digits().join("digits.csv"), job.root.path().join("digits.csv")).expect("copied");
        job
    }

    /// The number of the line that starts so in the example, from 1.
    ///
    /// # Panics
    /// Where no line does.
    pub fn digits_line(start: &str) -> usize {
        let text = fs::read_to_string(digits().join("job.toml")).expect("the example's job file");
        1 + text.lines().position(|line| line.starts_with(start)).expect("a line that starts so")
    }

    /// The job file.
    pub fn file(&self) -> PathBuf {
        self.root.path().join("job.toml")
    }

    /// The coordinator's folder; the coordinator makes it.
    pub fn folder(&self) -> PathBuf {
        self.root.path().join("folder")
    }

    /// The data file.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("digits.csv")
    }
}
