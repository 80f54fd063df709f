//! Texts of characters and of bytes.

use std::fs;

use expect_test::{Expect, expect};
use potluck_graph::Column;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{check_refused, decoded, job_with};
use crate::{Contents, Ingested, ingest};

const CHARACTERS: &str = "text = \"a.txt\"";
const BYTES: &str = "text = \"a.txt\"\nunit = \"bytes\"";
const GPT: &str = "preset = \"gpt\"\ncontext = 4\nlayers = 1\nwidth = 8\nheads = 2";

fn folder(text: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.txt"), text).expect("written");
    folder
}

fn read(text: &[u8], data: &str) -> Ingested {
    ingest(&job_with(data, GPT), folder(text).path()).expect("good data")
}

/// Windows of all splits as inputs and targets, sorted.
fn windows(ingested: &Ingested) -> Vec<(Vec<u32>, Vec<u32>)> {
    let mut windows = Vec::new();
    for block in [&ingested.train, &ingested.valid, &ingested.test].into_iter().flat_map(|b| decoded(ingested, b)) {
        let [Column::U32(x), Column::U32(y)] = &block.columns[..] else { panic!("other columns") };
        windows.extend(x.chunks(4).map(<[u32]>::to_vec).zip(y.chunks(4).map(<[u32]>::to_vec)));
    }
    windows.sort();
    windows
}

const TEXT: &str = "Ah, là! Où? Là-bas: a b c d e f g h i j k.";

#[test]
fn windows_do_not_overlap_and_targets_are_one_further() {
    let ingested = read(TEXT.as_bytes(), CHARACTERS);
    let Contents::Text { alphabet, .. } = &ingested.contents else { panic!("other contents") };
    let shown = |tokens: &[u32]| alphabet.decode(tokens);
    let mut seen: Vec<_> = windows(&ingested).iter().map(|(x, y)| (shown(x), shown(y))).collect();
    let characters: Vec<char> = TEXT.chars().collect();
    let window = |chunk: &[char]| (chunk[..4].iter().collect::<String>(), chunk[1..].iter().collect::<String>());
    let mut expected: Vec<_> = characters.chunks_exact(5).map(window).collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(ingested.samples as usize, characters.len() / 5);
}

#[test]
fn bytes_are_their_own_numbers() {
    let ingested = read(TEXT.as_bytes(), BYTES);
    assert_eq!(ingested.samples as usize, TEXT.len() / 5);
    let first: Vec<u32> = TEXT.bytes().take(5).map(u32::from).collect();
    assert!(windows(&ingested).contains(&(first[..4].to_vec(), first[1..].to_vec())));
    assert!(read(&[0xff; 100], BYTES).files.tokenizer.is_some());
}

#[test]
fn the_model_knows_the_alphabet() {
    let ingested = read(TEXT.as_bytes(), CHARACTERS);
    let tokenizer: serde_json::Value =
        serde_json::from_str(&ingested.files.tokenizer.expect("a tokenizer")).expect("JSON");
    let Contents::Text { alphabet, .. } = &ingested.contents else { panic!("other contents") };
    assert_eq!(tokenizer["model"]["vocab"]["ù"], alphabet.encode("ù")[0]);
    let config: serde_json::Value = serde_json::from_str(&ingested.files.config).expect("JSON");
    assert_eq!((config["vocabulary"].as_u64(), config["context"].as_u64()), (Some(alphabet.len().into()), Some(4)));
    assert_eq!(ingested.program.inputs()[0].shape, [4]);
}

#[test]
fn a_byte_order_mark_is_no_character() {
    let marked = [b"\xef\xbb\xbf".as_slice(), TEXT.as_bytes()].concat();
    assert_eq!(read(&marked, CHARACTERS).train, read(TEXT.as_bytes(), CHARACTERS).train);
}

#[track_caller]
fn check(text: &[u8], expected: Expect) {
    check_refused(&job_with(CHARACTERS, GPT), folder(text).path(), &expected);
}

#[test]
fn bad_texts_are_refused() {
    check(
        b"one line\nand \xff another",
        expect![[r#"a.txt, line 2: byte 0xff is not UTF-8; save the text as UTF-8 or set data.unit = "bytes""#]],
    );
    check(b"abc", expect!["a.txt has 3 tokens, one sample of model.context = 4 needs 5; use a longer text"]);
    check(b"", expect!["a.txt has 0 tokens, one sample of model.context = 4 needs 5; use a longer text"]);
    check(
        b"abcdefghi",
        expect![
            "a.txt has 1 samples but 4 are needed for train.batch = 2 beside the valid and test splits; add samples or lower train.batch"
        ],
    );
    check(&[b'a'; 100], expect!["a.txt holds only one character over and over; there is nothing to learn from it"]);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for data in [CHARACTERS, BYTES] {
            let _ = ingest(&job_with(data, GPT), folder(&bytes).path());
        }
    }
}
