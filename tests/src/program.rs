//! The `potluck` program as a process: what it says, and how it ends.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
};

use crate::Deadline;

/// The program that the workspace builds, beside the folder of the running test, or beside the
/// program that uses this crate.
///
/// # Panics
/// Where it was not built.
pub fn potluck() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own path");
    let beside = own.parent().expect("a program lies in a folder");
    // A test is target/debug/deps/process-0a1b2c.
    let folder = if beside.ends_with("deps") { beside.parent().expect("deps lies in a folder") } else { beside };
    let program = folder.join(format!("potluck{}", std::env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is not there: run `cargo build --workspace` first", program.display());
    program
}

/// `potluck` with arguments, neither started nor bound to any stream.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(potluck());
    command.args(arguments).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    command
}

/// A line that a process wrote, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// On its output.
    Out(String),
    /// On its error stream.
    Error(String),
}

impl Line {
    /// The text.
    pub fn text(&self) -> &str {
        match self {
            Self::Out(text) | Self::Error(text) => text,
        }
    }
}

/// A process that is killed at the latest when the test lets go of it.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    lines: Receiver<Line>,
    said: Vec<Line>,
}

impl Running {
    /// Starts a command and listens to it.
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let (sender, lines) = channel();
        listen(child.stdout.take(), sender.clone(), Line::Out);
        listen(child.stderr.take(), sender, Line::Error);
        Self { name: name.to_owned(), child, lines, said: Vec::new() }
    }

    /// The next line, or `None` once the process has closed both streams.
    #[track_caller]
    pub fn line(&mut self, deadline: Deadline) -> Option<Line> {
        let waiting_for = format!("a line of {}, which said:\n{}", self.name, self.everything());
        match self.lines.recv_timeout(deadline.left(&waiting_for)) {
            Ok(line) => {
                self.said.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                deadline.left(&waiting_for);
                None
            }
        }
    }

    /// Waits for a line in which `find` finds something.
    #[track_caller]
    pub fn find<T>(&mut self, deadline: Deadline, what: &str, mut find: impl FnMut(&Line) -> Option<T>) -> T {
        while let Some(line) = self.line(deadline) {
            if let Some(found) = find(&line) {
                return found;
            }
        }
        panic!("{} ended without {what}; it said:\n{}", self.name, self.everything())
    }

    /// Waits until the process has ended by itself; returns how, and all that it said.
    #[track_caller]
    pub fn end(mut self, deadline: Deadline) -> (ExitStatus, String) {
        while self.line(deadline).is_some() {}
        // Both streams are closed, so it is about to end or already has.
        (self.child.wait().expect("its status"), self.everything())
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// SIGTERM, as a service manager stops a process.
    ///
    /// # Panics
    /// Where the signal cannot be sent.
    #[track_caller]
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(sent.expect("kill").success(), "{} is gone already", self.name);
    }

    /// SIGKILL: no handler runs, no buffer is flushed. Returns once it is gone.
    pub fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The largest resident set that it had so far; 0 where the system does not say.
    pub fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        kilobytes.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// All that it said so far, in order.
    pub fn everything(&self) -> String {
        self.said.iter().map(|line| format!("  {}\n", line.text())).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            self.said.extend(self.lines.try_iter());
            eprintln!("{} said:\n{}", self.name, self.everything());
        }
    }
}

/// Reads a stream to its end on a thread of its own, so that the process never waits for us.
fn listen(stream: Option<impl Read + Send + 'static>, lines: Sender<Line>, line: fn(String) -> Line) {
    let Some(stream) = stream else { return };
    std::thread::spawn(move || {
        for bytes in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            // The test may have stopped listening; the stream is drained all the same.
            let _ = lines.send(line(text));
        }
    });
}
