//! Blocks of samples: what a dataset is cut into and what a task names.
//!
//! Layout, all little-endian: `"PTLB"`, format version 1 (u32), samples (u32), columns (u32); then
//! for each column, in the program's input order, values per sample (u32) and type (u32: 0 f32,
//! 1 u32); then each column's values, row-major, 4 bytes each.

use potluck_protocol::limits;

use crate::{DType, InputSpec, Shape};

const MAGIC: [u8; 4] = *b"PTLB";
const FORMAT: u32 = 1;

/// Samples, column by column.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// How many.
    pub samples: u32,
    /// One column per program input; `samples x values per sample`, row-major.
    pub columns: Vec<Column>,
}

/// Values of one input.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Features.
    F32(Vec<f32>),
    /// Labels or tokens.
    U32(Vec<u32>),
}

/// Why bytes are not a block of this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The header is cut off, has another magic or version, or claims an impossible size.
    #[error("not a block: {0}")]
    Header(&'static str),
    /// The columns are not the program's inputs.
    #[error(
        "column {column} holds {got} values of type {got_type} a sample, the program's {name:?} has {expected} of {expected_type:?}"
    )]
    Column {
        /// Index of the column.
        column: usize,
        /// The input's name.
        name: String,
        /// Values a sample in the program.
        expected: u64,
        /// Type in the program.
        expected_type: DType,
        /// Values a sample in the block.
        got: u32,
        /// Type code in the block.
        got_type: u32,
    },
    /// Too short or too long for what the header says.
    #[error("block is {got} bytes, its header says {expected}")]
    Length {
        /// By the header.
        expected: u64,
        /// In fact.
        got: usize,
    },
    /// A feature is NaN or infinite.
    #[error("column {column} holds a value that is not finite")]
    NotFinite {
        /// Index of the column.
        column: usize,
    },
}

impl Column {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Column::F32(values) => values.len(),
            Column::U32(values) => values.len(),
        }
    }

    /// True without values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values as bytes, in the machine's order (little-endian on every platform we run on).
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Column::F32(values) => bytemuck::cast_slice(values),
            Column::U32(values) => bytemuck::cast_slice(values),
        }
    }

    fn type_code(&self) -> u32 {
        match self {
            Column::F32(_) => 0,
            Column::U32(_) => 1,
        }
    }

    fn f32s(&self) -> &[f32] {
        if let Column::F32(values) = self { values } else { &[] }
    }

    fn u32s(&self) -> &[u32] {
        if let Column::U32(values) = self { values } else { &[] }
    }
}

impl Block {
    /// The block as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let Self { samples, columns } = self;
        let mut bytes = MAGIC.to_vec();
        let mut word = |value: u32| bytes.extend(value.to_le_bytes());
        word(FORMAT);
        word(*samples);
        word(columns.len() as u32);
        for column in columns {
            word((column.len() / (*samples).max(1) as usize) as u32);
            word(column.type_code());
        }
        for column in columns {
            bytes.extend_from_slice(column.as_bytes());
        }
        bytes
    }

    /// Reads a block for these inputs.
    ///
    /// # Errors
    /// Anything that is not exactly a block of the program's inputs with finite values; no
    /// allocation happens before the length was checked.
    pub fn decode(bytes: &[u8], inputs: &[InputSpec]) -> Result<Self, BlockError> {
        let (header, body) = bytes.split_at_checked(16 + 8 * inputs.len()).ok_or(BlockError::Header("too short"))?;
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if header[..4] != MAGIC || word(4) != FORMAT {
            return Err(BlockError::Header("wrong magic or version"));
        }
        let samples = word(8);
        if samples == 0 || samples > limits::BLOCK_SAMPLES_MAX || word(12) as usize != inputs.len() {
            return Err(BlockError::Header("impossible count of samples or columns"));
        }
        let mut widths = Vec::with_capacity(inputs.len());
        for (column, InputSpec { name, shape, dtype }) in inputs.iter().enumerate() {
            let (got, got_type) = (word(16 + 8 * column), word(20 + 8 * column));
            let expected = Shape::fixed(shape).values();
            let type_code = if *dtype == DType::F32 { 0 } else { 1 };
            if u64::from(got) != expected || got_type != type_code {
                let (name, expected_type) = (name.clone(), *dtype);
                return Err(BlockError::Column { column, name, expected, expected_type, got, got_type });
            }
            widths.push(expected);
        }
        let expected: u64 = widths.iter().map(|w| w * u64::from(samples) * 4).sum();
        if body.len() as u64 != expected {
            return Err(BlockError::Length { expected: expected + header.len() as u64, got: bytes.len() });
        }
        let mut rest = body;
        let mut columns = Vec::with_capacity(inputs.len());
        for (column, (spec, width)) in inputs.iter().zip(widths).enumerate() {
            let (mine, after) = rest.split_at((width * u64::from(samples) * 4) as usize);
            rest = after;
            let words = mine.chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]);
            columns.push(match spec.dtype {
                DType::U32 => Column::U32(words.map(u32::from_le_bytes).collect()),
                DType::F32 => {
                    let values: Vec<f32> = words.map(f32::from_le_bytes).collect();
                    if values.iter().any(|v| !v.is_finite()) {
                        return Err(BlockError::NotFinite { column });
                    }
                    Column::F32(values)
                }
            });
        }
        Ok(Self { samples, columns })
    }

    /// The columns of these rows, where rows count through the blocks one after another.
    ///
    /// # Panics
    /// Where a row is past the last sample; rows come from [`crate::batches`] over the same blocks.
    pub fn gather(blocks: &[Block], rows: &[u32]) -> Vec<Column> {
        let starts: Vec<u32> = blocks
            .iter()
            .scan(0, |end, block| {
                let start = *end;
                *end += block.samples;
                Some(start)
            })
            .collect();
        let places: Vec<(usize, usize)> = rows
            .iter()
            .map(|&row| {
                let block = starts.partition_point(|&start| start <= row) - 1;
                (block, (row - starts[block]) as usize)
            })
            .collect();
        let Some(first) = blocks.first() else { return Vec::new() };
        (0..first.columns.len())
            .map(|column| {
                let width = first.columns[column].len() / first.samples as usize;
                match first.columns[column] {
                    Column::F32(_) => Column::F32(gather_rows(blocks, &places, width, |b| b.columns[column].f32s())),
                    Column::U32(_) => Column::U32(gather_rows(blocks, &places, width, |b| b.columns[column].u32s())),
                }
            })
            .collect()
    }
}

fn gather_rows<'a, T: Copy + 'a>(
    blocks: &'a [Block],
    places: &[(usize, usize)],
    width: usize,
    values: impl Fn(&'a Block) -> &'a [T],
) -> Vec<T> {
    let mut out = Vec::with_capacity(places.len() * width);
    for &(block, row) in places {
        out.extend_from_slice(&values(&blocks[block])[row * width..][..width]);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inputs() -> Vec<InputSpec> {
        let spec = |name: &str, shape: &[u32], dtype| InputSpec { name: name.to_owned(), shape: shape.to_vec(), dtype };
        vec![spec("x", &[3], DType::F32), spec("y", &[], DType::U32)]
    }

    fn block(samples: u32, first: u32) -> Block {
        let x = (0..samples * 3).map(|v| (first * 3 + v) as f32).collect();
        let y = (first..first + samples).collect();
        Block { samples, columns: vec![Column::F32(x), Column::U32(y)] }
    }

    proptest! {
        #[test]
        fn round_trips(samples in 1u32..50, first in 0u32..1000) {
            let block = block(samples, first);
            prop_assert_eq!(Block::decode(&block.encode(), &inputs()), Ok(block));
        }

        #[test]
        fn damaged_bytes_are_refused_without_panic(samples in 1u32..5, at in any::<prop::sample::Index>(), byte: u8, cut in 0usize..200) {
            let mut bytes = block(samples, 0).encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Block::decode(&bytes, &inputs());
            bytes.truncate(bytes.len().saturating_sub(cut + 1));
            prop_assert!(Block::decode(&bytes, &inputs()).is_err());
        }
    }

    #[test]
    fn gather_counts_through_blocks() {
        let columns = Block::gather(&[block(2, 0), block(3, 2)], &[4, 0, 2]);
        assert_eq!(columns[1], Column::U32(vec![4, 0, 2]));
        assert_eq!(columns[0], Column::F32(vec![12.0, 13.0, 14.0, 0.0, 1.0, 2.0, 6.0, 7.0, 8.0]));
    }

    #[test]
    fn nan_is_refused() {
        let block = Block { samples: 1, columns: vec![Column::F32(vec![0.0, f32::NAN, 0.0]), Column::U32(vec![0])] };
        assert_eq!(Block::decode(&block.encode(), &inputs()), Err(BlockError::NotFinite { column: 0 }));
    }
}
