//! A small job and data for the tests of this crate.

use potluck_protocol::{DataSection, JobFile};

pub(crate) const JOB: &str = r#"[job]
name = "points"
title = "Points"
owner = "A test"
contact = "https://example.org"
licence = "MIT"

[data]
csv = "points.csv"
label = "class"
public = true
licence = "CC0"
source = "made here"
valid = 0.2
test = 0.2
block_samples = 4

[model]
preset = "mlp"
hidden = [3]

[train]
batch = 2
budget_samples = 100
"#;

pub(crate) fn job() -> JobFile {
    JobFile::parse(JOB).expect("a good job file")
}

pub(crate) fn section() -> DataSection {
    job().data
}

/// A header and ten samples of two values; the label stands in the middle.
pub(crate) fn csv() -> String {
    let line = |n: u32| format!("{n},{},{}.5\n", n % 2, 10 * n);
    "a,class,b\n".to_owned() + &(0..10).map(line).collect::<String>()
}
