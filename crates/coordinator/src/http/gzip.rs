//! Files that never change, packed once instead of for every visitor: the wasm above all, for which
//! packing costs more than sending.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use super::pages::IMMUTABLE;

/// By path; there are as many as the build made, so nobody can make it grow.
static PACKED: Mutex<BTreeMap<String, Bytes>> = Mutex::new(BTreeMap::new());

/// The packed file, where it has a hash in its name, gains from packing, and the browser unpacks.
pub(super) async fn of(path: &str, headers: &HeaderMap) -> Option<Response> {
    if !gains(path) || !accepts(headers) {
        return None;
    }
    let asset = potluck_www::asset(path).filter(|asset| asset.immutable)?;
    let known = packed().get(path).cloned();
    let bytes = match known {
        Some(bytes) => bytes,
        None => {
            let bytes = tokio::task::spawn_blocking(move || pack(&asset.bytes)).await.ok()??;
            packed().insert(path.to_owned(), bytes.clone());
            bytes
        }
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (header::CACHE_CONTROL, IMMUTABLE),
        (header::CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    Some((headers, Body::from(bytes)).into_response())
}

fn packed() -> MutexGuard<'static, BTreeMap<String, Bytes>> {
    // A map is whole after any panic.
    PACKED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pack(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

fn gains(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| ["js", "css", "wasm", "svg", "json"].contains(&extension))
}

/// True where gzip is named and not ruled out with a weight of 0.
fn accepts(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse::<f32>().ok());
        is_gzip && weight.is_some_and(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, value.parse().expect("a header"));
        assert_eq!(accepts(&headers), expected, "{value}");
    }

    #[test]
    fn browsers_say_what_they_unpack() {
        check("gzip, deflate, br, zstd", true);
        check("br;q=1.0, gzip;q=0.2", true);
        check("*", true);
        check("gzip;q=0, br", false);
        check("identity", false);
        check("", false);
    }
}
