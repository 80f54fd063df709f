//! Stamps that let a step be skipped when nothing that it reads has changed.
//!
//! A stamp holds a hash of the inputs' names and contents, never times: a fresh clone, a rebase
//! and a `touch` must not matter.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::project::Project;

/// What a step depends on, gathered before it runs.
pub(crate) struct Fingerprint(DefaultHasher);

impl Fingerprint {
    /// `recipe` names the step and whatever is not a file: versions, flags.
    pub(crate) fn of(recipe: &[&str]) -> Self {
        let mut hasher = DefaultHasher::new();
        recipe.hash(&mut hasher);
        Self(hasher)
    }

    /// Adds a file, or every file below a folder. One that is missing counts as such.
    pub(crate) fn path(mut self, path: &Path) -> Result<Self> {
        if path.is_dir() {
            for child in sorted_children(path)? {
                self = self.path(&child)?;
            }
            return Ok(self);
        }
        path.hash(&mut self.0);
        match fs::read(path) {
            Ok(bytes) => bytes.hash(&mut self.0),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0u8.hash(&mut self.0),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
        Ok(self)
    }

    fn text(&self) -> String {
        format!("{:016x}\n", self.0.finish())
    }
}

/// The stamp of one step.
pub(crate) struct Stamp(PathBuf);

impl Stamp {
    pub(crate) fn new(project: &Project, step: &str) -> Self {
        Self(project.target("stamps").join(step))
    }

    /// Whether the step last succeeded with these inputs and its products still exist.
    pub(crate) fn matches(&self, fingerprint: &Fingerprint, products: &[&Path]) -> bool {
        products.iter().all(|product| product.exists())
            && fs::read_to_string(&self.0).is_ok_and(|text| text == fingerprint.text())
    }

    pub(crate) fn write(&self, fingerprint: &Fingerprint) -> Result<()> {
        if let Some(folder) = self.0.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&self.0, fingerprint.text()).with_context(|| format!("cannot write {}", self.0.display()))
    }
}

fn sorted_children(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut children = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    children.retain(|child| child.file_name().is_none_or(|name| name != "node_modules" && name != "dist"));
    children.sort();
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_recipe_change_a_fingerprint_and_nothing_else() -> Result<()> {
        let file = std::env::temp_dir().join(format!("potluck-fingerprint-{}", std::process::id()));
        fs::write(&file, "a")?;
        let first = Fingerprint::of(&["step"]).path(&file)?.text();
        fs::write(&file, "a")?;
        assert_eq!(first, Fingerprint::of(&["step"]).path(&file)?.text());
        fs::write(&file, "b")?;
        assert_ne!(first, Fingerprint::of(&["step"]).path(&file)?.text());
        fs::write(&file, "a")?;
        assert_ne!(first, Fingerprint::of(&["other"]).path(&file)?.text());
        fs::remove_file(&file)?;
        assert_ne!(first, Fingerprint::of(&["step"]).path(&file)?.text());
        Ok(())
    }
}
