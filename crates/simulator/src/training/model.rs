//! The model of the calibration: a character transformer of two blocks, 64 wide, with four heads and
//! 64 positions, without biases in its linear layers. With 65 symbols it has 111,360 parameters.

use potluck_graph::{DType, Dim, Graph, Heads, Init, Loss, NodeId, Program, ProgramError, UnaryFn};

/// Characters of a sample.
pub(crate) const CONTEXT: u32 = 64;

const LAYERS: u32 = 2;
const WIDTH: u32 = 64;
const HEADS: Heads = Heads { count: 4, kv_count: 4, causal: true };

/// Spread of the first values of tables.
const TABLE: Init = Init::Normal { std: 0.02 };

/// Spread of those of linear layers.
const LINEAR_STD: f32 = 0.05;

/// The program over this many symbols.
pub(crate) fn program(symbols: u32) -> Result<Program, ProgramError> {
    let mut g = Graph::new();
    let dims = [Dim::Batch, Dim::Of(CONTEXT)];
    let tokens = g.input("x", &dims, DType::U32)?;
    let y = g.input("y", &dims, DType::U32)?;
    let x = g.embedding("embedding", tokens, symbols, WIDTH, 0.02)?;
    let positions = g.parameter("positions.weight", &[CONTEXT, WIDTH], TABLE)?;
    let mut x = g.add(x, positions)?;
    for index in 0..LAYERS {
        x = block(&mut g, &format!("blocks.{index}"), x)?;
    }
    let x = g.layer_norm("norm", x)?;
    let logits = dense(&mut g, "head", x, symbols, LINEAR_STD)?;
    g.finish(Loss::cross_entropy(logits, y))
}

fn block(g: &mut Graph, name: &str, x: NodeId) -> Result<NodeId, ProgramError> {
    // What feeds the residual stream starts smaller, as in GPT-2.
    let residual_std = LINEAR_STD / (2.0 * LAYERS as f32).sqrt();
    let h = g.layer_norm(&format!("{name}.norm1"), x)?;
    let h = dense(g, &format!("{name}.attention.qkv"), h, 3 * WIDTH, LINEAR_STD)?;
    let h = g.attention(h, HEADS)?;
    let h = dense(g, &format!("{name}.attention.out"), h, WIDTH, residual_std)?;
    let x = g.add(x, h)?;
    let h = g.layer_norm(&format!("{name}.norm2"), x)?;
    let h = dense(g, &format!("{name}.mlp.up"), h, 4 * WIDTH, LINEAR_STD)?;
    let h = g.unary(UnaryFn::Gelu, h)?;
    let h = dense(g, &format!("{name}.mlp.down"), h, WIDTH, residual_std)?;
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
    fn it_has_the_parameters_of_the_calibration() {
        assert_eq!(program(65).unwrap().parameter_count(), 111_360);
    }
}
