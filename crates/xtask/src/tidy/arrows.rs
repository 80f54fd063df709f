//! Which crate may use which. An arrow that is not here is a design question, not a typo.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Findings, Source};
use crate::build;
use crate::project::Project;
use crate::shell;

/// A crate's folder and the crates of this workspace that it may use, development uses aside.
const ARROWS: [(&str, &[&str]); 18] = [
    // Vocabulary and pure cores. They read no clock and do no I/O.
    ("protocol", &[]),
    ("graph", &["protocol"]),
    ("update", &["protocol"]),
    ("ledger", &["protocol"]),
    ("scheduler", &["protocol"]),
    // What computes. The engine knows nothing of jobs, the volunteer nothing of merges.
    ("engine", &["graph", "protocol"]),
    ("volunteer", &["engine", "graph", "update", "protocol"]),
    ("browser", &["volunteer", "engine", "protocol"]),
    ("engine-js", &["engine", "graph", "protocol"]),
    // What an owner runs.
    ("data", &["graph", "protocol"]),
    ("www", &[]),
    ("coordinator", &["volunteer", "engine", "scheduler", "update", "ledger", "data", "graph", "www", "protocol"]),
    ("potluck", &["coordinator", "data", "graph", "engine", "update", "volunteer", "scheduler", "www", "protocol"]),
    ("lab", &["volunteer", "engine", "update", "data", "graph", "protocol"]),
    ("simulator", &["scheduler", "update", "volunteer", "engine", "graph", "data", "protocol"]),
    // Tools know nothing of what they build.
    ("xtask", &[]),
    ("packer", &[]),
    ("tests-web", &["volunteer", "engine", "graph", "update", "protocol"]),
];

/// The tests crate stands outside: it may use everything.
const FREE: &str = "tests";

/// Scheduling and merging never execute a program; in the coordinator only the embedded worker
/// does. These crates may be named in that file and nowhere else there.
const IN_THE_WORKER_ONLY: [&str; 2] = ["potluck_engine", "potluck_volunteer"];
const COORDINATOR: &str = "crates/coordinator/src/";
const WORKER: &str = "crates/coordinator/src/worker.rs";

pub(super) fn check_worker(sources: &[Source], findings: &mut Findings) {
    let is_test = |path: &str| path.contains("/tests/") || path.ends_with("/tests.rs");
    let elsewhere = sources.iter().filter(|source| source.path.starts_with(COORDINATOR));
    let elsewhere = elsewhere.filter(|source| source.path != WORKER && !is_test(&source.path));
    for source in elsewhere {
        for word in IN_THE_WORKER_ONLY.iter().filter(|word| source.text.contains(**word)) {
            findings.breaches.push(format!("{}: only {WORKER} may use {word}", source.path));
        }
    }
}

pub(super) fn check(project: &Project, findings: &mut Findings) -> Result<()> {
    let mut cargo = build::cargo(project);
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&shell::output(&mut cargo)?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    for package in packages {
        check_package(package, findings)?;
    }
    Ok(())
}

fn check_package(package: &Value, findings: &mut Findings) -> Result<()> {
    let folder = folder_of(package["name"].as_str().context("a package without a name")?);
    if folder == FREE {
        return Ok(());
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == folder) else {
        findings.breaches.push(format!("crate {folder}: name its arrows in crates/xtask/src/tidy/arrows.rs"));
        return Ok(());
    };
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        // A path tells a crate of this workspace; development uses make no arrow.
        if dependency["path"].is_null() || dependency["kind"] == "dev" {
            continue;
        }
        let used = folder_of(dependency["name"].as_str().context("a dependency without a name")?);
        if !allowed.contains(&used) {
            findings.breaches.push(format!("crate {folder} must not use {used}: arrows point only downward"));
        }
    }
    Ok(())
}

fn folder_of(package: &str) -> &str {
    package.strip_prefix("potluck-").unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_upward_arrow_is_a_breach_and_a_development_use_is_none() {
        let package = |kind: Value| {
            json!({"name": "potluck-graph", "dependencies": [
                {"name": "potluck-engine", "path": "/x", "kind": kind},
                {"name": "serde", "kind": null},
            ]})
        };
        let mut findings = Findings::default();
        check_package(&package(json!("dev")), &mut findings).unwrap();
        assert!(findings.breaches.is_empty());
        check_package(&package(Value::Null), &mut findings).unwrap();
        assert_eq!(findings.breaches.len(), 1);
    }

    #[test]
    fn the_table_has_no_circle() {
        // Repeatedly take away the crates that use nothing that is left.
        let mut left: Vec<_> = ARROWS.to_vec();
        while !left.is_empty() {
            let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
            let before = left.len();
            left.retain(|(_, uses)| uses.iter().any(|used| names.contains(used)));
            assert!(left.len() < before, "a circle among {names:?}");
        }
    }
}
