//! How far each job's log had come, written beside the database after every commit.
//!
//! SQLite drops what it cannot read at the end of its write-ahead log without a word: after a power
//! cut that is the transaction which nobody was told of. A flipped bit, a lost file or an old copy put
//! in place of the database looks the same to it, and takes facts with it that were acknowledged. So
//! this file is another witness: a log that does not reach it has lost something.
//!
//! It is never synced. After a power cut it may be older than the log, never newer, and nothing else
//! is read from it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use potluck_protocol::JobName;
use sha2::{Digest, Sha256};

use super::{Head, RecordHash};

/// Where a job's log was once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) seq: u64,
    pub(super) hash: RecordHash,
}

/// The file, and what stands in it.
#[derive(Debug)]
pub(super) struct Witness {
    path: PathBuf,
    file: Option<File>,
    jobs: BTreeMap<JobName, Seen>,
}

/// Its path for a log's database.
pub(super) fn path_of(database: &Path) -> PathBuf {
    database.with_extension("heads")
}

impl Witness {
    /// Reads what there is. A line that was damaged is no witness, and the others still are.
    pub(super) fn read(database: &Path) -> Self {
        let path = path_of(database);
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("{} cannot be read ({error}); the log is checked without it", path.display());
                }
                String::new()
            }
        };
        let mut jobs = BTreeMap::new();
        for line in text.lines() {
            match parse(line) {
                Some((job, seen)) => drop(jobs.insert(job, seen)),
                None => tracing::warn!(
                    "{} is damaged; that costs nothing, and the next commit writes it again",
                    path.display()
                ),
            }
        }
        Self { path, file: None, jobs }
    }

    /// What it says.
    pub(super) fn jobs(&self) -> impl Iterator<Item = (&JobName, &Seen)> {
        self.jobs.iter()
    }

    /// Takes in where a job's log ends now.
    pub(super) fn note(&mut self, job: &JobName, head: Head) {
        self.jobs.insert(job.clone(), Seen { seq: head.seq, hash: head.hash });
    }

    /// Writes it down. Where that fails it stays behind the log, which harms nothing.
    pub(super) fn write(&mut self) {
        if let Err(error) = self.try_write() {
            tracing::debug!("{} cannot be written: {error}", self.path.display());
            self.file = None;
        }
    }

    fn try_write(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            empty => {
                // Lines never get shorter, so what is new covers what was there.
                let open = OpenOptions::new().create(true).truncate(false).write(true).open(&self.path)?;
                open.set_len(0)?;
                empty.insert(open)
            }
        };
        let text: String = self.jobs.iter().map(|(job, seen)| line(job, seen)).collect();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(text.as_bytes())
    }
}

/// Numbers of a fixed width, and at the end a hash of what comes before.
fn line(job: &JobName, Seen { seq, hash }: &Seen) -> String {
    let text = format!("{job} {seq:020} {hash}");
    format!("{text} {}\n", check(&text))
}

fn parse(line: &str) -> Option<(JobName, Seen)> {
    let (text, checked) = line.rsplit_once(' ')?;
    let mut words = text.split(' ');
    let (job, seq, hex, end) = (words.next()?, words.next()?, words.next()?, words.next());
    let mut hash = [0; 32];
    hex::decode_to_slice(hex, &mut hash).ok()?;
    let seen = Seen { seq: seq.parse().ok()?, hash: RecordHash(hash) };
    (end.is_none() && checked == check(text)).then_some((job.parse().ok()?, seen))
}

fn check(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_comes_back_and_damage_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("potluck.sqlite");
        let (one, two): (JobName, JobName) = ("digits".parse().expect("a name"), "b".parse().expect("a name"));
        let mut witness = Witness::read(&database);
        for seq in [9, 10] {
            witness.note(&one, Head { seq, ..Head::genesis(&one) });
            witness.note(&two, Head { seq: seq + 90, ..Head::genesis(&two) });
            witness.write();
        }
        let read = || Witness::read(&database).jobs;
        assert_eq!((read().len(), read()[&one].seq, read()[&two].seq), (2, 10, 100));
        let good = fs::read(path_of(&database)).expect("written");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(path_of(&database), &bad).expect("written");
            // The other line may be lost with a line's end, and nothing is ever made up.
            assert!(read().iter().all(|(job, seen)| witness.jobs.get(job) == Some(seen)), "{at}");
            assert!(read().len() < 2, "{at}");
        }
    }
}
