//! Arms times seeds on all threads, with a word for each run that ends.

use std::time::Instant;

use anyhow::{Context, Result};

use super::resume::Resume;
use crate::stats::{Summary, summary};
use crate::training::{Arm, Bench, Corpus, Outcome, Size, program};
use crate::{Arguments, pool};

/// Repetitions of a row.
pub(crate) const SEEDS: u64 = 3;

/// An arm over all seeds.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) arm: Arm,
    /// One a seed, at least one.
    pub(crate) runs: Vec<Outcome>,
}

impl Measured {
    pub(crate) fn loss(&self) -> Summary {
        summary(&self.runs.iter().map(|run| run.loss).collect::<Vec<_>>())
    }
}

/// What came out, and what all of it started from.
pub(crate) struct Sweep {
    pub(crate) parameters: usize,
    pub(crate) arms: Vec<Measured>,
    size: Size,
    symbols: u32,
}

impl Sweep {
    /// Runs those of the arms that were asked for, each so often unless told otherwise. A run that
    /// ended before, in an interrupted simulation, is not run again.
    pub(crate) fn run(arguments: &Arguments, size: Size, seeds: u64, mut arms: Vec<Arm>) -> Result<Self> {
        let path = arguments.text.as_deref().context("this simulation learns a text: name one with --text FILE")?;
        if let Some(word) = &arguments.only {
            arms.retain(|arm| arm.name.contains(word.as_str()));
        }
        let corpus = Corpus::read(path, size.shape.context)?;
        let program = program(size.shape, corpus.symbols())?;
        let resume = Resume::open(arguments.resume.as_deref())?;
        let began = Instant::now();
        let tell = |text: String| eprintln!("{:>6.0} s  {text}", began.elapsed().as_secs_f64());
        let seeds = arguments.seeds_or(seeds);
        let work: Vec<(&Arm, usize)> = arms.iter().flat_map(|arm| (0..seeds.len()).map(move |at| (arm, at))).collect();
        let is_open =
            |at: &usize| work.iter().any(|(arm, of)| of == at && resume.known(size, arm, seeds[*at]).is_none());
        let cold: Vec<usize> = (0..seeds.len()).filter(is_open).collect();
        let warm = |&at: &usize| Ok((at, Bench::warm(&corpus, &program, size, seeds[at])?));
        let benches =
            pool::run(&cold, arguments.threads, warm, |at, _, _| tell(format!("seed {} is warm", seeds[*at])))?;
        let bench_of = |at: usize| benches.iter().find(|(of, _)| *of == at).map(|(_, bench)| bench);
        let run = |&(arm, at): &(&Arm, usize)| -> Result<Outcome> {
            if let Some(outcome) = resume.known(size, arm, seeds[at]) {
                return Ok(outcome);
            }
            let outcome = bench_of(at).context("a seed that is not warm")?.run(arm)?;
            resume.note(size, arm, seeds[at], &outcome)?;
            Ok(outcome)
        };
        let runs = pool::run(&work, arguments.threads, run, |(arm, at), outcome, ended| {
            tell(format!("{ended}/{} {}, seed {}: {:.4}", work.len(), arm.name, seeds[*at], outcome.loss));
        })?;
        let measured = arms.iter().zip(runs.chunks(seeds.len()));
        Ok(Self {
            parameters: program.parameter_count(),
            arms: measured.map(|(arm, runs)| Measured { arm: arm.clone(), runs: runs.to_vec() }).collect(),
            size,
            symbols: corpus.symbols(),
        })
    }

    /// The arm of this name.
    pub(crate) fn arm(&self, name: &str) -> Option<&Measured> {
        self.arms.iter().find(|measured| measured.arm.name == name)
    }

    /// How far the first arm's loss is above the second's, in per cent; `None` where one was not run
    /// or diverged.
    pub(crate) fn above(&self, name: &str, other: &str) -> Option<f64> {
        let loss = |name: &str| Some(self.arm(name)?.loss().mean);
        Some(100.0 * (loss(name)? / loss(other)? - 1.0)).filter(|gap| gap.is_finite())
    }

    /// What the losses of the table are.
    pub(crate) fn words(&self) -> String {
        let Self { parameters, size, symbols, .. } = self;
        format!(
            "Held-out nats a character: {parameters} parameters, {symbols} symbols, {} windows of {} characters from a \
             warm start.",
            size.samples, size.shape.context
        )
    }
}
