//! A text as samples: characters numbered in their order, nine tenths to learn from, a tenth to be
//! tested on.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use potluck_graph::random::{SplitMix64, mix};
use potluck_graph::{Block, Column};

/// Windows of the held-out part that an evaluation reads at most: 32,768 or 65,536 characters.
const VALID_WINDOWS_MAX: usize = 1024;

/// Characters that a text must have: below a megabyte a model of 100,000 parameters learns it by
/// heart, and losses of different arms cannot be compared.
const CHARACTERS_MIN: usize = 1_000_000;

/// A text, numbered.
#[derive(Debug)]
pub(crate) struct Corpus {
    symbols: u32,
    /// Characters of a window.
    context: usize,
    train: Vec<u32>,
    valid: Vec<u32>,
}

impl Corpus {
    pub(crate) fn read(path: &Path, context: u32) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the text {}", path.display()))?;
        let corpus = Self::new(&text, context);
        let got = corpus.train.len() + corpus.valid.len();
        if got < CHARACTERS_MIN {
            bail!("{} has {got} characters, a simulation needs {CHARACTERS_MIN}", path.display());
        }
        Ok(corpus)
    }

    pub(crate) fn new(text: &str, context: u32) -> Self {
        let mut alphabet: Vec<char> = text.chars().collect();
        alphabet.sort_unstable();
        alphabet.dedup();
        let number = |c: char| alphabet.partition_point(|&known| known < c) as u32;
        let mut train: Vec<u32> = text.chars().map(number).collect();
        let valid = train.split_off(train.len() * 9 / 10);
        Self { symbols: alphabet.len() as u32, context: context as usize, train, valid }
    }

    /// Distinct characters.
    pub(crate) fn symbols(&self) -> u32 {
        self.symbols
    }

    /// `count` windows from anywhere in the training part, drawn by the seed: inputs, then targets.
    pub(crate) fn batch(&self, seed: u64, step: u32, count: u32) -> [Column; 2] {
        let mut random = SplitMix64::new(mix(seed, u64::from(step)));
        let places = (self.train.len() - self.context - 1) as u32;
        self.windows(&self.train, (0..count).map(|_| random.below(places) as usize))
    }

    /// Windows of the held-out part that an evaluation reads.
    pub(crate) fn valid_windows(&self) -> usize {
        (self.valid.len() / (self.context + 1)).min(VALID_WINDOWS_MAX)
    }

    /// Windows `from..to` of the held-out part, which do not overlap.
    pub(crate) fn valid(&self, from: usize, to: usize) -> [Column; 2] {
        self.windows(&self.valid, (from..to).map(|index| index * (self.context + 1)))
    }

    /// The training part in windows that do not overlap, as an owner's data is cut: encoded blocks of
    /// so many, and the number of each.
    pub(crate) fn train_blocks(&self, size: usize) -> Vec<(Vec<u8>, u32)> {
        self.blocks(&self.train, 0..(self.train.len() / (self.context + 1)), size)
    }

    /// These windows of the held-out part as one block.
    pub(crate) fn valid_block(&self, windows: Range<usize>) -> Vec<(Vec<u8>, u32)> {
        let size = windows.len();
        self.blocks(&self.valid, windows, size)
    }

    fn blocks(&self, text: &[u32], windows: Range<usize>, size: usize) -> Vec<(Vec<u8>, u32)> {
        let indices: Vec<usize> = windows.collect();
        let block = |indices: &[usize]| {
            let starts = indices.iter().map(|index| index * (self.context + 1));
            let (samples, columns) = (indices.len() as u32, self.windows(text, starts).to_vec());
            (Block { samples, columns }.encode(), samples)
        };
        indices.chunks(size).map(block).collect()
    }

    fn windows(&self, text: &[u32], starts: impl Iterator<Item = usize>) -> [Column; 2] {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for start in starts {
            let window = &text[start..=start + self.context];
            x.extend_from_slice(&window[..self.context]);
            y.extend_from_slice(&window[1..]);
        }
        [Column::U32(x), Column::U32(y)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_inputs_shifted_by_one() {
        let corpus = Corpus::new(&"abcdefghijklmnopqrstuvwxyz".repeat(30), 64);
        assert_eq!(corpus.symbols(), 26);
        for [x, y] in [corpus.batch(1, 2, 3), corpus.valid(0, 1)] {
            let (Column::U32(x), Column::U32(y)) = (x, y) else { panic!("tokens") };
            assert_eq!(x.len(), y.len());
            assert!(x.iter().zip(&y).all(|(x, y)| (x + 1) % 26 == *y));
        }
    }

    #[test]
    fn a_batch_is_a_function_of_seed_and_step() {
        let corpus = Corpus::new(&"the quick brown fox ".repeat(50), 64);
        assert_eq!(corpus.batch(1, 2, 3), corpus.batch(1, 2, 3));
        assert_ne!(corpus.batch(1, 2, 3), corpus.batch(1, 3, 3));
        assert_ne!(corpus.batch(1, 2, 3), corpus.batch(2, 2, 3));
    }
}
