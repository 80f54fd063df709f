//! The Rust side of setup: the wasm target of the pinned toolchain.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::project::Project;
use crate::recipe::Recipe;
use crate::shell;

/// `rust-toolchain.toml` names the target, but an existing toolchain is not always completed.
pub(super) fn bring_wasm_target(project: &Project) -> Result<()> {
    let target = Recipe::read(project)?.target;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = shell::ask(&rustc, &["--print", "sysroot"]).context("`rustc --print sysroot` failed")?;
    if Path::new(&sysroot).join("lib/rustlib").join(&target).is_dir() {
        return Ok(());
    }
    println!("  rustup target add {target}");
    shell::run(Command::new("rustup").args(["target", "add", &target]).current_dir(project.root()))
        .with_context(|| format!("the Rust target {target} is missing and rustup could not add it"))
}
