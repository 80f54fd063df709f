//! `wasm-pack.toml`, the recipe of the wasm package. A test holds its versions against the two
//! lock files.

use std::fs;

use anyhow::{Context, Result};
use toml::Table;

use crate::project::Project;

/// The parsed recipe.
pub(crate) struct Recipe {
    pub(crate) wasm_bindgen: String,
    pub(crate) binaryen: String,
    pub(crate) target: String,
    pub(crate) profile: String,
    pub(crate) page: String,
    pub(crate) engine: String,
    pub(crate) tests: String,
    pub(crate) variants: Vec<Variant>,
    pub(crate) optimise_flags: Vec<String>,
    pub(crate) embed_gzip_bytes_max: u64,
    pub(crate) wasm_gzip_bytes_max: u64,
}

/// One build of every wasm package.
pub(crate) struct Variant {
    pub(crate) name: String,
    /// Features of each package.
    pub(crate) features: Vec<String>,
    /// Flags of wasm-opt beside the common ones.
    pub(crate) optimise_flags: Vec<String>,
}

impl Recipe {
    pub(crate) fn read(project: &Project) -> Result<Self> {
        let path = project.at("wasm-pack.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).context("wasm-pack.toml")
    }

    fn parse(text: &str) -> Result<Self> {
        let table: Table = text.parse()?;
        let variants = table.get("variants").and_then(toml::Value::as_array).context("[[variants]] is missing")?;
        Ok(Self {
            wasm_bindgen: word(&table, "tools", "wasm-bindgen-cli-support")?,
            binaryen: word(&table, "tools", "binaryen")?,
            target: word(&table, "build", "target")?,
            profile: word(&table, "build", "profile")?,
            page: word(&table, "build", "page")?,
            engine: word(&table, "build", "engine")?,
            tests: word(&table, "build", "tests")?,
            variants: variants.iter().map(Variant::parse).collect::<Result<_>>()?,
            optimise_flags: words(field(&table, "optimise", "flags")?).context("[optimise] flags")?,
            embed_gzip_bytes_max: bytes(&table, "embed_gzip_bytes_max")?,
            wasm_gzip_bytes_max: bytes(&table, "wasm_gzip_bytes_max")?,
        })
    }
}

impl Variant {
    fn parse(value: &toml::Value) -> Result<Self> {
        let field = |name: &str| value.get(name).with_context(|| format!("a variant has no {name}"));
        Ok(Self {
            name: field("name")?.as_str().context("a variant's name is not a text")?.to_owned(),
            features: words(field("features")?)?,
            optimise_flags: words(field("optimise")?)?,
        })
    }
}

fn words(value: &toml::Value) -> Result<Vec<String>> {
    let list = value.as_array().context("not a list")?;
    list.iter().map(|word| Ok(word.as_str().context("not a list of texts")?.to_owned())).collect()
}

fn field<'a>(table: &'a Table, section: &str, name: &str) -> Result<&'a toml::Value> {
    table.get(section).and_then(|section| section.get(name)).with_context(|| format!("[{section}] {name} is missing"))
}

fn word(table: &Table, section: &str, name: &str) -> Result<String> {
    let value = field(table, section, name)?.as_str().with_context(|| format!("[{section}] {name} is not a text"))?;
    Ok(value.to_owned())
}

fn bytes(table: &Table, name: &str) -> Result<u64> {
    let value = field(table, "budget", name)?.as_integer().with_context(|| format!("[budget] {name} is no number"))?;
    Ok(u64::try_from(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(project: &Project, path: &str) -> Table {
        fs::read_to_string(project.at(path)).unwrap().parse().unwrap()
    }

    /// Versions of one package in Cargo.lock; more than one means that two releases are mixed.
    fn locked(lock: &Table, package: &str) -> Vec<String> {
        let packages = lock["package"].as_array().unwrap();
        let named = packages.iter().filter(|entry| entry["name"].as_str() == Some(package));
        named.map(|entry| entry["version"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_recipe_names_what_cargo_lock_holds() {
        let project = Project::find().unwrap();
        let (recipe, lock) = (table(&project, "wasm-pack.toml"), table(&project, "Cargo.lock"));
        for tool in ["wasm-bindgen", "wasm-bindgen-cli-support"] {
            let pinned = recipe["tools"][tool].as_str().unwrap();
            assert_eq!(locked(&lock, tool), [pinned], "{tool}: wasm-pack.toml against Cargo.lock");
        }
    }

    #[test]
    fn the_recipe_names_what_the_npm_lock_holds() {
        let project = Project::find().unwrap();
        let lock = fs::read_to_string(project.at("www/package-lock.json")).unwrap();
        let lock: serde_json::Value = serde_json::from_str(&lock).unwrap();
        let locked = lock["packages"]["node_modules/binaryen"]["version"].as_str().unwrap();
        assert_eq!(Recipe::read(&project).unwrap().binaryen, locked);
    }

    #[test]
    fn the_recipe_names_a_target_that_the_toolchain_file_brings() {
        let project = Project::find().unwrap();
        let toolchain = table(&project, "rust-toolchain.toml");
        let targets = toolchain["toolchain"]["targets"].as_array().unwrap();
        let target = Recipe::read(&project).unwrap().target;
        assert!(targets.iter().any(|named| named.as_str() == Some(&target)), "{target}");
    }

    #[test]
    fn a_missing_field_is_named() {
        let error = Recipe::parse("variants = []\n[tools]\n[optimise]\nflags = []\n").err().unwrap();
        assert!(error.to_string().contains("[tools] wasm-bindgen-cli-support"), "{error}");
    }
}
