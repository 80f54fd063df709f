//! The browser suites under `tests/browser/`, run by Node's own test runner. A reporter of one
//! page turns its events into lines of JSON, so no report format has to be parsed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Case, Category, Outcome, Report, Request, SuiteClock};
use crate::project::Project;
use crate::setup::Tools;
use crate::shell;

/// Set to 1 while only names are wanted; nothing may start a browser then.
const LIST_VARIABLE: &str = "POTLUCK_TEST_LIST";

/// A passed test is shown from here on.
const SECONDS_SHOWN: f64 = 0.2;

fn files(project: &Project) -> Result<Vec<PathBuf>> {
    let folder = project.at("tests/browser");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.to_string_lossy().ends_with(".test.mjs"));
    files.sort();
    Ok(files)
}

pub(super) fn list(project: &Project, tools: &Tools) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for file in files(project)? {
        let mut command = tools.node();
        command.arg("--import").arg(project.at("crates/xtask/list.mjs")).arg(&file).env(LIST_VARIABLE, "1");
        let ended_well = events_of(&mut command, |event| {
            if let Event::Test { file, name, .. } = event {
                let category = Category::of_browser_test(&file, &name)?;
                cases.push(Case { suite: format!("tests/browser/{file}"), category });
            }
            Ok(())
        })?;
        if !ended_well {
            bail!("`{}` failed", shell::words(&command));
        }
    }
    Ok(cases)
}

pub(super) fn run(project: &Project, tools: &Tools, request: &Request) -> Result<Report> {
    let mut files = files(project)?;
    if let Some(only) = request.only {
        // A file that names one browser is left out when the other is asked for.
        let other = match only {
            Category::KernelsChromium | Category::E2eChromium => "firefox",
            Category::KernelsFirefox | Category::E2eFirefox => "chromium",
            _ => "\0",
        };
        files.retain(|file| !file.to_string_lossy().contains(other));
    }
    let mut outcomes = Vec::new();
    let mut printed = String::new();
    let clock = SuiteClock::start("tests/browser");
    let ended_well = events_of(&mut runner(project, tools, &files), |event| {
        match event {
            Event::Test { file, name, passed, seconds, error } => {
                // Hundreds of kernel cases take no time at all; their number is in the closing table.
                if !passed || seconds >= SECONDS_SHOWN {
                    let word = if passed { "ok" } else { "FAILED" };
                    println!("  {seconds:>7.1} s  {word:<6}  {file}: {name}");
                }
                if let Some(error) = error {
                    println!("{error}");
                }
                outcomes.push(outcome_of(file, name, passed));
            }
            Event::Printed(line) => {
                printed.push_str(&line);
                printed.push('\n');
            }
        }
        Ok(())
    })?;
    outcomes.retain(|outcome: &Outcome| request.wants(outcome.category));
    let (passed, failed) = super::count(outcomes.iter());
    if failed > 0 || !ended_well {
        print!("{printed}");
    }
    clock.print(passed, failed);
    Ok(Report { outcomes, ended_well })
}

/// A file that died before its tests has no test's name, so it may fit no category; it must count
/// as failed all the same.
fn outcome_of(file: String, name: String, passed: bool) -> Outcome {
    let (category, passed) = match Category::of_browser_test(&file, &name) {
        Ok(category) => (category, passed),
        Err(error) => {
            println!("  {error}");
            (Category::Faults, false)
        }
    };
    Outcome { suite: format!("tests/browser/{file}"), name, category, passed }
}

fn runner(project: &Project, tools: &Tools, files: &[PathBuf]) -> Command {
    let mut command = tools.node();
    command.args(["--test", "--test-concurrency=2"]);
    command.arg(format!("--test-reporter={}", project.at("crates/xtask/reporter.mjs").display()));
    command.args(files);
    command
}

enum Event {
    Test { file: String, name: String, passed: bool, seconds: f64, error: Option<String> },
    Printed(String),
}

fn events_of(command: &mut Command, mut each: impl FnMut(Event) -> Result<()>) -> Result<bool> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("could not start `{}`", shell::words(command)))?;
    let stdout = child.stdout.take().context("the runner has no output")?;
    for line in BufReader::new(stdout).lines() {
        each(event_in(&line?))?;
    }
    Ok(child.wait()?.success())
}

/// A line of the reporter: `{"file", "name", "passed", "seconds", "error"}`, or anything else that
/// a test printed.
fn event_in(line: &str) -> Event {
    let parsed = serde_json::from_str::<Value>(line).ok();
    let read = |event: &Value| {
        Some(Event::Test {
            file: event["file"].as_str()?.to_owned(),
            name: event["name"].as_str()?.to_owned(),
            passed: event["passed"].as_bool()?,
            seconds: event["seconds"].as_f64()?,
            error: event["error"].as_str().map(str::to_owned),
        })
    };
    parsed.as_ref().and_then(read).unwrap_or_else(|| Event::Printed(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_event_is_what_a_test_printed() {
        let line = r#"{"file": "e2e.chromium.test.mjs", "name": "a", "passed": true, "seconds": 1.5, "error": null}"#;
        assert!(matches!(event_in(line), Event::Test { passed: true, error: None, .. }));
        for line in ["hello", "{}", r#"{"file": 3}"#] {
            assert!(matches!(event_in(line), Event::Printed(printed) if printed == line));
        }
    }
}
