//! Copies `shaders/*.wgsl` into the build's own folder without comments and indentation: they are a
//! third of what the shaders weigh in the wasm package. WGSL has no strings, so a line ends where its
//! comment begins, and `tests/tests/shaders.rs` holds the files to comments of one line.
//!
//! Browsers must be told of an extension and wgpu's own compiler, which knows it too, must not: naga 30
//! refuses `enable subgroups;` (gfx-rs/wgpu#5555). So natively that line is left out.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let shaders = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shaders");
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    println!("cargo::rerun-if-changed={}", shaders.display());
    println!("cargo::rerun-if-changed=build.rs");
    let native = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch != "wasm32");
    for entry in fs::read_dir(&shaders)? {
        let entry = entry?;
        let mut text = fs::read_to_string(entry.path())?;
        if native {
            text = text.replace("enable subgroups;", "");
        }
        fs::write(Path::new(&out).join(entry.file_name()), bare(&text))?;
    }
    Ok(())
}

/// The same tokens, line by line.
fn bare(shader: &str) -> String {
    let code = shader.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
    code.filter(|line| !line.is_empty()).flat_map(|line| [line, "\n"]).collect()
}
