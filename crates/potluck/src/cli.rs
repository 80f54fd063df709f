//! The arguments, and the help that teaches them.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use potluck_protocol::{JobName, Schedule, UpdateEncoding};

use crate::finish::Day;

/// Train models with the GPUs of the visitors who choose to help.
#[derive(Debug, Parser)]
#[command(name = "potluck", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  potluck init my-job                        write my-job/job.toml to fill in
  potluck check my-job/job.toml              read it and the data, say what it will cost
  potluck serve my-job/job.toml              train it: dashboard, widget and coordinator
  potluck volunteer http://127.0.0.1:8080 --job digits
                                             help from this machine, without a browser
  potluck export http://127.0.0.1:8080 --job digits --out digits.safetensors

Exit codes: 0 done, 1 something failed, 2 a file or an argument is wrong.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a job file to fill in.
    ///
    /// Every field has a comment that says what it is for. An existing file is left alone.
    Init {
        /// Folder to write job.toml into; made where it is missing.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Read job files and their data, and say what a job will cost.
    ///
    /// Errors name the line: `job.toml: line 5, column 9: train.steps: expected 4 to 16, got 99`.
    ///
    /// When a job ends is a guess from visits as they are expected: a median of four minutes, devices of
    /// 0.3 to 40 TFLOP/s, a quarter of the tabs in the background, lines of 5 to 50 Mbit/s.
    #[command(after_help = "\
Examples:
  potluck check examples/digits/job.toml
  potluck check examples/digits/job.toml --by 2030-12-31
                                             how many visits a day that takes")]
    Check {
        /// Job files, or folders with a job.toml.
        #[arg(required = true, value_name = "JOB")]
        jobs: Vec<PathBuf>,
        /// Say how many visits a day it takes to end by then, UTC.
        #[arg(long, value_name = "DATE", value_parser = Day::parse)]
        by: Option<Day>,
    },
    /// Run jobs: coordinator, widget and dashboard in one process.
    ///
    /// Stop it with Ctrl-C; started again on the same folder, it goes on where it stopped.
    Serve(ServeOptions),
    /// Show where the jobs of a coordinator stand.
    #[command(after_help = "Example:\n  potluck status http://127.0.0.1:8080")]
    Status {
        /// The coordinator's address.
        url: String,
        /// Only this job.
        #[arg(long)]
        job: Option<JobName>,
    },
    /// Fetch a job's model as model.safetensors, at any time; or a whole job with its log.
    ///
    /// With --with-log, all of one job is copied out of a coordinator's folder, also while it is
    /// served, into a folder that `potluck import` takes in elsewhere: the log, every blob that its
    /// state needs, and the job file. It holds no owner token, but the test split: keep it private.
    #[command(after_help = "\
Examples:
  potluck export http://127.0.0.1:8080 --job digits --out digits.safetensors
  potluck export potluck-data --with-log digits/job.toml --out digits.potluck")]
    Export {
        /// The coordinator's address; with --with-log its folder.
        #[arg(value_name = "URL|FOLDER")]
        from: String,
        /// The job.
        #[arg(long, required_unless_present = "with_log", conflicts_with = "with_log")]
        job: Option<JobName>,
        /// Export the whole job of this job file, as a folder.
        #[arg(long, value_name = "JOB", conflicts_with = "version")]
        with_log: Option<PathBuf>,
        /// This version instead of the newest.
        #[arg(long)]
        version: Option<u64>,
        /// Where to write it.
        #[arg(long, default_value = "model.safetensors")]
        out: PathBuf,
    },
    /// Bring an exported job into a coordinator's folder, beside the jobs that are there.
    ///
    /// All of it is verified first: that no fact was changed, lost or counted twice, and every blob
    /// against its hash. The job then begins a new line that names where it left the old one, as with
    /// `restore --new-epoch`: do not serve the original any more. A coordinator that does so stops as
    /// soon as a volunteer of this copy comes by.
    #[command(after_help = "\
Example:
  potluck import digits.potluck potluck-data
  potluck serve potluck-data/jobs/digits.toml --folder potluck-data")]
    Import {
        /// What `potluck export --with-log` wrote.
        export: PathBuf,
        /// The coordinator's folder; made where it is missing, must not be served.
        folder: PathBuf,
    },
    /// Copy a coordinator's folder, also while it is served, and check the copy.
    ///
    /// The copy holds the log as it is at one moment and every blob that it names. What was acknowledged
    /// before is in it. It also holds the owner token: keep it as private as the folder.
    #[command(after_help = "Example:\n  potluck backup potluck-data /backups/monday")]
    Backup {
        /// The coordinator's folder.
        folder: PathBuf,
        /// Where to write the copy; made, must be empty.
        to: PathBuf,
    },
    /// Bring a backup back, or make a copied folder the one that counts.
    ///
    /// Two copies of a job must not both go on: they would lease the same blocks and credit the same
    /// names for different work. So a copy is not served before you say, with --new-epoch, that it is
    /// the one that counts. Its jobs then begin a new line that names where it left the old one, and a
    /// coordinator on another copy stops as soon as one of its volunteers has been here.
    #[command(after_help = "\
Examples:
  potluck restore /backups/monday potluck-data --new-epoch
                                     go on from a backup
  potluck restore potluck-data --new-epoch
                                     go on in a folder that was copied or moved to another disk
  potluck restore /backups/monday look-only
                                     only to look: log verify works, serve refuses")]
    Restore {
        /// A backup, or, without TO, a folder that was copied.
        from: PathBuf,
        /// Where to write it; made, must be empty.
        to: Option<PathBuf>,
        /// The original is gone for good, or will not be used again.
        #[arg(long, required_unless_present = "to")]
        new_epoch: bool,
    },
    /// Pause, resume, stop, change or extend a job. Needs the owner token.
    Job {
        #[command(subcommand)]
        command: JobCommand,
    },
    /// Check a folder's log: that nothing was changed, lost or counted twice.
    Log {
        #[command(subcommand)]
        command: LogCommand,
    },
    /// Help a job from this machine, without a browser.
    Volunteer(VolunteerOptions),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  potluck serve examples/digits/job.toml
  potluck serve a/job.toml b/job.toml --listen 127.0.0.1:0 --folder /var/lib/potluck

The first line on standard output is `listening http://ADDRESS`, for scripts that use port 0.
Browsers run WebGPU only on https and on localhost: elsewhere put a proxy with TLS in front.")]
pub(crate) struct ServeOptions {
    /// Job files, or folders with a job.toml.
    #[arg(required = true, value_name = "JOB")]
    pub(crate) jobs: Vec<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Where everything is kept: log, blobs, owner token.
    #[arg(long, default_value = "potluck-data", value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Keep every merged update, so that `potluck log verify` can make each version again.
    ///
    /// Costs half a byte for each parameter and task. Without it updates go once they are merged.
    #[arg(long)]
    pub(crate) keep_updates: bool,
    /// Keep a snapshot of what the log adds up to each so many facts; tests keep more of them.
    #[arg(long, hide = true, default_value_t = potluck_protocol::limits::SNAPSHOT_FACTS)]
    pub(crate) snapshot_facts: u64,
    /// Bytes that the folder may hold, such as 20GB or 512MiB; without it, all that the disk takes.
    ///
    /// At the limit what nothing needs is deleted first. If that is not enough, the jobs pause until
    /// there is room: no new work, and uploads are asked to come later. What was accepted is still
    /// merged, so leave one version of each model (4 bytes a parameter) of room on the disk itself. A
    /// disk that is full has the same effect.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) disk_max: Option<u64>,
    /// End once every job is finished and its last version evaluated.
    #[arg(long)]
    pub(crate) exit_when_finished: bool,
}

/// A number of bytes with a unit: powers of 1,000 (kB, MB, GB, TB) or of 1,024 (KiB, MiB, GiB, TiB).
fn bytes(text: &str) -> Result<u64, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err("expected a whole number with a unit, such as 20GB or 512MiB".to_owned()),
    };
    let number: u64 = text[..text.len() - unit.len()].parse().map_err(|_| "expected a number first".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "more than any disk holds".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Lease no more work; results that are out still count.
    Pause(ControlTarget),
    /// Go on.
    Resume(ControlTarget),
    /// Merge what is there, evaluate it and finish.
    Stop(ControlTarget),
    /// Change how a job is trained, or for how long, while it goes on.
    ///
    /// What is not named stays. Tasks that are out are finished as they were leased and count. The
    /// schedule of the learning rate runs over the whole budget, so another budget moves it too. A
    /// larger budget re-opens a finished job. Every change is a fact in the job's log, and the
    /// dashboard lists them.
    Set(Box<SetOptions>),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  potluck job set http://127.0.0.1:8080 --job digits --token-file potluck-data/owner-token --lr 0.002
  potluck job set ... --steps 4 --batch 64
  potluck job set ... --budget-samples 200000     train on, also where the job was finished
  potluck job set ... --from digits/job.toml      all of [train] as the file says")]
pub(crate) struct SetOptions {
    #[command(flatten)]
    pub(crate) target: ControlTarget,
    /// Take the whole `train` section of this job file.
    #[arg(long, value_name = "JOB", conflicts_with = "by_hand")]
    pub(crate) from: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) by_hand: ByHand,
}

/// What is changed one by one; names are those of the job file.
#[derive(Debug, Args)]
#[group(id = "by_hand", multiple = true)]
pub(crate) struct ByHand {
    /// Peak learning rate.
    #[arg(long, value_parser = finite)]
    pub(crate) lr: Option<f32>,
    /// How the learning rate falls over the budget: constant, linear or cosine.
    #[arg(long, value_parser = word::<Schedule>)]
    pub(crate) schedule: Option<Schedule>,
    /// First steps of a task over which the learning rate rises.
    #[arg(long)]
    pub(crate) ramp_steps: Option<u32>,
    /// Gradient norm above which a step's gradient is scaled down.
    #[arg(long, value_parser = finite)]
    pub(crate) clip_norm: Option<f32>,
    /// Weight decay.
    #[arg(long, value_parser = finite)]
    pub(crate) weight_decay: Option<f32>,
    /// Optimizer steps in one task, 4 to 16.
    #[arg(long)]
    pub(crate) steps: Option<u32>,
    /// Samples in a step.
    #[arg(long)]
    pub(crate) batch: Option<u32>,
    /// Samples after which the job is done, counted from its very start.
    #[arg(long)]
    pub(crate) budget_samples: Option<u64>,
    /// End early once accuracy on `valid` is this high, or `none`.
    #[arg(long, value_name = "SHARE|none")]
    pub(crate) target_accuracy: Option<Target>,
    /// Learning rate of the outer step.
    #[arg(long, value_parser = finite)]
    pub(crate) outer_lr: Option<f32>,
    /// Momentum of the outer step.
    #[arg(long, value_parser = finite)]
    pub(crate) outer_momentum: Option<f32>,
    /// How updates are encoded: e3m0 or int8.
    #[arg(long, value_parser = word::<UpdateEncoding>)]
    pub(crate) update: Option<UpdateEncoding>,
}

/// An accuracy that ends a job, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target(pub(crate) Option<f32>);

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            number => finite(number).map(|share| Self(Some(share))),
        }
    }
}

/// A number that JSON can carry.
fn finite(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|number: &f32| number.is_finite()).ok_or_else(|| "expected a number".to_owned())
}

/// A word as the job file writes it.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|e| e.to_string())
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  potluck job pause http://127.0.0.1:8080 --job digits --token-file potluck-data/owner-token")]
pub(crate) struct ControlTarget {
    /// The coordinator's address.
    pub(crate) url: String,
    /// The job.
    #[arg(long)]
    pub(crate) job: JobName,
    /// The owner token: `owner-token` in the coordinator's folder.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Read the log of every job in a folder and check it.
    ///
    /// Every fact must follow the one before it and be unchanged; no result may count twice and no
    /// block be merged twice; every version whose updates are still there is made again from them
    /// and must come out as the log says, bit by bit. The folder may be in use.
    #[command(after_help = "Example:\n  potluck log verify potluck-data")]
    Verify {
        /// The coordinator's folder, or a backup of it.
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  potluck volunteer http://127.0.0.1:8080 --job digits --backend cpu

Ctrl-C hands in what is worth it and leaves; a second one leaves at once.")]
pub(crate) struct VolunteerOptions {
    /// The coordinator's address.
    pub(crate) url: String,
    /// The job.
    #[arg(long)]
    pub(crate) job: JobName,
    /// What computes; `auto` measures and takes the faster.
    #[arg(long, value_enum, default_value_t = BackendChoice::Auto)]
    pub(crate) backend: BackendChoice,
    /// Keep the key here and be the same volunteer next time; made where it is missing.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendChoice {
    Auto,
    Gpu,
    Cpu,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes("20GB"), Ok(20_000_000_000));
        assert_eq!(bytes("512 MiB"), Ok(512 << 20));
        assert_eq!(bytes("7"), Ok(7));
        for wrong in ["", "GB", "1.5GB", "20 gigabytes", "99999999TB", "-1"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }
}
