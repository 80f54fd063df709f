//! Runs every conformance case natively, on the processor or on a Vulkan adapter, and prints the results
//! as JSON: `cargo xtask ops` puts them beside those of the browsers.
//!
//!     ops cpu|gpu
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use potluck_engine::{
    Choice, Engine, EngineError,
    conformance::{CaseResult, cases, run_case},
};

fn main() -> Result<(), EngineError> {
    let choice = if std::env::args().nth(1).as_deref() == Some("gpu") { Choice::Gpu } else { Choice::Cpu };
    let engine = pollster::block_on(Engine::open(choice))?;
    let results: Vec<CaseResult> = cases().iter().map(|case| pollster::block_on(run_case(case, &engine))).collect();
    println!("{}", serde_json::to_string(&results).expect("numbers and text"));
    Ok(())
}
