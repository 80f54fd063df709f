//! Reads CSV text into numbers, one sample a line. Checks every value and says where a wrong one
//! stands; knows nothing of splits, blocks or programs.

use std::io::Read;

use csv::{ByteRecord, ErrorKind, ReaderBuilder};
use potluck_protocol::limits;

use super::{Labelled, labels::count_classes};
use crate::DataError;

/// Where the label stands in a line, and what the columns are called.
struct Header {
    names: ByteRecord,
    label: usize,
}

/// One read: the file's name for messages, and what the job file says about it.
pub(crate) struct TableReader<'a> {
    /// Name for messages.
    pub(crate) file: &'a str,
    /// Name of the label's column.
    pub(crate) label: &'a str,
    /// Every other value is divided by this.
    pub(crate) scale: f32,
}

impl TableReader<'_> {
    /// Reads all of `csv`, at most [`limits::CSV_BYTES_MAX`] bytes of it.
    pub(crate) fn read(&self, csv: impl Read) -> Result<Labelled, DataError> {
        // One byte more than allowed is let through, so that a cut file is told from a whole one.
        let mut reader = ReaderBuilder::new().from_reader(csv.take(limits::CSV_BYTES_MAX + 1));
        let names = reader.byte_headers().map_err(|e| self.csv_error(e))?.clone();
        let header = self.header(names)?;
        let features = header.names.len() - 1;
        let mut table = Labelled {
            shape: vec![features as u32], // At most FEATURES_MAX.
            values: Vec::new(),
            labels: Vec::new(),
            classes: 0,
            names: Vec::new(),
        };
        let mut record = ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(|e| self.csv_error(e))? {
            let line = record.position().map_or(0, csv::Position::line);
            if reader.position().byte() > limits::CSV_BYTES_MAX {
                return Err(DataError::FileTooLarge { file: self.file.to_owned(), max: limits::CSV_BYTES_MAX });
            }
            if table.values.len() + features > limits::INGEST_VALUES_MAX {
                let max = limits::INGEST_VALUES_MAX;
                return Err(DataError::TooManyValues { file: self.file.to_owned(), line, max });
            }
            self.sample(&header, line, &record, &mut table)?;
        }
        table.classes = count_classes(self.file, &table.labels)?;
        Ok(table)
    }

    fn header(&self, names: ByteRecord) -> Result<Header, DataError> {
        let file = || self.file.to_owned();
        if names.is_empty() {
            return Err(DataError::Empty { file: file() });
        }
        let mut named = names.iter().enumerate().filter(|(_, name)| text(name) == self.label).map(|(at, _)| at);
        let Some(label) = named.next() else {
            let columns = cut(&names.iter().map(text).collect::<Vec<_>>().join(", "));
            return Err(DataError::NoLabel { file: file(), label: self.label.to_owned(), columns });
        };
        let more = named.count();
        if more > 0 {
            return Err(DataError::LabelTwice { file: file(), label: self.label.to_owned(), count: 1 + more });
        }
        if names.len() == 1 {
            return Err(DataError::NoFeatures { file: file(), label: self.label.to_owned() });
        }
        if names.len() - 1 > limits::FEATURES_MAX {
            let got = names.len() - 1;
            return Err(DataError::TooManyFeatures { file: file(), got, max: limits::FEATURES_MAX });
        }
        Ok(Header { names, label })
    }

    fn sample(&self, header: &Header, line: u64, record: &ByteRecord, table: &mut Labelled) -> Result<(), DataError> {
        for (at, field) in record.iter().enumerate() {
            if at == header.label {
                table.labels.push(self.class(header, line, field)?);
            } else {
                table.values.push(self.value(header, at, line, field)?);
            }
        }
        Ok(())
    }

    fn value(&self, header: &Header, at: usize, line: u64, field: &[u8]) -> Result<f32, DataError> {
        let file = || self.file.to_owned();
        let column = || cut(&text(&header.names[at]));
        let number = std::str::from_utf8(field).ok().and_then(|t| t.trim().parse::<f32>().ok());
        let number = number.filter(|n| n.is_finite());
        let Some(number) = number else {
            return Err(DataError::NotANumber { file: file(), line, column: column(), got: cut(&text(field)) });
        };
        let scaled = number / self.scale;
        if !scaled.is_finite() {
            return Err(DataError::OutOfRange { file: file(), line, column: column(), got: number, scale: self.scale });
        }
        Ok(scaled)
    }

    fn class(&self, header: &Header, line: u64, field: &[u8]) -> Result<u32, DataError> {
        let max = limits::CLASSES_MAX - 1;
        let label = text(field);
        // Tools that keep a column as floats write class 3 as `3.0`.
        let whole = label.strip_suffix(".0").unwrap_or(&label).parse::<u32>();
        whole.ok().filter(|class| *class <= max).ok_or_else(|| DataError::NotAClass {
            file: self.file.to_owned(),
            line,
            column: cut(&text(&header.names[header.label])),
            max,
            got: cut(&label),
        })
    }

    fn csv_error(&self, error: csv::Error) -> DataError {
        let file = self.file.to_owned();
        match error.kind() {
            ErrorKind::UnequalLengths { pos, expected_len, len } => DataError::Ragged {
                file,
                line: pos.as_ref().map_or(0, csv::Position::line),
                got: *len,
                expected: *expected_len,
            },
            _ => DataError::NotCsv { file, error },
        }
    }
}

/// A field as text without the spaces around it; bytes that are not UTF-8 become `U+FFFD`, which
/// no number holds.
fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim().to_owned()
}

/// Enough of an owner's text to recognise it in a message.
fn cut(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().count() <= SHOWN { text.to_owned() } else { text.chars().take(SHOWN).chain(['…']).collect() }
}
