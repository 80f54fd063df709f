//! What a pack looks like: records one after the other, each a head of 56 bytes and the bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `potpack1` |
//! | 8 | length of the bytes, little endian |
//! | 32 | their SHA-256, which is their name |
//! | 8 | the first bytes of the SHA-256 of the 48 before |
//!
//! The bytes are checked against their name when they are read, not here. Where a head is not whole,
//! what follows is looked through for the next whole one: at the end of a pack that is what a crash
//! left of bytes that nobody was told are durable, anywhere else it is damage.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use potluck_protocol::BlobId;
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"potpack1";

/// Bytes before the bytes of a record.
pub(super) const HEAD_BYTES: usize = 56;

/// The pack of this number.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.pack"))
}

/// The number of a pack; `None` for any other file.
pub(super) fn number(path: &Path) -> Option<u64> {
    let is_pack = path.extension().is_some_and(|extension| extension == "pack");
    path.file_stem().filter(|_| is_pack)?.to_str()?.parse().ok()
}

/// The head of a record.
pub(super) fn head(id: BlobId, bytes: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[8..16].copy_from_slice(&bytes.to_le_bytes());
    head[16..48].copy_from_slice(&id.0);
    let check = check(&head);
    head[48..].copy_from_slice(&check);
    head
}

fn check(head: &[u8; HEAD_BYTES]) -> [u8; 8] {
    let mut check = [0; 8];
    check.copy_from_slice(&Sha256::digest(&head[..48])[..8]);
    check
}

/// Name and length of what follows this head; `None` where it is not whole.
fn parse(head: &[u8; HEAD_BYTES]) -> Option<(BlobId, u64)> {
    if head[..8] != MAGIC[..] || head[48..] != check(head) {
        return None;
    }
    let (mut bytes, mut id) = ([0; 8], [0; 32]);
    bytes.copy_from_slice(&head[8..16]);
    id.copy_from_slice(&head[16..48]);
    Some((BlobId(id), u64::from_le_bytes(bytes)))
}

/// What cannot be read of a pack.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// Bytes at the end that make no record.
    Torn { at: u64, bytes: u64 },
    /// Bytes between whole records.
    Damaged { at: u64, bytes: u64 },
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn { at, bytes } => write!(
                f,
                "the last {bytes} bytes, from byte {at} on, are no whole record and are left out: nobody was told that \
                 they are kept"
            ),
            Self::Damaged { at, bytes } => write!(
                f,
                "{bytes} bytes from byte {at} on are damaged: updates that were in them are missing; if one is asked \
                 for, restore the folder from a backup"
            ),
        }
    }
}

/// What a pack holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Name, offset of the first byte, and length of each blob.
    pub(super) entries: Vec<(BlobId, u64, u64)>,
    pub(super) gaps: Vec<Gap>,
}

/// Reads the heads of a pack.
pub(super) fn scan(path: &Path) -> io::Result<Scan> {
    let file = File::open(path)?;
    let end = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 10, file);
    let mut scan = Scan::default();
    let mut at = 0;
    while at < end {
        match read_head(&mut reader, at, end)? {
            Some((id, bytes)) => {
                let first = at + HEAD_BYTES as u64;
                scan.entries.push((id, first, bytes));
                at = first + bytes;
            }
            None => {
                let next = find(&mut reader, at + 1, end)?;
                let bytes = next.unwrap_or(end) - at;
                scan.gaps.push(if next.is_some() { Gap::Damaged { at, bytes } } else { Gap::Torn { at, bytes } });
                at = next.unwrap_or(end);
            }
        }
    }
    Ok(scan)
}

/// The head at this place, where it is whole and so is what follows it.
fn read_head(reader: &mut BufReader<File>, at: u64, end: u64) -> io::Result<Option<(BlobId, u64)>> {
    if end - at < HEAD_BYTES as u64 {
        return Ok(None);
    }
    let mut head = [0; HEAD_BYTES];
    reader.seek(SeekFrom::Start(at))?;
    reader.read_exact(&mut head)?;
    Ok(parse(&head).filter(|(_, bytes)| *bytes <= end - at - HEAD_BYTES as u64))
}

/// The next whole record from here on. Reads the rest, which is at most a pack and one group.
fn find(reader: &mut BufReader<File>, from: u64, end: u64) -> io::Result<Option<u64>> {
    if from >= end {
        return Ok(None);
    }
    let mut rest = Vec::new();
    reader.seek(SeekFrom::Start(from))?;
    reader.read_to_end(&mut rest)?;
    let mut magics = rest.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
    let whole = magics.find_map(|(n, _)| {
        let at = from + n as u64;
        match read_head(reader, at, end) {
            Ok(None) => None,
            Ok(Some(_)) => Some(Ok(at)),
            Err(error) => Some(Err(error)),
        }
    });
    whole.transpose()
}
