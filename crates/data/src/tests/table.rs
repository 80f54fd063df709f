//! CSV files.

use std::path::Path;

use expect_test::{Expect, expect};
use potluck_graph::{Block, Column};
use potluck_protocol::{DataSource, JobFile, ModelSection, limits};

use super::decoded;
use crate::{
    Contents, DataError, EncodedBlock, Ingested,
    fixture::{csv, job},
    ingest, ingest_csv,
};

/// The samples of some blocks as (values, class), in order.
fn samples(ingested: &Ingested, blocks: &[EncodedBlock]) -> Vec<(Vec<f32>, u32)> {
    let blocks = decoded(ingested, blocks);
    let rows: Vec<u32> = (0..blocks.iter().map(|block| block.samples).sum()).collect();
    let columns = Block::gather(&blocks, &rows);
    let [Column::F32(x), Column::U32(y)] = &columns[..] else { panic!("other columns") };
    let Contents::Labelled { shape, .. } = &ingested.contents else { panic!("other contents") };
    x.chunks(shape.iter().product::<u32>() as usize).map(<[f32]>::to_vec).zip(y.iter().copied()).collect()
}

fn set_scale(job: &mut JobFile, new: f32) {
    if let DataSource::Csv { scale, .. } = &mut job.data.from {
        *scale = new;
    }
}

#[test]
fn every_sample_is_in_one_split() {
    let ingested = ingest_csv(&job(), csv().as_bytes()).expect("good data");
    assert_eq!((ingested.samples, ingested.contents.to_string().as_str()), (10, "2 values a sample, 2 classes"));
    let sizes = |blocks: &[EncodedBlock]| blocks.iter().map(|block| block.samples).collect::<Vec<_>>();
    assert_eq!((sizes(&ingested.train), sizes(&ingested.valid), sizes(&ingested.test)), (vec![4, 2], vec![2], vec![2]));
    assert_eq!(Ingested::samples_of(&ingested.train), 6);
    let mut all = [&ingested.train, &ingested.valid, &ingested.test].map(|split| samples(&ingested, split)).concat();
    all.sort_by(|a, b| a.0[0].total_cmp(&b.0[0]));
    let expected: Vec<_> = (0..10).map(|n| (vec![n as f32, (10 * n) as f32 + 0.5], n % 2)).collect();
    assert_eq!(all, expected);
}

#[test]
fn values_are_divided_by_the_scale() {
    let mut job = job();
    set_scale(&mut job, 16.0);
    let plain = ingest_csv(&self::job(), csv().as_bytes()).expect("good data");
    let scaled = ingest_csv(&job, csv().as_bytes()).expect("good data");
    let expected: Vec<_> = samples(&plain, &plain.train)
        .into_iter()
        .map(|(x, y)| (x.into_iter().map(|v| v / 16.0).collect::<Vec<_>>(), y))
        .collect();
    assert_eq!(samples(&scaled, &scaled.train), expected);
}

#[test]
fn other_spellings_of_the_same_numbers_read_the_same() {
    let plain = ingest_csv(&job(), csv().as_bytes()).expect("good data");
    let header = csv().replacen("a,class,b", "\u{feff}a ,\"class\", b", 1);
    let crlf = header.replace('\n', "\r\n");
    let padded = crlf.replace("3,1,30.5", " 3,1.0 , 3.05e1\r\n");
    assert_eq!(ingest_csv(&job(), padded.as_bytes()).expect("good data"), plain);
}

#[test]
fn the_digits_example_reads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits");
    let job = std::fs::read_to_string(folder.join("job.toml")).expect("the example's job file");
    let ingested = ingest(&JobFile::parse(&job).expect("a good job file"), &folder).expect("good data");
    assert_eq!((ingested.samples, ingested.contents.to_string().as_str()), (1797, "64 values a sample, 10 classes"));
    let sizes = [&ingested.train, &ingested.valid, &ingested.test].map(|split| Ingested::samples_of(split));
    assert_eq!(sizes, [1258, 180, 359]);
    assert_eq!(ingested.program.parameter_count(), 64 * 128 + 128 + 128 * 10 + 10);
}

#[test]
fn the_other_examples_read() {
    for (name, about) in [
        ("digits-cnn", "1797 samples: 1 x 8 x 8 values a sample, 10 classes"),
        ("plays", "1845 samples: 64 tokens a sample, 61 different ones"),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
        let job = std::fs::read_to_string(folder.join("job.toml")).expect("the example's job file");
        let ingested = ingest(&JobFile::parse(&job).expect("a good job file"), &folder).expect("good data");
        assert_eq!(format!("{} samples: {}", ingested.samples, ingested.contents), about);
    }
}

#[track_caller]
fn check_job(change: impl Fn(&mut JobFile), csv: &[u8], expected: Expect) {
    let mut job = job();
    change(&mut job);
    expected.assert_eq(&ingest_csv(&job, csv).expect_err("an error").to_string());
}

#[track_caller]
fn check(from: &str, to: &str, expected: Expect) {
    assert!(csv().contains(from), "{from}");
    check_job(|_| (), csv().replacen(from, to, 1).as_bytes(), expected);
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let DataError::Unreadable { path, error, .. } = ingest(&job(), folder.path()).expect_err("an error") else {
        panic!("another error")
    };
    assert_eq!(path, folder.path().join("points.csv"));
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_folder_is_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("points.csv")).expect("a folder");
    let error = ingest(&job(), folder.path()).expect_err("an error").to_string();
    assert!(error.ends_with("check data.csv in the job file: is a directory"), "{error}");
}

#[test]
fn a_file_is_read_from_beside_the_job_file() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("points.csv"), csv()).expect("a file");
    let read = ingest(&job(), folder.path()).expect("good data");
    assert_eq!(read, ingest_csv(&job(), csv().as_bytes()).expect("good data"));
}

#[test]
fn a_missing_label_column_is_named_with_the_choices() {
    check(
        "class",
        "klass",
        expect![[
            r#"points.csv, line 1: no column is named "class"; set data.label in the job file to one of its comma-separated columns: a, klass, b"#
        ]],
    );
}

#[test]
fn semicolons_are_shown_as_they_are() {
    check_job(
        |_| (),
        csv().replace(',', ";").as_bytes(),
        expect![[
            r#"points.csv, line 1: no column is named "class"; set data.label in the job file to one of its comma-separated columns: a;class;b"#
        ]],
    );
}

#[test]
fn two_label_columns_are_refused() {
    check(
        "a,class",
        "class,class",
        expect![[r#"points.csv, line 1: 2 columns are named "class"; rename all but the one that holds the class"#]],
    );
}

#[test]
fn a_label_alone_is_refused() {
    check_job(
        |_| (),
        b"class\n0\n1\n",
        expect![[r#"points.csv has no column besides the label "class"; add one column for each value of a sample"#]],
    );
}

#[test]
fn a_word_is_refused() {
    check(
        "3,1,30.5",
        "3,1,thirty",
        expect![[r#"points.csv, line 5, column "b": expected a number, got "thirty"; write one or remove the line"#]],
    );
}

#[test]
fn an_empty_value_is_refused() {
    check(
        "3,1,30.5",
        ",1,30.5",
        expect![[r#"points.csv, line 5, column "a": expected a number, got ""; write one or remove the line"#]],
    );
}

#[test]
fn nan_and_infinity_are_refused() {
    check(
        "3,1,30.5",
        "NaN,1,30.5",
        expect![[r#"points.csv, line 5, column "a": expected a number, got "NaN"; write one or remove the line"#]],
    );
    check(
        "3,1,30.5",
        "3,1,1e40",
        expect![[r#"points.csv, line 5, column "b": expected a number, got "1e40"; write one or remove the line"#]],
    );
}

#[test]
fn a_value_that_the_scale_blows_up_is_refused() {
    check_job(
        |job| set_scale(job, 1e-30),
        csv().replacen("3,1,30.5", "3,1,1e30", 1).as_bytes(),
        expect![[
            r#"points.csv, line 5, column "b": 1e30 divided by data.scale = 1e-30 is too large; raise data.scale"#
        ]],
    );
}

#[test]
fn a_label_that_is_no_whole_number_is_refused() {
    check(
        "3,1,30.5",
        "3,1.5,30.5",
        expect![[
            r#"points.csv, line 5, column "class": expected a class, a whole number from 0 to 65535, got "1.5"; number the classes from 0"#
        ]],
    );
    check(
        "3,1,30.5",
        "3,-1,30.5",
        expect![[
            r#"points.csv, line 5, column "class": expected a class, a whole number from 0 to 65535, got "-1"; number the classes from 0"#
        ]],
    );
    check(
        "3,1,30.5",
        "3,cat,30.5",
        expect![[
            r#"points.csv, line 5, column "class": expected a class, a whole number from 0 to 65535, got "cat"; number the classes from 0"#
        ]],
    );
    check(
        "3,1,30.5",
        "3,70000,30.5",
        expect![[
            r#"points.csv, line 5, column "class": expected a class, a whole number from 0 to 65535, got "70000"; number the classes from 0"#
        ]],
    );
}

#[test]
fn a_gap_between_classes_is_refused() {
    check(
        "3,1,30.5",
        "3,7,30.5",
        expect!["points.csv: class 2 never occurs but class 7 does; number the classes from 0 without gaps"],
    );
}

#[test]
fn one_class_is_refused() {
    check_job(
        |_| (),
        csv().replace(",1,", ",0,").as_bytes(),
        expect!["points.csv: every sample has class 0; there is nothing to tell apart until a second class is added"],
    );
}

#[test]
fn a_ragged_line_is_refused() {
    check(
        "3,1,30.5",
        "3,1",
        expect!["points.csv, line 5: 2 values where the header has 3 columns; add or remove values on that line"],
    );
    check(
        "3,1,30.5",
        "3,1,30.5,4",
        expect!["points.csv, line 5: 4 values where the header has 3 columns; add or remove values on that line"],
    );
}

#[test]
fn bytes_that_are_not_text_are_refused() {
    let mut bytes = csv().into_bytes();
    let at = bytes.len() - 2;
    bytes[at] = 0xff;
    check_job(
        |_| (),
        &bytes,
        expect![[r#"points.csv, line 11, column "b": expected a number, got "90.�"; write one or remove the line"#]],
    );
}

#[test]
fn too_few_samples_are_refused() {
    check_job(
        |_| (),
        b"a,class\n1,0\n2,1\n",
        expect![
            "points.csv has 2 samples but 4 are needed for train.batch = 2 beside the valid and test splits; add samples or lower train.batch"
        ],
    );
    check_job(
        |_| (),
        b"a,class\n",
        expect![
            "points.csv has 0 samples but 4 are needed for train.batch = 2 beside the valid and test splits; add samples or lower train.batch"
        ],
    );
    check_job(
        |_| (),
        b"",
        expect!["points.csv is empty; it needs a line with the names of its columns and below it one line a sample"],
    );
}

#[test]
fn a_block_over_the_limit_is_refused() {
    let wide: String = (0..1000).map(|n| format!("c{n},")).collect::<String>() + "class\n";
    let line = |n: u32| "1,".repeat(1000) + &format!("{}\n", n % 2);
    let csv = wide + &(0..10).map(line).collect::<String>();
    check_job(
        |job| job.data.block_samples = 4096,
        csv.as_bytes(),
        expect![
            "a block of data.block_samples = 4096 would be 16400416 bytes, at most 524288; lower data.block_samples to 130"
        ],
    );
}

#[test]
fn a_task_of_too_many_blocks_is_refused() {
    let line = |n: u32| format!("{n},{}\n", n % 2);
    let csv = "a,class\n".to_owned() + &(0..1000).map(line).collect::<String>();
    check_job(
        |job| (job.train.batch, job.train.steps) = (64, 16),
        csv.as_bytes(),
        expect![
            "a task of train.steps x train.batch = 1024 samples would need 256 blocks, at most 64; raise data.block_samples to 16 or lower train.batch"
        ],
    );
}

#[test]
fn a_model_that_does_not_fit_is_refused() {
    let huge = |job: &mut JobFile| job.model = ModelSection::Mlp { hidden: vec![65_536, 65_536] };
    check_job(
        huge,
        csv().as_bytes(),
        expect![
            "[model] does not fit the data (2 values a sample, 2 classes): node 6 (parameter) has shape [65536, 65536]: expected 1 to 33554432 values"
        ],
    );
}

#[test]
fn files_over_a_limit_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    // A file with a hole: it has the length, the disk does not.
    let file = std::fs::File::create(folder.path().join("points.csv")).expect("a file");
    file.set_len(limits::CSV_BYTES_MAX + 1).expect("a long file");
    let error = ingest(&job(), folder.path()).expect_err("an error").to_string();
    expect!["points.csv is larger than 2147483648 bytes; train on a smaller sample of it"].assert_eq(&error);

    let header = "c,".repeat(limits::FEATURES_MAX + 1) + "class\n";
    check_job(
        |_| (),
        header.as_bytes(),
        expect!["points.csv has 131009 columns besides the label, at most 131008 are possible; remove some"],
    );

    let line = |n: usize| format!("{n},{}\n", n % 2);
    let csv = "a,class\n".to_owned() + &(0..limits::JOB_BLOCKS_MAX).map(line).collect::<String>();
    let mut job = job();
    job.data.block_samples = 1;
    ingest_csv(&job, csv.as_bytes()).expect("as many blocks as a job may have");
    check_job(
        |job| job.data.block_samples = 1,
        (csv + &line(0)).as_bytes(),
        expect!["the data makes 65537 blocks, at most 65536; raise data.block_samples or train on a smaller sample"],
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_same_seed_gives_the_same_blocks_and_another_does_not(seed: u64, other: u64) {
            let with = |seed| {
                let mut job = job();
                job.data.seed = seed;
                ingest_csv(&job, csv().as_bytes()).expect("good data")
            };
            prop_assert_eq!(with(seed), with(seed));
            // Ten samples have 3.6 million orders, so a chance hit would be worth looking at.
            prop_assert!(seed == other || with(seed).train != with(other).train);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = ingest_csv(&job(), bytes.as_slice());
        }

        #[test]
        fn no_damaged_file_panics(at in any::<prop::sample::Index>(), text in "[0-9a-z,.;\"\n\r\\-]{0,8}", cut in 0usize..30) {
            let mut damaged = csv();
            let at = at.index(damaged.len());
            let end = (at + cut).min(damaged.len());
            damaged.replace_range(at..end, &text);
            if let Ok(ingested) = ingest_csv(&job(), damaged.as_bytes()) {
                // Whatever is accepted must be readable by a volunteer.
                for blocks in [&ingested.train, &ingested.valid, &ingested.test] {
                    decoded(&ingested, blocks);
                }
            }
        }

        #[test]
        fn no_number_panics(value in any::<f32>(), label in any::<i64>(), scale in prop::num::f32::POSITIVE) {
            let mut job = job();
            set_scale(&mut job, scale);
            let damaged = csv().replacen("3,1,30.5", &format!("{value},{label},0"), 1);
            if let Ok(ingested) = ingest_csv(&job, damaged.as_bytes()) {
                decoded(&ingested, &ingested.train);
            }
        }
    }
}
