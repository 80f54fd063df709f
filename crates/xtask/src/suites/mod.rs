//! `cargo xtask test`: every suite, counted. It knows how each runner lists and reports its tests,
//! and not what they test.

mod cargo;
mod category;
mod node;
mod properties;
mod python;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, bail};
use lexopt::prelude::*;

pub(crate) use category::Category;

use crate::build;
use crate::phases::Phases;
use crate::project::Project;
use crate::setup::{self, Need, Tools};

/// What the user asked for.
pub(crate) struct Request {
    list: bool,
    only: Option<Category>,
}

impl Request {
    pub(crate) fn parse(parser: &mut lexopt::Parser) -> Result<Self> {
        let mut request = Self { list: false, only: None };
        while let Some(argument) = parser.next()? {
            match argument {
                Long("list") => request.list = true,
                Long("only") => request.only = Some(Category::parse(&parser.value()?.string()?)?),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(request)
    }

    fn wants(&self, category: Category) -> bool {
        self.only.is_none_or(|only| only == category)
    }
}

/// One test of a suite, before it ran.
struct Case {
    suite: String,
    category: Category,
}

/// How one test ended.
struct Outcome {
    suite: String,
    name: String,
    category: Category,
    passed: bool,
}

/// What a runner brought: its outcomes, and whether it ended well itself (a runner can die
/// without a failed test).
struct Report {
    outcomes: Vec<Outcome>,
    ended_well: bool,
}

impl Report {
    fn died(&self) -> bool {
        !self.ended_well && self.outcomes.iter().all(|outcome| outcome.passed)
    }
}

/// Sets up, builds, and lists or runs.
pub(crate) fn run(project: &Project, phases: &mut Phases, request: &Request) -> Result<()> {
    let tools = setup::run(project, phases, Need::Everything)?;
    tools.print();
    tools.require_everything()?;
    build::run(project, &tools, phases)?;
    phases.run("test programs", || cargo::build(project))?;
    if request.list {
        return list(project, &tools, request);
    }
    let mut reports = Vec::new();
    if Category::CARGO.iter().any(|category| request.wants(*category)) {
        reports.push(phases.run("cargo suites", || cargo::run(project, &tools, request))?);
    }
    if Category::NODE.iter().any(|category| request.wants(*category)) {
        reports.push(phases.run("browser suites", || node::run(project, &tools, request))?);
    }
    if request.wants(Category::External) {
        reports.push(phases.run("Python suite", || python::run(project, &tools))?);
    }
    phases.print();
    conclude(&reports, request)
}

fn list(project: &Project, tools: &Tools, request: &Request) -> Result<()> {
    let mut cases = cargo::list(project, tools)?;
    cases.extend(node::list(project, tools)?);
    cases.extend(python::list(project, tools)?);
    cases.retain(|case| request.wants(case.category));

    let mut suites: BTreeMap<(Category, &str), usize> = BTreeMap::new();
    for case in &cases {
        *suites.entry((case.category, &case.suite)).or_default() += 1;
    }
    let mut empty = Vec::new();
    println!();
    for category in Category::ALL.into_iter().filter(|category| request.wants(*category)) {
        let total: usize = suites.iter().filter(|((of, _), _)| *of == category).map(|(_, count)| count).sum();
        println!("{category}: {total}");
        for ((_, suite), count) in suites.iter().filter(|((of, _), _)| *of == category) {
            println!("  {count:>5}  {suite}");
        }
        if total == 0 {
            empty.push(category.to_string());
        }
    }
    println!("in all: {}", cases.len());
    if !empty.is_empty() {
        bail!("no test in: {}. A category without tests proves nothing", empty.join(", "));
    }
    Ok(())
}

/// Prints counts per category, the failed tests by name, and the closing line.
fn conclude(reports: &[Report], request: &Request) -> Result<()> {
    let outcomes: Vec<&Outcome> = reports.iter().flat_map(|report| &report.outcomes).collect();
    println!("\n  passed  failed  category");
    let mut empty = Vec::new();
    for category in Category::ALL.into_iter().filter(|category| request.wants(*category)) {
        let (passed, failed) = count(outcomes.iter().copied().filter(|outcome| outcome.category == category));
        println!("  {passed:>6}  {failed:>6}  {category}");
        if passed + failed == 0 {
            empty.push(category.to_string());
        }
    }
    for outcome in outcomes.iter().filter(|outcome| !outcome.passed) {
        println!("  FAILED {}: {}", outcome.suite, outcome.name);
    }
    let (passed, failed) = count(outcomes.iter().copied());
    // A category without tests, and a runner that died without a failed test, count as one failure
    // each: the closing line must not look green then.
    for category in &empty {
        println!("  FAILED {category}: no test ran in this category");
    }
    let died = reports.iter().filter(|report| report.died()).count();
    if died > 0 {
        println!("  FAILED: a suite ended with an error of its own; its output is above");
    }
    let failed = failed + empty.len() + died;
    println!("\n{passed} passed, {failed} failed");
    if failed > 0 {
        // The closing line stays the last one.
        std::process::exit(1);
    }
    Ok(())
}

fn count<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> (usize, usize) {
    outcomes.fold(
        (0, 0),
        |(passed, failed), outcome| {
            if outcome.passed { (passed + 1, failed) } else { (passed, failed + 1) }
        },
    )
}

/// Prints a suite's line when it ended.
struct SuiteClock {
    suite: String,
    started: Instant,
}

impl SuiteClock {
    fn start(suite: &str) -> Self {
        Self { suite: suite.to_owned(), started: Instant::now() }
    }

    fn print(&self, passed: usize, failed: usize) {
        let seconds = self.started.elapsed().as_secs_f64();
        println!("  {passed:>5} passed {failed:>3} failed {seconds:>7.1} s  {}", self.suite);
    }
}
