//! Brings in what the other commands need, quick when there is nothing to do. Each thing is
//! looked for in one order: named by a variable, installed, brought by the system's package
//! manager, brought by a package registry.
//!
//! It builds nothing, and it must never touch what it did not bring.

mod apt;
mod browsers;
mod node;
mod python;
mod rust;
mod vulkan;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::phases::Phases;
use crate::project::Project;

pub(crate) use browsers::Browser;

/// What a command cannot do without; the rest is not looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The wasm target and Node.
    Build,
    /// Also browsers and the software Vulkan driver, as far as they can be had.
    Demo,
    /// Also Python, and each of them without fail.
    Everything,
}

/// A thing that could not be had, and what its user can do.
pub(crate) struct Missing {
    what: &'static str,
    remedy: String,
}

/// What setup found or brought.
pub(crate) struct Tools {
    root: PathBuf,
    node: PathBuf,
    npm: PathBuf,
    python: Option<PathBuf>,
    chromium: Option<PathBuf>,
    firefox: Option<PathBuf>,
    vulkan_driver: Option<PathBuf>,
    missing: Vec<Missing>,
}

impl Tools {
    /// A command that runs in the clone's root and finds the same tools that setup found.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("PATH", self.path());
        for (variable, value) in [
            ("POTLUCK_CHROMIUM", &self.chromium),
            ("POTLUCK_FIREFOX", &self.firefox),
            // Both names of one list: the second is what newer loaders read.
            ("VK_ICD_FILENAMES", &self.vulkan_driver),
            ("VK_DRIVER_FILES", &self.vulkan_driver),
        ] {
            if let Some(value) = value {
                command.env(variable, value);
            }
        }
        command
    }

    pub(crate) fn node(&self) -> Command {
        self.command(&self.node)
    }

    /// The packages of `bench/`, the peers that nothing but the benchmark needs.
    pub(crate) fn bring_peers(&self, project: &Project) -> Result<()> {
        let node = node::Node { node: self.node.clone(), npm: self.npm.clone() };
        node::bring_packages(project, &node, "bench")
    }

    pub(crate) fn npm(&self) -> Command {
        self.command(&self.npm)
    }

    /// The interpreter of the project's own environment.
    pub(crate) fn python(&self) -> Option<&Path> {
        self.python.as_deref()
    }

    /// Node's folder first: a child that starts `node` or `npx` must get the same one.
    fn path(&self) -> std::ffi::OsString {
        let mut folders: Vec<PathBuf> = self.node.parent().map(Path::to_path_buf).into_iter().collect();
        if let Some(path) = std::env::var_os("PATH") {
            folders.extend(std::env::split_paths(&path));
        }
        // Joining fails only where a folder's own name holds the separator, and then none was added.
        std::env::join_paths(folders).unwrap_or_default()
    }

    pub(crate) fn print(&self) {
        println!("  node      {}", self.node.display());
        println!("  npm       {}", self.npm.display());
        for (name, path) in [
            ("chromium", &self.chromium),
            ("firefox", &self.firefox),
            ("vulkan", &self.vulkan_driver),
            ("python", &self.python),
        ] {
            if let Some(path) = path {
                println!("  {name:<9} {}", path.display());
            }
        }
    }

    /// For commands that can do with less.
    pub(crate) fn print_missing(&self) {
        for missing in &self.missing {
            println!("  going on without {}. {}", missing.what, missing.remedy);
        }
    }

    /// Fails with every missing thing named: a test that cannot run is not a test that passed.
    pub(crate) fn require_everything(&self) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> =
            self.missing.iter().map(|missing| format!("\n  {}. {}", missing.what, missing.remedy)).collect();
        bail!("setup could not bring everything that the tests need:{}", lines.concat());
    }
}

/// Runs setup as one phase.
pub(crate) fn run(project: &Project, phases: &mut Phases, need: Need) -> Result<Tools> {
    phases.run("setup", || gather(project, need))
}

fn gather(project: &Project, need: Need) -> Result<Tools> {
    rust::bring_wasm_target(project)?;
    let browsers_wanted = need != Need::Build;
    let python_wanted = need == Need::Everything;

    // Where Node is not installed, it comes as a Python wheel.
    let python_wanted_for_node = node::find()?.is_none();
    let mut wishes = Vec::new();
    if python_wanted || python_wanted_for_node {
        wishes.extend(python::wishes());
    }
    if browsers_wanted {
        for browser in Browser::ALL {
            wishes.extend(browsers::wish(project, browser)?);
        }
        wishes.extend(vulkan::wishes());
    }
    if !wishes.is_empty() {
        apt::bring(&wishes)?;
    }

    let mut missing = Vec::new();
    let mut environment = None;
    if python_wanted || python_wanted_for_node {
        match python::bring_environment(project) {
            Ok(python) => environment = Some(python),
            Err(error) if python_wanted => {
                missing.push(Missing { what: "a Python environment", remedy: format!("{error:#}") });
            }
            Err(_) => {}
        }
    }
    let node = node::bring(environment.as_deref())?;
    node::bring_packages(project, &node, "www")?;

    let mut found = Vec::new();
    if browsers_wanted {
        for browser in Browser::ALL {
            found.push(browsers::bring(project, &node, browser)?);
        }
    }
    let mut found = found.into_iter();
    let (chromium, firefox) = (found.next().flatten(), found.next().flatten());
    let vulkan_driver = if browsers_wanted { vulkan::driver() } else { None };
    if browsers_wanted {
        missing.extend(chromium.is_none().then(|| Browser::Chromium.missing()));
        missing.extend(firefox.is_none().then(|| Browser::Firefox.missing()));
        missing.extend(vulkan::missing(vulkan_driver.as_deref()));
    }
    Ok(Tools {
        root: project.root().to_path_buf(),
        node: node.node,
        npm: node.npm,
        python: environment,
        chromium,
        firefox,
        vulkan_driver,
        missing,
    })
}
