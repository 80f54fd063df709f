//! Arms times seeds on all threads, with a word for each run that ends.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::stats::{Summary, summary};
use crate::training::{Arm, Bench, Corpus, Outcome, Size, program};
use crate::{Arguments, pool};

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
    start: Summary,
    symbols: u32,
}

impl Sweep {
    /// Runs those of the arms that were asked for, with the seeds that were asked for.
    pub(crate) fn run(arguments: &Arguments, mut arms: Vec<Arm>) -> Result<Self> {
        let path = arguments.text.as_deref().context("this simulation learns a text: name one with --text FILE")?;
        if let Some(word) = &arguments.only {
            arms.retain(|arm| arm.name.contains(word.as_str()));
        }
        ensure!(!arms.is_empty(), "no row's name holds the word of --only");
        let corpus = Corpus::read(path)?;
        let program = program(corpus.symbols())?;
        let seeds: Vec<u64> = (arguments.seed..).take(arguments.seeds as usize).collect();
        let began = Instant::now();
        let tell = |text: String| eprintln!("{:>6.0} s  {text}", began.elapsed().as_secs_f64());
        let warm = |&seed: &u64| {
            let bench = Bench::warm(&corpus, &program, Size::CALIBRATION, seed)?;
            let loss = bench.start_loss()?;
            Ok((bench, loss))
        };
        let benches = pool::run(&seeds, arguments.threads, warm, |seed, (_, loss), _| {
            tell(format!("seed {seed} is warm at {loss:.4} nats"));
        })?;
        let work: Vec<(&Arm, &Bench<'_>)> =
            arms.iter().flat_map(|arm| benches.iter().map(move |(bench, _)| (arm, bench))).collect();
        let run = |(arm, bench): &(&Arm, &Bench<'_>)| bench.run(arm);
        let runs = pool::run(&work, arguments.threads, run, |(arm, bench), outcome, ended| {
            tell(format!("{ended}/{} {}, seed {}: {:.4}", work.len(), arm.name, bench.seed(), outcome.loss));
        })?;
        let starts: Vec<f64> = benches.iter().map(|(_, loss)| *loss).collect();
        let measured = arms.iter().zip(runs.chunks(seeds.len()));
        Ok(Self {
            parameters: program.parameter_count(),
            arms: measured.map(|(arm, runs)| Measured { arm: arm.clone(), runs: runs.to_vec() }).collect(),
            start: summary(&starts),
            symbols: corpus.symbols(),
        })
    }

    /// The arm of this name.
    pub(crate) fn arm(&self, name: &str) -> Option<&Measured> {
        self.arms.iter().find(|measured| measured.arm.name == name)
    }

    /// What the losses of the table are.
    pub(crate) fn words(&self) -> String {
        let Self { parameters, start, symbols, .. } = self;
        let samples = Size::CALIBRATION.samples;
        format!(
            "Held-out nats a character: {parameters} parameters, {symbols} symbols, {samples} windows of 64 characters \
             from a warm start at {:.3} (spread {:.3}).",
            start.mean, start.spread
        )
    }
}
