//! One sample a line, as a JSON object: `{"pixels": [[0, 3], [9, 1]], "label": 2}`. Lists may be
//! nested; what the first line's are is what all must be.

use std::{
    io::{BufRead, Read},
    path::Path,
};

use potluck_protocol::limits;
use serde_json::Value;

use super::{Labelled, file, labels::count_classes};
use crate::DataError;

/// One read, and what the job file says about it.
pub(super) struct Reader<'a> {
    pub(super) path: &'a str,
    pub(super) values: &'a str,
    pub(super) label: &'a str,
    pub(super) scale: f32,
}

impl Reader<'_> {
    pub(super) fn read(&self, folder: &Path) -> Result<Labelled, DataError> {
        let mut file = file::open(folder, self.path, "data.jsonl")?;
        file::check_length(&file, self.path, limits::CSV_BYTES_MAX)?;
        let mut read =
            Labelled { shape: Vec::new(), values: Vec::new(), labels: Vec::new(), classes: 0, names: Vec::new() };
        let (mut line, mut number) = (Vec::new(), 0);
        let unreadable = |error| DataError::Unreadable { path: folder.join(self.path), key: "data.jsonl", error };
        loop {
            line.clear();
            number += 1;
            // A line of the longest sample; what is longer does not parse.
            let mut one = file.reader.by_ref().take(32 * limits::FEATURES_MAX as u64);
            if one.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
                break;
            }
            if !line.trim_ascii().is_empty() {
                self.sample(number, &line, &mut read)?;
            }
        }
        read.classes = count_classes(self.path, &read.labels)?;
        if let [rows, columns] = read.shape[..] {
            read.shape = vec![1, rows, columns];
        }
        Ok(read)
    }

    fn error(&self, line: u64, problem: impl Into<String>) -> DataError {
        DataError::NotJsonl { file: self.path.to_owned(), line, problem: problem.into() }
    }

    fn sample(&self, number: u64, line: &[u8], read: &mut Labelled) -> Result<(), DataError> {
        let object: Value = serde_json::from_slice(line).map_err(|e| self.error(number, format!("no JSON: {e}")))?;
        let key =
            |key: &str| object.get(key).ok_or_else(|| self.error(number, format!("expected an object with {key:?}")));
        let max = limits::CLASSES_MAX - 1;
        let class = key(self.label)?.as_u64().filter(|&class| class <= u64::from(max));
        let class = class.ok_or_else(|| self.error(number, format!("{:?} is no class of 0 to {max}", self.label)))?;
        let (mut shape, before) = (Vec::new(), read.values.len());
        self.flatten(number, key(self.values)?, 0, &mut shape, &mut read.values)?;
        if read.labels.is_empty() {
            read.shape.clone_from(&shape);
        }
        let got = read.values.len() - before;
        let expected: usize = shape.iter().map(|&extent| extent as usize).product();
        if shape != read.shape || got != expected || got == 0 || got > limits::FEATURES_MAX {
            let (key, first) = (self.values, &read.shape);
            return Err(
                self.error(number, format!("{key:?} is a list of shape {shape:?}, expected {first:?} as before"))
            );
        }
        if read.values.len() > limits::INGEST_VALUES_MAX {
            let max = limits::INGEST_VALUES_MAX;
            return Err(DataError::TooManyValues { file: self.path.to_owned(), line: number, max });
        }
        read.labels.push(class as u32);
        Ok(())
    }

    /// Appends the numbers of nested lists, and the length of each level's first list.
    fn flatten(
        &self,
        line: u64,
        value: &Value,
        depth: usize,
        shape: &mut Vec<u32>,
        out: &mut Vec<f32>,
    ) -> Result<(), DataError> {
        let Value::Array(items) = value else {
            let number = value.as_f64().map(|number| number as f32 / self.scale).filter(|number| number.is_finite());
            let number = number.filter(|_| depth == shape.len() && depth > 0);
            out.push(number.ok_or_else(|| self.error(line, format!("{:?} holds {value}, no number", self.values)))?);
            return Ok(());
        };
        if depth == shape.len() && depth < 3 {
            shape.push(items.len() as u32);
        }
        if shape.get(depth) != Some(&(items.len() as u32)) {
            return Err(self.error(line, format!("lists of {:?} differ in length or are nested too deep", self.values)));
        }
        items.iter().try_for_each(|item| self.flatten(line, item, depth + 1, shape, out))
    }
}
