//! `cargo xtask build`: native programs, the wasm package, the pages, and the size budget.
//!
//! Cargo decides itself what to compile; the other steps carry stamps. Always the same package
//! selections are used, so that features unify once and nothing is compiled twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::fingerprint::{Fingerprint, Stamp};
use crate::measure::{self, Limit};
use crate::phases::Phases;
use crate::project::Project;
use crate::recipe::Recipe;
use crate::setup::Tools;
use crate::shell;

/// Everything that a command after this one may start or serve.
pub(crate) fn run(project: &Project, tools: &Tools, phases: &mut Phases) -> Result<()> {
    let recipe = Recipe::read(project)?;
    phases.run("native programs", || shell::run(cargo(project).args(["build", "--workspace"])))?;
    phases.run("wasm", || shell::run(&mut wasm_cargo(project, &recipe, "build")))?;
    phases.run("wasm package", || {
        let packer = Packer { project, tools, recipe: &recipe };
        // Side by side: wasm-opt is most of it and uses one core.
        std::thread::scope(|scope| {
            let tests = scope.spawn(|| packer.pack(&recipe.tests, &project.target("web-tests")));
            packer.pack(&recipe.page, &project.target("wasm-pack/browser"))?;
            tests.join().map_err(|_| anyhow!("packing the test module panicked"))?
        })
    })?;
    phases.run("pages", || bundle_pages(project, tools))?;
    phases.run("size budget", || check_budget(project, &recipe))
}

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

/// One cargo invocation over both wasm packages. Clippy uses it too.
pub(crate) fn wasm_cargo(project: &Project, recipe: &Recipe, verb: &str) -> Command {
    let mut command = cargo(project);
    command.args([verb, "--profile", &recipe.profile, "--target", &recipe.target]);
    command.args(["--package", &recipe.page, "--package", &recipe.tests]);
    command
}

/// Turns what rustc made into what a browser loads.
struct Packer<'a> {
    project: &'a Project,
    tools: &'a Tools,
    recipe: &'a Recipe,
}

impl Packer<'_> {
    /// Writes the glue and the optimised module of one package into `folder`.
    fn pack(&self, package: &str, folder: &Path) -> Result<()> {
        let stem = package.replace('-', "_");
        let compiled = self.project.target(&self.recipe.target).join(&self.recipe.profile).join(format!("{stem}.wasm"));
        let (glue, module) = (folder.join(format!("{stem}.js")), folder.join(format!("{stem}_bg.wasm")));

        let mut words = vec!["pack", &self.recipe.wasm_bindgen, &self.recipe.binaryen];
        words.extend(self.recipe.optimise_flags.iter().map(String::as_str));
        let stamp = Stamp::new(self.project, &format!("pack-{package}"));
        let fingerprint = Fingerprint::of(&words).path(&compiled)?;
        if stamp.matches(&fingerprint, &[&glue, &module]) {
            println!("  {package}: nothing changed");
            return Ok(());
        }
        if !compiled.is_file() {
            bail!("{} is missing: is `{package}` a cdylib?", compiled.display());
        }
        fs::create_dir_all(folder)?;
        println!("  {package}: glue by wasm-bindgen {}", self.recipe.wasm_bindgen);
        shell::run(Command::new(self.project.program("potluck-packer")).arg(&compiled).arg(folder))?;
        println!("  {package}: wasm-opt of binaryen {}", self.recipe.binaryen);
        self.optimise(&module)?;
        stamp.write(&fingerprint)
    }

    fn optimise(&self, module: &Path) -> Result<()> {
        let optimised = module.with_extension("optimised");
        let mut command = self.tools.node();
        command.arg(self.project.npm_program("wasm-opt")).args(&self.recipe.optimise_flags);
        command.arg(module).arg("-o").arg(&optimised);
        shell::run_quietly(&mut command)?;
        fs::rename(&optimised, module).with_context(|| format!("cannot replace {}", module.display()))
    }
}

fn bundle_pages(project: &Project, tools: &Tools) -> Result<()> {
    let (wasm, dist) = (project.target("wasm-pack/browser"), project.at("www/dist"));
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

/// Compares gzipped sizes with the budget and fails when one is over it.
fn check_budget(project: &Project, recipe: &Recipe) -> Result<()> {
    let path = project.at("www/dist/manifest.json");
    let manifest = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let files = files_from_manifest(&manifest)?;
    let limits = limits(&files, recipe)?;

    println!("  {:>9} {:>9}  file", "bytes", "gzip");
    for file in &files {
        println!("  {:>9} {:>9}  {}", file.bytes, file.gzip, file.path);
    }
    for limit in &limits {
        let word = if limit.holds() { "within" } else { "OVER" };
        println!("  {}: {} bytes, {word} the budget of {}", limit.what, limit.value, limit.limit);
    }
    let rows: Vec<Value> =
        files.iter().map(|file| json!({"file": file.path, "bytes": file.bytes, "gzip": file.gzip})).collect();
    measure::write(project, "page", &rows, &limits)?;
    match limits.iter().find(|limit| !limit.holds()) {
        Some(over) => bail!("{} is {} bytes, over the {} of wasm-pack.toml", over.what, over.value, over.limit),
        None => Ok(()),
    }
}

struct PageFile {
    path: String,
    bytes: u64,
    gzip: u64,
}

fn files_from_manifest(manifest: &str) -> Result<Vec<PageFile>> {
    let manifest: Value = serde_json::from_str(manifest).context("www/dist/manifest.json")?;
    let entries = manifest.as_object().context("www/dist/manifest.json is no object")?;
    let number = |path: &str, entry: &Value, field: &str| {
        entry[field].as_u64().with_context(|| format!("www/dist/manifest.json: {path} has no {field}"))
    };
    let files = entries.iter().map(|(path, entry)| {
        let (bytes, gzip) = (number(path, entry, "bytes")?, number(path, entry, "gzip")?);
        Ok(PageFile { path: path.clone(), bytes, gzip })
    });
    files.collect()
}

fn limits(files: &[PageFile], recipe: &Recipe) -> Result<Vec<Limit>> {
    let stem = recipe.page.replace('-', "_");
    let total = |belongs: &dyn Fn(&str) -> bool| -> u64 {
        files.iter().filter(|file| belongs(file.path.as_str())).map(|file| file.gzip).sum()
    };
    let embed = total(&|path| path == "embed.js");
    let name = |path: &str| PathBuf::from(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let wasm = total(&|path| name(path).starts_with(&stem));
    if embed == 0 || wasm == 0 {
        bail!("www/dist/manifest.json names no embed.js or no {stem}: run `cargo xtask build` from clean");
    }
    Ok(vec![
        Limit { what: "embed.js, gzipped".to_owned(), limit: recipe.embed_gzip_bytes_max, value: embed },
        Limit { what: "wasm package, gzipped".to_owned(), limit: recipe.wasm_gzip_bytes_max, value: wasm },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{
        "embed.js": {"sha256": "", "bytes": 9000, "gzip": 4097},
        "widget/potluck_browser.1a.js": {"sha256": "", "bytes": 40, "gzip": 20},
        "widget/potluck_browser_bg.2b.wasm": {"sha256": "", "bytes": 400, "gzip": 300},
        "widget/widget.3c.js": {"sha256": "", "bytes": 1, "gzip": 1}
    }"#;

    #[test]
    fn the_budget_counts_the_embed_script_and_the_wasm_with_its_glue() {
        let recipe = Recipe::read(&Project::find().unwrap()).unwrap();
        let limits = limits(&files_from_manifest(MANIFEST).unwrap(), &recipe).unwrap();
        let seen: Vec<(u64, bool)> = limits.iter().map(|limit| (limit.value, limit.holds())).collect();
        assert_eq!(seen, [(4097, false), (320, true)]);
    }

    #[test]
    fn an_empty_manifest_is_no_pass() {
        let recipe = Recipe::read(&Project::find().unwrap()).unwrap();
        assert!(limits(&files_from_manifest("{}").unwrap(), &recipe).is_err());
        assert!(files_from_manifest(r#"{"embed.js": {"bytes": 1}}"#).is_err());
    }
}
