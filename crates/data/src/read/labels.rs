//! What must hold of classes and values, whatever they were read from.

use super::Labelled;
use crate::DataError;

/// Classes, once every label was read: numbered without gaps, and at least two.
///
/// Without any label there are none; the caller says how many samples are needed.
pub(super) fn count_classes(file: &str, labels: &[u32]) -> Result<u32, DataError> {
    let Some(&highest) = labels.iter().max() else { return Ok(0) };
    let mut seen = vec![false; highest as usize + 1];
    for &label in labels {
        seen[label as usize] = true;
    }
    if let Some(missing) = (0..=highest).find(|&class| !seen[class as usize]) {
        return Err(DataError::ClassMissing { file: file.to_owned(), missing, highest });
    }
    if highest == 0 {
        return Err(DataError::OneClass { file: file.to_owned() });
    }
    Ok(highest + 1)
}

/// Samples of two files that belong together.
pub(super) struct Pair<'a> {
    pub(super) values_file: &'a str,
    pub(super) labels_file: &'a str,
    pub(super) samples: usize,
    pub(super) shape: Vec<u32>,
    pub(super) values: Vec<f32>,
    pub(super) labels: Vec<u32>,
}

impl Pair<'_> {
    pub(super) fn join(self) -> Result<Labelled, DataError> {
        let Self { values_file, labels_file, samples, shape, values, labels } = self;
        if samples != labels.len() {
            return Err(DataError::CountsDiffer {
                values_file: values_file.to_owned(),
                samples,
                labels_file: labels_file.to_owned(),
                labels: labels.len(),
            });
        }
        let classes = count_classes(labels_file, &labels)?;
        Ok(Labelled { shape, values, labels, classes, names: Vec::new() })
    }
}
