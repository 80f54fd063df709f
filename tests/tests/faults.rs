//! What goes wrong on an owner's machine: each ends in a sentence that says what to do, with an
//! exit code that scripts can tell apart, and nothing is lost.

use std::{fs, net::TcpListener, process::Command};

use potluck_tests::{BreakingLine, Deadline, Facts, Job, Running, Server, Volunteer, program};

/// Nothing but the exit code and the sentence is looked at.
#[track_caller]
fn check_ends(command: Command, code: i32, expected: &[&str]) {
    let (status, said) = Running::start("potluck", command).end(Deadline::start());
    assert_eq!(status.code(), Some(code), "{said}");
    for part in expected {
        assert!(said.contains(part), "expected {part:?} in:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// `check` and `serve` refuse the same things in the same words.
#[track_caller]
fn check_refused(job: &Job, expected: &[&str]) {
    let mut check = program::command(&["check"]);
    check.arg(job.file());
    check_ends(check, 2, expected);
    check_ends(Server::command(job, 0), 2, expected);
    if job.folder().join("potluck.sqlite").exists() {
        assert_eq!(Facts::read(job).0, [], "a refused job left facts behind");
    }
}

#[test]
fn a_wrong_job_file_is_refused_with_its_line_and_field() {
    for (change, at, field, expected) in [
        (("steps", "steps = 99"), "steps", "train.steps", "expected 4 to 16, got 99"),
        (("steps", "stepps = 8"), "steps", "train.stepps", "unknown field"),
        (("owner", ""), "[job]", "job", "missing field `owner`"),
        (
            ("contact", "contact = \"me\""),
            "contact",
            "job.contact",
            "expected an e-mail address or an https:// address",
        ),
        (("public", "public = false"), "public", "data.public", "expected true"),
        (("hidden", "hidden = \"128\""), "hidden", "model.hidden", "expected a list of widths"),
        (
            ("preset", "preset = \"bert\""),
            "preset",
            "model.preset",
            "expected one of \"mlp\", \"cnn\", \"vit\", \"gpt\", got \"bert\"",
        ),
        (("title", "title = \"Reading"), "title", "job.title", "invalid basic string"),
    ] {
        let line = Job::digits_line(at);
        let job = Job::digits(&[change]);
        check_refused(&job, &["job.toml: ", &format!("line {line}, column"), &format!("{field}: "), expected]);
    }
}

#[test]
fn a_day_that_is_over_or_none_is_no_date_to_end_by() {
    let job = Job::digits(&[]);
    let by = |date: &str| {
        let mut check = program::command(&["check"]);
        check.arg(job.file()).args(["--by", date]);
        check
    };
    check_ends(by("2020-02-30"), 2, &["--by: this day is over"]);
    check_ends(by("soon"), 2, &["expected a date such as 2030-12-31"]);
    check_ends(by("9999-12-31"), 0, &["visits a day", "there at once", "1,000", "to end by then"]);
}

#[test]
fn a_missing_job_file_is_named() {
    let mut command = program::command(&["serve", "nowhere/job.toml"]);
    let folder = tempfile::tempdir().expect("a folder");
    command.current_dir(folder.path());
    check_ends(command, 2, &["cannot read the job file nowhere/job.toml", "potluck init"]);
}

#[test]
fn a_missing_data_file_is_named() {
    let job = Job::digits(&[("csv", "csv = \"numbers.csv\"")]);
    check_refused(&job, &["cannot read the data file", "numbers.csv", "check data.csv in the job file"]);
}

#[test]
fn wrong_data_is_refused_with_its_line_and_column() {
    let damage = |from: &str, to: &str| {
        let job = Job::digits(&[]);
        let data = fs::read_to_string(job.data()).expect("the data");
        assert!(data.contains(from));
        fs::write(job.data(), data.replacen(from, to, 1)).expect("written");
        job
    };
    let first = "\n0,0,5,13,";
    check_refused(
        &damage(first, "\n0,0,five,13,"),
        &["digits.csv, line 2, column \"p2\"", "expected a number, got \"five\""],
    );
    check_refused(
        &damage(first, "\n0,0,NaN,13,"),
        &["digits.csv, line 2, column \"p2\"", "write one or remove the line"],
    );
    check_refused(&damage(first, "\n0,5,13,"), &["digits.csv, line 2", "64 values where the header has 65 columns"]);
    check_refused(&damage("label", "digit"), &["no column is named \"label\"", "set data.label in the job file"]);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    check_ends(Server::command(&Job::digits(&[]), port), 1, &[&port.to_string(), "in use", "--listen"]);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let job = Job::digits(&[]);
    // Where a file stands no folder can be, whoever asks: root may write everywhere else.
    fs::write(job.folder(), "").expect("written");
    check_ends(Server::command(&job, 0), 1, &["folder", "cannot be written", "choose another folder"]);
}

#[test]
fn a_second_coordinator_on_one_folder_is_refused() {
    let deadline = Deadline::start();
    let job = Job::digits(&[]);
    let first = Server::start(&job, deadline);
    check_ends(Server::command(&job, 0), 1, &["in use by another coordinator", "stop that one"]);
    assert_eq!(first.get("", deadline)["phase"], "running");
}

#[test]
fn a_download_that_breaks_goes_on_where_it_broke() {
    let deadline = Deadline::start();
    let job = Job::digits(&[("budget_samples", "budget_samples = 1024")]);
    let server = Server::start(&job, deadline);
    let line = BreakingLine::to(server.port());
    Volunteer::start(&line.url).end(deadline);
    let asked = line.asked();
    let broken: Vec<_> = asked.values().filter(|starts| starts.len() > 1).collect();
    assert!(broken.len() >= 4, "the parameters and some blocks: {asked:?}");
    for starts in broken {
        assert!(starts.len() == 2 && starts[0] == 0 && starts[1] > 0, "{asked:?}");
    }
}

#[test]
fn an_unknown_job_is_named_to_its_volunteer() {
    let deadline = Deadline::start();
    let job = Job::digits(&[]);
    let server = Server::start(&job, deadline);
    let command = program::command(&["volunteer", &server.url, "--job", "letters", "--backend", "cpu"]);
    check_ends(command, 1, &["no job of that name"]);
}

/// Done in seconds, and still far more facts than the small disks below hold.
const SMALL_BUDGET: (&str, &str) = ("budget_samples", "budget_samples = 7680");

/// A coordinator whose files may not grow past `kib`: the shell says so, since a limit like that is
/// set between fork and exec. Writing past it fails like a full disk does, on every system, for
/// every user.
fn serve_on_full_disk(job: &Job, kib: u32) -> Command {
    let serve = Server::command(job, 0);
    let mut command = Command::new("sh");
    // POSIX counts in blocks of 512 bytes. The signal is ignored so that the write itself fails.
    command.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", 2 * kib));
    command.arg(serve.get_program()).args(serve.get_args());
    command
}

#[test]
fn a_disk_that_is_full_at_the_start_is_named() {
    let job = Job::digits(&[SMALL_BUDGET]);
    check_ends(serve_on_full_disk(&job, 8), 1, &["full", "free some space"]);
    check_trains_to_the_end(&job, &[]);
}

#[test]
fn a_disk_that_fills_up_loses_nothing() {
    let deadline = Deadline::start();
    let job = Job::digits(&[SMALL_BUDGET]);
    // Version 0 (38 KiB) and the tables fit, a job's facts (about 200 KiB) do not.
    let mut server = Server::start_command(serve_on_full_disk(&job, 160), deadline);
    let volunteer = Volunteer::start(&server.url);
    server.process.find(deadline, "a sentence about the disk", |line| {
        (line.text().contains("full") && line.text().contains("free some space")).then_some(())
    });
    server.process.kill();
    let credited = volunteer.kill(deadline);
    assert!(!credited.is_empty(), "the disk was full before anything was acknowledged");
    check_trains_to_the_end(&job, &credited);
}

/// With room again, the same folder goes on where it stopped.
#[track_caller]
fn check_trains_to_the_end(job: &Job, credited: &[u64]) {
    let deadline = Deadline::start();
    let server = Server::start(job, deadline);
    let volunteer = Volunteer::start(&server.url);
    server.test_accuracy(deadline);
    volunteer.end(deadline);
    let facts = Facts::read(job);
    facts.check_versions();
    facts.check_merged_once();
    facts.check_acknowledged(credited);
}
