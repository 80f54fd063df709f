//! The programs behind `cargo xtask trust` and `cargo xtask models`: they train with the real
//! engine and the volunteer's own task runner, and say in JSON what they saw.
//!
//! It must not know browsers, networks or how a measurement is stored: folders and JSON go in and
//! come out.
#![allow(clippy::print_stdout, reason = "a command line program talks to its user")]

mod models;
mod trust;

use std::path::Path;

use anyhow::{Result, bail};

const HELP: &str = "\
potluck-lab COMMAND (what `cargo xtask trust` and `cargo xtask models` start)

  trust-tasks FOLDER EXAMPLES all|sample   write the tasks that every executor gets
  trust-run FOLDER STACK cpu|gpu           compute them natively into FOLDER/TASK/STACK.f32
  trust-cheat FOLDER                       compute what cheats would hand in
  trust-compare FOLDER                     the table, as JSON
  model NAME FOLDER cpu|gpu SEED           train one model of `models`, as a row of JSON
  model-dump NAME FOLDER OUT SEED          what another framework needs to train the same
";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["trust-tasks", folder, examples, extent @ ("all" | "sample")] => {
            trust::write_tasks(Path::new(folder), Path::new(examples), extent == "sample")
        }
        ["trust-run", folder, stack, backend] => trust::run(Path::new(folder), stack, backend),
        ["trust-cheat", folder] => trust::cheat(Path::new(folder)),
        ["trust-compare", folder] => trust::compare(Path::new(folder)),
        ["model", name, folder, backend, seed] => models::run(name, Path::new(folder), backend, seed),
        ["model-dump", name, folder, out, seed] => models::dump(name, Path::new(folder), Path::new(out), seed),
        [] | ["help" | "--help"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("this is no command; these are:\n\n{HELP}"),
    }
}
