//! From a job file to a program and blocks. Writes no file; knows nothing of where blocks are kept
//! or who may fetch them.

use std::{fmt, io::Read, path::Path};

use potluck_graph::{Block, Column, Program};
use potluck_protocol::{JobFile, ModelSection, limits};

use crate::{
    Alphabet, DataError, ModelFiles, model,
    read::{self, Labelled, Samples, Windows},
    split::{samples_needed, split},
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
    /// What a sample is.
    pub contents: Contents,
    /// What goes with the parameters to whoever uses the model.
    pub files: ModelFiles,
}

/// What a sample is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// Values with a class.
    Labelled {
        /// Shape of the values.
        shape: Vec<u32>,
        /// Classes.
        classes: u32,
        /// What they are called, where the data says it.
        names: Vec<String>,
    },
    /// A window of a text.
    Text {
        /// Tokens of it.
        context: u32,
        /// What the tokens stand for.
        alphabet: Alphabet,
    },
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labelled { shape, classes, .. } => {
                let extents: Vec<String> = shape.iter().map(u32::to_string).collect();
                write!(f, "{} values a sample, {classes} classes", extents.join(" x "))
            }
            Self::Text { context, alphabet } => {
                write!(f, "{context} tokens a sample, {} different ones", alphabet.len())
            }
        }
    }
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
/// Says what is wrong with the data, where, and what to do.
pub fn ingest(job: &JobFile, folder: &Path) -> Result<Ingested, DataError> {
    let context = if let ModelSection::Gpt(gpt) = &job.model { gpt.context } else { 0 };
    cut(job, &read::read(&job.data.from, folder, context)?)
}

/// [`ingest`] of CSV text from anywhere.
///
/// # Errors
/// As [`ingest`].
pub fn ingest_csv(job: &JobFile, csv: impl Read) -> Result<Ingested, DataError> {
    cut(job, &Samples::Labelled(read::read_csv(&job.data.from, csv)?))
}

fn cut(job: &JobFile, all: &Samples) -> Result<Ingested, DataError> {
    let section = &job.data;
    let count = all.count();
    let samples = count as u32; // At most INGEST_VALUES_MAX, far below 2^32.
    let batch = job.train.batch;
    let splits = split(samples, section, batch).ok_or_else(|| DataError::TooFewSamples {
        file: section.from.path().to_owned(),
        got: count,
        needed: samples_needed(section, batch),
        batch,
    })?;
    let contents = all.contents();
    let program = model::program(&job.model, &contents)?;
    check_sizes(job, all.sample_values())?;
    let cut = |rows: &[u32]| -> Vec<EncodedBlock> {
        rows.chunks(section.block_samples as usize).map(|rows| block(all, rows)).collect()
    };
    let (train, valid, test) = (cut(&splits.train), cut(&splits.valid), cut(&splits.test));
    let block_count = train.len() + valid.len() + test.len();
    if block_count > limits::JOB_BLOCKS_MAX {
        return Err(DataError::TooManyBlocks { got: block_count, max: limits::JOB_BLOCKS_MAX });
    }
    let files = ModelFiles::of(job, &contents);
    Ok(Ingested { program, train, valid, test, samples, contents, files })
}

/// A block has to fit a volunteer's download, and a task's block ids a message.
fn check_sizes(job: &JobFile, sample_values: usize) -> Result<(), DataError> {
    let block_samples = job.data.block_samples;
    let sample_bytes = 4 * sample_values;
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

impl Samples {
    fn contents(&self) -> Contents {
        match self {
            Self::Labelled(Labelled { shape, classes, names, .. }) => {
                Contents::Labelled { shape: shape.clone(), classes: *classes, names: names.clone() }
            }
            Self::Windows(Windows { context, alphabet, .. }) => {
                Contents::Text { context: *context, alphabet: alphabet.clone() }
            }
        }
    }

    /// Values of all columns of one sample.
    fn sample_values(&self) -> usize {
        match self {
            Self::Labelled(labelled) => labelled.features() + 1,
            Self::Windows(windows) => 2 * windows.context as usize,
        }
    }
}

fn block(all: &Samples, rows: &[u32]) -> EncodedBlock {
    let samples = rows.len() as u32;
    let rows = rows.iter().map(|&row| row as usize);
    let columns = match all {
        Samples::Labelled(labelled) => {
            let features = labelled.features();
            let values = rows.clone().flat_map(|row| &labelled.values[row * features..][..features]);
            vec![Column::F32(values.copied().collect()), Column::U32(rows.map(|row| labelled.labels[row]).collect())]
        }
        Samples::Windows(windows) => {
            let context = windows.context as usize;
            let tokens = |shift: usize| {
                let rows = rows.clone().flat_map(|row| &windows.tokens[row * (context + 1) + shift..][..context]);
                Column::U32(rows.copied().collect())
            };
            vec![tokens(0), tokens(1)]
        }
    };
    EncodedBlock { bytes: Block { samples, columns }.encode(), samples }
}
