//! Opening an owner's files: present, files, no longer than an ingest may hold, gzipped or not.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use crate::DataError;

/// A file that is open.
pub(super) struct Opened {
    pub(super) reader: BufReader<File>,
    /// Its bytes on the disk.
    pub(super) length: u64,
}

/// Opens `path` below `folder`; `key` is the field of the job file that names it.
pub(super) fn open(folder: &Path, path: &str, key: &'static str) -> Result<Opened, DataError> {
    let full = folder.join(path);
    let unreadable = |error| DataError::Unreadable { path: full.clone(), key, error };
    let file = File::open(&full).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
    }
    Ok(Opened { reader: BufReader::new(file), length: metadata.len() })
}

pub(super) fn check_length(file: &Opened, path: &str, max: u64) -> Result<(), DataError> {
    if file.length > max {
        return Err(DataError::FileTooLarge { file: path.to_owned(), max });
    }
    Ok(())
}

/// All bytes of a file, of at most `max`; what begins as gzip is unpacked, and the limit holds for
/// what comes out.
pub(super) fn bytes(folder: &Path, path: &str, key: &'static str, max: u64) -> Result<Vec<u8>, DataError> {
    let mut file = open(folder, path, key)?;
    check_length(&file, path, max)?;
    let unreadable = |error| DataError::Unreadable { path: folder.join(path), key, error };
    let mut start = [0; 2];
    let mut read = 0;
    while read < start.len() {
        match file.reader.read(&mut start[read..]).map_err(unreadable)? {
            0 => break,
            more => read += more,
        }
    }
    let whole = start[..read].chain(file.reader);
    let mut bytes = Vec::new();
    if start == [0x1f, 0x8b] {
        let unpacked = MultiGzDecoder::new(whole).take(max + 1).read_to_end(&mut bytes);
        unpacked.map_err(|error| DataError::BadGzip { file: path.to_owned(), error })?;
    } else {
        whole.take(max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if bytes.len() as u64 > max {
        return Err(DataError::FileTooLarge { file: path.to_owned(), max });
    }
    Ok(bytes)
}
