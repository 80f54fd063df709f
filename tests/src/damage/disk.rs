//! A disk that is really full: a small file system of its own where the user may mount one.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Outcome, Tally};
use crate::{Deadline, Facts, Job, Server, Volunteer, program};

/// What the file system holds: a whole small job, with its write-ahead log of 4 MiB at most. What is
/// not needed for the start is taken up by a ballast.
const SMALL: &str = "size=12m";

/// A mounted file system in memory, unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None` where this user may not mount.
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).ok()?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", SMALL, "potluck-damage"]).arg(&at);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        status.success().then_some(Self(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Serves a job on a disk that fills up, sees it pause and say so, makes room, and sees it go on to
/// the end in the same process. `None` where this user may not mount.
pub fn small_disk() -> Option<Tally> {
    let job = Job::digits(&[("budget_samples", "budget_samples = 7680")]);
    let _disk = Disk::mount(job.folder())?;
    let mut tally = Tally::new("a file system of 12 MiB fills up");
    let message = fill_and_free(&job, &job.folder().join("ballast"));
    tally.enter("full", Outcome::Refused { kind: "the disk is full; goes on when there is room", message });
    Some(tally)
}

fn fill_and_free(job: &Job, ballast: &Path) -> String {
    let deadline = Deadline::start();
    let mut command = program::command(&["serve"]);
    command.arg(job.file()).arg("--folder").arg(job.folder().join("data")).args(["--listen", "127.0.0.1:0"]);
    let mut server = Server::start_command(command, deadline);
    // All the room that is left but for a few pages of the log.
    fill(ballast);
    let volunteer = Volunteer::start(&server.url);
    let message = server.process.find(deadline, "a sentence about the disk", |line| {
        let (_, sentence) = line.text().split_once("paused: ")?;
        (sentence.contains("full") && sentence.contains("free some space")).then(|| sentence.to_owned())
    });
    let why = server.watch(deadline, "a pause", |job| job["blocked"].as_str().map(str::to_owned));
    assert!(why.contains("disk"), "{why}");
    std::fs::remove_file(ballast).expect("removed");
    server.test_accuracy(deadline);
    let credited = volunteer.end(deadline);
    server.process.terminate();
    let (status, said) = server.process.end(deadline);
    assert_eq!(status.code(), Some(0), "{said}");
    let facts = Facts::read_in(&job.folder().join("data"));
    facts.check_versions();
    facts.check_merged_once();
    facts.check_acknowledged(&credited);
    message
}

/// Writes until the disk is full, then gives back a few pages.
fn fill(ballast: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(ballast).expect("made");
    let mut bytes = 0;
    while file.write_all(&[1; 4096]).is_ok() {
        bytes += 4096;
    }
    file.set_len(bytes - (96 << 10)).expect("cut");
}
