//! `cargo xtask ci`: the gates that are no tests. Each is a phase, and the first that fails ends
//! it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::{cargo, wasm_cargo};
use crate::phases::Phases;
use crate::project::Project;
use crate::recipe::Recipe;
use crate::setup::{self, Need, Tools};
use crate::shell;
use crate::tidy;

/// A cargo subcommand that the gates install for themselves.
struct CargoTool {
    name: &'static str,
    version: &'static str,
}

const DENY: CargoTool = CargoTool { name: "cargo-deny", version: "0.20.2" };
const MACHETE: CargoTool = CargoTool { name: "cargo-machete", version: "0.9.2" };

pub(crate) fn run(project: &Project, phases: &mut Phases) -> Result<()> {
    let recipe = Recipe::read(project)?;
    phases.run("format", || shell::run(cargo(project).args(["fmt", "--all", "--check"])))?;
    phases.run("tidy", || tidy::run(project))?;
    let tools = setup::run(project, phases, Need::Everything)?;
    phases.run("spelling", || spelling(project, &tools))?;
    phases.run("types of the pages", || types(project, &tools))?;
    phases.run("clippy, native", || {
        shell::run(cargo(project).args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    for variant in &recipe.variants {
        phases.run(&format!("clippy, wasm32, {}", variant.name), || {
            shell::run(wasm_cargo(project, &recipe, variant, "clippy")?.args(["--", "-D", "warnings"]))
        })?;
    }
    phases.run("documentation", || {
        let mut doc = cargo(project);
        shell::run(doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    let deny = phases.run("bring cargo-deny", || bring(&DENY))?;
    phases.run("dependencies: bans, licences, sources", || {
        shell::run(command(project, &deny).args(["check", "bans", "licenses", "sources"]))
    })?;
    phases.run("dependencies: advisories", || advisories(project, &deny))?;
    let machete = phases.run("bring cargo-machete", || bring(&MACHETE))?;
    phases.run("unused dependencies", || shell::run(command(project, &machete).arg(project.root())))?;
    phases.print();
    Ok(())
}

fn command(project: &Project, program: &PathBuf) -> Command {
    let mut command = Command::new(program);
    command.current_dir(project.root());
    command
}

/// Known vulnerabilities, where their database can be fetched. Where it cannot (a machine that
/// reaches package registries only), that is said and is no failure.
fn advisories(project: &Project, deny: &PathBuf) -> Result<()> {
    let fetched = command(project, deny).args(["fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0").output()?;
    if !fetched.status.success() {
        println!("  NOT CHECKED: the advisory database could not be fetched");
        return Ok(());
    }
    shell::run(command(project, deny).args(["check", "advisories"]))
}

/// The tool's program, installed when this version is not there yet. Outside the clone, so that a
/// fresh clone need not compile it again; unoptimised, since it runs for a second and compiles
/// for minutes.
fn bring(tool: &CargoTool) -> Result<PathBuf> {
    let folder = cache_folder()?.join("potluck-tools").join(format!("{}-{}", tool.name, tool.version));
    let program = folder.join("bin").join(format!("{}{}", tool.name, std::env::consts::EXE_SUFFIX));
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&folder)?;
    let mut install = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Not in the clone: its .cargo/config.toml and lints are for the project, not for its tools.
    install.current_dir(&folder).args(["install", tool.name, "--version", tool.version]);
    install.args(["--locked", "--debug", "--quiet", "--root"]).arg(&folder);
    shell::run(&mut install)?;
    Ok(program)
}

fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    Ok(PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache"))
}

fn spelling(project: &Project, tools: &Tools) -> Result<()> {
    let python = tools.python().context("setup made no Python environment")?;
    shell::run(tools.command(python.with_file_name("typos")).arg("--config").arg(project.at("typos.toml")))
}

fn types(project: &Project, tools: &Tools) -> Result<()> {
    let mut tsc = tools.node();
    shell::run(tsc.arg(project.npm_program("tsc")).arg("--noEmit").arg("--project").arg(project.at("www")))
}
