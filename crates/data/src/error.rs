//! Why an owner's data cannot be used, each as a sentence that says what to do about it. Knows
//! nothing of exit codes or terminals.

use std::path::PathBuf;

use potluck_graph::ProgramError;

/// Why an owner's data cannot be used.
///
/// Lines count from 1 with the header as line 1, as editors count them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file cannot be opened or read.
    #[error("cannot read the data file {}; check {key} in the job file: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The field of the job file that names it.
        key: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is larger than an ingest may hold in memory.
    #[error("{file} is larger than {max} bytes; train on a smaller sample of it")]
    FileTooLarge {
        /// The file.
        file: String,
        /// The limit.
        max: u64,
    },
    /// The file has more values than an ingest may hold in memory.
    #[error("{file}, line {line}: more than {max} values; train on a smaller sample of the file")]
    TooManyValues {
        /// The file.
        file: String,
        /// Line of the first value too many.
        line: u64,
        /// The limit.
        max: usize,
    },
    /// The file has more columns than a sample may have values.
    #[error("{file} has {got} columns besides the label, at most {max} are possible; remove some")]
    TooManyFeatures {
        /// The file.
        file: String,
        /// Its columns besides the label.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// Not even a header.
    #[error("{file} is empty; it needs a line with the names of its columns and below it one line a sample")]
    Empty {
        /// The file.
        file: String,
    },
    /// There is nothing to learn from.
    #[error("{file} has no column besides the label {label:?}; add one column for each value of a sample")]
    NoFeatures {
        /// The file.
        file: String,
        /// The label's column.
        label: String,
    },
    /// The header has no column of the label's name.
    #[error(
        "{file}, line 1: no column is named {label:?}; set data.label in the job file to one of its comma-separated columns: {columns}"
    )]
    NoLabel {
        /// The file.
        file: String,
        /// The name that was looked for.
        label: String,
        /// The names that are there, cut to a line.
        columns: String,
    },
    /// The header names the label twice.
    #[error("{file}, line 1: {count} columns are named {label:?}; rename all but the one that holds the class")]
    LabelTwice {
        /// The file.
        file: String,
        /// The name.
        label: String,
        /// How often it occurs.
        count: usize,
    },
    /// A line has more or fewer values than the header.
    #[error(
        "{file}, line {line}: {got} values where the header has {expected} columns; add or remove values on that line"
    )]
    Ragged {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Values on it.
        got: u64,
        /// Columns of the header.
        expected: u64,
    },
    /// A value is not a finite number.
    #[error("{file}, line {line}, column {column:?}: expected a number, got {got:?}; write one or remove the line")]
    NotANumber {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Name of the column.
        column: String,
        /// The value, cut.
        got: String,
    },
    /// A value leaves the range of f32 once it is divided by `data.scale`.
    #[error(
        "{file}, line {line}, column {column:?}: {got:e} divided by data.scale = {scale:e} is too large; raise data.scale"
    )]
    OutOfRange {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Name of the column.
        column: String,
        /// The value before the division.
        got: f32,
        /// What it was divided by.
        scale: f32,
    },
    /// A label is not a class.
    #[error(
        "{file}, line {line}, column {column:?}: expected a class, a whole number from 0 to {max}, got {got:?}; \
         number the classes from 0"
    )]
    NotAClass {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Name of the label's column.
        column: String,
        /// Largest class possible.
        max: u32,
        /// The value, cut.
        got: String,
    },
    /// A class in the middle never occurs.
    #[error("{file}: class {missing} never occurs but class {highest} does; number the classes from 0 without gaps")]
    ClassMissing {
        /// The file.
        file: String,
        /// The first class without a sample.
        missing: u32,
        /// The highest class with one.
        highest: u32,
    },
    /// Every sample has the same class.
    #[error("{file}: every sample has class 0; there is nothing to tell apart until a second class is added")]
    OneClass {
        /// The file.
        file: String,
    },
    /// The file is not CSV.
    #[error("{file} is not a CSV file of comma-separated values; export it again as CSV: {error}")]
    NotCsv {
        /// The file.
        file: String,
        /// What the reader said.
        error: csv::Error,
    },
    /// A gzipped file that cannot be unpacked.
    #[error("{file} is gzipped but cannot be unpacked; get it again: {error}")]
    BadGzip {
        /// The file.
        file: String,
        /// What the unpacker said.
        error: std::io::Error,
    },
    /// Not MNIST's format.
    #[error("{file} is not an idx file of bytes: it begins with {got:?}, expected 00 00 08; get the original file")]
    NotIdx {
        /// The file.
        file: String,
        /// Its first bytes, in hexadecimal.
        got: String,
    },
    /// Not numpy's format, or a part of it that is not read.
    #[error("{file} is not an array that can be read: {problem}")]
    NotNpy {
        /// The file.
        file: String,
        /// What is in the way, and what to do.
        problem: String,
    },
    /// A line is not a sample.
    #[error("{file}, line {line}: {problem}; correct or remove the line")]
    NotJsonl {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is shorter or longer than its header says.
    #[error("{file} is {got} bytes, its header says {expected}; it is cut off or damaged, get it again")]
    Length {
        /// The file.
        file: String,
        /// Bytes by its header.
        expected: u64,
        /// Bytes in fact.
        got: u64,
    },
    /// An array of another rank.
    #[error("{file} has {got} dimensions, expected {expected}: is it the right file for its place in the job file?")]
    Dimensions {
        /// The file.
        file: String,
        /// Its dimensions.
        got: usize,
        /// What they may be.
        expected: &'static str,
    },
    /// Samples without values, or with more than a block holds.
    #[error("{file} has {got} values a sample, expected 1 to {max}; use smaller samples")]
    SampleSize {
        /// The file.
        file: String,
        /// Values of a sample.
        got: u64,
        /// The limit.
        max: usize,
    },
    /// A value is NaN or infinite.
    #[error("{file}, sample {sample}: expected a finite number, got {got}; write one or remove the sample")]
    SampleNotFinite {
        /// The file.
        file: String,
        /// The sample, from 0.
        sample: usize,
        /// The value.
        got: String,
    },
    /// A label of an array is not a class.
    #[error("{file}, sample {sample}: expected a class, a whole number from 0 to {max}, got {got}; number them from 0")]
    LabelOutOfRange {
        /// The file.
        file: String,
        /// The sample, from 0.
        sample: usize,
        /// The label.
        got: String,
        /// Largest class possible.
        max: u32,
    },
    /// Samples and labels are not as many.
    #[error(
        "{values_file} has {samples} samples but {labels_file} has {labels} labels; use files that belong together"
    )]
    CountsDiffer {
        /// The file of the samples.
        values_file: String,
        /// How many it has.
        samples: usize,
        /// The file of the labels.
        labels_file: String,
        /// How many it has.
        labels: usize,
    },
    /// The columns of a table do not fill `data.shape`.
    #[error("{file} has {got} values a row but data.shape = {shape:?} has {expected}; make them agree")]
    Shape {
        /// The file.
        file: String,
        /// The shape of the job file.
        shape: Vec<u32>,
        /// Its values.
        expected: usize,
        /// Values of a row.
        got: usize,
    },
    /// Nothing that could be classes.
    #[error("{} holds no folders; make one folder for each class and put its PNG or JPEG files there", folder.display())]
    NoClassFolders {
        /// The folder.
        folder: PathBuf,
    },
    /// A class without images.
    #[error("{} holds no PNG or JPEG file; add images of this class or remove the folder", folder.display())]
    EmptyClass {
        /// The folder.
        folder: PathBuf,
    },
    /// More classes than a preset takes.
    #[error("{file} has more than {max} classes; merge some")]
    TooManyClasses {
        /// The folder.
        file: String,
        /// The limit.
        max: u32,
    },
    /// An image that cannot be decoded.
    #[error("cannot decode the image {}; save it again as PNG or remove it: {error}", path.display())]
    BadImage {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        error: image::ImageError,
    },
    /// An image of another size than those before it.
    #[error(
        "{} is {} x {} pixels, the images before it are {} x {}; bring all to one size",
        path.display(), got[0], got[1], expected[0], expected[1]
    )]
    ImageSize {
        /// The file.
        path: PathBuf,
        /// Its columns and rows.
        got: [u32; 2],
        /// Those of the first image.
        expected: [u32; 2],
    },
    /// More pixels than an ingest may hold in memory.
    #[error("at {} there are more than {max} values; train on fewer or smaller images", path.display())]
    TooManyImages {
        /// The first file too many.
        path: PathBuf,
        /// The limit.
        max: usize,
    },
    /// Bytes that are not text.
    #[error("{file}, line {line}: byte {byte:#04x} is not UTF-8; save the text as UTF-8 or set data.unit = \"bytes\"")]
    NotUtf8 {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// The byte.
        byte: u8,
    },
    /// Not even one window.
    #[error("{file} has {got} tokens, one sample of model.context = {context} needs {}; use a longer text", context + 1)]
    TextTooShort {
        /// The file.
        file: String,
        /// Its tokens.
        got: usize,
        /// Tokens of a sample's input.
        context: u32,
    },
    /// A text of one symbol over and over.
    #[error("{file} holds only one character over and over; there is nothing to learn from it")]
    OneSymbol {
        /// The file.
        file: String,
    },
    /// More different characters than a preset takes.
    #[error("{file} has {got} different characters, at most {max} are possible; set data.unit = \"bytes\"")]
    TooManySymbols {
        /// The file.
        file: String,
        /// How many.
        got: u32,
        /// The limit.
        max: u32,
    },
    /// A preset for images, and samples that are none.
    #[error("preset {preset:?} needs images, and the samples have shape {shape:?}; use preset \"mlp\" or other data")]
    NoImages {
        /// The preset.
        preset: &'static str,
        /// Shape of a sample.
        shape: Vec<u32>,
    },
    /// The splits would be empty, or the training split smaller than one batch.
    #[error(
        "{file} has {got} samples but {needed} are needed for train.batch = {batch} beside the valid and test splits; \
         add samples or lower train.batch"
    )]
    TooFewSamples {
        /// The file.
        file: String,
        /// Its samples.
        got: usize,
        /// The fewest that work.
        needed: usize,
        /// Samples in one step.
        batch: u32,
    },
    /// A block would be larger than volunteers accept.
    #[error(
        "a block of data.block_samples = {block_samples} would be {got} bytes, at most {max}; \
         lower data.block_samples to {fitting}"
    )]
    BlockTooLarge {
        /// Samples in a block.
        block_samples: u32,
        /// Its size.
        got: usize,
        /// The limit.
        max: usize,
        /// The largest `data.block_samples` that fits.
        fitting: u32,
    },
    /// A task would name more blocks than fit a message.
    #[error(
        "a task of train.steps x train.batch = {task_samples} samples would need {got} blocks, at most {max}; \
         raise data.block_samples to {fitting} or lower train.batch"
    )]
    TooManyTaskBlocks {
        /// Samples of a task.
        task_samples: u64,
        /// Blocks for them.
        got: u64,
        /// The limit.
        max: usize,
        /// The smallest `data.block_samples` that is enough.
        fitting: u64,
    },
    /// The job would have more blocks than a coordinator keeps.
    #[error("the data makes {got} blocks, at most {max}; raise data.block_samples or train on a smaller sample")]
    TooManyBlocks {
        /// Blocks of all splits.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// The preset cannot be built with these sizes.
    #[error("[model] does not fit the data ({data}): {error}")]
    Program {
        /// What the data is.
        data: String,
        /// What the program's builder said.
        error: ProgramError,
    },
    /// The preset is newer than this code.
    #[error("this version of Potluck cannot read data for the preset in [model]; update Potluck")]
    UnknownPreset,
    /// The kind of data is newer than this code.
    #[error("this version of Potluck cannot read this kind of data; update Potluck")]
    UnknownSource,
}
