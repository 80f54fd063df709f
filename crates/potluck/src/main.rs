//! The `potluck` command: an owner's way to check, serve and watch a job, and a volunteer's way to
//! help without a browser.
//!
//! Exit codes: 0 done, 1 something failed on the way, 2 a file or an argument is wrong. It parses
//! arguments, prints and chooses exit codes; everything else is in the libraries below.

mod backup;
mod check;
mod cli;
mod error;
mod finish;
mod init;
mod job_file;
mod log;
mod print;
mod remote;
mod serve;
mod set;
mod signals;
mod volunteer;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    cli::{Cli, Command, JobCommand, LogCommand},
    error::CliError,
};

fn main() -> ExitCode {
    // Clap prints its own errors and exits with 2.
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::problem(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Init { folder } => init::init(&folder),
        Command::Check { jobs, by } => check::check(&jobs, by),
        Command::Serve(options) => serve::serve(options),
        Command::Status { url, job } => remote::status(&url, job.as_ref()),
        Command::Export { from, with_log: Some(job_file), out, .. } => backup::export(&from, &job_file, &out),
        Command::Export { from, job, version, out, with_log: None } => {
            remote::export(&from, job.as_ref(), version, &out)
        }
        Command::Import { export, folder } => backup::import(&export, &folder),
        Command::Job { command } => match command {
            JobCommand::Pause(target) => remote::control(&target, "pause"),
            JobCommand::Resume(target) => remote::control(&target, "resume"),
            JobCommand::Stop(target) => remote::control(&target, "stop"),
            JobCommand::Set(options) => set::set(*options),
        },
        Command::Backup { folder, to } => backup::backup(&folder, &to),
        Command::Restore { from, to, new_epoch } => backup::restore(&from, to.as_deref(), new_epoch),
        Command::Log { command: LogCommand::Verify { folder } } => log::verify(&folder),
        Command::Volunteer(options) => volunteer::volunteer(options),
    }
}
