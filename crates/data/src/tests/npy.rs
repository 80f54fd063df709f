//! numpy's own format.

use std::fs;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{MLP, all_samples, check_refused, job_with};
use crate::{Contents, ingest};

const DATA: &str = "npy = \"x.npy\"\nlabels = \"y.npy\"\nscale = 2";

fn npy(kind: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    header += &" ".repeat(64 - (10 + header.len() + 1) % 64);
    header.push('\n');
    [b"\x93NUMPY\x01\x00", (header.len() as u16).to_le_bytes().as_slice(), header.as_bytes(), values].concat()
}

fn f32s(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

fn values() -> Vec<u8> {
    npy("<f4", "(10, 2)", &f32s((0..20).map(|n| n as f32)))
}

fn labels() -> Vec<u8> {
    npy("<i8", "(10,)", &(0..10i64).flat_map(|n| (n % 2).to_le_bytes()).collect::<Vec<u8>>())
}

fn folder(values: &[u8], labels: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("x.npy"), values).expect("written");
    fs::write(folder.path().join("y.npy"), labels).expect("written");
    folder
}

#[test]
fn arrays_are_read() {
    let folder = folder(&values(), &labels());
    let ingested = ingest(&job_with(DATA, MLP), folder.path()).expect("good data");
    let expected: Vec<_> = (0..10).map(|n| (vec![n as f32, n as f32 + 0.5], n % 2)).collect();
    assert_eq!(all_samples(&ingested), expected);
}

#[test]
fn rows_and_columns_are_an_image() {
    let folder = folder(&npy("|u1", "(10, 2, 3)", &[5; 60]), &labels());
    let ingested = ingest(&job_with(DATA, "preset = \"cnn\"\nchannels = [2]"), folder.path()).expect("good data");
    let Contents::Labelled { shape, .. } = &ingested.contents else { panic!("other contents") };
    assert_eq!(shape, &[1, 2, 3]);
}

#[track_caller]
fn check(values: &[u8], labels: &[u8], expected: Expect) {
    let folder = folder(values, labels);
    check_refused(&job_with(DATA, MLP), folder.path(), &expected);
}

#[test]
fn what_cannot_be_read_is_refused() {
    check(
        b"PK\x03\x04",
        &labels(),
        expect!["x.npy is not an array that can be read: it is an .npz archive; save each array with numpy.save"],
    );
    check(b"\x93NUMPY", &labels(), expect!["x.npy is not an array that can be read: its version is unknown"]);
    check(
        &npy("<c8", "(10, 1)", &[0; 80]),
        &labels(),
        expect![[
            r#"x.npy is not an array that can be read: its values are "<c8"; convert it to u1, i1, i4, i8, f4 or f8, little-endian"#
        ]],
    );
    check(
        &npy(">f4", "(10, 1)", &[0; 40]),
        &labels(),
        expect![[
            r#"x.npy is not an array that can be read: its values are ">f4"; convert it to u1, i1, i4, i8, f4 or f8, little-endian"#
        ]],
    );
    let by_columns = String::from_utf8_lossy(&npy("|u1", "(10, 1)", &[0; 10])[10..]).replace("False", "True ");
    check(
        &[&values()[..10], by_columns.as_bytes()].concat(),
        &labels(),
        expect![
            "x.npy is not an array that can be read: its values run by columns; save numpy.ascontiguousarray of it"
        ],
    );
    check(
        &npy("<f4", "(4000000000, 4000000000, 4000000000)", &[]),
        &labels(),
        expect!["x.npy is not an array that can be read: it has more than 134217728 values"],
    );
    check(
        &values()[..140],
        &labels(),
        expect!["x.npy is 140 bytes, its header says 208; it is cut off or damaged, get it again"],
    );
    check(
        &npy("<f4", "(10,)", &f32s([0.0; 10])),
        &labels(),
        expect!["x.npy has 1 dimensions, expected two to four: is it the right file for its place in the job file?"],
    );
}

#[test]
fn values_and_labels_are_checked() {
    check(
        &npy("<f4", "(10, 1)", &f32s((0..10).map(|n| if n == 3 { f32::NAN } else { 0.0 }))),
        &labels(),
        expect!["x.npy, sample 3: expected a finite number, got NaN; write one or remove the sample"],
    );
    check(
        &values(),
        &npy("<f4", "(10,)", &f32s((0..10).map(|n| n as f32 / 2.0))),
        expect!["y.npy, sample 1: expected a class, a whole number from 0 to 65535, got 0.5; number them from 0"],
    );
    check(
        &values(),
        &npy("|i1", "(10,)", &[0, 1, 0, 1, 255, 0, 1, 0, 1, 0]),
        expect!["y.npy, sample 4: expected a class, a whole number from 0 to 65535, got -1; number them from 0"],
    );
    check(
        &values(),
        &npy("|u1", "(4,)", &[0, 1, 0, 1]),
        expect!["x.npy has 10 samples but y.npy has 4 labels; use files that belong together"],
    );
    check(
        &values(),
        &npy("|u1", "(10, 1)", &[0; 10]),
        expect!["y.npy has 2 dimensions, expected one: is it the right file for its place in the job file?"],
    );
}

proptest! {
    #[test]
    fn no_damaged_array_panics(at in any::<prop::sample::Index>(), byte: u8, cut in 0usize..200) {
        let mut bytes = values();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        let folder = folder(&bytes, &labels());
        let _ = ingest(&job_with(DATA, MLP), folder.path());
    }
}
