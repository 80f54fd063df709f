//! The built pages, scripts and wasm of Potluck, carried inside the binary.
//!
//! `cargo xtask build` writes them to `www/dist`; a build without that folder works and says so
//! through [`www_missing`]. This crate knows file names and content types and nothing else: which
//! headers go with a page is the coordinator's matter.

use std::borrow::Cow;

use rust_embed::RustEmbed;

/// A file that was built for browsers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// Its bytes.
    pub bytes: Cow<'static, [u8]>,
    /// What `Content-Type` says.
    pub content_type: &'static str,
    /// True where the name carries a hash of the content, so that it can be cached for ever.
    pub immutable: bool,
}

// Release builds embed the folder; debug builds read it when asked, so that a new `cargo xtask
// build` shows without a new compile.
#[derive(RustEmbed)]
#[folder = "dist"]
#[allow_missing = true]
struct Dist;

/// The file at this path below `www/dist`, such as `embed.js` or `widget/index.html`.
pub fn asset(path: &str) -> Option<Asset> {
    let file = Dist::get(path)?;
    Some(Asset { bytes: file.data, content_type: content_type(path), immutable: has_hash(path) })
}

/// True where the pages were not built, so that there is nothing to show in a browser.
pub fn www_missing() -> bool {
    Dist::get("manifest.json").is_none()
}

/// The type that a browser needs to be told. Anything unknown is bytes: with `nosniff` it can then
/// never be run.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("webmanifest") => "application/manifest+json",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Shortest hash in a name: 8 digits of base 16 or 32 are at least 32 bits, enough to tell the
/// builds of one site apart.
const HASH_LENGTH_MIN: usize = 8;

/// True for `widget.3f9a01bc.js` and `glue_bg.KXQWMZPA.wasm`: a dotted part between the stem and
/// the extension that is long, alphanumeric, and no word: it holds a digit or is all capitals.
fn has_hash(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let parts: Vec<&str> = name.split('.').collect();
    parts.len() >= 3 && parts[1..parts.len() - 1].iter().any(|part| is_hash(part))
}

fn is_hash(part: &str) -> bool {
    part.len() >= HASH_LENGTH_MIN
        && part.bytes().all(|b| b.is_ascii_alphanumeric())
        && (part.bytes().any(|b| b.is_ascii_digit()) || part.bytes().all(|b| b.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, content: &str, immutable: bool) {
        assert_eq!((content_type(path), has_hash(path)), (content, immutable), "{path}");
    }

    #[test]
    fn names_tell_type_and_caching() {
        check("embed.js", "text/javascript; charset=utf-8", false);
        check("widget/index.html", "text/html; charset=utf-8", false);
        check("widget/widget.3f9a01bc.js", "text/javascript; charset=utf-8", true);
        check("widget/potluck_browser_bg.3f9a01bc.wasm", "application/wasm", true);
        check("dashboard/dashboard.ABCDEFGH.css", "text/css; charset=utf-8", true);
        check("manifest.json", "application/json", false);
        check("some.settings.json", "application/json", false);
        check("no-extension", "application/octet-stream", false);
    }

    #[test]
    fn nothing_outside_the_folder_is_found() {
        for path in ["../Cargo.toml", "/etc/passwd", "..", "", "widget/../../Cargo.toml", "widget"] {
            assert_eq!(asset(path), None, "{path}");
        }
    }
}
