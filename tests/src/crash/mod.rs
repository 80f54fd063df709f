//! A coordinator that is killed again and again while volunteers work, and what must hold at every
//! restart: whatever was acknowledged counts exactly once, no block is merged twice, every version
//! can be made again from log and blobs, and the job ends as well as one that nobody disturbed.
//!
//! Moments come from a seed, so that another seed is another run. What the machine does in between
//! is not repeated with it: a kill is a matter of time, and the one thing here that has to be.

mod moment;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use potluck_coordinator::Audit;
use potluck_graph::random::SplitMix64;
use potluck_scheduler::Phase;

use crate::{Deadline, Fleet, Job, Running, Server, fleet::HASTE};
pub use moment::{Kind, Moment};

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Kills in all. Where a job ends before, the next one takes the rest.
    pub kills: u32,
    /// Where the moments come from.
    pub seed: u64,
    /// Native volunteers at work.
    pub volunteers: usize,
}

/// What came of one job.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Kills by kind, in the order of [`Kind::ALL`].
    pub kills: [u32; Kind::ALL.len()],
    /// Facts in its log.
    pub facts: u64,
    /// Results that count.
    pub results: u64,
    /// Results that a volunteer was told count.
    pub acknowledged: u64,
    /// Versions.
    pub versions: u64,
    /// Versions that were made again from log and blobs and came out the same.
    pub remade: u64,
    /// From each start to its first answer.
    pub restarts: Vec<Duration>,
    /// Seconds in all.
    pub seconds: f64,
    /// Loss of the last version on the test split, and its accuracy.
    pub loss: f64,
    /// See `loss`.
    pub accuracy: f64,
    /// What did not hold, in sentences. Empty is the point.
    pub violations: Vec<String>,
}

impl Report {
    /// Kills of all kinds.
    pub fn kill_count(&self) -> u32 {
        self.kills.iter().sum()
    }
}

/// Runs jobs until all kills of the plan are done; `tell` hears how it goes.
///
/// # Panics
/// Where a job does not go on within [`crate::deadline::PATIENCE`].
pub fn run(plan: &Plan, mut tell: impl FnMut(&str)) -> Vec<Report> {
    let mut random = SplitMix64::new(plan.seed);
    let mut reports: Vec<Report> = Vec::new();
    let mut left = plan.kills;
    while left > 0 {
        let report = disturbed(plan, left, &mut random, &mut tell);
        left -= report.kill_count().min(left);
        let is_broken = !report.violations.is_empty() || report.kill_count() == 0;
        reports.push(report);
        if is_broken {
            break;
        }
    }
    reports
}

/// One job that nobody disturbs.
pub fn undisturbed(plan: &Plan) -> Report {
    disturbed(plan, 0, &mut SplitMix64::new(plan.seed), &mut |_| ())
}

fn disturbed(plan: &Plan, kills_max: u32, random: &mut SplitMix64, tell: &mut impl FnMut(&str)) -> Report {
    let began = Instant::now();
    let job = Job::digits(&[]);
    let mut report = Report::default();
    let mut server = start(&job, 0, &mut report);
    let port = server.port();
    let fleet = Fleet::start(&server.url, plan.volunteers, HASTE);
    let mut books = Books::new(&job);
    while report.kill_count() < kills_max && !books.is_finished() {
        let moment = Moment::draw(random);
        if moment.kind == Kind::BeforeAnswer {
            server.process.kill();
            let mut starting = Running::start("potluck serve", Server::archiving(&job, port));
            fleet.wait(moment);
            starting.kill();
        } else {
            fleet.wait(moment);
            server.process.kill();
        }
        report.kills[moment.kind as usize] += 1;
        if let Err(violation) = books.check(&fleet) {
            report.violations.push(violation);
            break;
        }
        let (count, facts) = (report.kill_count(), books.audit.fact_count());
        tell(&format!(
            "kill {count} of {kills_max} ({moment}): {facts} facts, {} versions",
            books.audit.version_count()
        ));
        server = start(&job, port, &mut report);
    }
    if report.violations.is_empty() {
        end(&server, &mut report);
        drop(server);
        report.violations.extend(fleet.end().err());
    }
    report.violations.extend(books.check(&fleet).err());
    books.enter_into(&mut report);
    report.acknowledged = fleet.acknowledged().len() as u64;
    report.seconds = began.elapsed().as_secs_f64();
    report
}

fn start(job: &Job, port: u16, report: &mut Report) -> Server {
    let began = Instant::now();
    let server = Server::start_command(Server::archiving(job, port), Deadline::start());
    report.restarts.push(began.elapsed());
    server
}

/// Waits for the end of the job, whose last version tells how well it went.
fn end(server: &Server, report: &mut Report) {
    let deadline = Deadline::start();
    report.accuracy = server.test_accuracy(deadline);
    let history = server.get("/history", deadline);
    let rows = history["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    report.loss = rows.iter().rev().find_map(|row| row["test_loss"].as_f64()).unwrap_or(f64::NAN);
}

/// The books of one job, kept from restart to restart.
struct Books {
    folder: std::path::PathBuf,
    audit: Audit,
    runtime: tokio::runtime::Runtime,
}

impl Books {
    fn new(job: &Job) -> Self {
        let name = Job::NAME.parse().expect("a name");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { folder: job.folder(), audit: Audit::new(name), runtime }
    }

    fn is_finished(&self) -> bool {
        self.audit.state().phase() == Phase::Finished
    }

    /// What must hold whenever the coordinator is dead.
    fn check(&mut self, fleet: &Fleet) -> Result<(), String> {
        let told = fleet.acknowledged();
        self.runtime.block_on(self.audit.advance(&self.folder)).map_err(|e| e.to_string())?;
        match told.into_iter().find(|task| !self.audit.counts(*task)) {
            None => Ok(()),
            Some(task) => Err(format!("task {task} was acknowledged and is lost")),
        }
    }

    fn enter_into(mut self, report: &mut Report) {
        report.facts = self.audit.fact_count();
        report.results = self.audit.result_count();
        report.versions = self.audit.version_count();
        report.remade = self.audit.remade_count();
        // Once more from the start, so that nothing rests on what an earlier look had in memory.
        let mut again = Audit::new(Job::NAME.parse().expect("a name"));
        let read = self.runtime.block_on(again.advance(Path::new(&self.folder)));
        report.violations.extend(read.err().map(|e| e.to_string()));
        if again.remade_count() != again.version_count() {
            let (remade, versions) = (again.remade_count(), again.version_count());
            report.violations.push(format!("of {versions} versions {remade} could be made again"));
        }
        self.audit = again;
    }
}
