//! The software Vulkan driver (lavapipe), under which kernels run on machines without a GPU,
//! natively and in Firefox. Chromium carries its own.

use std::path::{Path, PathBuf};

use super::Missing;
use super::apt::Wish;
use crate::shell;

const MANIFEST_FOLDERS: [&str; 3] = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];

/// The driver's manifest: what a variable names, else lavapipe's. macOS has Metal and needs none.
pub(super) fn driver() -> Option<PathBuf> {
    for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        if let Some(named) = std::env::var_os(variable).filter(|named| !named.is_empty()) {
            return Some(PathBuf::from(named));
        }
    }
    MANIFEST_FOLDERS.iter().find_map(|folder| lavapipe_in(Path::new(folder)))
}

fn lavapipe_in(folder: &Path) -> Option<PathBuf> {
    let mut manifests: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    manifests.sort();
    manifests.into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The 32-bit manifest lies beside the other on multi-arch systems.
        name.starts_with("lvp_icd") && name.ends_with(".json") && !name.contains("i686")
    })
}

fn has_loader() -> bool {
    let folders = ["/usr/lib", "/usr/lib64", "/lib", "/usr/local/lib"].map(PathBuf::from);
    let architecture = PathBuf::from("/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    folders.iter().chain([&architecture]).any(|folder| folder.join("libvulkan.so.1").exists())
        || shell::ask("ldconfig", &["-p"]).is_some_and(|list| list.contains("libvulkan.so.1"))
}

pub(super) fn wishes() -> Vec<Wish> {
    let mut wishes = Vec::new();
    if cfg!(target_os = "macos") {
        return wishes;
    }
    if driver().is_none() {
        let packages = &["mesa-vulkan-drivers"];
        wishes.push(Wish { what: "the software Vulkan driver", packages, accepts: |_| true });
    }
    if !has_loader() {
        wishes.push(Wish { what: "the Vulkan loader", packages: &["libvulkan1"], accepts: |_| true });
    }
    wishes
}

pub(super) fn missing(driver: Option<&Path>) -> Option<Missing> {
    if cfg!(target_os = "macos") || (driver.is_some() && has_loader()) {
        return None;
    }
    let remedy =
        "Install mesa-vulkan-drivers (lavapipe) and libvulkan1, or name a driver in VK_ICD_FILENAMES".to_owned();
    Some(Missing { what: "a Vulkan driver", remedy })
}
