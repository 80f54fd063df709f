//! Writes the JavaScript glue of one wasm module: `potluck-packer INPUT.wasm OUTPUT_FOLDER`.
//!
//! It is a program of its own so that `cargo xtask` stays quick to build: wasm-bindgen's library
//! is compiled only by those who build the pages. It knows nothing of budgets, stamps or pages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [input, output] = arguments.as_slice() else {
        bail!("expected two arguments: the wasm module and the folder for the glue");
    };
    // `web` gives one ES module whose default export takes the address of the wasm file, which
    // is what a module worker at a content-hashed address needs.
    let mut bindgen = Bindgen::new();
    bindgen.input_path(input).web(true)?.typescript(true).omit_default_module_path(false);
    bindgen.generate(output).with_context(|| format!("wasm-bindgen failed on {}", input.display()))?;
    let stem = input.file_stem().context("the wasm module has a name")?.to_string_lossy().into_owned();
    number_imports(&output.join(format!("{stem}.js")), &output.join(format!("{stem}_bg.wasm")))
}

const PREFIX: &[u8] = b"__wbg_";

/// Digits of the hash at the end of an import's name.
const DIGITS: usize = 16;

/// Glue and module name an import `__wbg_NAME_HASH`. A hash is noise, which nothing compresses: numbers
/// of as many digits take two kilobytes off the gzipped package.
fn number_imports(glue: &Path, module: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let (mut script, mut wasm) = (read(glue)?, read(module)?);
    let mut numbers = BTreeMap::new();
    for at in hashes(&script) {
        let next = numbers.len();
        numbers.entry(script[at..at + DIGITS].to_vec()).or_insert_with(|| format!("{next:0DIGITS$}"));
    }
    for (path, bytes) in [(glue, &mut script), (module, &mut wasm)] {
        for at in hashes(bytes) {
            let digits = &mut bytes[at..at + DIGITS];
            // The module has names too that the glue never uses.
            if let Some(number) = numbers.get(&*digits) {
                digits.copy_from_slice(number.as_bytes());
            }
        }
        fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Where the hashes in the names of imports begin.
fn hashes(bytes: &[u8]) -> Vec<usize> {
    let starts = bytes.windows(PREFIX.len()).enumerate().filter(|(_, window)| *window == PREFIX);
    let hash = |(start, _): (usize, &[u8])| {
        let name = bytes[start..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        let at = start + name.checked_sub(DIGITS)?;
        let is_hash = bytes[at..at + DIGITS].iter().all(u8::is_ascii_hexdigit) && bytes[at - 1] == b'_';
        is_hash.then_some(at)
    };
    starts.filter_map(hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_numbered_alike_in_glue_and_module() {
        let folder = std::env::temp_dir().join(format!("potluck-packer-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (glue, module) = (folder.join("a.js"), folder.join("a_bg.wasm"));
        fs::write(&glue, "__wbg_get_0123456789abcdef:f,__wbg_set_fedcba9876543210:g,__wbg_ptr:h").unwrap();
        fs::write(&module, b"\x1a__wbg_set_fedcba9876543210\x00\x1a__wbg_get_0123456789abcdef\x00").unwrap();
        number_imports(&glue, &module).unwrap();
        let glue = fs::read_to_string(glue).unwrap();
        assert_eq!(glue, "__wbg_get_0000000000000000:f,__wbg_set_0000000000000001:g,__wbg_ptr:h");
        let module = fs::read(module).unwrap();
        assert_eq!(module, b"\x1a__wbg_set_0000000000000001\x00\x1a__wbg_get_0000000000000000\x00");
        fs::remove_dir_all(folder).unwrap();
    }
}
