//! A line to a coordinator that breaks in the middle of every blob, the first time that it is asked for.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

/// Bytes that pass before the line breaks: more than the longest head of an answer, less than half of
/// the smallest block of the digits job.
const BREAKS_AFTER: usize = 4 << 10;

/// For each blob, where each request for it began.
type Asked = Arc<Mutex<BTreeMap<String, Vec<u64>>>>;

/// See the module.
#[derive(Debug)]
pub struct BreakingLine {
    /// Where volunteers find the coordinator.
    pub url: String,
    asked: Asked,
}

impl BreakingLine {
    /// A line to the coordinator on this port, until the program ends.
    ///
    /// # Panics
    /// Where there is no port for it.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let asked = Asked::default();
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            while let (Ok((down, _)), Ok(up)) = (listener.accept(), TcpStream::connect(("127.0.0.1", port))) {
                // What breaks here is what the test is about.
                drop(pass(down, up, &seen));
            }
        });
        Self { url, asked }
    }

    /// For each blob, where each request for it began.
    pub fn asked(&self) -> BTreeMap<String, Vec<u64>> {
        lock(&self.asked).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes bytes both ways on threads of their own.
fn pass(down: TcpStream, up: TcpStream, asked: &Asked) -> std::io::Result<()> {
    // Bytes that may pass before this connection breaks.
    let fuse = Arc::new(Mutex::new(None));
    let (mut from_down, mut to_up) = (down.try_clone()?, up.try_clone()?);
    let (seen, lit) = (Arc::clone(asked), Arc::clone(&fuse));
    thread::spawn(move || {
        let _ = copy(&mut from_down, &mut to_up, |bytes| {
            if let Some((blob, start)) = blob_request(&String::from_utf8_lossy(bytes)) {
                let mut seen = lock(&seen);
                let starts = seen.entry(blob).or_default();
                starts.push(start);
                *lock(&lit) = (starts.len() == 1).then_some(BREAKS_AFTER);
            }
            true
        });
        let _ = to_up.shutdown(Shutdown::Both);
    });
    let (mut from_up, mut to_down) = (up, down);
    thread::spawn(move || {
        let _ = copy(&mut from_up, &mut to_down, |bytes| {
            let Some(left) = &mut *lock(&fuse) else { return true };
            *left = left.saturating_sub(bytes.len());
            *left > 0
        });
        let _ = to_down.shutdown(Shutdown::Both);
        let _ = from_up.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// Copies while there is something and `goes_on` says so of what was copied.
fn copy(from: &mut TcpStream, to: &mut TcpStream, mut goes_on: impl FnMut(&[u8]) -> bool) -> std::io::Result<()> {
    let mut bytes = [0; 1 << 10];
    loop {
        let count = from.read(&mut bytes)?;
        let goes_on = goes_on(&bytes[..count]);
        to.write_all(&bytes[..count])?;
        if count == 0 || !goes_on {
            return Ok(());
        }
    }
}

/// The blob that a request is for, and the first byte that it asks for.
fn blob_request(head: &str) -> Option<(String, u64)> {
    let blob = head.strip_prefix("GET /api/v1/blobs/")?.split_once(' ')?.0.to_owned();
    let head = head.to_lowercase();
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-'));
    Some((blob, range.map_or(0, |first| first.parse().expect("a number"))))
}
