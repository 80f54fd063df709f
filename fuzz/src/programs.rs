//! Programs from strangers, guided by coverage: every input goes as far as a volunteer would take it.
//! A quarter of the inputs begin at a good program, half are changed by what knows programs, and the
//! rest by libFuzzer itself; so no corpus is needed to start.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use potluck_engine::conformance::hostile::{corpus, hostile, mutate, survive};
use potluck_graph::random::SplitMix64;

static GOOD: OnceLock<Vec<String>> = OnceLock::new();

fuzz_target!(|json: &[u8]| {
    survive(json);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = SplitMix64::new(seed.into());
    let changed = match random.below(4) {
        0 => return fuzzer_mutate(data, size, max_size),
        1 => hostile(GOOD.get_or_init(corpus), seed.into()),
        _ => mutate(&data[..size], &mut random),
    };
    let size = changed.len().min(max_size);
    data[..size].copy_from_slice(&changed[..size]);
    size
});
