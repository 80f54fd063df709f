//! `cargo xtask trust`: the same tasks on every executor, beside what cheats would hand in. What is
//! computed is the business of `potluck-lab` and of `tests/browser/trust.mjs`; this sets up, starts
//! them, prints the table and writes the measurement.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use lexopt::prelude::*;
use serde_json::Value;

use crate::build;
use crate::lab::{self, Lab};
use crate::measure;
use crate::phases::Phases;
use crate::project::Project;
use crate::setup::{self, Need};
use crate::shell;

const HELP: &str = "\
cargo xtask trust [--sample] [--compare] [--write-docs]

  --sample      one early task of eight steps for each model and optimizer instead of all 72
  --compare     only make the table again, from the updates that the last run left
  --write-docs  put the table into docs/trust.md and the result into docs/measurements

Trains a small MLP, CNN and GPT on the data of the examples, takes tasks of 4, 8 and 16 steps from
an early and a late moment, with AdamW and with Muon, and computes each on the processor, on a native
Vulkan adapter, and in Chromium and Firefox on WebGPU and on both variants of the wasm. Beside them
stand nine ways to cheat. The distances are of decoded updates, E3M0 and int8.

Ten minutes on two cores without a GPU. The result is written to target/measure/trust.json.
";

#[derive(Default)]
struct Request {
    sample: bool,
    compare: bool,
    write_docs: bool,
}

pub(crate) fn run(project: &Project, phases: &mut Phases, parser: &mut lexopt::Parser) -> Result<()> {
    let mut request = Request::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("sample") => request.sample = true,
            Long("compare") => request.compare = true,
            Long("write-docs") => request.write_docs = true,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let folder = project.target("trust");
    let lab = Lab::new(project);
    if request.compare {
        phases.run("native programs", || lab::build(project))?;
    } else {
        compute(project, phases, &lab, &folder, request.sample)?;
    }
    let result = lab.ask(&["trust-compare", &folder.to_string_lossy()])?;
    let table = table(&result);
    println!("\n{table}");
    lab::print_limits(&result);
    let path = measure::write_values(project, "trust", &result["rows"], &result["limits"])?;
    println!("wrote {}", path.display());
    if request.write_docs {
        fs::create_dir_all(project.at("docs/measurements"))?;
        fs::copy(&path, project.at("docs/measurements/trust.json"))?;
        lab::replace_marked(&project.at("docs/trust.md"), "table", &table)?;
        lab::replace_marked(&project.at("docs/trust.md"), "thresholds", &thresholds(&result))?;
    }
    phases.print();
    Ok(())
}

fn compute(project: &Project, phases: &mut Phases, lab: &Lab, folder: &Path, sample: bool) -> Result<()> {
    let tools = setup::run(project, phases, Need::Everything)?;
    tools.require_everything()?;
    build::run(project, &tools, phases)?;
    if folder.is_dir() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder)?;
    let at = folder.to_string_lossy();
    let examples = project.at("examples");
    let extent = if sample { "sample" } else { "all" };
    phases.run("tasks", || lab.run(&["trust-tasks", &at, &examples.to_string_lossy(), extent]))?;
    phases.run("processor", || lab.run(&["trust-run", &at, "native-cpu", "cpu"]))?;
    phases.run("Vulkan", || lab.run_with(&tools, &["trust-run", &at, "native-vulkan", "gpu"]))?;
    phases.run("cheats", || lab.run(&["trust-cheat", &at]))?;
    phases.run("browsers", || shell::run(tools.node().arg("tests/browser/trust.mjs").arg(folder)))
}

/// What the code allows, between what was measured on both sides of it.
fn thresholds(result: &Value) -> String {
    let mut lines = vec![
        "| optimizer | encoding | steps | honest, worst x 3 | agreement | nearest skipped step |".to_owned(),
        "|---|---|---:|---:|---:|---:|".to_owned(),
    ];
    for kind in result["kinds"].as_array().into_iter().flatten() {
        let text = |key: &str| kind[key].as_str().unwrap_or("?").to_owned();
        let number = |key: &str| kind[key].as_f64().map_or("none".to_owned(), |value| format!("{value:.4}"));
        lines.push(format!(
            "| {} | {} | {} | {} | {} | {} |",
            text("optimizer"),
            text("encoding"),
            kind["steps"],
            number("honest_tripled"),
            number("agreement"),
            number("skipped"),
        ));
    }
    lines.join("\n")
}

/// For each optimizer, encoding and number of steps: the honest worst case of all models, and the
/// nearest of each cheat.
fn table(result: &Value) -> String {
    let rows: Vec<&Value> = result["rows"].as_array().into_iter().flatten().collect();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let mut cheats: Vec<String> =
        rows.iter().filter(|row| row["kind"] == "cheat").map(|row| text(row, "what")).collect();
    cheats.sort();
    cheats.dedup();
    let mut kinds: Vec<(String, String, String, u64)> = rows
        .iter()
        .map(|row| {
            (text(row, "optimizer"), text(row, "encoding"), text(row, "model"), row["steps"].as_u64().unwrap_or(0))
        })
        .collect();
    kinds.sort();
    kinds.dedup();
    let names: Vec<&str> = cheats.iter().map(|cheat| cheat.trim_start_matches("cheat-")).collect();
    let mut lines = vec![
        format!("| optimizer | encoding | model | steps | honest, worst | {} |", names.join(" | ")),
        format!("|---|---|---|---:|---:|{}", "---:|".repeat(names.len())),
    ];
    for (optimizer, encoding, model, steps) in kinds {
        let of = |row: &&&Value| {
            text(row, "optimizer") == optimizer
                && text(row, "encoding") == encoding
                && text(row, "model") == model
                && row["steps"] == steps
        };
        let mine: Vec<&&Value> = rows.iter().filter(of).collect();
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1e}"));
        let worst = mine.iter().filter(|row| row["kind"] == "honest").filter_map(|row| row["max"].as_f64());
        let nearest = |cheat: &String| {
            let all = mine.iter().filter(|row| row["what"] == cheat.as_str()).filter_map(|row| row["min"].as_f64());
            number(all.reduce(f64::min))
        };
        let cells: Vec<String> = cheats.iter().map(nearest).collect();
        let worst = number(worst.reduce(f64::max));
        lines.push(format!("| {optimizer} | {encoding} | {model} | {steps} | {worst} | {} |", cells.join(" | ")));
    }
    lines.join("\n")
}
