//! Packs that are cut, flipped, emptied and shared, and what is found in them.

use super::*;

fn bytes(n: u8) -> Bytes {
    vec![n; 100].into()
}

fn packs() -> (tempfile::TempDir, Packs) {
    let folder = tempfile::tempdir().expect("a folder");
    let packs = Packs::in_folder(folder.path()).expect("packs");
    (folder, packs)
}

fn pack_count(folder: &Path) -> usize {
    numbers(folder).expect("readable").len()
}

/// A folder with one pack of three blobs.
async fn three() -> (tempfile::TempDir, [BlobId; 3]) {
    let (folder, packs) = packs();
    let mut ids = [BlobId([0; 32]); 3];
    for n in 0..3u8 {
        ids[usize::from(n)] = packs.put(bytes(n)).await.expect("stored");
    }
    (folder, ids)
}

/// Which of the blobs a process finds whole after the pack was changed.
async fn found(change: impl FnOnce(&mut Vec<u8>)) -> [bool; 3] {
    let (folder, ids) = three().await;
    let path = format::path(folder.path(), 1);
    let mut all = fs::read(&path).expect("a pack");
    change(&mut all);
    fs::write(&path, all).expect("changed");
    let packs = Packs::in_folder(folder.path()).expect("packs");
    let mut found = [false; 3];
    for (id, found) in ids.iter().zip(&mut found) {
        *found = match packs.get(*id, 100).await {
            Ok(_) => true,
            Err(BlobError::Missing { .. } | BlobError::Damaged { .. }) => false,
            Err(other) => panic!("{other}"),
        };
    }
    // Whatever is missing can be stored again, beside what is left.
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(packs.put(bytes(n as u8)).await.expect("stored"), *id);
        assert_eq!(packs.get(*id, 100).await.expect("whole"), bytes(n as u8));
    }
    found
}

#[tokio::test]
async fn bytes_come_back_by_their_hash_in_the_next_process_too() {
    let (folder, packs) = packs();
    let id = packs.put(bytes(1)).await.expect("stored");
    assert_eq!(packs.put(bytes(1)).await.expect("again"), id);
    assert_eq!(packs.get(id, 100).await.expect("read"), bytes(1));
    assert!(matches!(packs.get(id, 99).await, Err(BlobError::TooLarge { got: 100, max: 99, .. })));
    drop(packs);
    let packs = Packs::in_folder(folder.path()).expect("packs");
    assert_eq!(packs.get(id, 100).await.expect("read"), bytes(1));
    assert_eq!(packs.list().await.expect("listed"), [id]);
}

#[tokio::test]
async fn many_at_once_are_all_kept() {
    let (folder, packs) = packs();
    let puts = (0..200u8).map(|n| packs.put(bytes(n)));
    let ids: Vec<BlobId> = futures::future::try_join_all(puts).await.expect("stored");
    drop(packs);
    let packs = Packs::in_folder(folder.path()).expect("packs");
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(packs.get(*id, 100).await.expect("read"), bytes(n as u8));
    }
    assert_eq!(pack_count(folder.path()), 1);
}

#[tokio::test]
async fn a_pack_goes_with_the_last_that_is_needed_of_it() {
    let (folder, ids) = three().await;
    let packs = Packs::in_folder(folder.path()).expect("packs");
    packs.delete(ids[0]).await.expect("deleted");
    packs.delete(ids[1]).await.expect("deleted");
    assert!(matches!(packs.get(ids[0], 100).await, Err(BlobError::Missing { .. })));
    packs.get(ids[2], 100).await.expect("still there");
    assert_eq!(pack_count(folder.path()), 1);
    packs.delete(ids[2]).await.expect("deleted");
    packs.delete(ids[2]).await.expect("deleted twice");
    assert_eq!(pack_count(folder.path()), 0);
}

#[tokio::test]
async fn the_pack_that_is_written_stays_until_the_end() {
    let (folder, packs) = packs();
    let id = packs.put(bytes(1)).await.expect("stored");
    packs.delete(id).await.expect("deleted");
    assert_eq!(pack_count(folder.path()), 1);
    let id = packs.put(bytes(2)).await.expect("stored");
    assert_eq!(packs.get(id, 100).await.expect("read"), bytes(2));
    packs.delete(id).await.expect("deleted");
    drop(packs);
    assert_eq!(pack_count(folder.path()), 0);
}

#[tokio::test]
async fn what_was_stored_before_there_were_packs_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let id = Blobs::in_folder(folder.path()).expect("a store").put(bytes(1)).await.expect("stored");
    let packs = Packs::in_folder(folder.path()).expect("packs");
    assert_eq!(packs.get(id, 100).await.expect("read"), bytes(1));
    assert_eq!(packs.list().await.expect("listed"), [id]);
    packs.delete(id).await.expect("deleted");
    assert!(matches!(packs.get(id, 100).await, Err(BlobError::Missing { .. })));
}

const RECORD: usize = format::HEAD_BYTES + 100;

#[tokio::test]
async fn a_pack_cut_anywhere_keeps_what_is_whole() {
    for length in 0..3 * RECORD {
        let expected = [length >= RECORD, length >= 2 * RECORD, false];
        assert_eq!(found(|all| all.truncate(length)).await, expected, "{length}");
    }
}

#[tokio::test]
async fn a_flipped_bit_costs_the_record_that_it_is_in() {
    for at in 0..3 * RECORD {
        let mut expected = [true; 3];
        expected[at / RECORD] = false;
        assert_eq!(found(|all| all[at] ^= 1 << (at % 8)).await, expected, "byte {at}");
    }
}

#[tokio::test]
async fn gaps_are_named() {
    let (folder, _) = three().await;
    let path = format::path(folder.path(), 1);
    let mut all = fs::read(&path).expect("a pack");
    all[RECORD] = 0;
    all.truncate(3 * RECORD - 1);
    all.extend(&[7; 9]);
    fs::write(&path, &all).expect("changed");
    let scan = format::scan(&path).expect("readable");
    assert_eq!(scan.entries.len(), 2, "bytes that another's write fell into are found out when they are read");
    assert_eq!(scan.gaps[0], format::Gap::Damaged { at: RECORD as u64, bytes: RECORD as u64 });
    assert!(scan.gaps[0].to_string().contains("restore the folder from a backup"));
}
