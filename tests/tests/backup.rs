//! Copies of a folder with real processes: a backup that is taken under load goes on elsewhere, and the
//! original and its copy cannot both be believed. And a stop that sends nobody away for nothing.

use std::{fs, path::Path, process::Command};

use potluck_tests::{
    Deadline, Facts, Fleet, Job, Running, Server,
    crash::{Kind, Moment},
    fleet::HASTE,
    program,
};

/// Five times through the training images.
const SMALL_BUDGET: (&str, &str) = ("budget_samples", "budget_samples = 15360");

#[track_caller]
fn run(arguments: &[&str], paths: &[&Path]) -> String {
    let mut command = program::command(arguments);
    command.args(paths);
    if arguments.contains(&"restore") {
        command.arg("--new-epoch");
    }
    let (status, said) = Running::start("potluck", command).end(Deadline::start());
    assert!(status.success(), "{said}");
    said
}

/// The command that serves the job in another folder.
fn serve_in(job: &Job, folder: &Path, port: u16) -> Command {
    let mut command = program::command(&["serve"]);
    command.arg(job.file()).arg("--folder").arg(folder).args(["--listen", &format!("127.0.0.1:{port}")]);
    command
}

#[track_caller]
fn check_refused(command: Command, expected: &[&str]) {
    let (status, said) = Running::start("potluck serve", command).end(Deadline::start());
    assert_eq!(status.code(), Some(1), "{said}");
    for part in expected {
        assert!(said.contains(part), "expected {part:?} in:\n{said}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[test]
fn a_backup_under_load_goes_on_elsewhere_and_the_original_is_believed_no_more() {
    let deadline = Deadline::start();
    let job = Job::digits(&[SMALL_BUDGET]);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let place = |name: &str| elsewhere.path().join(name);
    let (backup, restored, copied) = (place("backup"), place("restored"), place("copied"));
    let mut original = Server::start(&job, deadline);
    let port = original.port();
    let fleet = Fleet::start(&original.url, 20, HASTE);
    fleet.wait(Moment { kind: Kind::Version, span: potluck_tests::deadline::PATIENCE, count: 1 });
    let said = run(&["backup"], &[&job.folder(), &backup]);
    assert!(said.contains("facts, ends at") && said.contains("checked: "), "{said}");
    // More is acknowledged than the backup knows.
    fleet.wait(Moment { kind: Kind::Version, span: potluck_tests::deadline::PATIENCE, count: 1 });
    original.process.kill();
    fleet.end().expect("left");

    // Nothing but the original is served without its owner's word.
    check_refused(serve_in(&job, &backup, 0), &["is a backup", "--new-epoch"]);
    copy(&job.folder(), &copied);
    check_refused(serve_in(&job, &copied, 0), &["is a copy", "restore", "--new-epoch"]);
    run(&["restore"], &[&backup, &restored]);
    let before = Facts::read_in(&backup);
    let of_original = Facts::read(&job);
    assert_eq!(of_original.0[..before.0.len()], before.0[..], "the backup is not what the log was");
    assert!(of_original.0.len() > before.0.len(), "nothing was acknowledged after the backup");

    // It goes on, with volunteers who are welcomed there.
    let mut moved = Server::start_command(serve_in(&job, &restored, port), deadline);
    let fleet = Fleet::start(&moved.url, 4, HASTE);
    fleet.wait(Moment { kind: Kind::Version, span: potluck_tests::deadline::PATIENCE, count: 1 });
    moved.process.kill();
    // The original comes back at the same address: the first volunteer to return brings the proof.
    check_refused(Server::command(&job, port), &["another copy of this job is in use", "potluck restore"]);
    check_refused(Server::command(&job, port), &["another copy of this job is in use"]);
    let moved = Server::start_command(serve_in(&job, &restored, port), deadline);
    let accuracy = moved.test_accuracy(deadline);
    fleet.end().expect("finished");
    // Of 15,360 samples with another crowd each time; ten classes by chance are 0.1.
    assert!(accuracy >= 0.8, "{accuracy}");
    let after = Facts::read_in(&restored);
    assert_eq!(after.0[..before.0.len()], before.0[..], "facts were changed");
    after.check_versions();
    after.check_merged_once();
    after.check_acknowledged(&fleet.acknowledged().into_iter().map(|task| task.0).collect::<Vec<_>>());
    let said = run(&["log", "verify"], &[&restored]);
    assert!(said.contains("nothing was changed, lost or counted twice"), "{said}");

    // The old log in the place of the newer one is a whole log, and known to have come further.
    moved.process.terminate();
    assert!(moved.process.end(deadline).0.success());
    fs::copy(backup.join("potluck.sqlite"), restored.join("potluck.sqlite")).expect("copied");
    check_refused(serve_in(&job, &restored, 0), &["potluck.sqlite has lost facts", "old copy", "potluck restore"]);
}

/// Starts an import, kills it as soon as `is_now`, and returns whether it had not ended before.
#[track_caller]
fn kill_import(export: &Path, folder: &Path, is_now: impl Fn() -> bool) -> bool {
    let mut command = program::command(&["import"]);
    command.arg(export).arg(folder);
    let mut import = Running::start("potluck import", command);
    let deadline = Deadline::start();
    while !is_now() && !import.has_ended() {
        deadline.left("the moment of the kill");
        std::thread::yield_now();
    }
    let is_early = !import.has_ended();
    import.kill();
    is_early
}

fn files_in(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_in(&entry.path()) } else { 1 }).sum()
}

#[test]
fn an_exported_job_is_finished_elsewhere_and_an_import_that_is_killed_changes_nothing() {
    let deadline = Deadline::start();
    let job = Job::digits(&[SMALL_BUDGET]);
    let other = Job::digits(&[("name = ", "name = \"other\"")]);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (export, target) = (elsewhere.path().join("export"), other.folder());
    let mut original = Server::start(&job, deadline);
    let port = original.port();
    let fleet = Fleet::start(&original.url, 4, HASTE);
    fleet.wait(Moment { kind: Kind::Version, span: potluck_tests::deadline::PATIENCE, count: 3 });
    let said = run(&["export", "--with-log"], &[&job.file(), &job.folder(), Path::new("--out"), &export]);
    assert!(said.contains("facts, ends at") && said.contains("checked: "), "{said}");
    original.process.kill();
    let exported = Facts::read_in(&export);
    assert_eq!(Facts::read(&job).0[..exported.0.len()], exported.0[..], "the export is not what the log was");

    // The folder serves another job, and goes on to do so however far an import came.
    let stop = |server: Server| {
        server.process.terminate();
        assert!(server.process.end(deadline).0.success());
    };
    stop(Server::start(&other, deadline));
    let (blobs, staged) = (target.join("blobs"), target.join("import.sqlite"));
    let before = files_in(&blobs);
    let moments: [&dyn Fn() -> bool; 3] = [&|| true, &|| files_in(&blobs) > before, &|| staged.exists()];
    let mut is_in = false;
    for is_now in moments {
        if is_in {
            break;
        }
        let is_early = kill_import(&export, &target, is_now);
        let facts = Facts::read_in(&target);
        // All of it or nothing: a new line is two facts at the end.
        is_in = !facts.0.is_empty();
        assert!(!is_in || facts.0.len() > exported.0.len(), "{} of {}", facts.0.len(), exported.0.len());
        assert!(is_early || is_in, "an import ended and brought nothing");
        let said = run(&["log", "verify"], &[&target]);
        assert!(said.contains("nothing was changed, lost or counted twice"), "{said}");
        stop(Server::start(&other, deadline));
    }
    if !is_in {
        let said = run(&["import"], &[&export, &target]);
        assert!(said.contains("do not serve the original any more"), "{said}");
    }

    // It goes on with its volunteers at the old address, and without its data file.
    let mut command = program::command(&["serve"]);
    command.arg(target.join("jobs/digits.toml")).arg("--folder").arg(&target);
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    let moved = Server::start_command(command, deadline);
    let accuracy = moved.test_accuracy(deadline);
    fleet.end().expect("finished");
    assert!(accuracy >= 0.8, "{accuracy}");
    let after = Facts::read_in(&target);
    assert_eq!(after.0[..exported.0.len()], exported.0[..], "facts were changed");
    after.check_versions();
    after.check_merged_once();
    stop(moved);
    let said = run(&["log", "verify"], &[&target]);
    assert!(said.contains("nothing was changed, lost or counted twice"), "{said}");
}

#[test]
fn what_is_no_backup_and_what_is_not_empty_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir_all(&from).expect("made");
    let check = |command: Command, code: i32, expected: &str| {
        let (status, said) = Running::start("potluck", command).end(Deadline::start());
        assert_eq!(status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "expected {expected:?} in:\n{said}");
    };
    let command = |arguments: &[&str]| {
        let mut command = program::command(arguments);
        command.arg(&from).arg(&to);
        command
    };
    check(command(&["backup"]), 1, "has no potluck.sqlite");
    check(command(&["restore"]), 2, "is not a backup (");
    fs::write(from.join("backup.json"), "{\"format\":99,\"at\":1,\"jobs\":[]}").expect("written");
    check(command(&["restore"]), 2, "its format is 99, this program knows 1");
    fs::write(from.join("potluck.sqlite"), "").expect("written");
    fs::create_dir_all(&to).expect("made");
    fs::write(to.join("mine"), "").expect("written");
    check(command(&["backup"]), 2, "is not empty: name a folder that does not exist yet");
}

#[test]
fn a_stop_answers_everybody_and_says_when_to_come_again() {
    let deadline = Deadline::start();
    let job = Job::digits(&[SMALL_BUDGET]);
    let server = Server::start(&job, deadline);
    let port = server.port();
    let fleet = Fleet::start(&server.url, 20, 1);
    fleet.wait_for_joined(20, deadline);
    fleet.wait(Moment { kind: Kind::Version, span: potluck_tests::deadline::PATIENCE, count: 1 });
    server.process.terminate();
    let (status, said) = server.process.end(deadline);
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("20 of 20 volunteers were told when to come again"), "{said}");
    let at_stop = Facts::read(&job);
    at_stop.check_acknowledged(&fleet.acknowledged().into_iter().map(|task| task.0).collect::<Vec<_>>());

    let server = Server::start_at(&job, port, deadline);
    server.test_accuracy(deadline);
    // One that computes on says that it is offline only once it is done; the others say it at once.
    let away = fleet.away();
    assert!((0..20).any(|nth| away.contains(&(2_000 + 5 * nth))), "nobody keeps to what it was told: {away:?}");
    fleet.end().expect("finished");
    let after = Facts::read(&job);
    after.check_merged_once();
    after.check_acknowledged(&fleet.acknowledged().into_iter().map(|task| task.0).collect::<Vec<_>>());
}
