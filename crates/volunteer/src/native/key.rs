//! The volunteer's Ed25519 key: of this run alone, or kept in a file.
//!
//! It must not know what is signed.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use ed25519_dalek::{Signer, SigningKey};
use potluck_protocol::VolunteerKey;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("key file {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("key file {} does not hold 64 hexadecimal digits", path.display())]
    NotAKey {
        /// Which.
        path: PathBuf,
    },
    /// The operating system gives no randomness.
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
}

/// A secret key; see the module.
pub(super) struct Key(SigningKey);

impl Key {
    /// A key of this run alone.
    pub(super) fn fresh() -> Result<Self, KeyError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(KeyError::Random)?;
        Ok(Self(SigningKey::from_bytes(&secret)))
    }

    /// The key in this file, which is made where it is missing: 64 hexadecimal digits and a line
    /// end, readable by its owner alone.
    pub(super) fn kept_in(path: &Path) -> Result<Self, KeyError> {
        let failed = |error| KeyError::File { path: path.to_owned(), error };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let mut secret = [0; 32];
                hex::decode_to_slice(text.trim_end(), &mut secret)
                    .map_err(|_| KeyError::NotAKey { path: path.to_owned() })?;
                Ok(Self(SigningKey::from_bytes(&secret)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self::fresh()?;
                key.write(path).map_err(failed)?;
                Ok(key)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Never over a file that is there: two starts at once must not lose a key that was used.
    fn write(&self, path: &Path) -> io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        writeln!(file, "{}", hex::encode(self.0.to_bytes()))?;
        file.sync_all()
    }

    /// The public half.
    pub(super) fn volunteer(&self) -> VolunteerKey {
        VolunteerKey(self.0.verifying_key().to_bytes())
    }

    /// Ed25519 signature (RFC 8032).
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// A seed that no other volunteer has.
pub(super) fn random_seed() -> Result<u64, KeyError> {
    getrandom::u64().map_err(KeyError::Random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_key_is_the_same_next_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let first = Key::kept_in(&path).expect("made").volunteer();
        assert_eq!(Key::kept_in(&path).expect("read").volunteer(), first);
        assert_ne!(Key::fresh().expect("made").volunteer(), first);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::MetadataExt::mode(&path.metadata().expect("there"));
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn other_files_are_not_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "hello\n").expect("written");
        assert!(matches!(Key::kept_in(&path), Err(KeyError::NotAKey { .. })));
        assert!(matches!(Key::kept_in(folder.path()), Err(KeyError::File { .. })));
    }
}
