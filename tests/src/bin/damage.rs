//! `potluck-damage`: what `cargo xtask damage` measures. Progress goes to standard error, one JSON
//! object with rows and limits to standard output.
#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::process::ExitCode;

use potluck_tests::damage::{Extent, Ground, Tally, appends, files, small_disk};
use serde_json::{Value, json};

fn main() -> ExitCode {
    match extent() {
        Ok((extent, positions)) => {
            println!("{}", measure(&extent, positions));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn extent() -> Result<(Extent, usize), lexopt::Error> {
    use lexopt::prelude::*;
    let mut extent = Extent { flips: 1000, cuts: usize::MAX, blobs: usize::MAX, seed: 1 };
    let mut positions = usize::MAX;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("flips") => extent.flips = parser.value()?.parse()?,
            Long("seed") => extent.seed = parser.value()?.parse()?,
            Long("appends") => positions = parser.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    Ok((extent, positions))
}

fn measure(extent: &Extent, positions: usize) -> Value {
    let tell = |news: &str| eprintln!("{news}");
    let mut tallies = appends(positions, extent.seed, tell);
    for (name, is_open) in [("after a stop", false), ("after a kill", true)] {
        tallies.extend(files(&Ground::new(name, is_open), extent, tell));
    }
    match small_disk() {
        Some(tally) => tallies.push(tally),
        None => eprintln!("this user may not mount: the full disk is that of the tests, a limit on file sizes"),
    }
    let mut violations = 0;
    for tally in &tallies {
        for violation in &tally.violations {
            eprintln!("VIOLATION (seed {}): {}: {violation}", extent.seed, tally.what);
        }
        violations += tally.violations.len();
    }
    let flips = 2 * extent.flips as u64;
    let flipped: u64 =
        tallies.iter().filter(|t| t.what.contains("sqlite") && t.what.contains("flipped")).map(|t| t.cases).sum();
    json!({
        "rows": tallies.iter().map(row).collect::<Vec<_>>(),
        "limits": [
            limit("violations: unnoticed, unnamed, skipped, counted twice, a panic", 0, violations as u64),
            limit("flips of the database that were not made", 0, flips.saturating_sub(flipped)),
        ],
    })
}

fn limit(what: &str, limit: u64, value: u64) -> Value {
    json!({"what": what, "limit": limit, "value": value})
}

fn row(tally: &Tally) -> Value {
    let Tally { what, cases, unchanged, refused, messages, violations } = tally;
    json!({
        "what": what,
        "cases": cases,
        "unchanged": unchanged,
        "refused": refused,
        "messages": messages,
        "violations": violations,
    })
}
