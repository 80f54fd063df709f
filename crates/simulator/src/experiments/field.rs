//! The small model under a crowd: real training, the real scheduler, virtual time.

use anyhow::{Context, Result};
use potluck_graph::Program;
use potluck_protocol::{Recipe, StrategyName};

use crate::Arguments;
use crate::crowd::{CrowdJob, JobSize, RealJob};
use crate::training::{Bench, Corpus, Size, program};

/// Windows that the coordinator's worker evaluates each version on, and those of the last word.
const VALID: usize = 192;
const TEST: usize = 8;

/// Windows of a block: a task of 8 steps of 8 samples.
const BLOCK: usize = 64;

pub(crate) struct Field {
    corpus: Corpus,
    program: Program,
}

impl Field {
    pub(crate) fn open(arguments: &Arguments) -> Result<Self> {
        let path = arguments.text.as_deref().context("this simulation learns a text: name one with --text FILE")?;
        let corpus = Corpus::read(path, Size::SMALL.shape.context)?;
        let program = program(Size::SMALL.shape, corpus.symbols())?;
        Ok(Self { corpus, program })
    }

    /// The warm parameters of a seed.
    pub(crate) fn bench(&self, seed: u64) -> Result<Bench<'_>> {
        Bench::warm(&self.corpus, &self.program, Size::SMALL, seed)
    }

    /// A job from them, paced so.
    pub(crate) fn job(
        &self,
        bench: &Bench<'_>,
        seed: u64,
        (recipe, strategy): (Recipe, StrategyName),
        seems: JobSize,
    ) -> Result<CrowdJob> {
        let job = RealJob {
            name: "field".parse().context("a name")?,
            program: self.program.clone(),
            recipe,
            strategy,
            train: self.corpus.train_blocks(BLOCK),
            valid: self.corpus.valid_block(0..VALID),
            test: self.corpus.valid_block(VALID..VALID + TEST),
        };
        job.begin(seed, bench.start(), seems)
    }
}
