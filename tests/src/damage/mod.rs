//! What is done to a coordinator's folder, and what must come of it: the harm is named by file and
//! with what to do, or it touches nothing that counts and the job is the same as without it. Never
//! is anything skipped in silence, counted twice, or a panic.

mod appends;
mod disk;
mod image;
mod start;

use std::{collections::BTreeMap, path::Path};

use potluck_graph::random::SplitMix64;

pub use appends::appends;
pub use disk::small_disk;
pub use image::{Harm, Image};
pub use start::{Ground, Outcome};

/// What came of many cases of one kind.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// What was done.
    pub what: String,
    /// How often.
    pub cases: u64,
    /// Cases in which nothing that counts was touched: the job was served and was the same.
    pub unchanged: u64,
    /// Cases that were refused, by the kind of the error.
    pub refused: BTreeMap<&'static str, u64>,
    /// A message of each kind, as an example.
    pub messages: BTreeMap<&'static str, String>,
    /// What did not hold, in sentences. Empty is the point.
    pub violations: Vec<String>,
}

impl Tally {
    fn new(what: &str) -> Self {
        Self { what: what.to_owned(), ..Self::default() }
    }

    fn enter(&mut self, case: &str, outcome: Outcome) {
        self.cases += 1;
        match outcome {
            Outcome::Unchanged => self.unchanged += 1,
            Outcome::Refused { kind, message } => {
                *self.refused.entry(kind).or_default() += 1;
                self.messages.entry(kind).or_insert(message);
            }
            Outcome::Violated(what) => self.violations.push(format!("{case}: {what}")),
        }
    }
}

/// How many of each.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Flips in each of the database and its write-ahead log.
    pub flips: usize,
    /// Pages at whose start a file is cut; all of them where there are fewer.
    pub cuts: usize,
    /// Blobs that are harmed, each in three ways.
    pub blobs: usize,
    /// Where the places come from.
    pub seed: u64,
}

/// Starts side by side: most of one is waiting for syncs.
const AT_ONCE: usize = 4;

/// SQLite's page, and the unit in which a file system writes.
const PAGE: usize = 4096;

/// Harms the files of a ground one after the other; `tell` hears how it goes.
pub fn files(ground: &Ground, extent: &Extent, mut tell: impl FnMut(&str)) -> Vec<Tally> {
    let mut random = SplitMix64::new(extent.seed);
    let mut tallies = Vec::new();
    for name in ["potluck.sqlite", "potluck.sqlite-wal", "potluck.heads"] {
        let bytes = ground.image().bytes_of(Path::new(name));
        if bytes == 0 {
            continue;
        }
        let cuts: Vec<usize> = (0..bytes).step_by(PAGE).collect();
        let cuts = sample(&cuts, extent.cuts, &mut random).into_iter().map(|at| Harm::Truncate(name.into(), at));
        tallies.push(harm_all(ground, &format!("{name}: cut at a page"), cuts));
        // A hundred bytes are soon exhausted.
        let count = if name.ends_with("heads") { extent.flips.min(bytes) / 4 } else { extent.flips };
        let flips = (0..count).map(|_| Harm::Flip(name.into(), random.below(8 * bytes as u32) as usize));
        tallies.push(harm_all(ground, &format!("{name}: a bit flipped"), flips.collect::<Vec<_>>()));
        tallies.push(harm_all(ground, &format!("{name}: gone"), [Harm::Remove(name.into())]));
        tell(&format!("{}: {name} done", ground.name()));
    }
    let blobs: Vec<_> =
        ground.image().files().filter(|(path, bytes)| path.components().count() > 1 && *bytes > 0).collect();
    let blobs = sample(&blobs, extent.blobs, &mut random);
    let cut = blobs.iter().map(|(path, bytes)| Harm::Truncate((*path).into(), random.below(*bytes as u32) as usize));
    tallies.push(harm_all(ground, "a blob cut", cut.collect::<Vec<_>>()));
    let flipped =
        blobs.iter().map(|(path, bytes)| Harm::Flip((*path).into(), random.below(8 * *bytes as u32) as usize));
    tallies.push(harm_all(ground, "a blob flipped", flipped.collect::<Vec<_>>()));
    tallies.push(harm_all(ground, "a blob gone", blobs.iter().map(|(path, _)| Harm::Remove((*path).into()))));
    tell(&format!("{}: blobs done", ground.name()));
    for tally in &mut tallies {
        tally.what = format!("{}, {}", ground.name(), tally.what);
    }
    tallies
}

fn harm_all(ground: &Ground, what: &str, harms: impl IntoIterator<Item = Harm>) -> Tally {
    let harms: Vec<Harm> = harms.into_iter().collect();
    let of_some = |harms: &[Harm]| harms.iter().map(|harm| ground.start(harm)).collect::<Vec<_>>();
    let outcomes = std::thread::scope(|threads| {
        let share = harms.len().div_ceil(AT_ONCE).max(1);
        let at_work: Vec<_> = harms.chunks(share).map(|some| threads.spawn(move || of_some(some))).collect();
        let ended = at_work.into_iter().map(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        ended.flatten().collect::<Vec<_>>()
    });
    let mut tally = Tally::new(what);
    for (harm, outcome) in harms.iter().zip(outcomes) {
        tally.enter(&format!("{harm:?}"), outcome);
    }
    tally
}

/// So many of them, the first and the last among them, in their order.
fn sample<T: Clone>(all: &[T], count: usize, random: &mut SplitMix64) -> Vec<T> {
    if all.len() <= count {
        return all.to_vec();
    }
    let mut at = std::collections::BTreeSet::from([0, all.len() - 1]);
    while at.len() < count {
        at.insert(random.below(all.len() as u32) as usize);
    }
    at.into_iter().map(|at| all[at].clone()).collect()
}
