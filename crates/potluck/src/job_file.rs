//! Finding and reading job files.

use std::path::{Path, PathBuf};

use potluck_protocol::{JobFile, limits};

use crate::error::CliError;

/// A job file and the folder that its paths start from.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) file: JobFile,
    pub(crate) path: PathBuf,
    pub(crate) base_folder: PathBuf,
}

/// Reads a job file; a folder stands for the `job.toml` in it.
pub(crate) fn read(path: &Path) -> Result<Read, CliError> {
    let path = if path.is_dir() { path.join("job.toml") } else { path.to_owned() };
    let shown = path.display();
    let mistake = |text: String| CliError::Mistake(text);
    let metadata = std::fs::metadata(&path).map_err(|e| {
        mistake(format!("cannot read the job file {shown} ({e}); `potluck init` writes one to fill in"))
    })?;
    if metadata.len() > limits::JOB_FILE_BYTES_MAX as u64 {
        let max = limits::JOB_FILE_BYTES_MAX;
        return Err(mistake(format!("{shown} has {} bytes, a job file at most {max}", metadata.len())));
    }
    let text =
        std::fs::read_to_string(&path).map_err(|e| mistake(format!("cannot read the job file {shown} ({e})")))?;
    let file = JobFile::parse(&text).map_err(|e| mistake(format!("{shown}: {e}")))?;
    let base_folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    Ok(Read { file, path, base_folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &Path, expected: &str) {
        let error = read(path).expect_err("refused");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        check(folder.path(), "job.toml (No such file or directory (os error 2)); `potluck init` writes one");
        let path = folder.path().join("job.toml");
        std::fs::write(&path, crate::init::SKELETON.replace("steps = 8", "steps = 99")).expect("written");
        check(folder.path(), "train.steps: expected 4 to 16, got 99");
        std::fs::write(&path, vec![b'#'; limits::JOB_FILE_BYTES_MAX + 1]).expect("written");
        check(&path, "a job file at most");
        std::fs::write(&path, [0xff]).expect("written");
        check(&path, "valid UTF-8");
    }

    #[test]
    fn paths_start_from_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("job.toml"), crate::init::SKELETON).expect("written");
        let read = read(folder.path()).expect("a good file");
        assert_eq!(read.base_folder, folder.path());
    }
}
