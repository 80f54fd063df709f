//! Everything that `cargo test` runs.
//!
//! libtest reports in text; cargo says on its error stream which program it starts. Both go into
//! one pipe, so that the two keep their order.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::properties::Properties;
use super::{Case, Category, Outcome, Report, Request, SuiteClock};
use crate::build;
use crate::project::Project;
use crate::setup::Tools;
use crate::shell;

/// Compiles the test programs, with cargo's own progress on the terminal.
pub(super) fn build(project: &Project) -> Result<()> {
    shell::run(build::cargo(project).args(["test", "--workspace", "--no-run", "--quiet"]))
}

pub(super) fn list(project: &Project, tools: &Tools) -> Result<Vec<Case>> {
    let mut command = cargo_test(project, tools);
    command.args(["--", "--list", "--format", "terse"]);
    let properties = Properties::read(project)?;
    let mut cases = Vec::new();
    let mut suite = None;
    let mut printed = String::new();
    let ended_well = lines_of(&mut command, |line| {
        if let Some(started) = Suite::started_by(line) {
            suite = Some(started);
        } else if let (Some(suite), Some(test)) = (&suite, line.strip_suffix(": test")) {
            cases.push(Case { suite: suite.name(), category: suite.category(test, &properties)? });
        }
        printed.push_str(line);
        printed.push('\n');
        Ok(())
    })?;
    if !ended_well {
        print!("{printed}");
        anyhow::bail!("`{}` failed", shell::words(&command));
    }
    Ok(cases)
}

pub(super) fn run(project: &Project, tools: &Tools, request: &Request) -> Result<Report> {
    let mut command = cargo_test(project, tools);
    command.arg("--no-fail-fast");
    restrict(&mut command, request);
    let mut reader = Reader { properties: Properties::read(project)?, ..Reader::default() };
    let ended_well = lines_of(&mut command, |line| reader.line(line))?;
    reader.end_suite();
    let mut outcomes = reader.outcomes;
    outcomes.retain(|outcome| request.wants(outcome.category));
    Ok(Report { outcomes, ended_well })
}

fn cargo_test(project: &Project, tools: &Tools) -> Command {
    let mut command = build::cargo(project);
    for (variable, value) in tools.command("cargo").get_envs() {
        if let Some(value) = value {
            command.env(variable, value);
        }
    }
    command.args(["test", "--workspace", "--color", "never"]);
    command
}

/// Narrows the run to the programs that can hold the category; the rest is filtered afterwards.
fn restrict(command: &mut Command, request: &Request) {
    let program = match request.only {
        Some(Category::KernelsNative) => "kernels",
        Some(Category::Protocol) => "protocol",
        _ => return,
    };
    command.args(["--test", program]);
}

/// One test program, or the examples in one crate's documentation.
struct Suite {
    package: String,
    target: String,
}

impl Suite {
    /// Cargo's lines: `Running unittests src/lib.rs (target/debug/deps/potluck_graph-0a1b)`,
    /// `Running tests/faults.rs (target/debug/deps/faults-0a1b)`, `Doc-tests potluck_graph`.
    fn started_by(line: &str) -> Option<Self> {
        let line = line.trim_start();
        if let Some(package) = line.strip_prefix("Doc-tests ") {
            return Some(Self { package: folder_of(package), target: "documentation".to_owned() });
        }
        let (target, program) = line.strip_prefix("Running ")?.split_once(" (")?;
        let program = program.strip_suffix(')')?.rsplit('/').next()?;
        let (program, _hash) = program.rsplit_once('-')?;
        match target.strip_prefix("unittests ") {
            Some(target) => Some(Self { package: folder_of(program), target: target.to_owned() }),
            // An integration test's program is named after its file, and nothing says whose it
            // is: the file does.
            None => Some(Self { package: package_of(target), target: target.to_owned() }),
        }
    }

    fn name(&self) -> String {
        format!("{} {}", self.package, self.target)
    }

    fn category(&self, test: &str, properties: &Properties) -> Result<Category> {
        if properties.contain(&self.package, test) {
            return Ok(Category::Property);
        }
        Category::of_cargo_test(&self.package, &self.target, test)
    }
}

/// The tests crate, or some other crate that has such a file.
fn package_of(integration_test: &str) -> String {
    let in_tests = Project::find().is_ok_and(|project| project.at("tests").join(integration_test).is_file());
    if in_tests { "tests" } else { "crates" }.to_owned()
}

/// `potluck_graph` and `potluck-graph` lie in the folder `graph`.
fn folder_of(program: &str) -> String {
    let part = program.strip_prefix("potluck").unwrap_or(program).trim_start_matches(['-', '_']);
    // The binary is called as the project is.
    if part.is_empty() { "potluck".to_owned() } else { part.replace('_', "-") }
}

/// Follows libtest's report line by line.
#[derive(Default)]
struct Reader {
    properties: Properties,
    suite: Option<(Suite, SuiteClock)>,
    /// What the running suite printed: shown only if it fails.
    printed: String,
    /// Where the running suite's outcomes begin.
    first: usize,
    outcomes: Vec<Outcome>,
    /// Said by libtest at the end of a suite.
    counted: Option<(usize, usize)>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<()> {
        if let Some(suite) = Suite::started_by(line) {
            self.end_suite();
            let clock = SuiteClock::start(&suite.name());
            self.suite = Some((suite, clock));
            return Ok(());
        }
        // A test may say what it did, such as how many cases a seeded run took.
        if line.starts_with("note: ") && self.suite.is_some() {
            println!("        {line}");
        }
        self.printed.push_str(line);
        self.printed.push('\n');
        let Some((suite, _)) = &self.suite else {
            return Ok(());
        };
        if let Some((test, passed)) = outcome_in(line) {
            let category = suite.category(test, &self.properties)?;
            self.outcomes.push(Outcome { suite: suite.name(), name: test.to_owned(), category, passed });
        } else if let Some(counted) = counts_in(line) {
            self.counted = Some(counted);
        }
        Ok(())
    }

    /// Prints the suite's line, and all that it said if something in it failed.
    fn end_suite(&mut self) {
        let Some((suite, clock)) = self.suite.take() else {
            return self.printed.clear();
        };
        let (passed, failed) = super::count(self.outcomes[self.first..].iter());
        // A test that prints while another ends can tear a line; libtest's own counts are right.
        let (passed, failed) = self.fill_up(&suite, (passed, failed));
        if failed > 0 || self.counted.is_none() {
            print!("{}", self.printed);
        }
        if passed + failed > 0 || self.counted.is_none() {
            clock.print(passed, failed);
        }
        self.printed.clear();
        self.counted = None;
        self.first = self.outcomes.len();
    }

    fn fill_up(&mut self, suite: &Suite, seen: (usize, usize)) -> (usize, usize) {
        let Some(counted) = self.counted else {
            return seen;
        };
        let Ok(category) = suite.category("", &self.properties) else {
            return seen;
        };
        for (seen, counted, passed) in [(seen.0, counted.0, true), (seen.1, counted.1, false)] {
            for _ in seen..counted {
                let name = "(its line was torn)".to_owned();
                self.outcomes.push(Outcome { suite: suite.name(), name, category, passed });
            }
        }
        counted
    }
}

/// `test codec::tests::round_trip ... ok`. An ignored test is a failure: nothing may be skipped.
fn outcome_in(line: &str) -> Option<(&str, bool)> {
    let (test, ending) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let test = test.strip_suffix(" - should panic").unwrap_or(test);
    match ending.split([',', ' ']).next()? {
        "ok" => Some((test, true)),
        "FAILED" | "ignored" => Some((test, false)),
        _ => None,
    }
}

/// `test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s`
fn counts_in(line: &str) -> Option<(usize, usize)> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |word: &str| -> Option<usize> {
        rest.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok())
    };
    Some((number("passed")?, number("failed")? + number("ignored")?))
}

/// Runs a command with both of its streams in one pipe; says whether it ended well.
fn lines_of(command: &mut Command, mut each: impl FnMut(&str) -> Result<()>) -> Result<bool> {
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("could not start `{}`", shell::words(command)))?;
    // The command holds the pipe's writing end too; without this the reading would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        each(&String::from_utf8_lossy(&line?))?;
    }
    Ok(child.wait()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_which_suite_starts() {
        let name = |line| Suite::started_by(line).map(|suite| suite.name());
        assert_eq!(
            name("     Running unittests src/lib.rs (target/debug/deps/potluck_graph-0a1b)").as_deref(),
            Some("graph src/lib.rs")
        );
        assert_eq!(
            name("     Running tests/shaders.rs (/t/debug/deps/shaders-0a1b)").as_deref(),
            Some("tests tests/shaders.rs")
        );
        assert_eq!(name("   Doc-tests potluck_graph").as_deref(), Some("graph documentation"));
        assert_eq!(name("running 3 tests"), None);
    }

    #[test]
    fn outcomes_and_counts_are_read_and_an_ignored_test_fails() {
        assert_eq!(outcome_in("test a::b ... ok"), Some(("a::b", true)));
        assert_eq!(outcome_in("test a::b ... FAILED"), Some(("a::b", false)));
        assert_eq!(outcome_in("test a::b ... ignored, too slow"), Some(("a::b", false)));
        assert_eq!(outcome_in("test a - should panic ... ok"), Some(("a", true)));
        assert_eq!(outcome_in("test result: ok. 1 passed; 0 failed"), None);
        let line = "test result: FAILED. 5 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(counts_in(line), Some((5, 3)));
    }

    #[test]
    fn a_torn_line_is_still_counted() {
        let mut reader = Reader::default();
        for line in [
            "     Running unittests src/lib.rs (target/debug/deps/potluck_graph-0a1b)",
            "test a ... ok",
            "test b ... some words of the test itself",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s",
        ] {
            reader.line(line).unwrap();
        }
        reader.end_suite();
        assert_eq!(super::super::count(reader.outcomes.iter()), (2, 0));
    }
}
