//! MNIST's own format.

use std::{fs, io::Write, path::Path};

use expect_test::{Expect, expect};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{MLP, all_samples, check_refused, job_with};
use crate::{Contents, ingest};

const DATA: &str = "idx = \"images\"\nlabels = \"labels\"";
const CNN: &str = "preset = \"cnn\"\nchannels = [4]";

fn idx(extents: &[u32], values: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, extents.len() as u8];
    bytes.extend(extents.iter().flat_map(|extent| extent.to_be_bytes()));
    bytes.extend(values);
    bytes
}

/// Ten images of 2 x 3 pixels, the first with zeros, and classes 0 and 1.
fn images() -> Vec<u8> {
    idx(&[10, 2, 3], (0..60).map(|n| n / 6 * 10))
}

fn labels() -> Vec<u8> {
    idx(&[10], (0..10).map(|n| n % 2))
}

fn folder(images: &[u8], labels: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("images"), images).expect("written");
    fs::write(folder.path().join("labels"), labels).expect("written");
    folder
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("written")
}

#[test]
fn images_are_read_with_their_shape_and_scale() {
    let folder = folder(&images(), &labels());
    let ingested = ingest(&job_with(DATA, CNN), folder.path()).expect("good data");
    let Contents::Labelled { shape, classes, .. } = &ingested.contents else { panic!("other contents") };
    assert_eq!((ingested.samples, shape.as_slice(), *classes), (10, &[1, 2, 3][..], 2));
    assert_eq!(ingested.program.inputs()[0].shape, [1, 2, 3]);
    let expected: Vec<_> = (0..10).map(|n| (vec![n as f32 * 10.0 / 255.0; 6], n % 2)).collect();
    assert_eq!(all_samples(&ingested), expected);
}

#[test]
fn gzipped_files_read_the_same() {
    let plain = folder(&images(), &labels());
    let packed = folder(&gzip(&images()), &gzip(&labels()));
    let read = |folder: &Path| ingest(&job_with(DATA, MLP), folder).expect("good data");
    assert_eq!(read(packed.path()), read(plain.path()));
}

#[track_caller]
fn check(images: &[u8], labels: &[u8], expected: Expect) {
    let folder = folder(images, labels);
    check_refused(&job_with(DATA, MLP), folder.path(), &expected);
}

#[test]
fn a_missing_file_is_named_with_its_field() {
    let folder = tempfile::tempdir().expect("a folder");
    check_refused(
        &job_with(DATA, MLP),
        folder.path(),
        &expect![
            "cannot read the data file FOLDER/images; check data.idx in the job file: No such file or directory (os error 2)"
        ],
    );
    fs::write(folder.path().join("images"), images()).expect("written");
    check_refused(
        &job_with(DATA, MLP),
        folder.path(),
        &expect![
            "cannot read the data file FOLDER/labels; check data.labels in the job file: No such file or directory (os error 2)"
        ],
    );
}

#[test]
fn another_format_is_refused() {
    check(
        b"\x89PNG\r\n\x1a\n",
        &labels(),
        expect![[
            r#"images is not an idx file of bytes: it begins with "89 50 4e 47", expected 00 00 08; get the original file"#
        ]],
    );
    check(
        b"",
        &labels(),
        expect![[r#"images is not an idx file of bytes: it begins with "", expected 00 00 08; get the original file"#]],
    );
    let mut floats = images();
    floats[2] = 13;
    check(
        &floats,
        &labels(),
        expect![[
            r#"images is not an idx file of bytes: it begins with "00 00 0d 03", expected 00 00 08; get the original file"#
        ]],
    );
}

#[test]
fn a_cut_file_is_refused() {
    check(
        &images()[..60],
        &labels(),
        expect!["images is 60 bytes, its header says 76; it is cut off or damaged, get it again"],
    );
    check(
        &images()[..10],
        &labels(),
        expect!["images is 10 bytes, its header says 16; it is cut off or damaged, get it again"],
    );
    check(
        &[images(), vec![0]].concat(),
        &labels(),
        expect!["images is 77 bytes, its header says 76; it is cut off or damaged, get it again"],
    );
    check(
        &gzip(&images())[..30],
        &labels(),
        expect!["images is gzipped but cannot be unpacked; get it again: incomplete deflate stream"],
    );
}

#[test]
fn a_header_that_promises_too_much_is_refused() {
    check(
        &idx(&[u32::MAX, u32::MAX, u32::MAX], []),
        &labels(),
        expect!["images is 16 bytes, its header says 18446744073709551615; it is cut off or damaged, get it again"],
    );
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    check(
        &images(),
        &idx(&[9], [0; 9]),
        expect!["images has 10 samples but labels has 9 labels; use files that belong together"],
    );
    check(
        &images(),
        &images(),
        expect!["labels has 3 dimensions, expected one: is it the right file for its place in the job file?"],
    );
    check(
        &labels(),
        &labels(),
        expect!["images has 1 dimensions, expected two to four: is it the right file for its place in the job file?"],
    );
}

#[test]
fn classes_have_no_gaps() {
    check(
        &images(),
        &idx(&[10], [0, 1, 2, 4, 0, 1, 2, 4, 0, 1]),
        expect!["labels: class 3 never occurs but class 4 does; number the classes from 0 without gaps"],
    );
    check(
        &images(),
        &idx(&[10], [0; 10]),
        expect!["labels: every sample has class 0; there is nothing to tell apart until a second class is added"],
    );
}

proptest! {
    #[test]
    fn no_damaged_file_panics(at in any::<prop::sample::Index>(), byte: u8, cut in 0usize..70) {
        let mut bytes = images();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        let folder = folder(&bytes, &labels());
        let _ = ingest(&job_with(DATA, MLP), folder.path());
    }
}
