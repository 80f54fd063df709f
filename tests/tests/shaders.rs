//! Every WGSL file is valid and stays within WebGPU's default limits, which every adapter grants.
//! Reads files only; whether a kernel computes the right thing is for the kernel suites.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Module};

/// `maxComputeInvocationsPerWorkgroup`.
const INVOCATIONS_MAX: u32 = 256;
/// `maxComputeWorkgroupSizeX`, `Y` and `Z`.
const WORKGROUP_SIZE_MAX: [u32; 3] = [256, 256, 64];
/// `maxStorageBuffersPerShaderStage`.
const STORAGE_BUFFERS_MAX: usize = 8;
/// `maxComputeWorkgroupStorageSize`.
const WORKGROUP_BYTES_MAX: u32 = 16 << 10;

fn shaders() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("shaders/").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "wgsl"));
    files.sort();
    assert!(!files.is_empty(), "no shader was found");
    files
}

/// Parses and validates with no capability beyond WebGPU's core but the one that a file asks for.
fn check(file: &Path) -> Module {
    let text = fs::read_to_string(file).expect("a text file");
    // The engine's build leaves this out natively: naga knows subgroups and refuses to be told of them.
    let source = text.replace("enable subgroups;", "");
    let capabilities = if source == text { Capabilities::empty() } else { Capabilities::SUBGROUP };
    let name = file.display().to_string();
    assert!(!source.contains("/*"), "{name}: the engine's build strips comments of one line only");
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(&source, &name)));
    Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(&source, &name)));
    module
}

#[test]
fn every_shader_is_valid() {
    for file in shaders() {
        let module = check(&file);
        assert!(!module.entry_points.is_empty(), "{}: no entry point", file.display());
    }
}

#[test]
fn every_shader_fits_the_default_limits() {
    for file in shaders() {
        let module = check(&file);
        let name = file.display();
        for entry in &module.entry_points {
            let [x, y, z] = entry.workgroup_size;
            assert!(x * y * z <= INVOCATIONS_MAX, "{name}: {x} x {y} x {z} invocations");
            for (size, max) in entry.workgroup_size.iter().zip(WORKGROUP_SIZE_MAX) {
                assert!(*size <= max, "{name}: workgroup of {x} x {y} x {z}");
            }
        }
        let storage =
            module.global_variables.iter().filter(|(_, global)| matches!(global.space, AddressSpace::Storage { .. }));
        assert!(storage.count() <= STORAGE_BUFFERS_MAX, "{name}: too many storage buffers");
        let shared = module.global_variables.iter().filter(|(_, global)| global.space == AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|(_, global)| module.types[global.ty].inner.size(module.to_ctx())).sum();
        assert!(bytes <= WORKGROUP_BYTES_MAX, "{name}: {bytes} bytes of workgroup memory");
    }
}

/// The browser suites run the same cases: so every file becomes a pipeline in every browser.
#[test]
fn every_shader_is_run_by_a_case() {
    let name = |file: &PathBuf| file.file_stem().expect("a name").to_string_lossy().into_owned();
    let files: BTreeSet<String> = shaders().iter().map(name).collect();
    let run = potluck_engine::conformance::shaders().into_iter().map(str::to_owned).collect();
    assert_eq!(files, run, "files, and what the cases run");
}

#[test]
fn every_binding_of_a_shader_has_an_address_of_its_own() {
    for file in shaders() {
        let module = check(&file);
        let bindings: Vec<_> = module.global_variables.iter().filter_map(|(_, global)| global.binding).collect();
        let distinct: BTreeSet<_> = bindings.iter().map(|binding| (binding.group, binding.binding)).collect();
        assert_eq!(bindings.len(), distinct.len(), "{}: two variables share a binding", file.display());
    }
}
