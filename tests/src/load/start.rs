//! From the start of the program to the line that says where it listens, on a log of many facts: with
//! a snapshot of the last state, with one that is as old as one can be, and without any.

use std::time::Instant;

use potluck_protocol::limits;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{Measured, Plan, crowd::Crowd, limit, rounded};
use crate::{Deadline, Job, Server};

/// Starts of each kind.
const TIMES: usize = 3;

/// Facts that a start may add itself: it lapses the leases that were out.
const ADDED: u64 = 1_000;

/// What was seen of one start.
struct Start {
    seconds: f64,
    /// Largest resident set when it listened.
    memory_bytes: u64,
    /// From the start until the chain before the snapshot was followed.
    checked_seconds: Option<f64>,
}

/// Grows a log and starts on it.
///
/// # Panics
/// Where the coordinator does not start.
pub fn measure(plan: &Plan, tell: &mut dyn FnMut(&str)) -> Measured {
    let job = Job::digits(&[("budget_samples", "budget_samples = 1_000_000_000_000")]);
    let name = Job::NAME.parse().expect("a name");
    // A crash just before the next snapshot is due.
    let rest = (limits::SNAPSHOT_FACTS - ADDED).min(plan.facts / 4);
    let each = rest + ADDED;
    let (_, server) = start(&job, each, false);
    stop(server);
    tell(&format!("making a log of {} facts", plan.facts));
    Crowd::new(&job.folder(), &name, plan.seed).grow(plan.facts - rest);
    let (_, server) = start(&job, each, false);
    stop(server);
    Crowd::new(&job.folder(), &name, plan.seed + 1).grow(plan.facts);
    let log_bytes = std::fs::metadata(job.folder().join("potluck.sqlite")).map_or(0, |file| file.len());

    let crashed: Vec<Start> = (0..TIMES).map(|_| start(&job, each, true).0).collect();
    stop(start(&job, each, false).1);
    let stopped: Vec<Start> = (0..TIMES).map(|_| start(&job, each, true).0).collect();
    let snapshot_bytes = snapshot_bytes(&job);
    let whole: Vec<Start> = (0..TIMES)
        .map(|_| {
            forget_snapshot(&job);
            start(&job, u64::MAX, false).0
        })
        .collect();

    let with = crashed.iter().chain(&stopped).map(|start| start.seconds).fold(0.0, f64::max);
    let rows = [
        ("snapshot of the end", 0, stopped),
        ("snapshot as old as can be", rest, crashed),
        ("no snapshot", plan.facts, whole),
    ];
    let rows = rows.into_iter().map(|(what, folded, starts)| {
        let seconds: Vec<f64> = starts.iter().map(|start| rounded(start.seconds)).collect();
        tell(&format!("{what}: {seconds:?} s"));
        json!({
            "part": "start",
            "what": what,
            "facts": plan.facts,
            "facts_folded": folded,
            "seconds": seconds,
            "seconds_until_all_is_checked": starts.iter().filter_map(|s| s.checked_seconds.map(rounded)).collect::<Vec<_>>(),
            "memory_bytes": starts.iter().map(|start| start.memory_bytes).max(),
            "log_bytes": log_bytes,
            "snapshot_bytes": snapshot_bytes,
        })
    });
    let rows: Vec<Value> = rows.collect();
    (rows, vec![limit("milliseconds of a start with a snapshot", 2_000, (with * 1e3) as u64)])
}

/// One start; the server is killed when it is let go of.
fn start(job: &Job, each: u64, checks: bool) -> (Start, Server) {
    let mut command = Server::command(job, 0);
    command.args(["--snapshot-facts", &each.to_string()]).env("RUST_LOG", "potluck_coordinator=info");
    let deadline = Deadline::start();
    let began = Instant::now();
    let mut server = Server::start_command(command, deadline);
    let seconds = began.elapsed().as_secs_f64();
    let memory_bytes = server.process.memory_bytes();
    let checked_seconds = checks.then(|| {
        let is_checked = |line: &crate::Line| line.text().contains("facts before the snapshot").then_some(());
        server.process.find(deadline, "a word about the facts before the snapshot", is_checked);
        began.elapsed().as_secs_f64()
    });
    (Start { seconds, memory_bytes, checked_seconds }, server)
}

/// As a service manager does; the last state is kept.
fn stop(server: Server) {
    server.process.terminate();
    let (status, said) = server.process.end(Deadline::start());
    assert!(status.success(), "{said}");
}

fn open(job: &Job) -> Connection {
    Connection::open(job.folder().join("potluck.sqlite")).expect("the log")
}

fn snapshot_bytes(job: &Job) -> u64 {
    let size = open(job).query_row("SELECT sum(length(state)) FROM snapshots", [], |row| row.get::<_, i64>(0));
    size.expect("a snapshot").cast_unsigned()
}

fn forget_snapshot(job: &Job) {
    open(job).execute("DELETE FROM snapshots", []).expect("forgotten");
}
