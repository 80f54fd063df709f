//! The Python suite: a finished model read outside the project, run by `unittest`.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Case, Category, Outcome, Report, SuiteClock};
use crate::project::Project;
use crate::setup::Tools;
use crate::shell;

const FOLDER: &str = "tests/python";

/// Prints the id of every test that `unittest` would run. A module that cannot be imported shows
/// up as a failed test of unittest's own.
const LIST: &str = "
import sys, unittest
def walk(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            walk(test)
        else:
            print(test.id())
walk(unittest.defaultTestLoader.discover(sys.argv[1]))
";

pub(super) fn list(project: &Project, tools: &Tools) -> Result<Vec<Case>> {
    let printed = shell::output(python(tools)?.args(["-c", LIST]).arg(project.at(FOLDER)))?;
    if let Some(broken) = printed.lines().find(|line| line.starts_with("unittest.loader.")) {
        bail!("{broken}: this test file of {FOLDER} cannot be imported");
    }
    let suite = |test: &str| format!("{FOLDER}/{}.py", test.split('.').next().unwrap_or(test));
    Ok(printed.lines().map(|test| Case { suite: suite(test), category: Category::External }).collect())
}

pub(super) fn run(project: &Project, tools: &Tools) -> Result<Report> {
    let clock = SuiteClock::start(FOLDER);
    let mut command = python(tools)?;
    command.args(["-m", "unittest", "discover", "--verbose", "--start-directory"]).arg(project.at(FOLDER));
    let ended = command.output().with_context(|| format!("could not start `{}`", shell::words(&command)))?;
    // unittest reports on the error stream.
    let printed = String::from_utf8_lossy(&ended.stderr);
    let outcomes = outcomes_in(&printed);
    let (passed, failed) = super::count(outcomes.iter());
    if failed > 0 || !ended.status.success() {
        print!("{}{printed}", String::from_utf8_lossy(&ended.stdout));
    }
    clock.print(passed, failed);
    Ok(Report { outcomes, ended_well: ended.status.success() })
}

fn python(tools: &Tools) -> Result<Command> {
    Ok(tools.command(tools.python().context("setup made no Python environment")?))
}

/// `test_name (module.Class.test_name) ... ok`; a documented test has its name on a line of its
/// own. A skipped test is a failure.
fn outcomes_in(printed: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut last_name = String::new();
    for line in printed.lines() {
        if line.starts_with("test_") {
            last_name = line.split(' ').next().unwrap_or_default().to_owned();
        }
        let Some((_, ending)) = line.rsplit_once(" ... ") else {
            continue;
        };
        let passed = match ending.split(' ').next().unwrap_or_default() {
            "ok" => true,
            "FAIL" | "ERROR" | "skipped" => false,
            _ => continue,
        };
        let suite = FOLDER.to_owned();
        outcomes.push(Outcome { suite, name: last_name.clone(), category: Category::External, passed });
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unittest_outcomes_are_read_and_a_skipped_test_fails() {
        let printed = "test_a (test_model.Model.test_a) ... ok\n\
                       test_b (test_model.Model.test_b)\nReads the header. ... FAIL\n\
                       test_c (test_model.Model.test_c) ... skipped 'no model'\n\
                       Ran 3 tests in 0.1s\n";
        let seen: Vec<(String, bool)> =
            outcomes_in(printed).into_iter().map(|outcome| (outcome.name, outcome.passed)).collect();
        let expected = [("test_a", true), ("test_b", false), ("test_c", false)];
        assert_eq!(seen, expected.map(|(name, passed)| (name.to_owned(), passed)));
    }
}
