//! From a job file to a program and blocks. Reads one file, writes none; knows nothing of where
//! blocks are kept or who may fetch them.

use std::{fs::File, io::Read, path::Path};

use potluck_graph::{Block, Column, Program, preset};
use potluck_protocol::{JobFile, ModelSection, limits};

use crate::{
    DataError,
    split::{samples_needed, split},
    table::{Table, TableReader},
};

/// An owner's data as volunteers see it, and the program that fits it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ingested {
    /// What will be trained.
    pub program: Program,
    /// Blocks that tasks train on.
    pub train: Vec<EncodedBlock>,
    /// Blocks that gate targets and rollback.
    pub valid: Vec<EncodedBlock>,
    /// Blocks that are only reported; never to be served.
    pub test: Vec<EncodedBlock>,
    /// Samples of all splits.
    pub samples: u32,
    /// Values of one sample.
    pub features: u32,
    /// Classes that were found.
    pub classes: u32,
}

/// A block in the layout of [`potluck_graph::Block`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedBlock {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Samples in it.
    pub samples: u32,
}

impl Ingested {
    /// Samples of some blocks together.
    pub fn samples_of(blocks: &[EncodedBlock]) -> u32 {
        blocks.iter().map(|block| block.samples).sum()
    }
}

/// Reads the data that `job` names, relative to `folder`, shuffles it once by `data.seed`, splits it
/// and cuts it into blocks. The same job file and data give the same program and the same blocks.
///
/// The shuffle is [`potluck_graph::random::permutation`] of the samples in file order. Its first
/// `round(test x samples)` rows are `test`, the next `round(valid x samples)` are `valid` (each at
/// least one), and the rest is `train`.
///
/// # Errors
/// Says what is wrong with the file, where, and what to do.
pub fn ingest(job: &JobFile, folder: &Path) -> Result<Ingested, DataError> {
    let path = folder.join(&job.data.csv);
    let unreadable = |error| DataError::Unreadable { path: path.clone(), error };
    let file = File::open(&path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
    }
    if metadata.len() > limits::CSV_BYTES_MAX {
        return Err(DataError::FileTooLarge { file: job.data.csv.clone(), max: limits::CSV_BYTES_MAX });
    }
    ingest_csv(job, file)
}

/// [`ingest`] of CSV text from anywhere.
///
/// # Errors
/// As [`ingest`].
pub fn ingest_csv(job: &JobFile, csv: impl Read) -> Result<Ingested, DataError> {
    let section = &job.data;
    let table = TableReader { file: &section.csv, label: &section.label, scale: section.scale }.read(csv)?;
    let samples = table.labels.len() as u32; // At most INGEST_VALUES_MAX, far below 2^32.
    let batch = job.train.batch;
    let splits = split(samples, section, batch).ok_or_else(|| DataError::TooFewSamples {
        file: section.csv.clone(),
        got: table.labels.len(),
        needed: samples_needed(section, batch),
        batch,
    })?;
    let features = table.features as u32; // At most FEATURES_MAX.
    let program = program(&job.model, features, table.classes)?;
    check_sizes(job, &table)?;
    let cut = |rows: &[u32]| blocks(&table, rows, section.block_samples);
    let ingested = Ingested {
        program,
        train: cut(&splits.train),
        valid: cut(&splits.valid),
        test: cut(&splits.test),
        samples,
        features,
        classes: table.classes,
    };
    let block_count = ingested.train.len() + ingested.valid.len() + ingested.test.len();
    if block_count > limits::JOB_BLOCKS_MAX {
        return Err(DataError::TooManyBlocks { got: block_count, max: limits::JOB_BLOCKS_MAX });
    }
    Ok(ingested)
}

fn program(model: &ModelSection, features: u32, classes: u32) -> Result<Program, DataError> {
    match model {
        ModelSection::Mlp { hidden } => {
            preset::mlp(features, hidden, classes).map_err(|error| DataError::Program { features, classes, error })
        }
        _ => Err(DataError::UnknownPreset),
    }
}

/// A block has to fit a volunteer's download, and a task's block ids a message.
fn check_sizes(job: &JobFile, table: &Table) -> Result<(), DataError> {
    let block_samples = job.data.block_samples;
    let sample_bytes = 4 * (table.features + 1);
    let header_bytes = Block { samples: 0, columns: Vec::new() }.encode().len() + 2 * 8;
    let block_bytes = |samples: u32| header_bytes + samples as usize * sample_bytes;
    if block_bytes(block_samples) > limits::BLOCK_BYTES_MAX {
        return Err(DataError::BlockTooLarge {
            block_samples,
            got: block_bytes(block_samples),
            max: limits::BLOCK_BYTES_MAX,
            fitting: ((limits::BLOCK_BYTES_MAX - header_bytes) / sample_bytes) as u32,
        });
    }
    let task_samples = job.train.task_samples();
    let task_blocks = task_samples.div_ceil(u64::from(block_samples));
    if task_blocks > limits::TASK_BLOCKS_MAX as u64 {
        return Err(DataError::TooManyTaskBlocks {
            task_samples,
            got: task_blocks,
            max: limits::TASK_BLOCKS_MAX,
            fitting: task_samples.div_ceil(limits::TASK_BLOCKS_MAX as u64),
        });
    }
    Ok(())
}

fn blocks(table: &Table, rows: &[u32], block_samples: u32) -> Vec<EncodedBlock> {
    rows.chunks(block_samples as usize)
        .map(|rows| {
            let values = rows.iter().flat_map(|&row| &table.values[row as usize * table.features..][..table.features]);
            let labels = rows.iter().map(|&row| table.labels[row as usize]);
            let samples = rows.len() as u32;
            let columns = vec![Column::F32(values.copied().collect()), Column::U32(labels.collect())];
            EncodedBlock { bytes: Block { samples, columns }.encode(), samples }
        })
        .collect()
}
