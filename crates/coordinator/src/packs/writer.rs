//! The one thread that appends to a folder's packs. Whatever waits when it comes round is written
//! together and synced once, and each is answered after that.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use bytes::Bytes;
use potluck_protocol::{BlobId, limits};
use tokio::sync::oneshot;

use super::{Place, Shared, format};
use crate::blobs::{BlobError, explain_io};

#[derive(Debug)]
struct Request {
    id: BlobId,
    bytes: Bytes,
    answer: oneshot::Sender<Result<(), BlobError>>,
}

/// The thread, as its callers see it. Ends it when dropped, after what was asked for before.
#[derive(Debug)]
pub(super) struct Writer {
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts a thread whose first pack has this number.
    pub(super) fn start(folder: &Path, next: u64, index: Shared) -> Result<Self, BlobError> {
        let (requests, inbox) = channel();
        let desk = Desk { folder: folder.to_owned(), index, next, pack: None };
        let thread = std::thread::Builder::new().name("potluck packs".to_owned()).spawn(move || desk.serve(&inbox));
        let thread = thread.map_err(|e| BlobError::Store(e.to_string()))?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    /// Returns once the bytes are durable.
    pub(super) async fn append(&self, id: BlobId, bytes: Bytes) -> Result<(), BlobError> {
        let gone = || BlobError::Store("the thread that writes packs has ended; start again".to_owned());
        let (answer, answered) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(Request { id, bytes, answer }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has ended too.
            let _ = thread.join();
        }
    }
}

/// The pack that is being appended to.
struct Pack {
    number: u64,
    file: File,
    bytes: u64,
}

/// What the thread works with.
struct Desk {
    folder: PathBuf,
    index: Shared,
    next: u64,
    pack: Option<Pack>,
}

impl Desk {
    fn serve(mut self, inbox: &Receiver<Request>) {
        while let Ok(first) = inbox.recv() {
            let mut bytes = first.bytes.len();
            let mut group = vec![first];
            while bytes < limits::PACK_GROUP_BYTES_MAX
                && let Ok(request) = inbox.try_recv()
            {
                bytes += request.bytes.len();
                group.push(request);
            }
            let outcome = self.write(&group);
            for Request { answer, .. } in group {
                // Who asked may be gone.
                let _ = answer.send(outcome.clone());
            }
        }
        self.end();
    }

    /// Leaves no pack behind in which nothing is needed.
    fn end(mut self) {
        let Some(pack) = self.pack.take() else { return };
        if self.index.lock().needed.get(&pack.number) == Some(&0) {
            // One that stays all the same is removed by the next process.
            let _ = fs::remove_file(format::path(&self.folder, pack.number));
        }
    }

    /// Writes a group and enters it once it is durable. After an error the pack is appended to no more:
    /// what is on the disk of it is not known.
    fn write(&mut self, group: &[Request]) -> Result<(), BlobError> {
        let folder = self.folder.clone();
        let mut pack = match self.pack.take().filter(|pack| pack.bytes < limits::PACK_BYTES_MAX) {
            Some(pack) => pack,
            None => self.begin().map_err(|e| explain_io(&folder, &e))?,
        };
        let before = pack.bytes;
        let places = append(&mut pack, group).map_err(|e| {
            // Half a group takes space, which may be what there is too little of.
            let _ = pack.file.set_len(before);
            explain_io(&folder, &e)
        })?;
        let mut index = self.index.lock();
        for (Request { id, .. }, place) in group.iter().zip(places) {
            index.enter(*id, place);
        }
        drop(index);
        self.pack = Some(pack);
        Ok(())
    }

    /// A new pack, whose name is durable before anything in it is.
    fn begin(&mut self) -> io::Result<Pack> {
        let number = self.next;
        self.next += 1;
        let path = format::path(&self.folder, number);
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        File::open(&self.folder)?.sync_all()?;
        let mut index = self.index.lock();
        index.needed.insert(number, 0);
        index.open = Some(number);
        Ok(Pack { number, file, bytes: 0 })
    }
}

fn append(pack: &mut Pack, group: &[Request]) -> io::Result<Vec<Place>> {
    let mut places = Vec::with_capacity(group.len());
    for Request { id, bytes, .. } in group {
        let length = bytes.len() as u64;
        pack.file.write_all(&format::head(*id, length))?;
        pack.file.write_all(bytes)?;
        pack.bytes += format::HEAD_BYTES as u64;
        places.push(Place { pack: pack.number, offset: pack.bytes, bytes: length });
        pack.bytes += length;
    }
    pack.file.sync_data()?;
    Ok(places)
}
