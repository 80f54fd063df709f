//! The project's own rules, those that no compiler checks: `cargo xtask tidy` prints every breach,
//! and the tests below hold each rule.
//!
//! A rule reads files and `cargo metadata`; it changes nothing and needs no build.

mod arrows;
mod features;
mod sources;
mod words;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::project::Project;
use crate::shell;

/// A file of the repository, read once for every rule.
pub(crate) struct Source {
    /// Relative to the root, with `/`.
    path: String,
    /// Empty where the file is not text.
    text: String,
}

/// What a rule found: breaches fail, remarks are only printed.
#[derive(Default)]
pub(crate) struct Findings {
    breaches: Vec<String>,
    remarks: Vec<String>,
}

pub(crate) fn run(project: &Project) -> Result<()> {
    let sources = sources(project)?;
    let mut findings = Findings::default();
    arrows::check(project, &mut findings)?;
    arrows::check_worker(&sources, &mut findings);
    features::check(project, &mut findings)?;
    sources::check(&sources, &mut findings);
    words::check(&sources, &mut findings);
    readme(&sources, &mut findings)?;
    for remark in &findings.remarks {
        println!("  remark: {remark}");
    }
    for breach in &findings.breaches {
        println!("  {breach}");
    }
    println!(
        "  {} files read, {} breaches, {} remarks",
        sources.len(),
        findings.breaches.len(),
        findings.remarks.len()
    );
    if !findings.breaches.is_empty() {
        bail!("the project's rules are broken in {} places, listed above", findings.breaches.len());
    }
    Ok(())
}

/// Every file that git tracks or would track.
fn sources(project: &Project) -> Result<Vec<Source>> {
    let mut git = Command::new("git");
    git.arg("-C").arg(project.root()).args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let listed = shell::output(&mut git).context("tidy reads the file list from git")?;
    let paths = listed.split('\0').filter(|path| !path.is_empty());
    // A file that was deleted and not yet committed is still listed.
    let present: Vec<(String, PathBuf)> =
        paths.map(|path| (path.to_owned(), project.at(path))).filter(|(_, file)| file.is_file()).collect();
    let read = present.into_iter().map(|(path, file)| {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {path}"))?;
        Ok(Source { path, text: String::from_utf8(bytes).unwrap_or_default() })
    });
    read.collect()
}

/// The two commands that a newcomer types stand first in the README, and `.ci/run` runs what
/// stands there.
const NEWCOMERS_COMMANDS: [&str; 2] = ["cargo xtask demo", "cargo xtask test"];

fn readme(sources: &[Source], findings: &mut Findings) -> Result<()> {
    let readme = sources.iter().find(|source| source.path == "README.md").context("README.md is missing")?;
    let fenced = fenced_commands(&readme.text);
    if fenced.get(..2).is_none_or(|first| first != NEWCOMERS_COMMANDS) {
        let expected = NEWCOMERS_COMMANDS.join("` and `");
        findings.breaches.push(format!("README.md: its first two fenced sh commands must be `{expected}`"));
    }
    Ok(())
}

/// The lines inside of fenced `sh` blocks.
fn fenced_commands(markdown: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut fence: Option<bool> = None;
    for line in markdown.lines().map(str::trim) {
        match (line.strip_prefix("```"), fence) {
            (Some(language), None) => fence = Some(language == "sh"),
            (Some(_), Some(_)) => fence = None,
            (None, Some(true)) if !line.is_empty() => commands.push(line),
            _ => {}
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: impl Fn(&Project, &[Source], &mut Findings)) {
        let project = Project::find().unwrap();
        let sources = sources(&project).unwrap();
        let mut findings = Findings::default();
        rule(&project, &sources, &mut findings);
        assert!(findings.breaches.is_empty(), "{:#?}", findings.breaches);
    }

    #[test]
    fn arrows_point_downward() {
        check(|project, _, findings| arrows::check(project, findings).unwrap());
    }

    #[test]
    fn building_and_testing_compile_the_same() {
        check(|project, _, findings| features::check(project, findings).unwrap());
    }

    #[test]
    fn only_the_embedded_worker_executes_programs() {
        check(|_, sources, findings| arrows::check_worker(sources, findings));
    }

    #[test]
    fn every_file_opens_with_what_it_is_for_and_stays_short() {
        check(|_, sources, findings| sources::check(sources, findings));
    }

    #[test]
    fn nothing_names_a_machine_or_skips_a_test() {
        check(|_, sources, findings| words::check(sources, findings));
    }

    #[test]
    fn the_readme_opens_with_the_two_commands() {
        check(|_, sources, findings| readme(sources, findings).unwrap());
    }

    #[test]
    fn fenced_commands_are_those_in_sh_blocks() {
        let markdown = "# A\n```sh\ncargo xtask demo\n```\n```toml\n[job]\n```\n```sh\n\nb\n```\nc\n";
        assert_eq!(fenced_commands(markdown), ["cargo xtask demo", "b"]);
    }
}
