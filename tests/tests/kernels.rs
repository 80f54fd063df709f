//! Every kernel case on a native GPU, which on a machine without one is Mesa's software Vulkan
//! driver. No adapter is a failure, not a pass.

use potluck_engine::{
    Choice, Engine,
    conformance::{cases, run_case},
};

#[test]
fn every_kernel_agrees_with_the_reference_on_vulkan() {
    let engine =
        pollster::block_on(Engine::open(Choice::Gpu)).expect("a Vulkan adapter (`cargo xtask setup` brings one)");
    let results: Vec<_> = cases().iter().map(|case| pollster::block_on(run_case(case, &engine))).collect();
    let bad: Vec<_> = results.iter().filter(|result| !result.pass).collect();
    assert!(bad.is_empty(), "on {}: {bad:#?}", engine.adapter());
    assert!(results.len() > 80, "only {} cases", results.len());
}
