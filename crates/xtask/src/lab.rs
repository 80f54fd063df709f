//! Starting `potluck-lab`, and what its commands have in common: JSON with rows and limits, and
//! tables between two marks of a document.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::build;
use crate::project::Project;
use crate::setup::Tools;
use crate::shell;

/// Builds all native programs, with the one selection under which nothing is compiled twice.
pub(crate) fn build(project: &Project) -> Result<()> {
    shell::run(build::cargo(project).args(["build", "--workspace"]))
}

/// The program, as it was built.
pub(crate) struct Lab {
    program: PathBuf,
}

impl Lab {
    pub(crate) fn new(project: &Project) -> Self {
        Self { program: project.program("potluck-lab") }
    }

    /// Runs a command whose words go to the user.
    pub(crate) fn run(&self, words: &[&str]) -> Result<()> {
        shell::run(Command::new(&self.program).args(words))
    }

    /// [`Lab::run`] with the Vulkan driver that setup found.
    pub(crate) fn run_with(&self, tools: &Tools, words: &[&str]) -> Result<()> {
        shell::run(tools.command(&self.program).args(words))
    }

    /// What a command printed, as JSON; its progress goes to the user.
    pub(crate) fn ask(&self, words: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.program);
        command.args(words).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output().with_context(|| format!("could not start `{}`", shell::words(&command)))?;
        if !output.status.success() {
            bail!("`{}` ended with {}", shell::words(&command), output.status);
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("`{}` printed no JSON", shell::words(&command)))
    }
}

pub(crate) fn print_limits(result: &Value) {
    for limit in result["limits"].as_array().into_iter().flatten() {
        let word = if limit["holds"] == Value::Bool(true) { "holds" } else { "BROKEN" };
        println!("{word}: {}: {}, limit {}", limit["what"].as_str().unwrap_or("?"), limit["value"], limit["limit"]);
    }
}

/// Puts `text` between `<!-- NAME -->` and `<!-- /NAME -->` of a document.
pub(crate) fn replace_marked(path: &Path, name: &str, text: &str) -> Result<()> {
    let document = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let changed = with_marked(&document, name, text).with_context(|| format!("{} has no marks", path.display()))?;
    fs::write(path, changed).with_context(|| format!("cannot write {}", path.display()))
}

fn with_marked(document: &str, name: &str, text: &str) -> Option<String> {
    let (open, close) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let (before, rest) = document.split_once(&open)?;
    let (_, after) = rest.split_once(&close)?;
    Some(format!("{before}{open}\n\n{text}\n\n{close}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let document = "a\n<!-- t -->\nold\n<!-- /t -->\nb\n";
        assert_eq!(with_marked(document, "t", "new").unwrap(), "a\n<!-- t -->\n\nnew\n\n<!-- /t -->\nb\n");
        assert_eq!(with_marked(document, "u", "new"), None);
    }
}
