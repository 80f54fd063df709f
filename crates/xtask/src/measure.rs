//! The project's measurement format: `target/measure/NAME.json` holds what was measured, on what
//! machine, at which commit, and which limits held. It knows nothing of what is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::project::Project;
use crate::shell;

/// One limit and what was seen against it.
pub(crate) struct Limit {
    pub(crate) what: String,
    pub(crate) limit: u64,
    pub(crate) value: u64,
}

impl Limit {
    pub(crate) fn holds(&self) -> bool {
        self.value <= self.limit
    }
}

/// Writes `target/measure/NAME.json`.
pub(crate) fn write(project: &Project, name: &str, rows: &[Value], limits: &[Limit]) -> Result<PathBuf> {
    let limits: Vec<Value> = limits
        .iter()
        .map(|limit| json!({"what": limit.what, "limit": limit.limit, "value": limit.value, "holds": limit.holds()}))
        .collect();
    write_values(project, name, &json!(rows), &json!(limits))
}

/// The same where another program of the project has made rows and limits.
pub(crate) fn write_values(project: &Project, name: &str, rows: &Value, limits: &Value) -> Result<PathBuf> {
    let measurement = json!({
        "name": name,
        "machine": machine(),
        "date": date(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()),
        "commit": commit(project),
        "rows": rows,
        "limits": limits,
    });
    let folder = project.target("measure");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.json"));
    fs::write(&path, serde_json::to_string_pretty(&measurement)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Lists every limit that does not hold, from the last runs here and from the committed results.
pub(crate) fn print_broken_limits(project: &Project) -> Result<()> {
    let mut checked = 0;
    let mut broken = 0;
    for folder in [project.target("measure"), project.at("docs/measurements")] {
        for path in json_files(&folder)? {
            let text = fs::read_to_string(&path)?;
            let measurement: Value =
                serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
            for limit in measurement["limits"].as_array().into_iter().flatten() {
                checked += 1;
                if limit["holds"] != Value::Bool(true) {
                    broken += 1;
                    println!(
                        "{}: {} is {}, limit {}",
                        path.strip_prefix(project.root()).unwrap_or(&path).display(),
                        limit["what"].as_str().unwrap_or("?"),
                        limit["value"],
                        limit["limit"]
                    );
                }
            }
        }
    }
    println!("{checked} limits checked, {broken} do not hold");
    Ok(())
}

fn json_files(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let model = model.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{} cores, {model}, {}", cores, std::env::consts::OS)
}

fn commit(project: &Project) -> String {
    let root = project.root().to_string_lossy();
    let git = |arguments: &[&str]| shell::ask("git", &[&["-C", &root], arguments].concat());
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain"]) {
        Some(changes) if changes.is_empty() => head,
        _ => format!("{head} with changes"),
    }
}

/// The UTC date and time of a Unix second, as ISO 8601. Days to civil date after Howard Hinnant,
/// "chrono-compatible low-level date algorithms".
fn date(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date(1_798_761_599), "2026-12-31T23:59:59Z");
    }
}
