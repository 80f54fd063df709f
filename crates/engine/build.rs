//! Copies `shaders/*.wgsl` into the build's own folder without comments and blanks: they are a third of
//! what the shaders weigh in the wasm package. WGSL has no strings, so a line ends where its comment
//! begins, and `tests/tests/shaders.rs` holds the files to comments of one line.
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

/// The same tokens, in one line: a blank stays between two names, and between two operators, which might
/// make another one without it (`a - -b`).
fn bare(shader: &str) -> String {
    let mut bare = String::new();
    let code = shader.lines().flat_map(|line| line.split("//").next().unwrap_or_default().split_whitespace());
    for part in code {
        let ends = bare.chars().next_back().zip(part.chars().next());
        let of = |kind: fn(char) -> bool| ends.is_some_and(|(before, after)| kind(before) && kind(after));
        if of(|c| c.is_alphanumeric() || "_.".contains(c)) || of(|c| "+-*/%<>=&|^!~".contains(c)) {
            bare.push(' ');
        }
        bare.push_str(part);
    }
    bare
}
