//! Reading what an owner has: every kind of data ends as the same [`Samples`]. Nothing here knows
//! of splits, blocks or programs.

mod file;
mod idx;
mod images;
mod jsonl;
mod labels;
mod npy;
mod table;
mod text;

use std::{io::Read, path::Path};

use potluck_protocol::{DataSource, limits};

use crate::{Alphabet, DataError};

pub(crate) use table::TableReader;

/// All samples, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Samples {
    /// Values with a class.
    Labelled(Labelled),
    /// Windows of a text.
    Windows(Windows),
}

/// Values with a class.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Labelled {
    /// Shape of a sample's values.
    pub(crate) shape: Vec<u32>,
    /// Samples x the shape's values, row-major, divided by the scale.
    pub(crate) values: Vec<f32>,
    /// One class a sample.
    pub(crate) labels: Vec<u32>,
    /// Classes: the highest label and one.
    pub(crate) classes: u32,
    /// What the classes are called, where the data says it.
    pub(crate) names: Vec<String>,
}

/// Windows of a text that do not overlap.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Windows {
    /// Tokens of a sample's input; a window holds one more, the last target.
    pub(crate) context: u32,
    /// Windows x (context + 1).
    pub(crate) tokens: Vec<u32>,
    /// What the tokens stand for.
    pub(crate) alphabet: Alphabet,
}

impl Labelled {
    /// Values of one sample.
    pub(crate) fn features(&self) -> usize {
        self.shape.iter().map(|&extent| extent as usize).product()
    }
}

impl Samples {
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Labelled(labelled) => labelled.labels.len(),
            Self::Windows(windows) => windows.tokens.len() / (windows.context as usize + 1),
        }
    }
}

/// Reads the data below `folder`; `context` is the length of a text's samples.
pub(crate) fn read(from: &DataSource, folder: &Path, context: u32) -> Result<Samples, DataError> {
    let labelled = match from {
        DataSource::Csv { path, .. } => {
            let file = file::open(folder, path, from.key())?;
            file::check_length(&file, path, limits::CSV_BYTES_MAX)?;
            read_csv(from, file.reader)?
        }
        DataSource::Idx { images, labels, scale } => idx::read(folder, images, labels, *scale)?,
        DataSource::Images { folder: images, colour } => images::read(folder, images, *colour)?,
        DataSource::Npy { values, labels, scale } => npy::read(folder, values, labels, *scale)?,
        DataSource::Jsonl { path, values, label, scale } => {
            jsonl::Reader { path, values, label, scale: *scale }.read(folder)?
        }
        DataSource::Text { path, unit } => return text::read(folder, path, *unit, context).map(Samples::Windows),
        _ => return Err(DataError::UnknownSource),
    };
    Ok(Samples::Labelled(labelled))
}

/// [`read`] of CSV text from anywhere.
pub(crate) fn read_csv(from: &DataSource, csv: impl Read) -> Result<Labelled, DataError> {
    let DataSource::Csv { path, label, scale, shape } = from else { return Err(DataError::UnknownSource) };
    let mut table = TableReader { file: path, label, scale: *scale }.read(csv)?;
    if !shape.is_empty() {
        let (expected, got) = (shape.iter().map(|&extent| extent as usize).product(), table.features());
        if expected != got {
            return Err(DataError::Shape { file: path.clone(), shape: shape.clone(), expected, got });
        }
        table.shape.clone_from(shape);
    }
    Ok(table)
}
