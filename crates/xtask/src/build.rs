//! `cargo xtask build`: native programs, the wasm packages in their variants, and the pages.
//!
//! Cargo decides itself what to compile; the other steps carry stamps. Always the same package
//! selections are used, so that features unify once and nothing is compiled twice.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};

use crate::budget;
use crate::fingerprint::{Fingerprint, Stamp};
use crate::phases::Phases;
use crate::project::Project;
use crate::recipe::{Recipe, Variant};
use crate::setup::Tools;
use crate::shell;

/// The npm package `potluck-engine`, below the target folder.
const ENGINE_PACKAGE: &str = "npm/potluck-engine";

/// A module with nothing in it.
const EMPTY_BYTES: u64 = 8;

/// Everything that a command after this one may start or serve.
pub(crate) fn run(project: &Project, tools: &Tools, phases: &mut Phases) -> Result<()> {
    let recipe = Recipe::read(project)?;
    let _alone = lock(project)?;
    phases.run("native programs", || shell::run(cargo(project).args(["build", "--workspace"])))?;
    for variant in &recipe.variants {
        phases.run(&format!("wasm, {}", variant.name), || compile(project, &recipe, variant))?;
    }
    phases.run("wasm packages", || {
        // Side by side: wasm-opt is most of it and uses one core.
        std::thread::scope(|scope| {
            let mut running = Vec::new();
            for variant in &recipe.variants {
                for (package, folder) in packages(&recipe) {
                    let packer = Packer { project, tools, recipe: &recipe, variant };
                    running.push(scope.spawn(move || packer.pack(package, &project.target(folder))));
                }
            }
            running.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow!("packing panicked"))?)
        })
    })?;
    phases.run("npm package", || complete_engine_package(project))?;
    phases.run("pages", || bundle_pages(project, tools))?;
    phases.run("size budget", || budget::check(project, &recipe))
}

/// One build at a time in a checkout, until this is dropped: another one would pack modules that are
/// only half written.
fn lock(project: &Project) -> Result<File> {
    let path = project.target("xtask-build.lock");
    let explain = || format!("cannot lock {}", path.display());
    fs::create_dir_all(project.at("target"))?;
    let file = File::create(&path).with_context(explain)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            println!("  another build of this checkout is under way: waiting for its end");
            file.lock().with_context(explain)?;
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(explain),
    }
    Ok(file)
}

/// Every wasm package, and where under `target/` its variants go, a folder each.
fn packages(recipe: &Recipe) -> [(&str, &str); 3] {
    [(&recipe.page, PAGE_FOLDER), (&recipe.engine, ENGINE_PACKAGE), (&recipe.tests, "web-tests")]
}

const PAGE_FOLDER: &str = "wasm-pack/browser";

/// Cargo in the clone's root.
pub(crate) fn cargo(project: &Project) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(project.root()).env("CARGO_TARGET_DIR", project.at("target"));
    // `cargo run` tells its child about this package; a nested cargo and the build scripts under
    // it must not see that, or their fingerprints would differ from those of a plain `cargo`.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name.as_ref());
        }
    }
    command
}

/// One cargo invocation over all wasm packages. Clippy uses it too, with the same flags: with others
/// everything would be compiled again.
pub(crate) fn wasm_cargo(project: &Project, recipe: &Recipe, variant: &Variant, verb: &str) -> Result<Command> {
    let mut command = cargo(project);
    command.args([verb, "--profile", &recipe.profile, "--target", &recipe.target]);
    for folder in registry_folders()? {
        // Joins the flags of .cargo/config.toml. A panic's words name a file of the registry by its
        // crate, and not by where this machine keeps it.
        let flags = serde_json::json!([format!("--remap-path-prefix={}=", folder.join("").display())]);
        command.args(["--config", &format!("target.{}.rustflags={flags}", recipe.target)]);
    }
    for (package, _) in packages(recipe) {
        command.args(["--package", package]);
        for feature in &variant.features {
            command.args(["--features", &format!("{package}/{feature}")]);
        }
    }
    Ok(command)
}

/// Where cargo unpacks crates, a folder a registry. This program was made of some, so they are there.
fn registry_folders() -> Result<Vec<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))).context("no CARGO_HOME and no home")?;
    let folder = home.join("registry/src");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut folders = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    folders.sort();
    Ok(folders)
}

/// Compiles a variant and puts its modules aside, for the next one has the same names.
fn compile(project: &Project, recipe: &Recipe, variant: &Variant) -> Result<()> {
    shell::run(&mut wasm_cargo(project, recipe, variant, "build")?)?;
    for (package, _) in packages(recipe) {
        let made = project.target(&recipe.target).join(&recipe.profile).join(module_name(package));
        let kept = compiled(project, variant, package);
        fs::create_dir_all(kept.parent().context("a file lies in a folder")?)?;
        fs::copy(&made, &kept).with_context(|| format!("no {}: is `{package}` a cdylib?", made.display()))?;
    }
    Ok(())
}

fn compiled(project: &Project, variant: &Variant, package: &str) -> PathBuf {
    project.target("wasm-compiled").join(&variant.name).join(module_name(package))
}

fn module_name(package: &str) -> String {
    format!("{}.wasm", package.replace('-', "_"))
}

/// Turns what rustc made into what a browser loads.
struct Packer<'a> {
    project: &'a Project,
    tools: &'a Tools,
    recipe: &'a Recipe,
    variant: &'a Variant,
}

impl Packer<'_> {
    /// Writes the glue and the optimised module of one package into the variant's folder.
    fn pack(&self, package: &str, folder: &Path) -> Result<()> {
        let (stem, variant) = (package.replace('-', "_"), &self.variant.name);
        let (compiled, folder) = (compiled(self.project, self.variant, package), folder.join(variant));
        let (glue, module) = (folder.join(format!("{stem}.js")), folder.join(format!("{stem}_bg.wasm")));

        let mut words = vec!["pack", &self.recipe.wasm_bindgen, &self.recipe.binaryen];
        words.extend(self.optimise_flags());
        let stamp = Stamp::new(self.project, &format!("pack-{package}-{variant}"));
        let packer = self.project.at("crates/packer/src");
        let fingerprint = Fingerprint::of(&words).path(&compiled)?.path(&packer)?;
        if stamp.matches(&fingerprint, &[&glue, &module]) {
            println!("  {package}, {variant}: nothing changed");
            return Ok(());
        }
        fs::create_dir_all(&folder)?;
        println!("  {package}, {variant}: glue by wasm-bindgen {}", self.recipe.wasm_bindgen);
        shell::run(Command::new(self.project.program("potluck-packer")).arg(&compiled).arg(&folder))?;
        println!("  {package}, {variant}: wasm-opt of binaryen {}", self.recipe.binaryen);
        self.optimise(&module)?;
        stamp.write(&fingerprint)
    }

    fn optimise_flags(&self) -> impl Iterator<Item = &str> {
        self.recipe.optimise_flags.iter().chain(&self.variant.optimise_flags).map(String::as_str)
    }

    fn optimise(&self, module: &Path) -> Result<()> {
        let optimised = module.with_extension("optimised");
        let mut command = self.tools.node();
        command.arg(self.project.npm_program("wasm-opt")).args(self.optimise_flags());
        command.arg(module).arg("-o").arg(&optimised);
        shell::run_quietly(&mut command)?;
        let bytes = fs::metadata(&optimised)?.len();
        ensure!(bytes > EMPTY_BYTES, "wasm-opt made an empty module of {}: build again", module.display());
        fs::rename(&optimised, module).with_context(|| format!("cannot replace {}", module.display()))
    }
}

/// Puts what is written by hand beside the packed module of the npm package.
fn complete_engine_package(project: &Project) -> Result<()> {
    let (from, to) = (project.at("crates/engine-js/package"), project.target(ENGINE_PACKAGE));
    for entry in fs::read_dir(&from).with_context(|| format!("cannot read {}", from.display()))? {
        let file = entry?.path();
        let name = file.file_name().context("a file has a name")?;
        fs::copy(&file, to.join(name)).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(())
}

fn bundle_pages(project: &Project, tools: &Tools) -> Result<()> {
    let (wasm, dist) = (project.target(PAGE_FOLDER), project.at("www/dist"));
    let stamp = Stamp::new(project, "pages");
    let fingerprint = Fingerprint::of(&["pages"]).path(&project.at("www"))?.path(&wasm)?;
    if stamp.matches(&fingerprint, &[&dist.join("manifest.json")]) {
        println!("  nothing changed");
        return Ok(());
    }
    let mut build = tools.node();
    build.arg("www/build.mjs").arg("--wasm").arg(&wasm).arg("--out").arg(&dist);
    shell::run(&mut build)?;
    stamp.write(&fingerprint)
}
