//! How facts are chained: each record carries the hash of the one before it, so that a log can be
//! continued in one way only and a changed byte shows.

use std::fmt;

use potluck_protocol::JobName;
use sha2::{Digest, Sha256};

use super::LogError;

/// The SHA-256 that names a record and everything before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordHash(pub [u8; 32]);

impl fmt::Display for RecordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RecordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordHash({}..)", &hex::encode(&self.0[..4]))
    }
}

/// One fact as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which leader of the job wrote it; grows by one with every start.
    pub epoch: u64,
    /// Position in the job's log, from 1.
    pub seq: u64,
    /// Hash of the record before it.
    pub previous: RecordHash,
    /// Version of the fact's JSON.
    pub schema: u32,
    /// The fact, JSON.
    pub fact: String,
    /// Hash of this record.
    pub hash: RecordHash,
}

/// The end of a job's log: what the next record has to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Epoch of the last record, 0 before the first.
    pub epoch: u64,
    /// Position of the last record, 0 before the first.
    pub seq: u64,
    /// Its hash; before the first, a hash of the job's name, so that no log can be passed off as
    /// that of another job.
    pub hash: RecordHash,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.seq, &hex::encode(&self.hash.0[..4]))
    }
}

impl From<&Record> for Head {
    fn from(record: &Record) -> Self {
        Self { epoch: record.epoch, seq: record.seq, hash: record.hash }
    }
}

impl Head {
    /// The end of an empty log.
    pub fn genesis(job: &JobName) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"potluck log v1\n");
        hasher.update(job.as_str());
        Self { epoch: 0, seq: 0, hash: RecordHash(hasher.finalize().into()) }
    }

    /// The record that continues this head with a fact.
    pub fn next(&self, epoch: u64, schema: u32, fact: String) -> Record {
        let (seq, previous) = (self.seq + 1, self.hash);
        let hash = hash(epoch, seq, &previous, schema, &fact);
        Record { epoch, seq, previous, schema, fact, hash }
    }

    /// The head after `record`.
    ///
    /// # Errors
    ///
    /// [`LogError::Broken`] where the record does not follow this head or is not what its hash
    /// says.
    pub fn follow(&self, job: &JobName, record: &Record) -> Result<Self, LogError> {
        let broken = |what| Err(LogError::Broken { job: job.clone(), seq: record.seq, what });
        let Record { epoch, seq, previous, schema, fact, hash: stored } = record;
        if *seq != self.seq + 1 {
            return broken("a fact before it is missing");
        }
        if *previous != self.hash {
            return broken("it does not follow the fact before it");
        }
        if *epoch < self.epoch {
            return broken("its epoch is older than that of the fact before it");
        }
        if *stored != hash(*epoch, *seq, previous, *schema, fact) {
            return broken("its text was changed");
        }
        Ok(Self { epoch: *epoch, seq: *seq, hash: *stored })
    }
}

/// The fence that every implementation needs: the log ends at `expected`, and the records follow.
pub(super) fn check_append(job: &JobName, expected: &Head, found: Head, records: &[Record]) -> Result<(), LogError> {
    if found != *expected {
        let (expected, found) = (expected.to_string(), found.to_string());
        return Err(LogError::Conflict { job: job.clone(), expected, found });
    }
    records.iter().try_fold(*expected, |head, record| head.follow(job, record)).map(|_| ())
}

/// All fields but the fact have a fixed length and the fact comes last, so no two records share
/// an input.
fn hash(epoch: u64, seq: u64, previous: &RecordHash, schema: u32, fact: &str) -> RecordHash {
    let mut hasher = Sha256::new();
    hasher.update(b"potluck fact v1\n");
    hasher.update(epoch.to_be_bytes());
    hasher.update(seq.to_be_bytes());
    hasher.update(previous.0);
    hasher.update(schema.to_be_bytes());
    hasher.update(fact);
    RecordHash(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobName {
        "digits".parse().expect("a name")
    }

    #[track_caller]
    fn check(change: impl Fn(&mut Record), expected: &str) {
        let first = Head::genesis(&job()).next(1, 1, "{}".to_owned());
        let head = Head::genesis(&job()).follow(&job(), &first).expect("it follows");
        let mut record = head.next(1, 1, "{\"a\":1}".to_owned());
        change(&mut record);
        let outcome = head.follow(&job(), &record).map_or_else(|e| e.to_string(), |head| head.seq.to_string());
        assert!(outcome.contains(expected), "{outcome}");
    }

    #[test]
    fn a_good_record_follows() {
        check(|_| (), "2");
    }

    #[test]
    fn every_field_is_protected() {
        check(|r| r.fact.push(' '), "its text was changed");
        check(|r| r.schema = 2, "its text was changed");
        check(|r| r.epoch = 2, "its text was changed");
        check(|r| r.epoch = 0, "its epoch is older");
        check(|r| r.seq = 3, "a fact before it is missing");
        check(|r| r.previous.0[0] ^= 1, "it does not follow");
        check(|r| r.hash.0[31] ^= 1, "its text was changed");
    }

    #[test]
    fn logs_of_two_jobs_never_share_a_record() {
        let other = "other".parse().expect("a name");
        let record = Head::genesis(&other).next(1, 1, "{}".to_owned());
        assert!(Head::genesis(&job()).follow(&job(), &record).is_err());
    }
}
