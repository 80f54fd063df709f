//! `potluck init`: a job file that is right from the first line and says what each line is for.

use std::{fs, io::Write, path::Path};

use crate::{error::CliError, print};

/// Parses as it is; a test holds it to that.
pub(crate) const SKELETON: &str = r#"# A Potluck job. `potluck check` reads it and says what it will cost;
# `potluck serve` trains it. Everything that says "required" has to be there.

[job]
name = "my-job"                       # required: a-z, 0-9 and -, part of its addresses
title = "What the model will do"      # required: one line, shown to visitors
text = "Why it is worth their help."  # one paragraph, shown to visitors
owner = "Who runs this"               # required: a person or an organisation
contact = "https://example.org"       # required: an e-mail address or an https address
licence = "CC BY 4.0"                 # required: licence of the model that comes out

[data]
csv = "data.csv"                      # required: one sample a row, the first row names the columns
label = "label"                       # required: the column with the class, a whole number from 0
scale = 1                             # every other value is divided by this
# Other kinds of data, instead of csv and label:
#   idx = "images.gz", labels = "labels.gz"            MNIST's own format
#   images = "folder", colour = "rgb"                  a folder of PNG or JPEG files for each class
#   npy = "x.npy", labels = "y.npy"                    numpy arrays
#   jsonl = "data.jsonl", values = "x", label = "y"    one JSON object a line
#   text = "book.txt", unit = "characters"             a text (or "bytes"), for preset "gpt"
public = true                         # required: strangers compute on it, so it has to be public
licence = "CC BY 4.0"                 # required: licence of the data
source = "Where the data comes from"  # required
valid = 0.1                           # share kept to watch the training
test = 0.1                            # share that no volunteer ever sees, for the final word
seed = 1                              # of the one shuffle before the split
block_samples = 32                    # samples in the pieces that are handed out: best an eighth of steps x batch

[model]
preset = "mlp"                        # required: linear layers with ReLU between them
hidden = [128]                        # widths of the hidden layers
# Other presets:
#   preset = "cnn", channels = [8, 16], residual = true            for images
#   preset = "vit", patch = 7, layers = 2, width = 64, heads = 4   for images
#   preset = "gpt", context = 64, layers = 2, width = 64, heads = 4

[train]
budget_samples = 60000                # required: samples to train on, counted with repetition
# target_accuracy = 0.97              # end early once valid accuracy is this high
lr = 4e-3                             # peak learning rate; leave it out for the optimizer's own
schedule = "cosine"                   # or "linear", "constant"
steps = 8                             # optimizer steps in one task, 4 to 16
batch = 32                            # samples in a step

[visitors]
origins = ["*"]                       # who may embed it: "https://example.org", or "*" for every site
"#;

/// Writes `job.toml` into the folder.
pub(crate) fn init(folder: &Path) -> Result<(), CliError> {
    let path = folder.join("job.toml");
    let shown = path.display().to_string();
    fs::create_dir_all(folder)
        .map_err(|e| CliError::Failure(format!("cannot make the folder {} ({e})", folder.display())))?;
    let file = fs::OpenOptions::new().write(true).create_new(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(SKELETON.as_bytes()));
    written.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            CliError::Mistake(format!("{shown} is there already; delete it first, or choose another folder"))
        }
        _ => CliError::Failure(format!("cannot write {shown} ({e})")),
    })?;
    print::line(&format!("wrote {shown}: fill it in, then run `potluck check {shown}`"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use potluck_protocol::JobFile;

    use super::*;

    #[test]
    fn the_skeleton_is_a_good_job_file() {
        let file = JobFile::parse(SKELETON).expect("it parses");
        assert_eq!(file.job.name.as_str(), "my-job");
    }

    #[test]
    fn an_existing_file_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("a/b");
        init(&inner).expect("written");
        let error = init(&inner).expect_err("it is there");
        assert_eq!(error.exit_code(), 2);
        assert_eq!(fs::read_to_string(inner.join("job.toml")).expect("there"), SKELETON);
    }
}
