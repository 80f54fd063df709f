//! Which category a test belongs to. The rules read where a test stands, so that a new one needs
//! no list to be kept:
//!
//! | where a test stands                              | category                              |
//! |--------------------------------------------------|---------------------------------------|
//! | `tests/tests/kernels.rs`, `tests/tests/shaders.rs` | kernels-native, tidy                |
//! | `tests/tests/backup.rs`, `crash.rs`, `damage.rs`, `faults.rs`, `process.rs` | faults                 |
//! | `tests/tests/protocol.rs`                        | protocol                              |
//! | a `proptest! { }` block, in any crate            | property                              |
//! | a module named `tidy`, in xtask                  | tidy                                  |
//! | every other test of a crate                      | unit                                  |
//! | `tests/browser/widget*.test.mjs`                 | unit                                  |
//! | other `tests/browser/*.test.mjs`                 | by its file: kernels or e2e, and the browser |
//! | `tests/python/test_*.py`                         | external                              |

use std::fmt;

use anyhow::{Context, Result, bail};

/// What a test proves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Category {
    Unit,
    Property,
    KernelsNative,
    KernelsChromium,
    KernelsFirefox,
    E2eChromium,
    E2eFirefox,
    Faults,
    Protocol,
    External,
    Tidy,
}

impl Category {
    pub(crate) const ALL: [Self; 11] = [
        Self::Unit,
        Self::Property,
        Self::KernelsNative,
        Self::KernelsChromium,
        Self::KernelsFirefox,
        Self::E2eChromium,
        Self::E2eFirefox,
        Self::Faults,
        Self::Protocol,
        Self::External,
        Self::Tidy,
    ];
    /// What `cargo test` can bring.
    pub(crate) const CARGO: [Self; 6] =
        [Self::Unit, Self::Property, Self::KernelsNative, Self::Faults, Self::Protocol, Self::Tidy];
    /// What the browser suites can bring.
    pub(crate) const NODE: [Self; 7] = [
        Self::Unit,
        Self::KernelsChromium,
        Self::KernelsFirefox,
        Self::E2eChromium,
        Self::E2eFirefox,
        Self::Faults,
        Self::Protocol,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Property => "property",
            Self::KernelsNative => "kernels-native",
            Self::KernelsChromium => "kernels-chromium",
            Self::KernelsFirefox => "kernels-firefox",
            Self::E2eChromium => "e2e-chromium",
            Self::E2eFirefox => "e2e-firefox",
            Self::Faults => "faults",
            Self::Protocol => "protocol",
            Self::External => "external",
            Self::Tidy => "tidy",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|category| category.name() == name);
        found.with_context(|| format!("`{name}` is no category; these are: {}", known()))
    }

    /// The category of a test that cargo runs. `target` is the source file that cargo names,
    /// relative to its package; `package` is the package's folder name. Property tests are told
    /// apart before.
    pub(crate) fn of_cargo_test(package: &str, target: &str, test: &str) -> Result<Self> {
        let in_module = |name: &str| test.split("::").any(|part| part == name);
        if package == "xtask" && in_module("tidy") {
            return Ok(Self::Tidy);
        }
        if package != "tests" {
            return Ok(Self::Unit);
        }
        match target.rsplit('/').next().unwrap_or_default() {
            "kernels.rs" => Ok(Self::KernelsNative),
            "shaders.rs" => Ok(Self::Tidy),
            "backup.rs" | "crash.rs" | "damage.rs" | "faults.rs" | "process.rs" => Ok(Self::Faults),
            "protocol.rs" => Ok(Self::Protocol),
            "lib.rs" => Ok(Self::Unit),
            other => {
                bail!("tests/tests/{other} fits no category: the rules stand in crates/xtask/src/suites/category.rs")
            }
        }
    }

    /// The category of a browser test, from its file's name and, where a file drives both
    /// browsers, from the browser's name in the test's.
    pub(crate) fn of_browser_test(file: &str, test: &str) -> Result<Self> {
        let (file, lower) = (file.to_lowercase(), test.to_lowercase());
        if file.contains("faults") {
            return Ok(Self::Faults);
        }
        if file.contains("protocol") {
            return Ok(Self::Protocol);
        }
        if file.contains("widget") {
            return Ok(Self::Unit);
        }
        let chromium = file.contains("chromium") || lower.contains("chromium");
        let firefox = file.contains("firefox") || lower.contains("firefox");
        match (file.contains("kernels"), chromium, firefox) {
            (true, true, false) => Ok(Self::KernelsChromium),
            (true, false, true) => Ok(Self::KernelsFirefox),
            (false, true, false) => Ok(Self::E2eChromium),
            (false, false, true) => Ok(Self::E2eFirefox),
            _ => bail!("`{test}` in tests/browser/{file} names neither Chromium nor Firefox, or both"),
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_cargo(package: &str, target: &str, test: &str, expected: &str) {
        assert_eq!(Category::of_cargo_test(package, target, test).unwrap().name(), expected);
    }

    #[test]
    fn a_test_of_a_crate_is_a_unit_test_unless_its_module_says_otherwise() {
        check_cargo("graph", "src/lib.rs", "program::tests::parses", "unit");
        check_cargo("xtask", "src/main.rs", "tidy::tests::arrows", "tidy");
        check_cargo("graph", "src/lib.rs", "tidy::tests::arrows", "unit");
    }

    #[test]
    fn a_file_of_the_tests_crate_names_its_category() {
        check_cargo("tests", "tests/kernels.rs", "matmul", "kernels-native");
        check_cargo("tests", "tests/protocol.rs", "too_new", "protocol");
        check_cargo("tests", "tests/process.rs", "restart", "faults");
        assert!(Category::of_cargo_test("tests", "tests/other.rs", "x").is_err());
    }

    #[test]
    fn a_browser_test_names_its_browser() {
        let of = |file, test| Category::of_browser_test(file, test).map(Category::name).ok();
        assert_eq!(of("kernels.firefox.test.mjs", "relu"), Some("kernels-firefox"));
        assert_eq!(of("e2e.test.mjs", "Chromium trains with WebGPU"), Some("e2e-chromium"));
        assert_eq!(of("e2e.test.mjs", "trains"), None);
    }

    #[test]
    fn every_category_reads_back_from_its_name() {
        for category in Category::ALL {
            assert_eq!(Category::parse(category.name()).unwrap(), category);
        }
        assert!(Category::parse("all").is_err());
    }
}
