//! What ingest makes of good data, and what it says about bad data.

mod idx;
mod images;
mod jsonl;
mod npy;
mod table;
mod text;

use std::path::Path;

use expect_test::Expect;
use potluck_graph::{Block, Column};
use potluck_protocol::JobFile;

use crate::{EncodedBlock, Ingested, fixture::JOB, ingest};

/// The fixture's job with other data and another model.
fn job_with(data: &str, model: &str) -> JobFile {
    let text = JOB.replacen("csv = \"points.csv\"\nlabel = \"class\"", data, 1);
    JobFile::parse(&text.replacen("preset = \"mlp\"\nhidden = [3]", model, 1)).expect("a good job file")
}

const MLP: &str = "preset = \"mlp\"\nhidden = [3]";

fn decoded(ingested: &Ingested, blocks: &[EncodedBlock]) -> Vec<Block> {
    let decode = |block: &EncodedBlock| Block::decode(&block.bytes, ingested.program.inputs()).expect("a block");
    blocks.iter().map(decode).collect()
}

/// All samples of all splits as (values, class), sorted.
fn all_samples(ingested: &Ingested) -> Vec<(Vec<f32>, u32)> {
    let mut samples = Vec::new();
    for block in [&ingested.train, &ingested.valid, &ingested.test].into_iter().flat_map(|b| decoded(ingested, b)) {
        let [Column::F32(x), Column::U32(y)] = &block.columns[..] else { panic!("other columns") };
        samples.extend(x.chunks(x.len() / y.len()).map(<[f32]>::to_vec).zip(y.iter().copied()));
    }
    samples.sort_by(|a, b| a.0.partial_cmp(&b.0).expect("numbers"));
    samples
}

#[track_caller]
fn check_refused(job: &JobFile, folder: &Path, expected: &Expect) {
    let error = ingest(job, folder).expect_err("an error").to_string();
    expected.assert_eq(&error.replace(&folder.display().to_string(), "FOLDER"));
}
