//! `cargo xtask crash`: the coordinator killed at seeded random moments under load. What is killed
//! and checked is the business of `potluck-crash` in the tests crate; this builds and starts it,
//! prints the table and writes the measurement.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;
use serde_json::Value;

use crate::build;
use crate::measure::{self, Limit};
use crate::phases::Phases;
use crate::project::Project;
use crate::shell;

const HELP: &str = "\
cargo xtask crash [--kills N] [--seed S]

  --kills N   how often to kill the coordinator; 200 unless told otherwise, about a minute
  --seed S    where the moments come from; 1 unless told otherwise

Serves the digits job with 20 native volunteers, kills the coordinator with SIGKILL at random
moments (before it answers, a while after, right at an acknowledgement or a version) and starts it
again on the same folder. At every restart the folder is read from the outside: whatever a volunteer
was told counts must be in the log once, no block may be merged twice, and every version must come
out again, bit by bit, from the log and the updates. Six jobs that nobody disturbs say how far the
final losses of equal jobs lie apart.

Progress goes to standard error. The result is written to target/measure/crash.json.
";

/// Numbers that `potluck-crash` reads; checked here so that a mistake costs no build.
struct Request {
    kills: u32,
    seed: u64,
}

pub(crate) fn run(project: &Project, phases: &mut Phases, parser: &mut lexopt::Parser) -> Result<()> {
    let mut request = Request { kills: 200, seed: 1 };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("kills") => request.kills = parser.value()?.parse()?,
            Long("seed") => request.seed = parser.value()?.parse()?,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    phases.run("native programs", || shell::run(build::cargo(project).args(["build", "--workspace"])))?;
    let result = phases.run("kills", || measure(project, &request))?;
    print_table(&result);
    let limits: Vec<Limit> = result["limits"].as_array().into_iter().flatten().map(limit).collect::<Result<_>>()?;
    for Limit { what, limit, value } in &limits {
        println!("{what}: {value}, limit {limit}");
    }
    let rows = result["rows"].as_array().cloned().unwrap_or_default();
    let path = measure::write(project, "crash", &rows, &limits)?;
    println!("wrote {}", path.display());
    phases.print();
    Ok(())
}

fn measure(project: &Project, request: &Request) -> Result<Value> {
    let mut command = std::process::Command::new(project.program("potluck-crash"));
    command.args(["--kills", &request.kills.to_string(), "--seed", &request.seed.to_string()]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`{}` ended with {}", shell::words(&command), output.status);
    }
    serde_json::from_slice(&output.stdout).context("potluck-crash printed no JSON")
}

fn limit(limit: &Value) -> Result<Limit> {
    let number = |name: &str| limit[name].as_u64().with_context(|| format!("a limit without {name}"));
    let what = limit["what"].as_str().context("a limit without a name")?.to_owned();
    Ok(Limit { what, limit: number("limit")?, value: number("value")? })
}

fn print_table(result: &Value) {
    println!(
        "\n{:12} {:>6} {:>7} {:>8} {:>9} {:>12} {:>10} {:>9}",
        "run", "kills", "facts", "results", "versions", "made again", "test loss", "seconds"
    );
    for row in result["rows"].as_array().into_iter().flatten() {
        println!(
            "{:12} {:>6} {:>7} {:>8} {:>9} {:>12} {:>10.4} {:>9}",
            row["run"].as_str().unwrap_or_default(),
            row["kills"],
            row["facts"],
            row["results"],
            row["versions"],
            row["versions_made_again"],
            row["test_loss"].as_f64().unwrap_or(f64::NAN),
            row["seconds"]
        );
    }
}
