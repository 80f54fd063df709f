//! Says what is going on and how long each part took.

use std::time::Instant;

use anyhow::Result;

/// The phases of one command, in order.
pub(crate) struct Phases {
    command: String,
    started: Instant,
    done: Vec<(String, f64)>,
}

impl Phases {
    pub(crate) fn start(command: &str) -> Self {
        Self { command: command.to_owned(), started: Instant::now(), done: Vec::new() }
    }

    /// Runs `work` as a phase. A failed phase ends the command, so its seconds are printed at once.
    pub(crate) fn run<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("== {}: {name}", self.command);
        let started = Instant::now();
        let result = work();
        let seconds = started.elapsed().as_secs_f64();
        let word = if result.is_ok() { "done" } else { "FAILED" };
        println!("== {}: {name} {word} in {seconds:.1} s", self.command);
        self.done.push((name.to_owned(), seconds));
        result
    }

    /// The table that closes a command.
    pub(crate) fn print(&self) {
        println!("\nSeconds of `cargo xtask {}`", self.command);
        for (name, seconds) in &self.done {
            println!("  {seconds:>7.1}  {name}");
        }
        println!("  {:>7.1}  in all", self.started.elapsed().as_secs_f64());
    }
}
