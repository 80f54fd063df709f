//! `cargo xtask damage`: what comes of a harmed log, blob or disk. What is harmed and checked is the
//! business of `potluck-damage` in the tests crate; this builds and starts it, prints the table and
//! writes the measurement.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;
use serde_json::Value;

use crate::build;
use crate::measure;
use crate::phases::Phases;
use crate::project::Project;
use crate::shell;

const HELP: &str = "\
cargo xtask damage [--flips N] [--seed S]

  --flips N   bits to flip in each file of the log; 1000 unless told otherwise
  --seed S    where they come from; 1 unless told otherwise

Makes every append of a short job fail, tear and freeze. Then takes the folder of a job under way,
once after a stop and once as a kill leaves it, and does one harm at a time: the log's files cut at
every page, flipped in N seeded places, gone; every blob cut, flipped, gone. Where the user may mount,
a file system of 12 MiB fills up. Each time the coordinator must say which file is harmed and what to
do, or serve the job exactly as it was.

Progress goes to standard error. The result is written to target/measure/damage.json.
";

pub(crate) fn run(project: &Project, phases: &mut Phases, parser: &mut lexopt::Parser) -> Result<()> {
    let (mut flips, mut seed) = (1000_u32, 1_u64);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("flips") => flips = parser.value()?.parse()?,
            Long("seed") => seed = parser.value()?.parse()?,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    phases.run("native programs", || shell::run(build::cargo(project).args(["build", "--workspace"])))?;
    let result = phases.run("harm", || measure(project, flips, seed))?;
    print_table(&result);
    let path = measure::write_values(project, "damage", &result["rows"], &result["limits"])?;
    println!("wrote {}", path.display());
    phases.print();
    Ok(())
}

fn measure(project: &Project, flips: u32, seed: u64) -> Result<Value> {
    let mut command = std::process::Command::new(project.program("potluck-damage"));
    command.args(["--flips", &flips.to_string(), "--seed", &seed.to_string()]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`{}` ended with {}", shell::words(&command), output.status);
    }
    let mut result: Value = serde_json::from_slice(&output.stdout).context("potluck-damage printed no JSON")?;
    for limit in result["limits"].as_array_mut().into_iter().flatten() {
        limit["holds"] = (limit["value"].as_u64() <= limit["limit"].as_u64()).into();
    }
    Ok(result)
}

fn print_table(result: &Value) {
    println!("\n{:52} {:>6} {:>10}  refused", "harm", "cases", "unchanged");
    for row in result["rows"].as_array().into_iter().flatten() {
        let refused = row["refused"].as_object().into_iter().flatten();
        let refused: Vec<String> = refused.map(|(kind, count)| format!("{count} {kind}")).collect();
        let what = row["what"].as_str().unwrap_or_default();
        println!("{what:52} {:>6} {:>10}  {}", row["cases"], row["unchanged"], refused.join(", "));
    }
    for limit in result["limits"].as_array().into_iter().flatten() {
        println!("{}: {}, limit {}", limit["what"].as_str().unwrap_or("?"), limit["value"], limit["limit"]);
    }
}
