//! A running `potluck serve`, and its HTTP API.

use std::{
    io::{BufRead, BufReader},
    process::Command,
};

use serde_json::Value;

use crate::{Deadline, Job, Running, program};

/// A coordinator that is killed at the latest when the test lets go of it.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Running,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

impl Server {
    /// The command that serves a job on a port; 0 lets the system choose.
    pub fn command(job: &Job, port: u16) -> Command {
        let mut command = program::command(&["serve"]);
        command.arg(job.file()).arg("--folder").arg(job.folder()).args(["--listen", &format!("127.0.0.1:{port}")]);
        command
    }

    /// The same, keeping every update, so that all versions can be made again, and so many snapshots
    /// of the state that most starts go on from one.
    pub fn archiving(job: &Job, port: u16) -> Command {
        let mut command = Self::command(job, port);
        command.args(["--keep-updates", "--snapshot-facts", "40"]);
        command
    }

    /// Serves a job on a port that the system chooses.
    #[track_caller]
    pub fn start(job: &Job, deadline: Deadline) -> Self {
        Self::start_command(Self::command(job, 0), deadline)
    }

    /// Starts again where [`Server::port`] was, so that volunteers find it.
    #[track_caller]
    pub fn start_at(job: &Job, port: u16, deadline: Deadline) -> Self {
        Self::start_command(Self::command(job, port), deadline)
    }

    /// Starts a command that serves, and waits until it says where it listens.
    #[track_caller]
    pub fn start_command(command: Command, deadline: Deadline) -> Self {
        let mut process = Running::start("potluck serve", command);
        let url = process.find(deadline, "an address", |line| {
            Some(line.text().strip_prefix("listening ")?.trim_end_matches('/').to_owned())
        });
        Self { process, url }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("an address with a port")
    }

    /// `GET /api/v1/jobs/digits{path}` as JSON.
    #[track_caller]
    pub fn get(&self, path: &str, deadline: Deadline) -> Value {
        let address = format!("{}/api/v1/jobs/{}{path}", self.url, Job::NAME);
        let text = ureq::get(&address)
            .config()
            .timeout_global(Some(deadline.left(&address)))
            .build()
            .call()
            .and_then(|mut answer| answer.body_mut().read_to_string())
            .unwrap_or_else(|e| panic!("GET {address}: {e}"));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("GET {address}: {e} in {text}"))
    }

    /// Follows the job's events until `find` finds something in the job's JSON.
    #[track_caller]
    pub fn watch<T>(&self, deadline: Deadline, what: &str, mut find: impl FnMut(&Value) -> Option<T>) -> T {
        let address = format!("{}/api/v1/jobs/{}/events", self.url, Job::NAME);
        let answer = ureq::get(&address)
            .config()
            .timeout_global(Some(deadline.left(what)))
            .build()
            .call()
            .unwrap_or_else(|e| panic!("GET {address}: {e}"));
        let mut event = String::new();
        for line in BufReader::new(answer.into_body().into_reader()).lines() {
            let line = line.unwrap_or_else(|e| panic!("waiting for {what}: {e}"));
            match line.split_once(':') {
                Some(("event", name)) => event = name.trim().to_owned(),
                Some(("data", text)) if event == "job" => {
                    let job = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {text}"));
                    if let Some(found) = find(&job) {
                        return found;
                    }
                }
                _ => {}
            }
        }
        panic!("the coordinator closed its events before {what}")
    }

    /// Ends the job as its owner does: what is there is merged, evaluated and handed over.
    #[track_caller]
    pub fn stop_job(&self, job: &Job, deadline: Deadline) {
        let mut command = program::command(&["job", "stop", &self.url, "--job", Job::NAME, "--token-file"]);
        command.arg(job.folder().join("owner-token"));
        let (status, said) = Running::start("potluck job stop", command).end(deadline);
        assert!(status.success(), "{said}");
    }

    /// Waits until the job is finished and its last version is evaluated on `test`; returns that
    /// accuracy.
    #[track_caller]
    pub fn test_accuracy(&self, deadline: Deadline) -> f64 {
        self.watch(deadline, "the end of the job", |job| {
            (job["phase"] == "finished").then_some(())?;
            let history = self.get("/history", deadline);
            let versions = history["versions"].as_array()?;
            let row = versions.iter().find(|row| row["version"] == job["version"])?;
            row["test_accuracy"].as_f64()
        })
    }
}
