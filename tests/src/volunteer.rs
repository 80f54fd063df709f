//! A running `potluck volunteer`, and what it was told of its results.

use crate::{Deadline, Job, Line, Running, program};

/// A native volunteer that is killed at the latest when the test lets go of it.
#[derive(Debug)]
pub struct Volunteer {
    /// The process.
    pub process: Running,
}

impl Volunteer {
    /// Joins the digits job with the CPU executor.
    pub fn start(url: &str) -> Self {
        let command = program::command(&["volunteer", url, "--job", Job::NAME, "--backend", "cpu"]);
        Self { process: Running::start("potluck volunteer", command) }
    }

    /// Waits until it was told of this many results that they count; returns their tasks.
    #[track_caller]
    pub fn acknowledgements(&mut self, count: usize, deadline: Deadline) -> Vec<u64> {
        (0..count).map(|_| self.process.find(deadline, "a result that counts", credited_by)).collect()
    }

    /// Waits until it has ended by itself, and expects that it ended well; returns the tasks that
    /// it was told count.
    #[track_caller]
    pub fn end(mut self, deadline: Deadline) -> Vec<u64> {
        let mut credited = Vec::new();
        while let Some(line) = self.process.line(deadline) {
            credited.extend(credited_by(&line));
        }
        let (status, said) = self.process.end(deadline);
        assert!(status.success(), "potluck volunteer ended with {status}; it said:\n{said}");
        credited
    }

    /// SIGKILL; returns the tasks that it was told count before.
    #[track_caller]
    pub fn kill(mut self, deadline: Deadline) -> Vec<u64> {
        self.process.kill();
        let mut credited = Vec::new();
        while let Some(line) = self.process.line(deadline) {
            credited.extend(credited_by(&line));
        }
        credited
    }
}

/// The task in `task 17 counts: 2 tasks, 512 samples so far`.
fn credited_by(line: &Line) -> Option<u64> {
    line.text().strip_prefix("task ")?.split_once(" counts: ")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_read() {
        let task = |text: &str| credited_by(&Line::Out(text.to_owned()));
        assert_eq!(task("task 17 counts: 2 tasks, 512 samples so far"), Some(17));
        assert_eq!(task("task 17: refused (lease_expired): too late"), None);
    }
}
