//! Writes the JavaScript glue of one wasm module: `potluck-packer INPUT.wasm OUTPUT_FOLDER`.
//!
//! It is a program of its own so that `cargo xtask` stays quick to build: wasm-bindgen's library
//! is compiled only by those who build the pages. It knows nothing of budgets, stamps or pages.

use std::path::PathBuf;

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
    bindgen.generate(output).with_context(|| format!("wasm-bindgen failed on {}", input.display()))
}
