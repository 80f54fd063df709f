//! Programs that a job file can ask for by name.

use crate::{DType, Dim, Graph, Loss, Program, ProgramError};

/// Linear layers of these hidden widths with ReLU between them, for classification: inputs `x`
/// `[features]` f32 and `y` `[]` u32. Layers are named `layers.0`, `layers.1`, ...
pub fn mlp(features: u32, hidden: &[u32], classes: u32) -> Result<Program, ProgramError> {
    let mut g = Graph::new();
    let mut x = g.input("x", &[Dim::Batch, Dim::Of(features)], DType::F32)?;
    let y = g.input("y", &[Dim::Batch], DType::U32)?;
    for (index, &width) in hidden.iter().enumerate() {
        x = g.linear(&format!("layers.{index}"), x, width)?;
        x = g.relu(x)?;
    }
    let logits = g.linear(&format!("layers.{}", hidden.len()), x, classes)?;
    g.finish(Loss::cross_entropy(logits, y))
}
