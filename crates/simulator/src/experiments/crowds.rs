//! `sim waste` and `sim scale`: a crowd under the real scheduler, in virtual time.

use anyhow::Result;
use serde_json::json;

use super::reach;
use super::sweep::SEEDS;
use crate::crowd::{Arrivals, Books, Churn, JobSize, World, WorldSize};
use crate::report::{Report, rounded};
use crate::stats::summary;
use crate::{Arguments, pool};

/// Share of finished computing that is to be merged, turned into a limit that holds from below.
const WASTED_PERCENT_MAX: f64 = 10.0;

/// Bytes a parameter and task, up and down.
const BYTES_MAX: f64 = 3.0;

const HOUR: u64 = 3_600_000;

/// One row: a crowd and what it works on.
#[derive(Debug, Clone, Copy)]
struct Row {
    crowd: f64,
    job: JobSize,
    equal: bool,
}

/// A row over all seeds.
struct Measured {
    row: Row,
    days: Vec<(Books, u64)>,
}

impl Measured {
    fn mean(&self, of: impl Fn(&Books, f64) -> f64) -> f64 {
        summary(&self.days.iter().map(|(books, merged)| of(books, *merged as f64)).collect::<Vec<_>>()).mean
    }

    fn spread(&self, of: impl Fn(&Books, f64) -> f64) -> f64 {
        summary(&self.days.iter().map(|(books, merged)| of(books, *merged as f64)).collect::<Vec<_>>()).spread
    }
}

/// Of what visitors finished, the part that no version holds, in per cent.
fn wasted(books: &Books, merged: f64) -> f64 {
    100.0 * (1.0 - merged / books.finished_samples as f64)
}

/// `sim waste`: what became of what the visitors computed.
pub(crate) fn waste(arguments: &Arguments) -> Result<Report> {
    let hours = if arguments.full { 4 } else { 1 };
    let crowds = [8.0, 64.0, 256.0];
    let job = |task_millis| JobSize { parameters: 1_000_000, task_millis };
    let row = |task_millis| move |&crowd: &f64| Row { crowd, job: job(task_millis), equal: false };
    let rows = crowds.iter().map(row(45_000)).chain(crowds.iter().map(row(10_000))).collect();
    let measured = measure(arguments, rows, hours)?;
    let mut report = Report::new(format!(
        "{hours} h of visits under the churn model; a task takes so long on the median device; means over {} seeds.",
        arguments.seeds_or(SEEDS).len()
    ));
    for m in &measured {
        let percent = |value: f64| rounded(100.0 * value, 1);
        let per_sample = |samples: fn(&Books) -> u64| {
            percent(m.mean(|books, _| samples(books) as f64 / (books.finished_samples + books.lost_samples) as f64))
        };
        let parameters = m.row.job.parameters as f64;
        report.row([
            ("visitors", json!(m.row.crowd)),
            ("task s", json!(m.row.job.task_millis / 1000)),
            ("merged %", rounded(100.0 - m.mean(wasted), 1)),
            ("spread", rounded(m.spread(wasted), 1)),
            ("late %", per_sample(|books| books.late_samples)),
            ("closed tabs %", per_sample(|books| books.lost_samples)),
            ("computing %", percent(m.mean(|books, _| books.computing as f64 / books.present as f64))),
            ("commits/h", rounded(m.mean(|books, _| books.commits as f64 / hours as f64), 0)),
            ("parts", rounded(m.mean(|books, _| books.parts_a_commit()), 1)),
            ("staleness", rounded(m.mean(|books, _| books.mean_staleness()), 2)),
            ("without momentum %", percent(m.mean(|books, _| books.plain_share()))),
            ("B/parameter", rounded(m.mean(|books, _| bytes_per_task(books) / parameters), 2)),
        ]);
    }
    for m in &measured {
        let what = format!("{} visitors, tasks of {} s", m.row.crowd, m.row.job.task_millis / 1000);
        report.limit(format!("{what}: finished computing not merged, %"), WASTED_PERCENT_MAX, m.mean(wasted));
        let bytes = m.mean(|books, _| bytes_per_task(books) / m.row.job.parameters as f64);
        report.limit(format!("{what}: bytes a parameter and task"), BYTES_MAX, bytes);
    }
    Ok(report)
}

fn bytes_per_task(books: &Books) -> f64 {
    (books.up_bytes + books.down_bytes) as f64 / books.tasks as f64
}

/// `sim scale`: how long a crowd takes to a loss, how much of its power reaches the model, and what
/// the core costs.
pub(crate) fn scale(arguments: &Arguments) -> Result<Report> {
    let hours = if arguments.full { 2 } else { 1 };
    let crowds = [1.0, 4.0, 16.0, 64.0, 256.0];
    let rows = |job, equal| crowds.map(|crowd| Row { crowd, job, equal });
    let small = JobSize { parameters: 1_000_000, task_millis: 20_000 };
    let large = JobSize { parameters: 16_000_000, task_millis: 20_000 };
    let rows = [rows(small, true), rows(small, false), rows(large, false)].concat();
    let measured = measure(arguments, rows, hours)?;
    let mut report = Report::new(format!(
        "{hours} h of visits; merged operations against what all who were there could have done, and the core's own \
         time; means over {} seeds. Rows with a time to the target are really trained, by equal devices that stay.",
        arguments.seeds_or(SEEDS).len()
    ));
    let reached = reach::run(arguments, small)?;
    let one = reached.first().map_or((f64::NAN, f64::NAN), |one| (one.seconds(), one.samples()));
    let nothing = || json!(null);
    for crowd in &reached {
        let mean = |of: fn(&Books) -> f64| crowd.days.iter().map(of).sum::<f64>() / crowd.days.len() as f64;
        report.row([
            ("visitors", json!(crowd.volunteers)),
            ("devices", json!("equal, staying")),
            ("parameters", json!(small.parameters)),
            ("to target s", rounded(crowd.seconds(), 0)),
            ("speed-up", rounded(one.0 / crowd.seconds(), 2)),
            ("samples", rounded(crowd.samples(), 0)),
            ("predicted useful", json!(reach::useful(one.1))),
            ("there", json!(crowd.volunteers)),
            ("useful %", nothing()),
            ("spread", nothing()),
            ("useful visitors", nothing()),
            ("commits/h", rounded(mean(|b| b.commits as f64 * HOUR as f64 / b.lasted as f64), 0)),
            ("core ms/commit", rounded(mean(|b| b.core.as_secs_f64() * 1000.0 / b.commits as f64), 2)),
        ]);
    }
    for m in &measured {
        let flops = m.row.job.job(0).flops_per_sample as f64;
        let useful = |books: &Books, merged: f64| merged * flops / books.possible_flops;
        let present = m.mean(|books, _| books.present as f64 / (hours * HOUR) as f64);
        report.row([
            ("visitors", json!(m.row.crowd)),
            ("devices", json!(if m.row.equal { "equal" } else { "churn model" })),
            ("parameters", json!(m.row.job.parameters)),
            ("to target s", nothing()),
            ("speed-up", nothing()),
            ("samples", nothing()),
            ("predicted useful", nothing()),
            ("there", rounded(present, 1)),
            ("useful %", rounded(100.0 * m.mean(useful), 1)),
            ("spread", rounded(100.0 * m.spread(useful), 1)),
            ("useful visitors", rounded(m.mean(useful) * present, 1)),
            ("commits/h", rounded(m.mean(|books, _| books.commits as f64 / hours as f64), 0)),
            ("core ms/commit", rounded(m.mean(|b, _| b.core.as_secs_f64() * 1000.0 / b.commits as f64), 2)),
        ]);
    }
    Ok(report)
}

fn measure(arguments: &Arguments, rows: Vec<Row>, hours: u64) -> Result<Vec<Measured>> {
    let seeds = arguments.seeds_or(SEEDS);
    let work: Vec<(Row, u64)> = rows.iter().flat_map(|&row| seeds.iter().map(move |&seed| (row, seed))).collect();
    let run = |&(row, seed): &(Row, u64)| {
        let churn = Churn::new(seed, row.crowd);
        let churn = if row.equal { churn.with_equal_devices() } else { churn };
        let (arrivals, lasts) = (Arrivals::Churn(churn), hours * HOUR);
        let (job, script, target) = (row.job.job(seed), Vec::new(), None);
        let (books, merged, _) =
            World::new(WorldSize { job, arrivals, script, lasts, target, loss_chance: 0.0, seed: 0 }).run()?;
        Ok((books, merged))
    };
    let days = pool::run(&work, arguments.threads, run, |(row, seed), (books, merged), ended| {
        let wasted = wasted(books, *merged as f64);
        eprintln!("{ended}/{} {} visitors, seed {seed}: {wasted:.1} % not merged", work.len(), row.crowd);
    })?;
    let days = days.chunks(seeds.len()).map(<[(Books, u64)]>::to_vec);
    Ok(rows.into_iter().zip(days).map(|(row, days)| Measured { row, days }).collect())
}
