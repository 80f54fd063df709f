//! `cargo xtask sim NAME`: builds and starts `potluck-simulator`, and writes what it found as a
//! measurement. Options go through; all that it knows of a simulation is whether it learns a text.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::build;
use crate::measure;
use crate::models;
use crate::phases::Phases;
use crate::project::Project;
use crate::shell;

/// Simulations that learn a text: the one that `cargo xtask models` fetches, unless told otherwise.
const OF_TEXT: [&str; 5] = ["diloco", "hetero", "churn", "codec", "scale"];

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
    if OF_TEXT.contains(&name.as_str()) && !arguments.iter().any(|word| word.starts_with("--text")) {
        let folder = project.target("models");
        models::fetch(project, phases, &folder)?;
        simulator.arg("--text").arg(folder.join("text.txt"));
    }
    phases.run(&format!("sim {name}"), || shell::run(&mut simulator))?;
    let text = std::fs::read_to_string(&out).with_context(|| format!("cannot read {}", out.display()))?;
    std::fs::remove_file(&out)?;
    let found: Value = serde_json::from_str(&text).context("the simulator's report")?;
    let path = measure::write_values(project, &format!("sim-{name}"), &found["rows"], &found["limits"])?;
    println!("wrote {}", path.display());
    phases.print();
    Ok(())
}
