//! The two browsers that train in demo and tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::Missing;
use super::apt::{self, Wish};
use super::node::Node;
use crate::project::Project;
use crate::shell;

/// A browser that puppeteer can drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Browser {
    /// Chromium or Chrome.
    Chromium,
    /// Firefox, the extended support release included.
    Firefox,
}

impl Browser {
    pub(crate) const ALL: [Self; 2] = [Self::Chromium, Self::Firefox];

    fn variable(self) -> &'static str {
        match self {
            Self::Chromium => "POTLUCK_CHROMIUM",
            Self::Firefox => "POTLUCK_FIREFOX",
        }
    }

    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Chromium => &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
            Self::Firefox => &["firefox-esr", "firefox"],
        }
    }

    /// Where macOS keeps them, out of `PATH`.
    fn applications(self) -> &'static [&'static str] {
        match self {
            Self::Chromium => &[
                "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
                "/Applications/Chromium.app/Contents/MacOS/Chromium",
            ],
            Self::Firefox => &["/Applications/Firefox.app/Contents/MacOS/firefox"],
        }
    }

    /// The name and channel for `@puppeteer/browsers install`.
    fn download(self) -> &'static str {
        match self {
            Self::Chromium => "chrome@stable",
            Self::Firefox => "firefox@stable",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Chromium => "Chromium",
            Self::Firefox => "Firefox",
        }
    }

    pub(super) fn missing(self) -> Missing {
        let remedy = format!("Install it, or name its program in {}; a snap wrapper cannot be driven", self.variable());
        Missing { what: self.what(), remedy }
    }
}

/// What apt should bring for a browser that is not there.
pub(super) fn wish(project: &Project, browser: Browser) -> Result<Option<Wish>> {
    if find(project, browser)?.is_some() {
        return Ok(None);
    }
    let packages: &[&str] = match browser {
        Browser::Chromium => &["chromium", "chromium-browser"],
        Browser::Firefox => &["firefox-esr", "firefox"],
    };
    Ok(Some(Wish { what: browser.what(), packages, accepts: apt::no_snap }))
}

/// The browser, downloaded if it must be; `None` where it cannot be had.
pub(super) fn bring(project: &Project, node: &Node, browser: Browser) -> Result<Option<PathBuf>> {
    if let Some(found) = find(project, browser)? {
        return Ok(Some(found));
    }
    let folder = project.target("browsers");
    fs::create_dir_all(&folder)?;
    println!("  @puppeteer/browsers install {} into {}", browser.download(), folder.display());
    let mut install = node.command(project.npm_program("browsers"));
    install.args(["install", browser.download(), "--path"]).arg(&folder);
    if cfg!(target_os = "linux") && apt::is_root() {
        // A downloaded browser does not name the libraries that it needs; this brings them.
        install.arg("--install-deps");
    }
    let ended = install.stdin(Stdio::null()).output().context("could not start @puppeteer/browsers")?;
    let program = downloaded(&String::from_utf8_lossy(&ended.stdout)).filter(|program| program.is_file());
    match &program {
        Some(program) => fs::write(note(project, browser), program.to_string_lossy().as_bytes())?,
        None => println!("  {}", reason(&String::from_utf8_lossy(&ended.stderr))),
    }
    Ok(program)
}

/// The one line of a failure that says why; the tool prints its whole help above it.
fn reason(printed: &str) -> &str {
    let line = printed.lines().find(|line| line.contains("Error"));
    line.or_else(|| printed.lines().next_back()).unwrap_or("it failed and said nothing")
}

/// The last line that `@puppeteer/browsers install` prints is `chrome@1.2.3 /path/to/program`.
fn downloaded(printed: &str) -> Option<PathBuf> {
    let line = printed.lines().rev().find(|line| line.contains('@'))?;
    let (_, program) = line.trim().split_once(' ')?;
    Some(PathBuf::from(program))
}

/// Remembers where a download put the program: the path holds a version.
fn note(project: &Project, browser: Browser) -> PathBuf {
    project.target("browsers").join(format!("{}.path", browser.what().to_lowercase()))
}

fn find(project: &Project, browser: Browser) -> Result<Option<PathBuf>> {
    if let Some(named) = std::env::var_os(browser.variable()).filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        if !named.is_file() {
            bail!("{} names {}, which is no file", browser.variable(), named.display());
        }
        return Ok(Some(named));
    }
    let installed = browser.programs().iter().filter_map(|name| shell::which(name));
    let installed = installed.chain(browser.applications().iter().map(PathBuf::from));
    let noted = fs::read_to_string(note(project, browser)).ok().map(PathBuf::from);
    Ok(installed.chain(noted).find(|program| program.is_file() && !is_snap(program)))
}

/// A snap is confined: it cannot see a profile in a temporary folder, so puppeteer cannot drive
/// it. Ubuntu installs shell scripts and links that lead to one.
fn is_snap(program: &Path) -> bool {
    let real = fs::canonicalize(program).unwrap_or_else(|_| program.to_path_buf());
    if real.starts_with("/snap") || real.ends_with("bin/snap") {
        return true;
    }
    // Scripts are short; a browser's own binary is not worth reading.
    let is_short = fs::metadata(&real).is_ok_and(|metadata| metadata.len() < 64 << 10);
    is_short && fs::read_to_string(&real).is_ok_and(|script| script.contains("/snap/bin/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_download_tool_says_where_the_program_is() {
        let printed = "Downloading\nchrome@131.0.6778.85 /a b/chrome\n";
        assert_eq!(downloaded(printed), Some(PathBuf::from("/a b/chrome")));
        assert_eq!(downloaded("nothing\n"), None);
    }

    #[test]
    fn a_script_that_starts_a_snap_is_rejected() {
        let script = std::env::temp_dir().join(format!("potluck-snap-{}", std::process::id()));
        fs::write(&script, "#!/bin/sh\nexec /snap/bin/firefox \"$@\"\n").unwrap();
        assert!(is_snap(&script));
        fs::write(&script, "#!/bin/sh\nexec firefox-esr \"$@\"\n").unwrap();
        assert!(!is_snap(&script));
        fs::remove_file(&script).unwrap();
    }
}
