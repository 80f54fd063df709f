//! `cargo xtask sim NAME`: builds and starts `potluck-simulator`, and writes what it found as a
//! measurement. It knows no simulation: options go through, names are the simulator's.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::build;
use crate::measure;
use crate::phases::Phases;
use crate::project::Project;
use crate::shell;

pub(crate) fn run(project: &Project, phases: &mut Phases, arguments: &[String]) -> Result<()> {
    phases.run("native programs", || shell::run(build::cargo(project).args(["build", "--workspace"])))?;
    let mut simulator = Command::new(project.program("potluck-simulator"));
    simulator.args(arguments);
    let name = match arguments.first() {
        Some(name) if !name.starts_with('-') && !arguments.iter().any(|word| word == "--help" || word == "-h") => name,
        // The simulator's help names every simulation.
        _ => return shell::run(&mut simulator),
    };
    let out = project.target("measure").join(format!(".sim-{name}"));
    std::fs::create_dir_all(project.target("measure"))?;
    simulator.arg("--out").arg(&out);
    phases.run(&format!("sim {name}"), || shell::run(&mut simulator))?;
    let text = std::fs::read_to_string(&out).with_context(|| format!("cannot read {}", out.display()))?;
    std::fs::remove_file(&out)?;
    let found: Value = serde_json::from_str(&text).context("the simulator's report")?;
    let path = measure::write_values(project, &format!("sim-{name}"), &found["rows"], &found["limits"])?;
    println!("wrote {}", path.display());
    phases.print();
    Ok(())
}
