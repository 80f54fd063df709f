//! The state that a log adds up to at one position, kept so that a start need not fold all that is
//! before. It can always be made again, so nothing depends on one: a reader that finds anything
//! wrong with it folds the log instead. What the text means is not known here.

use potluck_protocol::JobName;
use sha2::{Digest, Sha256};

use super::{Head, RecordHash};

/// A folded state as it is stored, bound to the record that it was folded up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last record that is in it.
    pub head: Head,
    /// Version of the text.
    pub schema: u32,
    /// The state, as its owner wrote it.
    pub state: String,
    /// Hash over all of it and the job's name.
    pub digest: RecordHash,
}

impl Snapshot {
    /// The snapshot of `job` at `head`.
    pub fn new(job: &JobName, head: Head, schema: u32, state: String) -> Self {
        let digest = digest(job, &head, schema, &state);
        Self { head, schema, state, digest }
    }

    /// True where it is what was written, for this job.
    pub fn is_whole(&self, job: &JobName) -> bool {
        let Self { head, schema, state, digest: stored } = self;
        *stored == digest(job, head, *schema, state)
    }
}

/// Every field but the name and the state has a fixed length, and the name's length comes before it.
fn digest(job: &JobName, head: &Head, schema: u32, state: &str) -> RecordHash {
    let Head { epoch, seq, hash } = head;
    let mut hasher = Sha256::new();
    hasher.update(b"potluck snapshot v1\n");
    hasher.update((job.as_str().len() as u64).to_be_bytes());
    hasher.update(job.as_str());
    hasher.update(epoch.to_be_bytes());
    hasher.update(seq.to_be_bytes());
    hasher.update(hash.0);
    hasher.update(schema.to_be_bytes());
    hasher.update(state);
    RecordHash(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_protected() {
        let job: JobName = "digits".parse().expect("a name");
        let good = Snapshot::new(&job, Head::genesis(&job), 1, "{}".to_owned());
        assert!(good.is_whole(&job));
        assert!(!good.is_whole(&"other".parse().expect("a name")));
        let changes: [fn(&mut Snapshot); 6] = [
            |s| s.head.seq += 1,
            |s| s.head.epoch += 1,
            |s| s.head.hash.0[0] ^= 1,
            |s| s.schema += 1,
            |s| s.state.push(' '),
            |s| s.digest.0[31] ^= 1,
        ];
        for change in changes {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(!bad.is_whole(&job), "{bad:?}");
        }
    }
}
