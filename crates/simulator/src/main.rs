//! `potluck-simulator NAME`: one simulation, its table on standard output and its progress beside
//! it. `cargo xtask sim` builds and starts it.
#![allow(clippy::print_stdout, reason = "a command line program talks to its user")]

use std::process::ExitCode;

use anyhow::{Context, Result};
use potluck_simulator::{HELP, Request};

fn main() -> ExitCode {
    match simulate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn simulate() -> Result<()> {
    let arguments = match Request::parse(lexopt::Parser::from_env())? {
        Request::Help => {
            print!("{HELP}");
            return Ok(());
        }
        Request::Run(arguments) => arguments,
    };
    let report = potluck_simulator::run(&arguments)?;
    println!("{report}");
    if let Some(path) = &arguments.out {
        let text = serde_json::to_string_pretty(&report.to_json())?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &arguments.plot {
        let svg = report.to_svg().context("fewer than two rows have losses: nothing to draw")?;
        std::fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
