//! What is trained: character transformers without biases in their linear layers.

use potluck_graph::{DType, Dim, Graph, Heads, Init, Loss, NodeId, Program, ProgramError, UnaryFn};

/// How large one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) layers: u32,
    pub(crate) width: u32,
    /// Characters of a sample.
    pub(crate) context: u32,
}

impl Shape {
    /// The model of the calibration: with 65 symbols it has 111,360 parameters.
    pub(crate) const CALIBRATION: Self = Self { layers: 2, width: 64, context: 64 };

    /// A sample costs a twelfth of that: 17,664 parameters with 65 symbols.
    pub(crate) const SMALL: Self = Self { layers: 1, width: 32, context: 32 };
}

const HEADS: Heads = Heads { count: 4, kv_count: 4, causal: true };

/// Spread of the first values of tables.
const TABLE: Init = Init::Normal { std: 0.02 };

/// Spread of those of linear layers.
const LINEAR_STD: f32 = 0.05;

/// The program over this many symbols.
pub(crate) fn program(shape: Shape, symbols: u32) -> Result<Program, ProgramError> {
    let Shape { layers, width, context } = shape;
    let mut g = Graph::new();
    let dims = [Dim::Batch, Dim::Of(context)];
    let tokens = g.input("x", &dims, DType::U32)?;
    let y = g.input("y", &dims, DType::U32)?;
    let x = g.embedding("embedding", tokens, symbols, width, 0.02)?;
    let positions = g.parameter("positions.weight", &[context, width], TABLE)?;
    let mut x = g.add(x, positions)?;
    for index in 0..layers {
        x = block(&mut g, &format!("blocks.{index}"), x, shape)?;
    }
    let x = g.layer_norm("norm", x)?;
    let logits = dense(&mut g, "head", x, symbols, LINEAR_STD)?;
    g.finish(Loss::cross_entropy(logits, y))
}

fn block(g: &mut Graph, name: &str, x: NodeId, shape: Shape) -> Result<NodeId, ProgramError> {
    let Shape { layers, width, context: _ } = shape;
    // What feeds the residual stream starts smaller, as in GPT-2.
    let residual_std = LINEAR_STD / (2.0 * layers as f32).sqrt();
    let h = g.layer_norm(&format!("{name}.norm1"), x)?;
    let h = dense(g, &format!("{name}.attention.qkv"), h, 3 * width, LINEAR_STD)?;
    let h = g.attention(h, HEADS)?;
    let h = dense(g, &format!("{name}.attention.out"), h, width, residual_std)?;
    let x = g.add(x, h)?;
    let h = g.layer_norm(&format!("{name}.norm2"), x)?;
    let h = dense(g, &format!("{name}.mlp.up"), h, 4 * width, LINEAR_STD)?;
    let h = g.unary(UnaryFn::Gelu, h)?;
    let h = dense(g, &format!("{name}.mlp.down"), h, width, residual_std)?;
    g.add(x, h)
}

fn dense(g: &mut Graph, name: &str, x: NodeId, width: u32, std: f32) -> Result<NodeId, ProgramError> {
    let features = g.shape_of(x)?.last();
    let weight = g.parameter(&format!("{name}.weight"), &[width, features], Init::Normal { std })?;
    g.project(x, weight, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_have_the_parameters_that_are_said() {
        let parameters = |shape| program(shape, 65).unwrap().parameter_count();
        assert_eq!(parameters(Shape::CALIBRATION), 111_360);
        assert_eq!(parameters(Shape::SMALL), 17_664);
    }
}
