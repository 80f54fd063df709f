//! The format of MNIST's files (<https://yann.lecun.com/exdb/mnist/>): two zero bytes, the type of a
//! value (8 for unsigned bytes), the number of dimensions, each extent as a big-endian u32, then the
//! values, row-major.

use std::path::Path;

use potluck_protocol::limits;

use super::{Labelled, file, labels::Pair};
use crate::DataError;

/// The type code of unsigned bytes, the only one that image sets use.
const UNSIGNED_BYTES: u8 = 8;

/// An idx file of unsigned bytes.
struct Idx {
    extents: Vec<u32>,
    values: Vec<u8>,
}

pub(super) fn read(folder: &Path, images: &str, labels: &str, scale: f32) -> Result<Labelled, DataError> {
    let image_bytes = file::bytes(folder, images, "data.idx", limits::INGEST_VALUES_MAX as u64 + 64)?;
    let Idx { extents, values } = parse(images, image_bytes)?;
    let label_bytes = file::bytes(folder, labels, "data.labels", limits::INGEST_VALUES_MAX as u64)?;
    let classes = parse(labels, label_bytes)?;
    let [samples, shape @ ..] = extents.as_slice() else { return Err(dimensions(images, &extents, "two to four")) };
    // Grey images have no dimension for their one channel.
    let shape = match *shape {
        [rows, columns] => vec![1, rows, columns],
        [values] => vec![values],
        [channels, rows, columns] => vec![channels, rows, columns],
        _ => return Err(dimensions(images, &extents, "two to four")),
    };
    if classes.extents.len() != 1 {
        return Err(dimensions(labels, &classes.extents, "one"));
    }
    let features: u64 = shape.iter().map(|&extent| u64::from(extent)).product();
    if features == 0 || features > limits::FEATURES_MAX as u64 {
        return Err(DataError::SampleSize { file: images.to_owned(), got: features, max: limits::FEATURES_MAX });
    }
    let pair = Pair {
        values_file: images,
        labels_file: labels,
        samples: *samples as usize,
        shape,
        values: values.iter().map(|&value| f32::from(value) / scale).collect(),
        labels: classes.values.into_iter().map(u32::from).collect(),
    };
    pair.join()
}

fn dimensions(file: &str, extents: &[u32], expected: &'static str) -> DataError {
    DataError::Dimensions { file: file.to_owned(), got: extents.len(), expected }
}

fn parse(file: &str, mut bytes: Vec<u8>) -> Result<Idx, DataError> {
    let not_idx = |got: &[u8]| DataError::NotIdx { file: file.to_owned(), got: hex(got) };
    let Some(&[0, 0, kind, dimensions]) = bytes.first_chunk::<4>() else {
        return Err(not_idx(&bytes[..bytes.len().min(4)]));
    };
    if kind != UNSIGNED_BYTES {
        return Err(not_idx(&bytes[..4]));
    }
    let header = 4 + 4 * usize::from(dimensions);
    let truncated = |expected: u64, got: usize| DataError::Length { file: file.to_owned(), expected, got: got as u64 };
    if bytes.len() < header {
        return Err(truncated(header as u64, bytes.len()));
    }
    let extent = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let extents: Vec<u32> = bytes[4..header].chunks_exact(4).map(extent).collect();
    let values = extents.iter().fold(1u64, |all, &extent| all.saturating_mul(extent.into()));
    if bytes.len() as u64 != values.saturating_add(header as u64) {
        return Err(truncated(values.saturating_add(header as u64), bytes.len()));
    }
    Ok(Idx { extents, values: bytes.split_off(header) })
}

fn hex(bytes: &[u8]) -> String {
    let words: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    words.join(" ")
}
