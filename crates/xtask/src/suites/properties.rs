//! Which tests are property tests: those that stand in a `proptest! { }` block. libtest's names do
//! not tell, so the sources are read.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::project::Project;

/// The property tests of the workspace, as (folder of the crate, name of the function).
#[derive(Default)]
pub(super) struct Properties(BTreeSet<(String, String)>);

impl Properties {
    pub(super) fn read(project: &Project) -> Result<Self> {
        let mut found = Self::default();
        for entry in fs::read_dir(project.at("crates"))? {
            let folder = entry?.path();
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.add_folder(&name, &folder.join("src"))?;
        }
        Ok(found)
    }

    /// `test` is libtest's name, with its modules.
    pub(super) fn contain(&self, package: &str, test: &str) -> bool {
        let function = test.rsplit("::").next().unwrap_or(test);
        self.0.contains(&(package.to_owned(), function.to_owned()))
    }

    fn add_folder(&mut self, package: &str, folder: &Path) -> Result<()> {
        if !folder.is_dir() {
            return Ok(());
        }
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.add_folder(package, &path)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.add_source(package, &fs::read_to_string(&path)?);
            }
        }
        Ok(())
    }

    fn add_source(&mut self, package: &str, source: &str) {
        for after in source.split("proptest!").skip(1).filter(|after| after.trim_start().starts_with('{')) {
            for test in tests_in(block_of(after)) {
                self.0.insert((package.to_owned(), test.to_owned()));
            }
        }
    }
}

/// The text up to the brace that closes the first one. Braces in literals would mislead it only
/// where they do not pair.
fn block_of(text: &str) -> &str {
    let mut depth = 0usize;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return &text[..at];
                }
            }
            _ => {}
        }
    }
    text
}

/// Names of the functions that follow a `#[test]`.
fn tests_in(block: &str) -> impl Iterator<Item = &str> {
    block.split("#[test]").skip(1).filter_map(|after| {
        let name = after.split("fn ").nth(1)?;
        Some(name.split('(').next()?.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_in_a_proptest_block_is_a_property_test() {
        let source = "
            use proptest::proptest;
            proptest! {
                #![proptest_config(Config { cases: 3 })]
                /// Says so.
                #[test]
                fn round_trip(value in 0u32..9) { assert!(value < 9); }

                #[test]
                fn never_panics(bytes in any()) {}
            }
            #[test]
            fn plain() {}";
        let mut properties = Properties::default();
        properties.add_source("graph", source);
        assert!(properties.contain("graph", "block::tests::round_trip"));
        assert!(properties.contain("graph", "never_panics"));
        assert!(!properties.contain("graph", "plain"));
        assert!(!properties.contain("update", "never_panics"));
    }
}
