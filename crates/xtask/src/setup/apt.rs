//! System packages through apt, where there is apt: as root, or through sudo after one question.

use std::io::Write;
use std::process::Command;

use anyhow::Result;

use crate::shell;

/// Something that a system package can bring.
pub(super) struct Wish {
    /// What it is, in the question to the user.
    pub(super) what: &'static str,
    /// The packages that bring it, best first; one of them is enough.
    pub(super) packages: &'static [&'static str],
    /// What a candidate's version must be like.
    pub(super) accepts: fn(version: &str) -> bool,
}

/// Ubuntu's `chromium-browser` and `firefox` only start a snap, which cannot be driven; their
/// versions say so.
pub(super) fn no_snap(version: &str) -> bool {
    !version.contains("snap")
}

enum Rights {
    Root,
    Sudo,
}

/// Installs what can be had. Whoever asked looks again afterwards, so a wish that apt cannot
/// fulfil is no error here.
pub(super) fn bring(wishes: &[Wish]) -> Result<()> {
    if shell::which("apt-get").is_none() {
        return Ok(());
    }
    let what = wishes.iter().map(|wish| wish.what).collect::<Vec<_>>().join(", ");
    let Some(rights) = rights(&what)? else {
        return Ok(());
    };
    println!("  apt-get update");
    // A stale list still installs most things, so a failed update is only said.
    if let Err(error) = shell::run_quietly(command(&rights).args(["update", "--quiet"])) {
        println!("  {error:#}; going on with the lists that are here");
    }
    for wish in wishes {
        let Some(package) = wish.packages.iter().find(|package| candidate(package).is_some_and(|v| (wish.accepts)(&v)))
        else {
            println!("  apt has no package for {}", wish.what);
            continue;
        };
        println!("  apt-get install {package}");
        let mut install = command(&rights);
        install.args(["install", "--yes", "--quiet", "--no-install-recommends", package]);
        if let Err(error) = shell::run_quietly(&mut install) {
            println!("  {error:#}");
        }
    }
    Ok(())
}

pub(super) fn is_root() -> bool {
    shell::ask("id", &["-u"]).as_deref() == Some("0")
}

fn rights(what: &str) -> Result<Option<Rights>> {
    if is_root() {
        return Ok(Some(Rights::Root));
    }
    if shell::which("sudo").is_none() {
        return Ok(None);
    }
    if shell::unattended() {
        // Hosted CI gives its user sudo without a password; anyone else is not asked.
        let silent = std::env::var_os("CI").is_some() && shell::ask("sudo", &["-n", "true"]).is_some();
        return Ok(silent.then_some(Rights::Sudo));
    }
    print!("  Missing: {what}. Install with `sudo apt-get install`? [Y/n] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    let yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes");
    if !yes {
        return Ok(None);
    }
    // Asks for the password now, with the terminal still free.
    shell::run_with_input(Command::new("sudo").arg("-v"))?;
    Ok(Some(Rights::Sudo))
}

fn command(rights: &Rights) -> Command {
    match rights {
        Rights::Root => {
            let mut command = Command::new("apt-get");
            command.env("DEBIAN_FRONTEND", "noninteractive");
            command
        }
        Rights::Sudo => {
            let mut command = Command::new("sudo");
            command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            command
        }
    }
}

/// The version that apt would install.
fn candidate(package: &str) -> Option<String> {
    let policy = shell::ask("apt-cache", &["policy", package])?;
    candidate_in(&policy)
}

fn candidate_in(policy: &str) -> Option<String> {
    let line = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?;
    Some(line.trim().to_owned()).filter(|version| version != "(none)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snap_wrapper_is_no_candidate() {
        let policy = "firefox:\n  Installed: (none)\n  Candidate: 1:1snap1-0ubuntu5\n";
        assert!(!no_snap(&candidate_in(policy).unwrap()));
        let policy = "chromium:\n  Installed: (none)\n  Candidate: 156.0.8078.79-1~deb12u1\n";
        assert!(no_snap(&candidate_in(policy).unwrap()));
    }

    #[test]
    fn a_package_that_is_not_served_has_no_candidate() {
        assert_eq!(candidate_in("firefox:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        assert_eq!(candidate_in(""), None);
    }
}
