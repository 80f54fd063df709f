//! `sim band`: a job file under four visitors who differ, come, go and are killed, once a seed. The
//! least and the greatest loss that it ends with are the band that a real run of it has to fall into.

use anyhow::{Context, Result};
use potluck_data::{EncodedBlock, Ingested, ingest};
use potluck_graph::random::{SplitMix64, mix};
use potluck_protocol::{BlobId, JobFile, Millis, Recipe};
use serde_json::json;

use crate::crowd::{Arrivals, Draw, JobSize, RealJob, World, WorldSize};
use crate::report::{Report, rounded};
use crate::{Arguments, pool};

/// Speeds of the four, in those of the quickest: as tabs on a machine without a GPU have them, where wasm
/// is up to five times as quick as WebGPU. The first two are slow and come back, the others are killed.
const SPEEDS: [f64; 4] = [0.2, 0.2, 1.0, 0.6];

/// When things happen, at least and at most, in shares of the time that four who never leave would take.
/// These are the numbers of `tests/browser/crowd.mjs`, whose real run the band is for.
const COMES: [f64; 2] = [0.0, 0.05];
const KILLED: [f64; 2] = [0.1, 0.3];
const AWAY: [f64; 2] = [0.05, 0.15];
const CLOSED: [[f64; 2]; 2] = [[0.5, 0.6], [0.7, 0.8]];

/// What it takes to open a page again.
const RELOAD_MILLIS: Millis = 1_000;

/// What a task takes the quickest.
const TASK_MILLIS: Millis = 500;

/// A job that takes longer is not the one that was asked for.
const LASTS: Millis = 3_600_000;

pub(crate) fn run(arguments: &Arguments) -> Result<Report> {
    let path = arguments.job.as_deref().context("this simulation runs a job: name its file with --job FILE")?;
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = JobFile::parse(&text)?;
    // A band belongs to one state of a job file; who holds a run against it can see which.
    let of = BlobId::of(text.as_bytes()).to_string()[..16].to_owned();
    let Ingested { program, train, valid, test, .. } = ingest(&file, path.parent().unwrap_or(path))?;
    let blocks = |blocks: Vec<EncodedBlock>| blocks.into_iter().map(|block| (block.bytes, block.samples)).collect();
    let job = RealJob {
        name: file.job.name,
        recipe: file.train,
        strategy: file.strategy,
        train: blocks(train),
        valid: blocks(valid),
        test: blocks(test),
        program,
    };
    let seeds = arguments.seeds_or(20);
    let each = |&seed: &u64| {
        let seems = JobSize { parameters: job.program.parameter_count() as u64, task_millis: TASK_MILLIS };
        let begun = job.begin(seed, &job.program.initial(seed), seems)?;
        let arrivals = Arrivals::Cast(cast(seed, &job.recipe).into());
        World::new(WorldSize { job: begun, arrivals, lasts: LASTS, target: None, losses: (0.0, 0) }).run()
    };
    let days = pool::run(&seeds, arguments.threads, each, |seed, (books, merged, _), ended| {
        let loss = books.evaluations.last().map_or(f32::NAN, |seen| seen.loss);
        eprintln!("{ended}/{} seed {seed}: {loss:.4} after {merged} samples", seeds.len());
    })?;
    let mut report = Report::new(format!("{}: four visitors who come and go, once a seed.", path.display()));
    for (seed, (books, merged, _)) in seeds.iter().zip(&days) {
        let last = books.finished.and_then(|(version, at)| {
            let seen = books.evaluations.iter().rfind(|seen| seen.version == version)?;
            Some((f64::from(seen.loss), at))
        });
        report.row([
            ("job file", json!(of)),
            ("seed", json!(seed)),
            ("valid loss", rounded(last.map_or(f64::NAN, |(loss, _)| loss), 6)),
            ("virtual s", rounded(last.map_or(f64::NAN, |(_, at)| at as f64 / 1000.0), 1)),
            ("samples", json!(merged)),
            ("commits", json!(books.commits)),
            ("tasks", json!(books.tasks)),
            ("staleness", rounded(books.mean_staleness(), 2)),
        ]);
    }
    Ok(report)
}

/// Who comes when. Nobody says a word when they go.
fn cast(seed: u64, recipe: &Recipe) -> Vec<(Millis, Draw)> {
    let mut random = SplitMix64::new(mix(seed, 0));
    // A round is as long as the slowest one's task.
    let rounds = recipe.budget_samples as f64 / (SPEEDS.len() as u64 * recipe.task_samples()) as f64;
    let lasts = rounds * TASK_MILLIS as f64 / SPEEDS[0];
    let mut between = |[low, high]: [f64; 2]| (lasts * (low + f64::from(random.unit()) * (high - low))) as Millis;
    let mut cast = Vec::new();
    let [one, other, killed @ ..] = SPEEDS;
    let mut closed = CLOSED;
    if seed % 2 == 1 {
        closed.reverse();
    }
    for (speed, closed) in [one, other].into_iter().zip(closed) {
        let closes = between(closed);
        cast.push((0, Draw::steady(speed, closes, false)));
        cast.push((closes + RELOAD_MILLIS, Draw::steady(speed, LASTS, false)));
    }
    for speed in killed {
        let (comes, dies) = (between(COMES), between(KILLED));
        cast.push((comes, Draw::steady(speed, dies - comes, false)));
        cast.push((dies + between(AWAY), Draw::steady(speed, LASTS, false)));
    }
    cast.sort_by_key(|(at, _)| *at);
    cast
}
