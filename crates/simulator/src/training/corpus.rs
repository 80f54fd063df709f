//! A text as samples: characters numbered in their order, nine tenths to learn from, a tenth to be
//! tested on.

use std::path::Path;

use anyhow::{Context, Result, bail};
use potluck_graph::Column;
use potluck_graph::random::{SplitMix64, mix};

use super::model::CONTEXT;

/// Windows of the held-out part that an evaluation reads at most: 65,536 characters.
const VALID_WINDOWS_MAX: usize = 1024;

/// Characters that a text must have: below a megabyte a model of 100,000 parameters learns it by
/// heart, and losses of different arms cannot be compared.
const CHARACTERS_MIN: usize = 1_000_000;

/// A text, numbered.
#[derive(Debug)]
pub(crate) struct Corpus {
    symbols: u32,
    train: Vec<u32>,
    valid: Vec<u32>,
}

impl Corpus {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the text {}", path.display()))?;
        let corpus = Self::new(&text);
        let got = corpus.train.len() + corpus.valid.len();
        if got < CHARACTERS_MIN {
            bail!("{} has {got} characters, a simulation needs {CHARACTERS_MIN}", path.display());
        }
        Ok(corpus)
    }

    pub(crate) fn new(text: &str) -> Self {
        let mut alphabet: Vec<char> = text.chars().collect();
        alphabet.sort_unstable();
        alphabet.dedup();
        let number = |c: char| alphabet.partition_point(|&known| known < c) as u32;
        let mut train: Vec<u32> = text.chars().map(number).collect();
        let valid = train.split_off(train.len() * 9 / 10);
        Self { symbols: alphabet.len() as u32, train, valid }
    }

    /// Distinct characters.
    pub(crate) fn symbols(&self) -> u32 {
        self.symbols
    }

    /// `count` windows from anywhere in the training part, drawn by the seed: inputs, then targets.
    pub(crate) fn batch(&self, seed: u64, step: u32, count: u32) -> [Column; 2] {
        let mut random = SplitMix64::new(mix(seed, u64::from(step)));
        let places = (self.train.len() - CONTEXT as usize - 1) as u32;
        windows(&self.train, (0..count).map(|_| random.below(places) as usize))
    }

    /// Windows of the held-out part that an evaluation reads.
    pub(crate) fn valid_windows(&self) -> usize {
        (self.valid.len() / (CONTEXT as usize + 1)).min(VALID_WINDOWS_MAX)
    }

    /// Windows `from..to` of the held-out part, which do not overlap.
    pub(crate) fn valid(&self, from: usize, to: usize) -> [Column; 2] {
        windows(&self.valid, (from..to).map(|index| index * (CONTEXT as usize + 1)))
    }
}

fn windows(text: &[u32], starts: impl Iterator<Item = usize>) -> [Column; 2] {
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for start in starts {
        let window = &text[start..=start + CONTEXT as usize];
        x.extend_from_slice(&window[..CONTEXT as usize]);
        y.extend_from_slice(&window[1..]);
    }
    [Column::U32(x), Column::U32(y)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_inputs_shifted_by_one() {
        let corpus = Corpus::new(&"abcdefghijklmnopqrstuvwxyz".repeat(30));
        assert_eq!(corpus.symbols(), 26);
        for [x, y] in [corpus.batch(1, 2, 3), corpus.valid(0, 1)] {
            let (Column::U32(x), Column::U32(y)) = (x, y) else { panic!("tokens") };
            assert_eq!(x.len(), y.len());
            assert!(x.iter().zip(&y).all(|(x, y)| (x + 1) % 26 == *y));
        }
    }

    #[test]
    fn a_batch_is_a_function_of_seed_and_step() {
        let corpus = Corpus::new(&"the quick brown fox ".repeat(50));
        assert_eq!(corpus.batch(1, 2, 3), corpus.batch(1, 2, 3));
        assert_ne!(corpus.batch(1, 2, 3), corpus.batch(1, 3, 3));
        assert_ne!(corpus.batch(1, 2, 3), corpus.batch(2, 2, 3));
    }
}
