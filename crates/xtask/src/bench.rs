//! `cargo xtask bench`: ours against the pinned peers. The measuring is done by `bench/`; here the
//! peers are installed, which nothing else needs, and the driver is started.

use anyhow::Result;

use crate::build;
use crate::phases::Phases;
use crate::project::Project;
use crate::setup::{self, Need};
use crate::shell;

const HELP: &str = "\
cargo xtask bench [OPTIONS]

Measures training steps and matrix products of ours, of jax-js and of TensorFlow.js in one headless
Chromium, taking turns, with the same data and first weights; writes target/measure/bench.json.
First losses must agree to 1e-4, or it fails.

  --only NAMES      workloads whose names start so, separated by commas: matmul-nn, mlp, cnn, gpt-l2, ...
  --runner NAMES    of potluck, jax-js, tfjs
  --backend NAMES   of webgpu, wasm
  --steps N         iterations that count, at least; 7. Quick workloads go on for two seconds, slow
                    ones end after a minute, with five
  --roofline        instead, every kernel of a GPT step: operations, bytes that must move, bytes that
                    our tiling moves, and the least time on a GPU of 4 TFLOP/s and 100 GB/s; writes
                    target/measure/roofline.json and measures nothing
  --write-docs      both, and writes the tables of docs/benchmarks.md, its pictures and
                    docs/measurements/
  --help            this text

A full run takes about twenty minutes on two cores without a GPU: TensorFlow.js is slow there.
Where the package is built already, `node bench/bench.mjs` with the same options is the same.
";

/// Sets up, builds, brings the peers and measures.
pub(crate) fn run(project: &Project, phases: &mut Phases, arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    let tools = setup::run(project, phases, Need::Demo)?;
    tools.print_missing();
    build::run(project, &tools, phases)?;
    phases.run("peers", || tools.bring_peers(project))?;
    let mut node = tools.node();
    shell::run(node.arg("bench/bench.mjs").args(arguments))
}
