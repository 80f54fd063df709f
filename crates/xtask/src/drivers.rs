//! Commands whose work is done by a driver under `tests/browser/`: xtask sets up, builds, starts
//! it and passes its verdict on.

use anyhow::Result;

use crate::build;
use crate::phases::Phases;
use crate::project::Project;
use crate::setup::{self, Need};
use crate::shell;

/// Trains the digits with real tabs. Works without browsers too: then native volunteers train.
pub(crate) fn demo(project: &Project, phases: &mut Phases, arguments: &[String]) -> Result<()> {
    drive(project, phases, "tests/browser/demo.mjs", arguments)
}

/// Screenshots for the documentation.
pub(crate) fn shots(project: &Project, phases: &mut Phases, arguments: &[String]) -> Result<()> {
    drive(project, phases, "tests/browser/shots.mjs", arguments)
}

fn drive(project: &Project, phases: &mut Phases, script: &str, arguments: &[String]) -> Result<()> {
    let tools = setup::run(project, phases, Need::Demo)?;
    tools.print();
    tools.print_missing();
    build::run(project, &tools, phases)?;
    // The driver's own words come last: its closing lines are the result.
    phases.print();
    println!();
    let mut node = tools.node();
    node.arg(script).args(arguments);
    // With the user's input: `demo --open` waits for Ctrl-C.
    shell::run_with_input(&mut node)
}
