//! Many immutable bytes in few files: updates that arrive at the same time are appended to one pack
//! and share its sync, and a pack goes when nothing in it is needed any more.
//!
//! Like [`Blobs`] it names bytes by their SHA-256, has them on the disk before it says so, and checks
//! them when they are read. A process appends to packs of its own only, so that whatever a crash left
//! at the end of one is never written over and never in the way.

mod format;
mod writer;

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use potluck_protocol::BlobId;

use crate::blobs::{BlobError, Blobs, explain_io, id_of};
use writer::Writer;

/// Where the bytes of a blob lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Number of the pack.
    pack: u64,
    /// Of the first byte.
    offset: u64,
    bytes: u64,
}

/// What is in which pack. It is read off the packs themselves at every start.
#[derive(Debug, Default)]
struct Index {
    places: HashMap<BlobId, Place>,
    /// Blobs that are needed, of each pack that is there.
    needed: BTreeMap<u64, usize>,
    /// The pack that is being appended to.
    open: Option<u64>,
}

impl Index {
    fn enter(&mut self, id: BlobId, place: Place) {
        *self.needed.entry(place.pack).or_default() += 1;
        if let Some(before) = self.places.insert(id, place) {
            self.drop_one(before.pack);
        }
    }

    fn forget(&mut self, id: BlobId) {
        if let Some(place) = self.places.remove(&id) {
            self.drop_one(place.pack);
        }
    }

    fn drop_one(&mut self, pack: u64) {
        if let Some(needed) = self.needed.get_mut(&pack) {
            *needed -= 1;
        }
    }

    /// Packs of which nothing is needed, which nobody appends to; they are in here no more.
    fn take_empty(&mut self) -> Vec<u64> {
        let open = self.open;
        let is_empty = |(pack, needed): &(&u64, &usize)| **needed == 0 && Some(**pack) != open;
        let empty: Vec<u64> = self.needed.iter().filter(is_empty).map(|(pack, _)| *pack).collect();
        self.needed.retain(|pack, _| !empty.contains(pack));
        empty
    }
}

/// The index, shared with the thread that writes.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Index>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Index> {
        // No step under this lock leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A folder of packs.
#[derive(Debug)]
pub(crate) struct Packs {
    folder: PathBuf,
    index: Shared,
    writer: Writer,
    /// What was stored before there were packs, a file each.
    loose: Blobs,
}

impl Packs {
    /// The packs in a folder, which is made where it is missing. Nothing that is there is changed.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, BlobError> {
        let loose = Blobs::in_folder(folder)?;
        let mut index = Index::default();
        for (number, path) in numbers(folder)? {
            index.needed.insert(number, 0);
            let found = format::scan(&path).map_err(|e| explain_io(&path, &e))?;
            for gap in &found.gaps {
                tracing::warn!("{}: {gap}", path.display());
            }
            for (id, offset, bytes) in found.entries {
                index.enter(id, Place { pack: number, offset, bytes });
            }
        }
        let next = index.needed.last_key_value().map_or(1, |(number, _)| number + 1);
        let index = Shared(Arc::new(Mutex::new(index)));
        let writer = Writer::start(folder, next, index.clone())?;
        Ok(Self { folder: folder.to_owned(), index, writer, loose })
    }

    /// Stores the bytes; when it returns, they survive a power cut. Bytes that are there already and
    /// whole are left as they are.
    pub(crate) async fn put(&self, bytes: Bytes) -> Result<BlobId, BlobError> {
        let id = id_of(&bytes).await?;
        if self.get(id, bytes.len()).await.is_err() {
            self.writer.append(id, bytes).await?;
        }
        Ok(id)
    }

    /// The bytes of a blob of at most `bytes_max`; looked at before anything is allocated.
    pub(crate) async fn get(&self, id: BlobId, bytes_max: usize) -> Result<Bytes, BlobError> {
        let Some(place) = self.place(id) else { return self.loose.get(id, bytes_max).await };
        if place.bytes > bytes_max as u64 {
            return Err(BlobError::TooLarge { id, got: place.bytes, max: bytes_max });
        }
        let path = format::path(&self.folder, place.pack);
        let read = tokio::task::spawn_blocking(move || read(&path, place).map_err(|e| unreadable(id, &path, &e)));
        let bytes = read.await.map_err(|e| BlobError::Store(e.to_string()))??;
        if id_of(&bytes).await? != id {
            return Err(BlobError::Damaged { id });
        }
        Ok(bytes)
    }

    fn place(&self, id: BlobId) -> Option<Place> {
        self.index.lock().places.get(&id).copied()
    }

    /// Forgets a blob, and removes its pack where that was the last one in it; one that is not there
    /// is fine.
    pub(crate) async fn delete(&self, id: BlobId) -> Result<(), BlobError> {
        let empty = {
            let mut index = self.index.lock();
            index.forget(id);
            index.take_empty()
        };
        self.loose.delete(id).await?;
        if empty.is_empty() {
            return Ok(());
        }
        let folder = self.folder.clone();
        let removed = tokio::task::spawn_blocking(move || {
            empty.into_iter().try_for_each(|pack| {
                let path = format::path(&folder, pack);
                fs::remove_file(&path).map_err(|e| explain_io(&path, &e))
            })
        });
        removed.await.map_err(|e| BlobError::Store(e.to_string()))?
    }

    /// Every blob of the store.
    pub(crate) async fn list(&self) -> Result<Vec<BlobId>, BlobError> {
        let mut all = self.loose.list().await?;
        all.extend(self.index.lock().places.keys());
        Ok(all)
    }
}

/// The packs in a folder by number.
fn numbers(folder: &Path) -> Result<BTreeMap<u64, PathBuf>, BlobError> {
    let explain = |e: io::Error| explain_io(folder, &e);
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(explain)? {
        let path = entry.map_err(explain)?.path();
        if let Some(number) = format::number(&path) {
            found.insert(number, path);
        }
    }
    Ok(found)
}

fn read(path: &Path, place: Place) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(place.offset))?;
    let mut bytes = Vec::with_capacity(usize::try_from(place.bytes).unwrap_or(0));
    file.take(place.bytes).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// A pack that went after its blob was looked up is a blob that went.
fn unreadable(id: BlobId, path: &Path, error: &io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::NotFound => BlobError::Missing { id },
        _ => explain_io(path, error),
    }
}

#[cfg(test)]
mod tests;
