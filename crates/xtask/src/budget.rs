//! The size budget of what visitors download.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::measure::{self, Limit};
use crate::project::Project;
use crate::recipe::{Recipe, Variant};

/// Compares gzipped sizes with the budget and fails when one is over it.
pub(crate) fn check(project: &Project, recipe: &Recipe) -> Result<()> {
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
    let limit = |what: &str, limit: u64, start: &str| {
        let named = files.iter().filter(|file| file.path.starts_with(start));
        let value = named.map(|file| file.gzip).sum();
        if value == 0 {
            bail!("www/dist/manifest.json names no {start}: run `cargo xtask build` from clean");
        }
        Ok(Limit { what: format!("{what}, gzipped"), limit, value })
    };
    let mut limits = vec![limit("embed.js", recipe.embed_gzip_bytes_max, "embed.js")?];
    // A visitor downloads one of them.
    for Variant { name, .. } in &recipe.variants {
        let start = format!("widget/{}_{name}", recipe.page.replace('-', "_"));
        limits.push(limit(&format!("wasm package, {name}"), recipe.wasm_gzip_bytes_max, &start)?);
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{
        "embed.js": {"sha256": "", "bytes": 9000, "gzip": 4097},
        "widget/potluck_browser_simd.1a.js": {"sha256": "", "bytes": 40, "gzip": 20},
        "widget/potluck_browser_simd_bg.2b.wasm": {"sha256": "", "bytes": 400, "gzip": 300},
        "widget/potluck_browser_relaxed.4d.js": {"sha256": "", "bytes": 40, "gzip": 20},
        "widget/potluck_browser_relaxed_bg.5e.wasm": {"sha256": "", "bytes": 900, "gzip": 400000},
        "widget/widget.3c.js": {"sha256": "", "bytes": 1, "gzip": 1}
    }"#;

    #[test]
    fn the_budget_counts_the_embed_script_and_each_wasm_with_its_glue() {
        let recipe = Recipe::read(&Project::find().unwrap()).unwrap();
        let limits = limits(&files_from_manifest(MANIFEST).unwrap(), &recipe).unwrap();
        let seen: Vec<(u64, bool)> = limits.iter().map(|limit| (limit.value, limit.holds())).collect();
        assert_eq!(seen, [(4097, false), (320, true), (400_020, false)]);
    }

    #[test]
    fn an_empty_manifest_is_no_pass() {
        let recipe = Recipe::read(&Project::find().unwrap()).unwrap();
        assert!(limits(&files_from_manifest("{}").unwrap(), &recipe).is_err());
        assert!(files_from_manifest(r#"{"embed.js": {"bytes": 1}}"#).is_err());
    }
}
