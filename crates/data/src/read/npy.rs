//! numpy's own format, NEP 1 (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>):
//! a magic, a version, the length of a header that is a Python dictionary, then the values.

use std::path::Path;

use potluck_protocol::limits;

use super::{Labelled, file, labels::Pair};
use crate::DataError;

/// An array, its values as f64: exact for every type that is read but whole numbers past 2^53.
struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
}

pub(super) fn read(folder: &Path, values: &str, labels: &str, scale: f32) -> Result<Labelled, DataError> {
    let array = |path: &str, key| {
        // Eight bytes a value and a header.
        let bytes = file::bytes(folder, path, key, 8 * limits::INGEST_VALUES_MAX as u64 + (64 << 10))?;
        parse(path, &bytes)
    };
    let (samples, classes) = (array(values, "data.npy")?, array(labels, "data.labels")?);
    let [count, shape @ ..] = samples.shape.as_slice() else {
        return Err(DataError::Dimensions { file: values.to_owned(), got: 0, expected: "two to four" });
    };
    if shape.is_empty() || shape.len() > 3 {
        let got = samples.shape.len();
        return Err(DataError::Dimensions { file: values.to_owned(), got, expected: "two to four" });
    }
    let features: usize = shape.iter().product();
    if features == 0 || features > limits::FEATURES_MAX {
        let max = limits::FEATURES_MAX;
        return Err(DataError::SampleSize { file: values.to_owned(), got: features as u64, max });
    }
    let pair = Pair {
        values_file: values,
        labels_file: labels,
        samples: *count,
        // Rows and columns alone are an image of one channel.
        shape: match *shape {
            [rows, columns] => vec![1, rows as u32, columns as u32],
            _ => shape.iter().map(|&extent| extent as u32).collect(),
        },
        values: scaled(values, &samples.values, features, scale)?,
        labels: whole(labels, &classes)?,
    };
    pair.join()
}

fn scaled(file: &str, values: &[f64], features: usize, scale: f32) -> Result<Vec<f32>, DataError> {
    let scaled: Vec<f32> = values.iter().map(|&value| value as f32 / scale).collect();
    match scaled.iter().position(|value| !value.is_finite()) {
        None => Ok(scaled),
        Some(at) => {
            let got = values[at].to_string();
            Err(DataError::SampleNotFinite { file: file.to_owned(), sample: at / features, got })
        }
    }
}

fn whole(file: &str, labels: &Array) -> Result<Vec<u32>, DataError> {
    if labels.shape.len() != 1 {
        return Err(DataError::Dimensions { file: file.to_owned(), got: labels.shape.len(), expected: "one" });
    }
    let max = limits::CLASSES_MAX - 1;
    let class = |(sample, &label): (usize, &f64)| {
        let good = label.fract() == 0.0 && (0.0..=f64::from(max)).contains(&label);
        let error = || DataError::LabelOutOfRange { file: file.to_owned(), sample, got: label.to_string(), max };
        good.then_some(label as u32).ok_or_else(error)
    };
    labels.values.iter().enumerate().map(class).collect()
}

fn parse(file: &str, bytes: &[u8]) -> Result<Array, DataError> {
    let not = |problem: String| DataError::NotNpy { file: file.to_owned(), problem };
    let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else {
        let zip = bytes.starts_with(b"PK");
        return Err(not(if zip {
            "it is an .npz archive; save each array with numpy.save"
        } else {
            "it has another magic"
        }
        .to_owned()));
    };
    let (header_start, length) = match rest {
        [1, _, a, b, ..] => (10usize, usize::from(u16::from_le_bytes([*a, *b]))),
        [2 | 3, _, a, b, c, d, ..] => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        _ => return Err(not("its version is unknown".to_owned())),
    };
    let header = bytes.get(header_start..header_start.saturating_add(length));
    let header = header.ok_or_else(|| not("its header is cut off".to_owned()))?;
    let header = std::str::from_utf8(header).map_err(|_| not("its header is not text".to_owned()))?;
    if field(header, "fortran_order") != Some("False") {
        return Err(not("its values run by columns; save numpy.ascontiguousarray of it".to_owned()));
    }
    let kind = field(header, "descr").unwrap_or_default().trim_matches(['\'', '"']);
    let shape = shape(header).ok_or_else(|| not("its header names no shape".to_owned()))?;
    let count = shape.iter().try_fold(1usize, |all, &extent| all.checked_mul(extent));
    let count = count.filter(|&count| count <= limits::INGEST_VALUES_MAX);
    let count = count.ok_or_else(|| not(format!("it has more than {} values", limits::INGEST_VALUES_MAX)))?;
    let values = &bytes[header_start + length..];
    let known = "u1, i1, i4, i8, f4 or f8, little-endian";
    let (width, number) =
        number_of(kind).ok_or_else(|| not(format!("its values are {kind:?}; convert it to {known}")))?;
    if values.len() != count * width {
        let expected = (header_start + length + count * width) as u64;
        return Err(DataError::Length { file: file.to_owned(), expected, got: bytes.len() as u64 });
    }
    Ok(Array { shape, values: values.chunks_exact(width).map(number).collect() })
}

type Number = fn(&[u8]) -> f64;

/// Bytes of a value and how they are read, by numpy's name of the type.
fn number_of(kind: &str) -> Option<(usize, Number)> {
    macro_rules! little_endian {
        ($type:ty) => {
            (size_of::<$type>(), |bytes| {
                let mut value = [0; size_of::<$type>()];
                value.copy_from_slice(bytes);
                <$type>::from_le_bytes(value) as f64
            })
        };
    }
    Some(match kind {
        "|u1" | "|b1" => (1, |bytes| f64::from(bytes[0])),
        "|i1" => (1, |bytes| f64::from(bytes[0] as i8)),
        "<i2" => little_endian!(i16),
        "<u2" => little_endian!(u16),
        "<i4" => little_endian!(i32),
        "<u4" => little_endian!(u32),
        "<i8" => little_endian!(i64),
        "<f4" => little_endian!(f32),
        "<f8" => little_endian!(f64),
        _ => return None,
    })
}

/// The text behind `'name':` up to the next comma that ends it.
fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{name}':"))?;
    rest.split([',', '}']).next().map(str::trim)
}

fn shape(header: &str) -> Option<Vec<usize>> {
    let (_, rest) = header.split_once("'shape':")?;
    let (inside, _) = rest.trim_start().strip_prefix('(')?.split_once(')')?;
    let extents = inside.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    extents.map(|extent| extent.parse().ok()).collect()
}
