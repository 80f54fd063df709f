//! `cargo xtask`: everything that a developer types, one command each; `cargo xtask help` teaches
//! them.
//!
//! It must stay light (it is compiled before the first word appears) and must not know how
//! training works: it starts other programs, reads what they print and says what to do next.
#![allow(clippy::print_stdout, reason = "a command line program talks to its user")]

mod bench;
mod budget;
mod build;
mod ci;
mod crash;
mod damage;
mod drivers;
mod fingerprint;
mod lab;
mod load;
mod measure;
mod models;
mod ops;
mod phases;
mod project;
mod recipe;
mod setup;
mod shell;
mod sim;
mod suites;
mod tidy;
mod trust;

use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::prelude::*;

use crate::phases::Phases;
use crate::project::Project;
use crate::setup::Need;

const HELP: &str = "\
cargo xtask COMMAND

  demo [--open]     set everything up, train the digits with real browser tabs, print the result;
                    --open leaves the server running for your own browser
  test              set everything up and run every test; ends with `N passed, N failed`
    --only CATEGORY   one category of them
    --list            the suites with counts per category, running nothing
  setup             bring in what the others need: wasm target, Node packages, browsers, Python;
                    quick when there is nothing to do
  build             native programs, wasm package, pages; checks the size budget
  ci                fmt, clippy (native and wasm32), docs, tidy, types, dependencies, spelling
  crash             kill the coordinator at 200 random moments under load, check that nothing is lost;
                    `cargo xtask crash --help` says how
  load              starts on a million facts, durable facts in a second, acknowledgements under load;
                    `cargo xtask load --help` says how
  damage            harm a coordinator's log, blobs and disk in every way, check that it is noticed
  sim NAME          simulate training together and print what it comes to; `cargo xtask sim --help`
                    lists what there is
  tidy              the project's own rules: crate arrows, module docs, file lengths, words
  bench [--help]    steps and products against the pinned peers, in one browser, taking turns
  shots             screenshots of the widget and the dashboard into docs/images/
  models            train a CNN, a ViT and a GPT on real data and compare with JAX
  ops               every operation on every executor against its tolerance, into docs/operations.md
  trust             the same tasks on every executor beside what cheats hand in; --help tells more
  limits            the measured limits that do not hold, from target/measure and docs/measurements
  help              this text

Environment
  POTLUCK_CHROMIUM, POTLUCK_FIREFOX   the browsers to use, instead of looking for them
  POTLUCK_NODE, POTLUCK_PYTHON        the same for node (20 or newer) and python3
  CI=true                             never ask, never wait for an answer

A first run on two cores takes five to ten minutes, most of it compiling; later runs skip what has
not changed. Everything made lies in target/, www/dist and www/node_modules, so deleting
these starts afresh.
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut parser = lexopt::Parser::from_env();
    let Some(command) = parser.next()? else {
        print!("{HELP}");
        return Ok(());
    };
    let command = match command {
        Value(name) => name.string()?,
        Long("help") | Short('h') => "help".to_owned(),
        other => return Err(other.unexpected().into()),
    };
    let project = Project::find()?;
    let mut phases = Phases::start(&command);
    match command.as_str() {
        "help" => print!("{HELP}"),
        "setup" | "build" | "demo" | "shots" | "test" | "ci" | "tidy" | "ops" | "limits" if asks_for_help() => {
            print!("{HELP}");
        }
        "setup" => {
            no_more(&mut parser)?;
            let tools = setup::run(&project, &mut phases, Need::Everything)?;
            tools.print();
            tools.require_everything()?;
            phases.print();
        }
        "build" => {
            no_more(&mut parser)?;
            let tools = setup::run(&project, &mut phases, Need::Build)?;
            build::run(&project, &tools, &mut phases)?;
            phases.print();
        }
        "demo" => {
            let arguments = rest(&mut parser)?;
            drivers::demo(&project, &mut phases, &arguments)?;
        }
        "bench" => {
            let arguments = rest(&mut parser)?;
            bench::run(&project, &mut phases, &arguments)?;
        }
        "shots" => {
            let arguments = rest(&mut parser)?;
            drivers::shots(&project, &mut phases, &arguments)?;
        }
        "test" => {
            let request = suites::Request::parse(&mut parser)?;
            suites::run(&project, &mut phases, &request)?;
        }
        "ci" => {
            no_more(&mut parser)?;
            ci::run(&project, &mut phases)?;
        }
        "crash" => crash::run(&project, &mut phases, &mut parser)?,
        "load" => load::run(&project, &mut phases, &mut parser)?,
        "damage" => damage::run(&project, &mut phases, &mut parser)?,
        "sim" => {
            let arguments = rest(&mut parser)?;
            sim::run(&project, &mut phases, &arguments)?;
        }
        "tidy" => {
            no_more(&mut parser)?;
            tidy::run(&project)?;
        }
        "models" => models::run(&project, &mut phases, &mut parser)?,
        "ops" => {
            no_more(&mut parser)?;
            ops::run(&project, &mut phases)?;
        }
        "trust" => trust::run(&project, &mut phases, &mut parser)?,
        "limits" => {
            no_more(&mut parser)?;
            measure::print_broken_limits(&project)?;
        }
        other => bail!("`{other}` is no command; these are:\n\n{HELP}"),
    }
    Ok(())
}

/// For commands that have no other help than the whole list.
fn asks_for_help() -> bool {
    std::env::args_os().any(|argument| argument == "--help" || argument == "-h")
}

fn no_more(parser: &mut lexopt::Parser) -> Result<()> {
    match parser.next()? {
        None => Ok(()),
        Some(argument) => Err(argument.unexpected().into()),
    }
}

/// Arguments that a driver in JavaScript reads itself.
fn rest(parser: &mut lexopt::Parser) -> Result<Vec<String>> {
    parser.raw_args()?.map(|argument| Ok(argument.string()?)).collect()
}
