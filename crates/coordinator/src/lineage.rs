//! Seals of leaders: what a welcome says and a hello repeats, so that a volunteer who was welcomed by
//! another copy of the job brings the proof of it. Which leaders a log knows is the scheduler's
//! matter.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use potluck_protocol::{JobName, LeaderId, Millis, Seal, SealProof};
use potluck_scheduler::{Fact, Lineage, Standing};
use sha2::{Digest, Sha256};

use crate::folder::{self, FolderError, OwnerToken};

/// Makes and checks the seals of one job.
#[derive(Clone)]
pub(crate) struct Sealer {
    key: [u8; 32],
}

impl Sealer {
    /// The seals of a job in this folder. Who has the owner's token can seal: the coordinator, its
    /// copies and its backups; an imported job brings its key, so that it goes on to understand its
    /// original and is understood by it.
    ///
    /// # Errors
    ///
    /// Where a key that came with the job, or the token, cannot be read.
    pub(crate) fn read(folder: &Path, job: &JobName) -> Result<Self, FolderError> {
        let path = Self::file(folder, job);
        match fs::read_to_string(&path) {
            Ok(text) => Self::from_text(&text).ok_or_else(|| FolderError::BadSeal { path: path.display().to_string() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::new(&OwnerToken::read(folder)?, job)),
            Err(e) => Err(folder::explain(&path, &e)),
        }
    }

    /// Where the key of an imported job is.
    pub(crate) fn file(folder: &Path, job: &JobName) -> PathBuf {
        folder.join("seals").join(job.as_str())
    }

    fn new(token: &OwnerToken, job: &JobName) -> Self {
        let key = Sha256::new().chain_update(b"potluck seal v1\n").chain_update(token.digest());
        Self { key: key.chain_update(job.as_str()).finalize().into() }
    }

    /// The key as it is kept.
    pub(crate) fn to_text(&self) -> String {
        hex::encode(self.key) + "\n"
    }

    /// The key that [`Sealer::to_text`] wrote.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut key = [0; 32];
        hex::decode_to_slice(text.trim(), &mut key).ok().map(|()| Self { key })
    }

    /// The seal of a log's newest leader.
    pub(crate) fn seal(&self, lineage: &Lineage) -> Option<Seal> {
        let (line, epoch, leader) = lineage.newest()?;
        Some(Seal { line, epoch, leader, proof: self.proof(line, epoch, leader) })
    }

    /// True where this seal was made with our key for a leader that the log does not know. Any other
    /// seal proves nothing, whoever made it up.
    pub(crate) fn is_foreign(&self, lineage: &Lineage, seal: &Seal) -> bool {
        let Seal { line, epoch, leader, proof } = seal;
        *proof == self.proof(*line, *epoch, *leader) && lineage.standing(*line, *epoch, *leader) == Standing::Foreign
    }

    /// Hashed twice, as HMAC is: nothing can be appended to what was hashed.
    fn proof(&self, line: LeaderId, epoch: u64, leader: LeaderId) -> SealProof {
        let inner = Sha256::new().chain_update(self.key).chain_update(line.0).chain_update(epoch.to_be_bytes());
        let inner = inner.chain_update(leader.0).finalize();
        SealProof(Sha256::new().chain_update(self.key).chain_update(inner).finalize().into())
    }
}

/// The first fact of a start.
///
/// # Errors
///
/// Where the system gives no random numbers.
pub(crate) fn began(at: Millis, epoch: u64) -> Result<Fact, getrandom::Error> {
    let mut leader = LeaderId([0; 16]);
    getrandom::fill(&mut leader.0)?;
    Ok(Fact::Began { at, epoch, leader, fork: None })
}
