//! `sim band`: a job file under four visitors who differ, come, go and are killed, once a seed. The
//! least and the greatest loss that it ends with are the band that a real run of it has to fall into.

use anyhow::{Context, Result};
use potluck_data::{EncodedBlock, Ingested, ingest};
use potluck_graph::random::{SplitMix64, mix};
use potluck_protocol::{JobFile, Millis};
use serde_json::json;

use crate::crowd::{Arrivals, Draw, JobSize, RealJob, World, WorldSize};
use crate::report::{Report, rounded};
use crate::{Arguments, pool};

/// Speeds of the four, in those of the quickest.
const SPEEDS: [f64; 4] = [1.0, 0.5, 0.25, 0.125];

/// How long a visit and an absence last, at least and at most.
const VISITS: [Millis; 2] = [10_000, 40_000];
const ABSENCES: [Millis; 2] = [1_000, 6_000];

/// What a task takes the quickest.
const TASK_MILLIS: Millis = 500;

/// A job that takes longer is not the one that was asked for.
const LASTS: Millis = 3_600_000;

pub(crate) fn run(arguments: &Arguments) -> Result<Report> {
    let path = arguments.job.as_deref().context("this simulation runs a job: name its file with --job FILE")?;
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = JobFile::parse(&text)?;
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
        let arrivals = Arrivals::Cast(cast(seed).into());
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

/// Who comes when, for an hour: each of the four again and again, half of the times with a word when
/// they go.
fn cast(seed: u64) -> Vec<(Millis, Draw)> {
    let mut cast = Vec::new();
    for (who, speed) in (0u64..).zip(SPEEDS) {
        let mut random = SplitMix64::new(mix(seed, who));
        let mut between = |[low, high]: [Millis; 2]| low + random.next_u64() % (high - low);
        let mut at = between([0, 2_000]);
        while at < LASTS {
            let (stays, says_stop) = (between(VISITS), between([0, 2]) == 0);
            cast.push((at, Draw::steady(speed, stays, says_stop)));
            at += stays + between(ABSENCES);
        }
    }
    cast.sort_by_key(|(at, _)| *at);
    cast
}
