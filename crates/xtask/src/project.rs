//! Where things lie in a clone. It knows paths only, not what is made there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A clone of the repository.
pub(crate) struct Project {
    root: PathBuf,
}

impl Project {
    pub(crate) fn find() -> Result<Self> {
        // Cargo sets the variable at run time too, so a clone that was moved still finds itself.
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package
            .ancestors()
            .find(|folder| folder.join("Cargo.lock").is_file())
            .context("no Cargo.lock above this program's package: run it through `cargo xtask`")?
            .to_path_buf();
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A path below the target folder. It is always in the clone: tests, drivers and the server look
    /// there, and not where a setting of the user's may have moved it.
    pub(crate) fn target(&self, path: &str) -> PathBuf {
        self.root.join("target").join(path)
    }

    /// A program of this workspace, as `cargo build` left it.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    /// A program that an npm package brought.
    pub(crate) fn npm_program(&self, name: &str) -> PathBuf {
        self.at("www/node_modules/.bin").join(name)
    }
}
