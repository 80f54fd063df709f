//! `potluck-crash`: what `cargo xtask crash` measures. Progress goes to standard error, one JSON
//! object with rows and limits to standard output.
#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::{process::ExitCode, time::Duration};

use potluck_tests::{
    Plan,
    crash::{self, Kind, Report},
};
use serde_json::{Value, json};

/// Jobs that nobody disturbs, whose losses say how much luck there is in one.
const UNDISTURBED: u64 = 6;

fn main() -> ExitCode {
    match plan() {
        Ok(plan) => {
            println!("{}", measure(&plan));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn plan() -> Result<Plan, lexopt::Error> {
    use lexopt::prelude::*;
    let mut plan = Plan { kills: 200, seed: 1, volunteers: 20 };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("kills") => plan.kills = parser.value()?.parse()?,
            Long("seed") => plan.seed = parser.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(plan)
}

fn measure(plan: &Plan) -> Value {
    let mut losses = Vec::new();
    let mut rows = Vec::new();
    for seed in 0..UNDISTURBED {
        let report = crash::undisturbed(plan);
        let (loss, accuracy) = (report.loss, report.accuracy);
        eprintln!("undisturbed {} of {UNDISTURBED}: test loss {loss:.4}, accuracy {accuracy:.4}", seed + 1);
        losses.push(loss);
        rows.push(row("undisturbed", &report));
    }
    let reports = crash::run(plan, |news| eprintln!("{news}"));
    let mut violations = 0;
    for report in &reports {
        for violation in &report.violations {
            eprintln!("VIOLATION (seed {}): {violation}", plan.seed);
        }
        violations += report.violations.len();
        rows.push(row("killed", report));
    }
    let kills: u32 = reports.iter().map(Report::kill_count).sum();
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let not_remade = sum(|report| report.versions) - sum(|report| report.remade);
    let spread = Spread::of(&losses);
    let farthest = reports.iter().map(|report| spread.distance(report.loss)).fold(0.0, f64::max);
    eprintln!(
        "{kills} kills, {} results acknowledged, {} versions; undisturbed loss {:.4} +- {:.4}, farthest {farthest:.2} \
         standard deviations away",
        sum(|report| report.acknowledged),
        sum(|report| report.versions),
        spread.mean,
        spread.deviation,
    );
    json!({
        "rows": rows,
        "limits": [
            limit("kills that were not made", 0, u64::from(plan.kills - kills.min(plan.kills))),
            limit("violations: lost, counted twice, merged twice, changed", 0, violations as u64),
            limit("versions that could not be made again", 0, not_remade),
            limit("final loss off the undisturbed mean, hundredths of a standard deviation", 300, (farthest * 100.0) as u64),
        ],
    })
}

fn limit(what: &str, limit: u64, value: u64) -> Value {
    json!({"what": what, "limit": limit, "value": value})
}

fn row(what: &str, report: &Report) -> Value {
    let mut restarts: Vec<Duration> = report.restarts.clone();
    restarts.sort();
    let millis = |at: usize| restarts.get(at).map_or(0, |span| span.as_millis() as u64);
    let mut row = json!({
        "run": what,
        "kills": report.kill_count(),
        "facts": report.facts,
        "results": report.results,
        "acknowledged": report.acknowledged,
        "versions": report.versions,
        "versions_made_again": report.remade,
        "start_millis_median": millis(restarts.len() / 2),
        "start_millis_max": millis(restarts.len().saturating_sub(1)),
        "seconds": (report.seconds * 10.0).round() / 10.0,
        "test_loss": report.loss,
        "test_accuracy": report.accuracy,
        "violations": report.violations,
    });
    for (kind, count) in Kind::ALL.iter().zip(report.kills) {
        row[format!("kills {}", kind.name())] = count.into();
    }
    row
}

/// How far losses of the same job lie apart when nobody disturbs it.
struct Spread {
    mean: f64,
    deviation: f64,
}

impl Spread {
    fn of(losses: &[f64]) -> Self {
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        let squares: f64 = losses.iter().map(|loss| (loss - mean).powi(2)).sum();
        Self { mean, deviation: (squares / (losses.len() - 1) as f64).sqrt() }
    }

    /// In standard deviations.
    fn distance(&self, loss: f64) -> f64 {
        (loss - self.mean).abs() / self.deviation
    }
}
