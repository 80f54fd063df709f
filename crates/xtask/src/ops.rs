//! `cargo xtask ops`: every operation on every executor, against its promise. The cases are the
//! engine's own, the same that the tests run; this starts them everywhere, prints the table, and writes
//! the measurement and the documentation.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::build;
use crate::lab;
use crate::measure;
use crate::phases::Phases;
use crate::project::Project;
use crate::setup::{self, Need, Tools};
use crate::shell;

/// Executors by the name of their results' file, in the table's order.
const EXECUTORS: [(&str, &str); 8] = [
    ("native-cpu", "CPU"),
    ("native-gpu", "Vulkan"),
    ("chromium-cpu", "Chromium wasm"),
    ("chromium-cpu-relaxed", "Chromium wasm, relaxed"),
    ("chromium-webgpu", "Chromium WebGPU"),
    ("firefox-cpu", "Firefox wasm"),
    ("firefox-cpu-relaxed", "Firefox wasm, relaxed"),
    ("firefox-webgpu", "Firefox WebGPU"),
];

pub(crate) fn run(project: &Project, phases: &mut Phases) -> Result<()> {
    let tools = setup::run(project, phases, Need::Everything)?;
    tools.require_everything()?;
    build::run(project, &tools, phases)?;
    let folder = project.target("ops");
    fs::create_dir_all(&folder)?;
    phases.run("native executors", || native(project, &tools, &folder))?;
    phases.run("browsers", || shell::run(tools.node().arg("tests/browser/ops.mjs").arg(&folder)))?;
    let rows = rows(&folder)?;
    let table = table(&rows);
    println!("\n{table}\n");
    let path = measure::write_values(project, "ops", &json!(rows), &json!(limits(&rows)))?;
    println!("wrote {}", path.display());
    lab::replace_marked(&project.at("docs/operations.md"), "errors", &table)?;
    phases.print();
    Ok(())
}

fn native(project: &Project, tools: &Tools, folder: &Path) -> Result<()> {
    shell::run(build::cargo(project).args(["build", "--workspace", "--example", "ops"]))?;
    for choice in ["cpu", "gpu"] {
        let output = tools.command(project.program("examples/ops")).arg(choice).output().context("ops")?;
        if !output.status.success() {
            bail!("ops {choice} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        fs::write(folder.join(format!("native-{choice}.json")), output.stdout)?;
    }
    Ok(())
}

/// One row for each operation and executor, with its worst case.
fn rows(folder: &Path) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for (file, _) in EXECUTORS {
        let path = folder.join(format!("{file}.json"));
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let cases: Vec<Value> = serde_json::from_str(&text)?;
        let mut by_op: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for case in &cases {
            by_op.entry(case["op"].as_str().unwrap_or("?")).or_default().push(case);
        }
        rows.extend(by_op.into_iter().map(|(op, cases)| row(op, file, &cases)));
    }
    Ok(rows)
}

fn row(op: &str, executor: &str, cases: &[&Value]) -> Value {
    // An error without end is not a number in JSON.
    let relative = |case: &Value| case["relative"].as_f64().unwrap_or(f64::INFINITY);
    let worst = cases.iter().max_by(|a, b| relative(a).total_cmp(&relative(b))).copied().unwrap_or(&Value::Null);
    json!({
        "op": op,
        "executor": executor,
        "cases": cases.len(),
        "failed": cases.iter().filter(|case| case["pass"] != json!(true)).count(),
        "worst_relative": worst["relative"],
        "worst_case": worst["case"],
        "relative_max": worst["relative_max"],
        "absolute_max": worst["absolute_max"],
    })
}

fn limits(rows: &[Value]) -> Vec<Value> {
    let limit = |(file, called): (&str, &str)| {
        let mine = rows.iter().filter(|row| row["executor"] == file);
        let failed: u64 = mine.filter_map(|row| row["failed"].as_u64()).sum();
        json!({"what": format!("cases over their tolerance, {called}"), "limit": 0, "value": failed, "holds": failed == 0})
    };
    EXECUTORS.into_iter().map(limit).collect()
}

fn table(rows: &[Value]) -> String {
    let mut ops: BTreeMap<&str, BTreeMap<&str, &Value>> = BTreeMap::new();
    for row in rows {
        let of = |key: &str| row[key].as_str().unwrap_or("?");
        ops.entry(of("op")).or_default().insert(of("executor"), row);
    }
    let names: Vec<&str> = EXECUTORS.iter().map(|(_, name)| *name).collect();
    let mut lines = vec![
        format!("| operation | cases | relative | absolute | {} |", names.join(" | ")),
        format!("|---|---:|---:|---:|{}", "---:|".repeat(EXECUTORS.len())),
    ];
    for (op, by_executor) in ops {
        let Some(any) = by_executor.values().next() else { continue };
        let worst = |(file, _): &(&str, &str)| {
            by_executor.get(file).map_or("-".to_owned(), |row| share(&row["worst_relative"]))
        };
        let worst: Vec<String> = EXECUTORS.iter().map(worst).collect();
        let (relative, absolute) = (share(&any["relative_max"]), share(&any["absolute_max"]));
        lines.push(format!("| {op} | {} | {relative} | {absolute} | {} |", any["cases"], worst.join(" | ")));
    }
    lines.join("\n")
}

fn share(value: &Value) -> String {
    match value.as_f64() {
        Some(0.0) => "0".to_owned(),
        Some(value) => format!("{value:.0e}"),
        None => "did not run".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operations_row_is_its_worst_case() {
        let case = |name: &str, relative: f64, pass: bool| json!({"op": "gelu", "case": name, "relative": relative, "relative_max": 2e-5, "absolute_max": 3e-6, "pass": pass});
        let (fine, bad) = (case("a", 1e-6, true), case("b", 3e-5, false));
        let row = row("gelu", "native-cpu", &[&fine, &bad]);
        assert_eq!((&row["worst_case"], &row["failed"], &row["cases"]), (&json!("b"), &json!(1), &json!(2)));
        let table = table(std::slice::from_ref(&row));
        assert!(table.ends_with("| gelu | 2 | 2e-5 | 3e-6 | 3e-5 | - | - | - | - | - | - | - |"), "{table}");
        assert_eq!(limits(&[row])[0]["holds"], json!(false));
    }
}
