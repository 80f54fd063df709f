//! The coordinator's folder: one process at a time, and the owner's token.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// What to do where something in a folder was lost or changed.
pub(crate) const RESTORE: &str =
    "move this folder aside and bring a backup back with `potluck restore BACKUP FOLDER --new-epoch`";

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// Another process has it.
    #[error("{folder} is in use by another coordinator: stop that one, or give this one another folder")]
    InUse {
        /// The folder.
        folder: String,
    },
    /// It was copied, moved to another disk or restored by hand.
    #[error(
        "{folder} is a copy: its log was written in another place. If that place is still in use, or may be again, \
         leave this one alone; if not, `potluck restore {folder} --new-epoch` makes this one the one that counts"
    )]
    Copied {
        /// The folder.
        folder: String,
    },
    /// It is a backup.
    #[error(
        "{folder} is a backup, and serving it would change it: `potluck restore {folder} FOLDER --new-epoch` makes a \
         folder of it that can be served"
    )]
    Backup {
        /// The folder.
        folder: String,
    },
    /// It is a job that was exported.
    #[error("{folder} is an export: `potluck import {folder} FOLDER` brings its job into a folder that can be served")]
    Export {
        /// The folder.
        folder: String,
    },
    /// It cannot be made or written.
    #[error("{path} cannot be written ({reason}): make it writable for this user, or choose another folder")]
    NotWritable {
        /// What could not be written.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The disk is full.
    #[error("the disk with {path} is full: free some space and start again")]
    DiskFull {
        /// What could not be written.
        path: String,
    },
    /// The token's file holds something else.
    #[error("{path} is not an owner token of 64 hexadecimal digits: delete it, and the next start makes a new one")]
    BadToken {
        /// The token's file.
        path: String,
    },
    /// The key that came with an imported job is damaged.
    #[error("{path} is not a seal key of 64 hexadecimal digits: restore it from a backup, or import the job again")]
    BadSeal {
        /// The key's file.
        path: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    NoRandomness(String),
}

/// A folder that this process holds until it is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    // Held for its lock, which ends with the process however that ends.
    _lock: File,
}

impl Folder {
    /// Makes the folder where it is missing and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        fs::create_dir_all(path).map_err(|e| explain(path, &e))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(|e| explain(&lock_path, &e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse { folder: path.display().to_string() }),
            Err(TryLockError::Error(e)) => Err(explain(&lock_path, &e)),
        }
    }

    /// Refuses a folder that is not where it was made: two of one kind must not both be served.
    pub(crate) fn check_place(&self) -> Result<(), FolderError> {
        let folder = || self.path.display().to_string();
        if self.join(BACKUP_FILE).exists() {
            return Err(FolderError::Backup { folder: folder() });
        }
        if self.join(EXPORT_FILE).exists() {
            return Err(FolderError::Export { folder: folder() });
        }
        let path = self.join(PLACE_FILE);
        match fs::read_to_string(&path) {
            Ok(place) if place.trim() == place_of(&path)? => Ok(()),
            Ok(_) => Err(FolderError::Copied { folder: folder() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.take_place(),
            Err(e) => Err(explain(&path, &e)),
        }
    }

    /// The right to delete what the log needs no more. `None` while a backup is being made, which may
    /// still need it.
    pub(crate) fn may_delete(&self) -> Option<File> {
        let lock = lock_file(&self.join(DELETING_FILE)).ok()?;
        lock.try_lock_shared().ok().map(|()| lock)
    }

    /// Makes this the place where the folder is.
    pub(crate) fn take_place(&self) -> Result<(), FolderError> {
        let path = self.join(PLACE_FILE);
        let write = |text: &str| {
            let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&path)?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all())
        };
        // A file says where it is itself, so it has to be there before it can say so.
        write("").map_err(|e| explain(&path, &e))?;
        let place = place_of(&path)?;
        write(&format!("{place}\n")).map_err(|e| explain(&path, &e))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The owner's token, made at the first start.
    pub(crate) fn owner_token(&self) -> Result<OwnerToken, FolderError> {
        OwnerToken::read(&self.path)
    }
}

impl OwnerToken {
    /// The token of a folder, made where there is none.
    pub(crate) fn read(folder: &Path) -> Result<Self, FolderError> {
        let path = folder.join(Self::FILE);
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => {
                // A token is short; a file that is not one is not read to its end.
                file.take(1024).read_to_string(&mut text).map_err(|e| explain(&path, &e))?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => text = make_token(&path)?,
            Err(e) => return Err(explain(&path, &e)),
        }
        let bad = || FolderError::BadToken { path: path.display().to_string() };
        OwnerToken::parse(text.trim()).ok_or_else(bad)
    }
}

/// What every control needs to know. Kept as a hash, so that it cannot be shown by mistake.
#[derive(Clone)]
pub(crate) struct OwnerToken([u8; 32]);

impl OwnerToken {
    /// Its file's name in the folder.
    pub(crate) const FILE: &'static str = "owner-token";

    fn parse(text: &str) -> Option<Self> {
        let good = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        good.then(|| Self(Sha256::digest(text).into()))
    }

    /// A hash of it, to make other keys of.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.0
    }

    /// True where `given` is the token. The time it takes depends on neither: hashes of both are
    /// compared, all of them.
    pub(crate) fn is(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.0.iter().zip(given).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

/// Marks a folder as a backup.
pub(crate) const BACKUP_FILE: &str = "backup.json";

/// Marks a folder as the export of a job.
pub(crate) const EXPORT_FILE: &str = "export.json";

/// Locked for as long as nothing may be deleted.
const DELETING_FILE: &str = "deleting";

/// Keeps the coordinator of a folder, if there is one, from deleting anything while this is held.
///
/// # Errors
///
/// Where the lock's file cannot be made.
pub(crate) fn keep_all(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join(DELETING_FILE);
    let lock = lock_file(&path).and_then(|lock| lock.lock().map(|()| lock));
    lock.map_err(|e| explain(&path, &e))
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

/// Says where the folder was made, in a way that a copy cannot have.
const PLACE_FILE: &str = "place";

/// The number of a file on its disk and the time when it was made: no copy has both. Where a disk
/// does not know the second, the first has to do.
fn place_of(path: &Path) -> Result<String, FolderError> {
    let metadata = fs::metadata(path).map_err(|e| explain(path, &e))?;
    let made = metadata.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let made = made.map_or(0, |since| since.as_nanos());
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0;
    Ok(format!("{number} {made}"))
}

fn make_token(path: &Path) -> Result<String, FolderError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| FolderError::NoRandomness(e.to_string()))?;
    let text = hex::encode(bytes);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        writeln!(file, "{text}")?;
        file.sync_all()
    });
    written.map_err(|e| explain(path, &e))?;
    Ok(text)
}

pub(crate) fn explain(path: &Path, error: &io::Error) -> FolderError {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            FolderError::DiskFull { path }
        }
        _ => FolderError::NotWritable { path, reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_used_by_one_at_a_time() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("a/b");
        let first = Folder::open(&path).expect("made");
        let error = Folder::open(&path).expect_err("in use");
        assert!(error.to_string().contains("in use by another coordinator: stop that one"), "{error}");
        drop(first);
        Folder::open(&path).expect("free again");
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("taken");
        fs::write(&path, "").expect("written");
        let error = Folder::open(&path).expect_err("not a folder").to_string();
        assert!(error.contains("taken cannot be written") && error.contains("choose another folder"), "{error}");
    }

    #[test]
    fn a_copied_folder_is_refused() {
        let root = tempfile::tempdir().expect("a folder");
        let (first, copy) = (root.path().join("first"), root.path().join("copy"));
        Folder::open(&first).expect("made").check_place().expect("a new place");
        Folder::open(&first).expect("opened").check_place().expect("the same place");
        let moved = root.path().join("moved");
        fs::rename(&first, &moved).expect("moved");
        Folder::open(&moved).expect("opened").check_place().expect("moved on the same disk");
        fs::create_dir(&copy).expect("made");
        fs::copy(moved.join("place"), copy.join("place")).expect("copied");
        let folder = Folder::open(&copy).expect("opened");
        let error = folder.check_place().expect_err("a copy").to_string();
        assert!(error.contains("copy is a copy") && error.contains("--new-epoch"), "{error}");
        folder.take_place().expect("taken");
        folder.check_place().expect("the one that counts now");
    }

    #[test]
    fn the_token_is_kept_private_and_stays_the_same() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(root.path()).expect("opened");
        let token = folder.owner_token().expect("made");
        let text = fs::read_to_string(folder.join("owner-token")).expect("written");
        assert!(token.is(text.trim()) && !token.is("") && !token.is(&text));
        assert!(folder.owner_token().expect("read").is(text.trim()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(folder.join("owner-token")).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_token_is_named() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(root.path()).expect("opened");
        fs::write(folder.join("owner-token"), "short\n").expect("written");
        let error = folder.owner_token().err().expect("refused").to_string();
        assert!(error.contains("delete it, and the next start makes a new one"), "{error}");
    }
}
