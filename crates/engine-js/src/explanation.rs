//! What a training step would run, without a device.

use potluck_engine::{Dispatch, Kernel, Plan, Roof, memory_bytes};
use potluck_graph::Program;
use serde_json::{Value, json};

use crate::{error::JsFault, options::Options};

/// `{parameters, memoryBytes, kernels: [{kernel, tier, sizes, flops, bytesMin, bytesMoved, floorMicros,
/// movedMicros}]}`, the floors on [`Roof::LAPTOP`].
///
/// # Errors
/// A program or options that are none, or a plan that does not fit.
pub fn of(program: &str, options: &str) -> Result<String, JsFault> {
    let program = Program::parse(program.as_bytes())?;
    let plan = Plan::new(&program, &Options::parse(options)?.recipe()?)?;
    let kernels: Vec<Value> = plan
        .costs()
        .map(|(dispatch, cost)| {
            let micros = |bytes| 1e6 * Roof::LAPTOP.seconds(cost.flops, bytes);
            json!({
                "kernel": dispatch.kernel.name(),
                "tier": format!("{:?}", dispatch.tier),
                "sizes": sizes(dispatch),
                "flops": cost.flops,
                "bytesMin": cost.bytes_min,
                "bytesMoved": cost.bytes_moved,
                "floorMicros": micros(cost.bytes_min),
                "movedMicros": micros(cost.bytes_moved),
            })
        })
        .collect();
    let explanation = json!({
        "parameters": program.parameter_count(),
        "memoryBytes": memory_bytes(&plan),
        "kernels": kernels,
    });
    Ok(explanation.to_string())
}

/// The sizes as people write them.
fn sizes(dispatch: &Dispatch) -> String {
    match dispatch.kernel {
        Kernel::MatMul { form, m, n, k, batch, .. } => {
            let form = format!("{form:?}").to_uppercase();
            if batch == 1 { format!("{form} {m}x{n}x{k}") } else { format!("{form} {batch} of {m}x{n}x{k}") }
        }
        Kernel::Attention { sizes: s } | Kernel::AttentionGradQ { sizes: s } | Kernel::AttentionGradKv { sizes: s } => {
            format!("{} samples, {} positions, {} heads of {}", s.batch, s.t, s.heads, s.width)
        }
        kernel => {
            let values: Vec<String> = kernel.output_lens().iter().map(usize::to_string).collect();
            if values.is_empty() { String::new() } else { format!("{} values", values.join(" + ")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets;

    #[test]
    fn a_small_step_is_explained() {
        let program = presets::program("mlp", r#"{"features": 4, "hidden": [8], "classes": 4}"#).expect("a program");
        let text = of(&program.to_json(), r#"{"batch": 4}"#).expect("it fits");
        let explanation: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(explanation["parameters"], 4 * 8 + 8 + 8 * 4 + 4);
        let first = &explanation["kernels"][0];
        assert_eq!((first["kernel"].as_str(), first["sizes"].as_str()), (Some("matmul"), Some("NT 4x8x4")));
        // 2 * 4 * 8 * 4 for the product, 32 for the bias, 8 * 32 for the function.
        assert_eq!(first["flops"], 256 + 32 + 8 * 32);
    }

    #[test]
    fn bad_input_is_told() {
        assert_eq!(of("{", r#"{"batch": 4}"#).expect_err("a fault").code(), "program");
    }
}
