//! `cargo xtask load`: starts on a long log, facts and updates that become durable in a second. What
//! is measured is the business of `potluck-load` in the tests crate; this builds and starts it,
//! prints the tables and writes the measurement.

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
cargo xtask load [--facts N] [--rounds N] [--only PART] [--seed S]

  --facts N    facts of the long log; 1,000,000 unless told otherwise
  --rounds N   rounds of 200 results at each rate; 10 unless told otherwise
  --only PART  one of store, acknowledgement and start
  --seed S     where the crowd comes from; 1 unless told otherwise

Three parts, each with the real program, built with the profile `load` (optimised, unlike daily
builds): how many facts become durable in a second, in turns with the storage engine alone; how soon
results with updates of 100 kB are acknowledged when 100 to 1,000 come in a second, load and
coordinator on the same machine; and how long a start takes on a long log, with a snapshot of the
folded state and without. A million facts take 1 GB below the system's folder for temporary files,
and some minutes.

Progress goes to standard error. The result is written to target/measure/load.json.
";

pub(crate) fn run(project: &Project, phases: &mut Phases, parser: &mut lexopt::Parser) -> Result<()> {
    let mut arguments: Vec<String> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Long(name @ ("facts" | "rounds" | "seed")) => {
                let name = format!("--{name}");
                // Parsed here so that a mistake costs no build.
                let number: u64 = parser.value()?.parse()?;
                arguments.extend([name, number.to_string()]);
            }
            Long("only") => arguments.extend(["--only".to_owned(), parser.value()?.string()?]),
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let mut build = build::cargo(project);
    build.args(["build", "--profile", "load", "-p", "potluck", "-p", "potluck-tests", "--bins"]);
    phases.run("native programs", || shell::run(&mut build))?;
    let result = phases.run("load", || start(project, &arguments))?;
    for part in ["store", "acknowledgement", "start"] {
        print_table(part, &result["rows"]);
    }
    let limits = with_verdicts(&result["limits"])?;
    let path = measure::write_values(project, "load", &result["rows"], &limits)?;
    println!("\nwrote {}", path.display());
    phases.print();
    Ok(())
}

fn start(project: &Project, arguments: &[String]) -> Result<Value> {
    let program = project.target("load").join(format!("potluck-load{}", std::env::consts::EXE_SUFFIX));
    let mut command = std::process::Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`{}` ended with {}", shell::words(&command), output.status);
    }
    serde_json::from_slice(&output.stdout).context("potluck-load printed no JSON")
}

fn with_verdicts(limits: &Value) -> Result<Value> {
    let mut limits = limits.clone();
    for limit in limits.as_array_mut().into_iter().flatten() {
        let number = |name: &str| limit[name].as_u64().with_context(|| format!("a limit without {name}"));
        let (most, value) = (number("limit")?, number("value")?);
        println!("{}: {value}, limit {most}", limit["what"].as_str().unwrap_or_default());
        limit["holds"] = (value <= most).into();
    }
    Ok(limits)
}

/// One line a row, under the names of its fields.
fn print_table(part: &str, rows: &Value) {
    println!("\n{part}");
    let of_part = rows.as_array().into_iter().flatten().filter(|row| row["part"] == part);
    for row in of_part {
        let fields = row.as_object().into_iter().flatten().filter(|(name, _)| *name != "part");
        let fields: Vec<String> = fields.map(|(name, value)| format!("{name} {value}")).collect();
        println!("  {}", fields.join(", "));
    }
}
