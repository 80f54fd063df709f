//! Building and testing must compile the same dependencies: a feature that only a test's
//! dependency switches on makes cargo compile that crate, and all that stands on it, twice. With
//! wgpu above it that is a minute and a half.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Findings;
use crate::build;
use crate::project::Project;
use crate::shell;

pub(super) fn check(project: &Project, findings: &mut Findings) -> Result<()> {
    let built = tree(project, "normal,build")?;
    let tested = tree(project, "normal,build,dev")?;
    compare(&features_in(&built), &features_in(&tested), findings);
    Ok(())
}

fn tree(project: &Project, edges: &str) -> Result<String> {
    let mut cargo = build::cargo(project);
    cargo.args(["tree", "--workspace", "--quiet", "--prefix", "none", "--edges", edges, "--format", "{p}\t{f}"]);
    shell::output(&mut cargo)
}

/// Package and version, and every set of features that it is compiled with: a crate can be
/// compiled once for the host's tools and once for the program.
type Features<'a> = BTreeMap<&'a str, Vec<&'a str>>;

fn features_in(tree: &str) -> Features<'_> {
    let mut features = Features::new();
    for line in tree.lines() {
        let Some((package, set)) = line.split_once('\t') else {
            continue;
        };
        let set = set.trim_end_matches("(*)").trim();
        let sets = features.entry(package).or_default();
        if !sets.contains(&set) {
            sets.push(set);
        }
    }
    features.values_mut().for_each(|sets| sets.sort_unstable());
    features
}

fn compare(built: &Features<'_>, tested: &Features<'_>, findings: &mut Findings) {
    for (package, sets) in built {
        let in_tests = tested.get(package);
        if in_tests.is_some_and(|in_tests| in_tests != sets) {
            findings.breaches.push(format!(
                "{package}: compiled twice, with features `{}` to build and `{}` to test; \
                 let tests/Cargo.toml depend on what adds them",
                sets.join("` `"),
                in_tests.map(|sets| sets.join("` `")).unwrap_or_default()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_that_only_tests_use_is_found() {
        let mut findings = Findings::default();
        let built = features_in("num v1\tlibm\nnum v1\tlibm (*)\nserde v1\tstd");
        compare(&built, &features_in("num v1\tlibm\nserde v1\tstd\nproptest v1\tstd"), &mut findings);
        assert!(findings.breaches.is_empty());
        compare(&built, &features_in("num v1\tlibm,std\nserde v1\tstd"), &mut findings);
        assert_eq!(findings.breaches.len(), 1);
    }
}
