//! A coordinator's folder in memory: written out again as often as needed, each time with another
//! harm done to it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Files that say which process has the folder, and where it is; and the index of the write-ahead
/// log, which SQLite makes anew.
const LEFT_OUT: [&str; 4] = ["lock", "deleting", "place", "potluck.sqlite-shm"];

/// Every file of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image(BTreeMap<PathBuf, Vec<u8>>);

/// What is done to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Harm {
    /// It ends after so many bytes.
    Truncate(PathBuf, usize),
    /// One bit of it, counted from its start, is the other one.
    Flip(PathBuf, usize),
    /// It is gone.
    Remove(PathBuf),
}

impl Harm {
    /// The file.
    pub fn file(&self) -> &Path {
        let (Self::Truncate(file, _) | Self::Flip(file, _) | Self::Remove(file)) = self;
        file
    }
}

impl Image {
    /// Reads a folder that nobody writes to at the moment.
    ///
    /// # Errors
    /// Those of the system.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        read_into(folder, Path::new(""), &mut files)?;
        Ok(Self(files))
    }

    /// Its files, relative to the folder, with their bytes.
    pub fn files(&self) -> impl Iterator<Item = (&Path, usize)> {
        self.0.iter().map(|(path, bytes)| (path.as_path(), bytes.len()))
    }

    /// Bytes of a file; 0 where there is none.
    pub fn bytes_of(&self, file: &Path) -> usize {
        self.0.get(file).map_or(0, Vec::len)
    }

    /// Writes it into an empty folder, harmed.
    ///
    /// # Errors
    /// Those of the system.
    pub fn write(&self, folder: &Path, harm: Option<&Harm>) -> io::Result<()> {
        for (file, bytes) in &self.0 {
            let to = folder.join(file);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            match harm.filter(|harm| harm.file() == file) {
                None => fs::write(to, bytes)?,
                Some(Harm::Truncate(_, length)) => fs::write(to, &bytes[..*length])?,
                Some(Harm::Flip(_, bit)) => {
                    let mut bytes = bytes.clone();
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    fs::write(to, bytes)?;
                }
                Some(Harm::Remove(_)) => {}
            }
        }
        Ok(())
    }
}

fn read_into(folder: &Path, within: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(folder.join(within))? {
        let entry = entry?;
        let path = within.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            read_into(folder, &path, files)?;
        } else if !LEFT_OUT.iter().any(|name| path == Path::new(name)) {
            files.insert(path, fs::read(entry.path())?);
        }
    }
    Ok(())
}
