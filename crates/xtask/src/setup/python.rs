//! The Python environment in `target/venv`: numpy and safetensors for the test that reads a model
//! outside the project, and the spelling checker.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt::Wish;
use crate::fingerprint::{Fingerprint, Stamp};
use crate::project::Project;
use crate::shell;

const REQUIREMENTS: &str = "tests/python/requirements.txt";

/// A Python that can make environments. Debian splits that ability into a package of its own.
fn find() -> Option<PathBuf> {
    let python = match std::env::var_os("POTLUCK_PYTHON") {
        Some(named) => PathBuf::from(named),
        None => shell::which("python3")?,
    };
    shell::ask(&python, &["-c", "import venv, ensurepip"]).map(|_| python)
}

pub(super) fn wishes() -> Vec<Wish> {
    if find().is_some() {
        return Vec::new();
    }
    vec![Wish { what: "Python with venv", packages: &["python3-venv"], accepts: |_| true }]
}

/// The environment's interpreter.
pub(super) fn bring_environment(project: &Project) -> Result<PathBuf> {
    let folder = project.target("venv");
    let python = folder.join("bin/python");
    let stamp = Stamp::new(project, "venv");
    // An environment holds its own absolute path, so a moved clone makes a new one.
    let fingerprint = Fingerprint::of(&["venv", &folder.to_string_lossy()]).path(&project.at(REQUIREMENTS))?;
    if stamp.matches(&fingerprint, &[&python]) {
        return Ok(python);
    }
    let system = find().context("install Python 3.10 or newer with its venv module, or name it in POTLUCK_PYTHON")?;
    println!("  python3 -m venv {}", folder.display());
    shell::run_quietly(Command::new(system).args(["-m", "venv", "--clear"]).arg(&folder))?;
    install(project, &python)?;
    stamp.write(&fingerprint)?;
    Ok(python)
}

fn install(project: &Project, python: &Path) -> Result<()> {
    println!("  pip install -r {REQUIREMENTS}");
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(project.at(REQUIREMENTS));
    shell::run_quietly(&mut pip)
}
