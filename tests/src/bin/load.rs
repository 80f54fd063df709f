//! `potluck-load`: what `cargo xtask load` measures. Progress goes to standard error, one JSON object
//! with rows and limits to standard output.
#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::process::ExitCode;

use potluck_tests::load::{self, Plan};

fn main() -> ExitCode {
    match plan() {
        Ok(plan) => {
            println!("{}", load::run(&plan, |news| eprintln!("{news}")));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn plan() -> Result<Plan, lexopt::Error> {
    use lexopt::prelude::*;
    let mut plan = Plan { facts: 1_000_000, rates: vec![100, 250, 500, 1_000], rounds: 10, only: None, seed: 1 };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("facts") => plan.facts = parser.value()?.parse()?,
            Long("rounds") => plan.rounds = parser.value()?.parse()?,
            Long("only") => plan.only = Some(parser.value()?.string()?),
            Long("seed") => plan.seed = parser.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(plan)
}
