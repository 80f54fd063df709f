//! `sim band`: a job file under four visitors who differ, go, are killed and come, once a seed. The least
//! and the greatest loss that it ends with are the band that a real run of it has to fall into.
//!
//! What may be otherwise in a real run is drawn for each seed: initial values, the order of the data, when
//! somebody goes, how busy the machine is, how quick each tab on it, and how uneven its tasks. A band that
//! wrong training falls into as well says nothing, so a few wrong runs are beside it.

use anyhow::{Context, Result};
use potluck_data::{EncodedBlock, Ingested, ingest};
use potluck_graph::random::{SplitMix64, mix};
use potluck_protocol::{BlobId, JobFile, Millis, Recipe};
use serde_json::json;

use crate::crowd::{Arrivals, Books, Cue, Draw, JobSize, RealJob, Turn, World, WorldSize};
use crate::report::{Report, rounded};
use crate::{Arguments, pool};

/// Milliseconds that a whole task takes four tabs at a time on two cores without a GPU and nothing else to
/// do, from the lease to the result: WebGPU in software with all of a tab's time and with 75 %, wasm with 25
/// and 15 %. The first two go and return, the others are killed. `docs/training.md` has where they are from.
const TASK_MILLIS: [f64; 4] = [2_200.0, 2_900.0, 750.0, 1_200.0];

/// How many times longer all takes where the machine has other things to do; its logarithm is uniform.
const BUSY: [f64; 2] = [1.0, 8.0];

/// How much tabs differ from run to run, and tasks of one tab: spreads of logarithms, which are normal.
const UNEVEN: (f64, f64) = (0.15, 0.2);

/// From a yes to the first ask, and from a reload to it, where nothing else is to do.
const JOIN_MILLIS: [f64; 2] = [1_000.0, 2_500.0];
const RELOAD_MILLIS: [f64; 2] = [2_000.0, 5_000.0];

/// When things happen, at least and at most, in shares of the budget. These are the numbers of
/// `tests/browser/crowd.mjs`, whose real run the band is for.
const KILLED: [f64; 2] = [0.1, 0.3];
const AWAY: [f64; 2] = [0.05, 0.15];
const RETURNS: [[f64; 2]; 2] = [[0.5, 0.6], [0.7, 0.8]];

/// A job that takes longer is not the one that was asked for.
const LASTS: Millis = 3_600_000;

/// What the rows of the band are called.
const RIGHT: &str = "as the file says";

/// What a run changes of the recipe.
type Alter = fn(&mut Recipe);

/// Training that is not what the file says.
const WRONG: [(&str, Alter); 6] = [
    ("a quarter of the learning rate", |recipe| recipe.lr /= 4.0),
    ("four times the learning rate", |recipe| recipe.lr *= 4.0),
    ("half of the budget", |recipe| recipe.budget_samples /= 2),
    ("updates added up, not averaged", |recipe| recipe.outer.lr *= 4.0),
    ("a quarter of each update", |recipe| recipe.outer.lr /= 4.0),
    ("updates with the wrong sign", |recipe| recipe.outer.lr *= -1.0),
];

/// Seeds of each wrong run.
const WRONG_SEEDS: usize = 2;

/// Of the band: an honest run ends outside of it twice in so many plus one.
const SEEDS: u64 = 100;

/// Of one run.
struct Ended {
    books: Books,
    merged: u64,
}

impl Ended {
    /// The loss of the last version on `valid` and when it was done; `None` where training diverged.
    fn last(&self) -> Option<(f64, Millis)> {
        let (version, at) = self.books.finished?;
        let seen = self.books.evaluations.iter().rfind(|seen| seen.version == version)?;
        Some((f64::from(seen.loss), at)).filter(|(loss, _)| loss.is_finite())
    }
}

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
    let seeds = arguments.seeds_or(SEEDS);
    let wrong =
        WRONG.iter().flat_map(|&(name, alter)| seeds.iter().take(WRONG_SEEDS).map(move |&seed| (name, alter, seed)));
    let work: Vec<(&str, Alter, u64)> =
        seeds.iter().map(|&seed| (RIGHT, unchanged as Alter, seed)).chain(wrong).collect();
    let each = |&(name, alter, seed): &(&str, Alter, u64)| {
        let mut job = job.clone();
        alter(&mut job.recipe);
        match simulate(&job, seed) {
            // Wrong training may diverge.
            Err(_) if name != RIGHT => Ok(None),
            ended => ended.map(Some),
        }
    };
    let loss = |ended: &Option<Ended>| ended.as_ref().and_then(Ended::last).map_or(f64::NAN, |(loss, _)| loss);
    let runs = pool::run(&work, arguments.threads, each, |(name, _, seed), ended_run, ended| {
        eprintln!("{ended}/{} {name}, seed {seed}: {:.4}", work.len(), loss(ended_run));
    })?;
    let mut report = Report::new(format!("{}: four visitors who come and go, once a seed.", path.display()));
    for ((name, _, seed), ended) in work.iter().zip(&runs) {
        let of_books = |number: fn(&Books) -> f64, digits| {
            rounded(ended.as_ref().map_or(f64::NAN, |ended| number(&ended.books)), digits)
        };
        report.row([
            ("run", json!(name)),
            ("job file", json!(of)),
            ("seed", json!(seed)),
            ("valid loss", rounded(loss(ended), 6)),
            ("virtual s", of_books(|books| books.lasted as f64 / 1000.0, 1)),
            ("samples", json!(ended.as_ref().map(|ended| ended.merged))),
            ("commits", json!(ended.as_ref().map(|ended| ended.books.commits))),
            ("parts a commit", of_books(Books::parts_a_commit, 2)),
            ("with something late", of_books(Books::stale_share, 2)),
        ]);
    }
    let (right, wrong): (Vec<_>, Vec<_>) = work.iter().zip(&runs).partition(|((name, ..), _)| *name == RIGHT);
    let band: Vec<f64> = right.iter().map(|(_, ended)| loss(ended)).collect();
    let (least, most) = band.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), &b| (l.min(b), m.max(b)));
    let inside = wrong.iter().filter(|(_, ended)| (least..=most).contains(&loss(ended))).count();
    report.limit("runs that did not end", 0.0, band.iter().filter(|loss| loss.is_nan()).count() as f64);
    report.limit("wrong runs that end inside the band", 0.0, inside as f64);
    Ok(report)
}

fn unchanged(_recipe: &mut Recipe) {}

fn simulate(job: &RealJob, seed: u64) -> Result<Ended> {
    let (cast, script) = cast(seed, &job.recipe);
    let seems = JobSize { parameters: job.program.parameter_count() as u64, task_millis: UNIT_MILLIS };
    let begun = job.begin(seed, &job.program.initial(seed), seems)?;
    let arrivals = Arrivals::Cast(cast.into());
    let size = WorldSize { job: begun, arrivals, script, lasts: LASTS, target: None, loss_chance: 0.0, seed };
    let (books, merged, _) = World::new(size).run()?;
    Ok(Ended { books, merged })
}

/// What a task would take a device of the median speed; speeds are in its.
const UNIT_MILLIS: Millis = 1_000;

/// Who is there when it begins, and what happens then. Nobody says a word when they go.
fn cast(seed: u64, recipe: &Recipe) -> (Vec<(Millis, Draw)>, Vec<Cue>) {
    let mut random = SplitMix64::new(mix(seed, 0));
    let mut between = |[low, high]: [f64; 2]| low + f64::from(random.unit()) * (high - low);
    let busy = BUSY[0] * (BUSY[1] / BUSY[0]).powf(between([0.0, 1.0]));
    let shares: Vec<[f64; 2]> = [0, 1].map(|_| between(KILLED)).map(|killed| [killed, killed + between(AWAY)]).to_vec();
    let mut returns = RETURNS.map(&mut between);
    if between([0.0, 1.0]) < 0.5 {
        returns.reverse();
    }
    let mut takes = |span: [f64; 2]| (busy * between(span)) as Millis;
    let joins = [0, 1].map(|_| takes(JOIN_MILLIS));
    let reloads = [0, 1].map(|_| takes(RELOAD_MILLIS));
    let tab = |random: &mut SplitMix64, millis: f64| {
        let millis = millis * busy * (UNEVEN.0 * f64::from(random.normal())).exp();
        Draw { uneven: UNEVEN.1, ..Draw::steady(UNIT_MILLIS as f64 / millis, LASTS, false) }
    };
    let cast: Vec<_> = TASK_MILLIS.iter().map(|&millis| (0, tab(&mut random, millis))).collect();
    let samples = |share: f64| (share * recipe.budget_samples as f64).ceil() as u64;
    let mut script = Vec::new();
    for (index, [killed, comes]) in shares.into_iter().enumerate() {
        // Visitors are numbered from 1, and the first two stay.
        let who = index as u64 + 3;
        let like = tab(&mut random, TASK_MILLIS[index + 2]);
        script.push(Cue { samples: samples(killed), takes: 0, turn: Turn::Kill(who) });
        script.push(Cue { samples: samples(comes), takes: joins[index], turn: Turn::Come(like) });
    }
    for (index, share) in returns.into_iter().enumerate() {
        script.push(Cue { samples: samples(share), takes: reloads[index], turn: Turn::Return(index as u64 + 1) });
    }
    script.sort_by_key(|cue| cue.samples);
    (cast, script)
}
