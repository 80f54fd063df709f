//! Programs that a job file can ask for by name.

use crate::{
    BinaryFn, DType, Dim, Graph, Heads, Init, Loss, NodeId, PoolFn, Program, ProgramError, ReduceFn, UnaryFn, Window,
};

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

/// Sizes of a [`cnn`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CnnConfig {
    /// Channels, rows and columns of an image.
    pub image: [u32; 3],
    /// Channels of each block.
    pub channels: Vec<u32>,
    /// Adds to each block a second convolution with a skip connection around it.
    pub residual: bool,
    /// Classes.
    pub classes: u32,
}

/// Blocks of 3x3 convolution, ReLU and 2x2 max-pooling, then one linear layer; inputs `x`
/// `[c, h, w]` f32 and `y` `[]` u32.
pub fn cnn(config: &CnnConfig) -> Result<Program, ProgramError> {
    let CnnConfig { image, channels, residual, classes } = config;
    let conv = Window { size: 3, stride: 1, padding: 1 };
    let pool = Window { size: 2, stride: 2, padding: 0 };
    let mut g = Graph::new();
    let shape = [Dim::Batch, Dim::Of(image[0]), Dim::Of(image[1]), Dim::Of(image[2])];
    let mut x = g.input("x", &shape, DType::F32)?;
    let y = g.input("y", &[Dim::Batch], DType::U32)?;
    for (index, &width) in channels.iter().enumerate() {
        x = g.conv2d(&format!("blocks.{index}.conv"), x, width, conv, 1)?;
        x = g.relu(x)?;
        if *residual {
            let inner = g.conv2d(&format!("blocks.{index}.residual"), x, width, conv, 1)?;
            let inner = g.relu(inner)?;
            x = g.add(x, inner)?;
        }
        x = g.pool2d(x, PoolFn::Max, pool)?;
    }
    let flat = g.shape_of(x)?.values() as u32;
    let x = g.reshape(x, &[flat])?;
    let logits = g.linear("head", x, *classes)?;
    g.finish(Loss::cross_entropy(logits, y))
}

/// How a transformer knows where a token stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Positions {
    /// A learned vector for each position (GPT-2).
    Learned,
    /// Rotary (Llama).
    Rotary {
        /// 10,000 in the paper.
        base: f32,
    },
}

/// The feed-forward half of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForward {
    /// Linear, GELU, linear, with biases (GPT-2).
    Gelu,
    /// `silu(gate x) * up x`, down, without biases (Llama).
    SwiGlu,
}

/// The norm before each half of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// Layer norm.
    Layer,
    /// RMS norm.
    Rms,
}

/// Sizes and choices of a [`gpt`].
#[derive(Debug, Clone, PartialEq)]
pub struct GptConfig {
    /// Distinct tokens.
    pub vocabulary: u32,
    /// Tokens of a sample.
    pub context: u32,
    /// Blocks.
    pub layers: u32,
    /// Width of the residual stream.
    pub width: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Width of the feed-forward half; 4 x width in GPT-2.
    pub hidden: u32,
    /// Positions.
    pub positions: Positions,
    /// Feed-forward.
    pub feed_forward: FeedForward,
    /// Norm.
    pub norm: Norm,
    /// The head is the embedding table again.
    pub tied_head: bool,
    /// Dropout in the residual stream.
    pub dropout: f32,
}

impl GptConfig {
    /// GPT-2's choices at these sizes, with an untied head.
    pub fn gpt2(vocabulary: u32, context: u32, layers: u32, width: u32, heads: u32) -> Self {
        Self {
            vocabulary,
            context,
            layers,
            width,
            heads,
            kv_heads: heads,
            hidden: 4 * width,
            positions: Positions::Learned,
            feed_forward: FeedForward::Gelu,
            norm: Norm::Layer,
            tied_head: false,
            dropout: 0.0,
        }
    }
}

/// Spread of the first values (GPT-2).
const GPT_STD: f32 = 0.02;

/// A pre-norm causal transformer over tokens: inputs `x` `[context]` u32 and `y` `[context]` u32,
/// the next token at each position.
pub fn gpt(config: &GptConfig) -> Result<Program, ProgramError> {
    let mut g = Graph::new();
    let dims = [Dim::Batch, Dim::Of(config.context)];
    let tokens = g.input("x", &dims, DType::U32)?;
    let y = g.input("y", &dims, DType::U32)?;
    let table = g.parameter("embedding.weight", &[config.vocabulary, config.width], Init::Normal { std: GPT_STD })?;
    let mut x = g.look_up(tokens, table)?;
    if config.positions == Positions::Learned {
        let init = Init::Normal { std: GPT_STD };
        let positions = g.parameter("positions.weight", &[config.context, config.width], init)?;
        x = g.add(x, positions)?;
    }
    let block = Block {
        width: config.width,
        heads: Heads { count: config.heads, kv_count: config.kv_heads, causal: true },
        hidden: config.hidden,
        depth: config.layers,
        positions: config.positions,
        feed_forward: config.feed_forward,
        norm: config.norm,
        dropout: config.dropout,
    };
    for index in 0..config.layers {
        x = block.build(&mut g, &format!("blocks.{index}"), x)?;
    }
    x = norm(&mut g, config.norm, "norm", x)?;
    let head = match config.tied_head {
        true => table,
        false => g.parameter("head.weight", &[config.vocabulary, config.width], Init::Normal { std: GPT_STD })?,
    };
    let logits = g.project(x, head, None)?;
    g.finish(Loss::cross_entropy(logits, y))
}

/// Sizes of a [`vit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VitConfig {
    /// Channels, rows and columns of an image.
    pub image: [u32; 3],
    /// Rows and columns of a patch.
    pub patch: u32,
    /// Blocks.
    pub layers: u32,
    /// Width of the residual stream.
    pub width: u32,
    /// Heads.
    pub heads: u32,
    /// Classes.
    pub classes: u32,
}

/// A vision transformer (arXiv 2010.11929) with mean-pooled patches: inputs `x` `[c, h, w]` f32 and
/// `y` `[]` u32.
pub fn vit(config: &VitConfig) -> Result<Program, ProgramError> {
    let VitConfig { image, patch, layers, width, heads, classes } = *config;
    let mut g = Graph::new();
    let shape = [Dim::Batch, Dim::Of(image[0]), Dim::Of(image[1]), Dim::Of(image[2])];
    let x = g.input("x", &shape, DType::F32)?;
    let y = g.input("y", &[Dim::Batch], DType::U32)?;
    let x = g.conv2d("patches", x, width, Window { size: patch, stride: patch, padding: 0 }, 1)?;
    let count = (g.shape_of(x)?.values() / u64::from(width.max(1))) as u32;
    let x = g.reshape(x, &[width, count])?;
    let x = g.transpose(x, &[1, 0])?;
    let positions = g.parameter("positions.weight", &[count, width], Init::Normal { std: GPT_STD })?;
    let mut x = g.add(x, positions)?;
    let block = Block {
        width,
        heads: Heads { count: heads, kv_count: heads, causal: false },
        hidden: 4 * width,
        depth: layers,
        positions: Positions::Learned,
        feed_forward: FeedForward::Gelu,
        norm: Norm::Layer,
        dropout: 0.0,
    };
    for index in 0..layers {
        x = block.build(&mut g, &format!("blocks.{index}"), x)?;
    }
    let x = norm(&mut g, Norm::Layer, "norm", x)?;
    let x = g.reduce(ReduceFn::Mean, x, 0)?;
    let logits = g.linear("head", x, classes)?;
    g.finish(Loss::cross_entropy(logits, y))
}

/// One transformer block: norm, attention, skip; norm, feed-forward, skip.
struct Block {
    width: u32,
    heads: Heads,
    hidden: u32,
    depth: u32,
    positions: Positions,
    feed_forward: FeedForward,
    norm: Norm,
    dropout: f32,
}

impl Block {
    fn build(&self, g: &mut Graph, name: &str, x: NodeId) -> Result<NodeId, ProgramError> {
        let h = norm(g, self.norm, &format!("{name}.norm1"), x)?;
        let h = self.attention(g, &format!("{name}.attention"), h)?;
        let x = self.skip(g, x, h)?;
        let h = norm(g, self.norm, &format!("{name}.norm2"), x)?;
        let h = self.feed_forward(g, &format!("{name}.mlp"), h)?;
        self.skip(g, x, h)
    }

    fn skip(&self, g: &mut Graph, x: NodeId, h: NodeId) -> Result<NodeId, ProgramError> {
        let h = if self.dropout > 0.0 { g.dropout(h, self.dropout)? } else { h };
        g.add(x, h)
    }

    fn attention(&self, g: &mut Graph, name: &str, x: NodeId) -> Result<NodeId, ProgramError> {
        let Heads { count, kv_count, causal: _ } = self.heads;
        let head_width = self.width / count.max(1);
        let mut qkv = self.dense(g, &format!("{name}.qkv"), x, head_width * (count + 2 * kv_count), GPT_STD)?;
        if let Positions::Rotary { base } = self.positions {
            qkv = g.rope(qkv, count + kv_count, head_width, base)?;
        }
        let h = g.attention(qkv, self.heads)?;
        self.dense(g, &format!("{name}.out"), h, self.width, self.residual_std())
    }

    fn feed_forward(&self, g: &mut Graph, name: &str, x: NodeId) -> Result<NodeId, ProgramError> {
        let h = match self.feed_forward {
            FeedForward::Gelu => {
                let up = self.dense(g, &format!("{name}.up"), x, self.hidden, GPT_STD)?;
                g.unary(UnaryFn::Gelu, up)?
            }
            FeedForward::SwiGlu => {
                let gate = self.dense(g, &format!("{name}.gate"), x, self.hidden, GPT_STD)?;
                let gate = g.unary(UnaryFn::Silu, gate)?;
                let up = self.dense(g, &format!("{name}.up"), x, self.hidden, GPT_STD)?;
                g.binary(BinaryFn::Mul, gate, up)?
            }
        };
        self.dense(g, &format!("{name}.down"), h, self.width, self.residual_std())
    }

    /// What feeds the residual stream starts smaller the deeper the model is (GPT-2).
    fn residual_std(&self) -> f32 {
        GPT_STD / (2.0 * self.depth.max(1) as f32).sqrt()
    }

    /// A linear layer; Llama's have no bias.
    fn dense(&self, g: &mut Graph, name: &str, x: NodeId, width: u32, std: f32) -> Result<NodeId, ProgramError> {
        let features = g.shape_of(x)?.last();
        let weight = g.parameter(&format!("{name}.weight"), &[width, features], Init::Normal { std })?;
        let bias = match self.feed_forward {
            FeedForward::Gelu => Some(g.parameter(&format!("{name}.bias"), &[width], Init::Zeros)?),
            FeedForward::SwiGlu => None,
        };
        g.project(x, weight, bias)
    }
}

fn norm(g: &mut Graph, norm: Norm, name: &str, x: NodeId) -> Result<NodeId, ProgramError> {
    match norm {
        Norm::Layer => g.layer_norm(name, x),
        Norm::Rms => g.rms_norm(name, x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Derivative, Op, differentiate};

    fn llama() -> GptConfig {
        GptConfig {
            kv_heads: 2,
            hidden: 96,
            positions: Positions::Rotary { base: 1e4 },
            feed_forward: FeedForward::SwiGlu,
            norm: Norm::Rms,
            tied_head: true,
            dropout: 0.1,
            ..GptConfig::gpt2(65, 64, 2, 64, 4)
        }
    }

    #[test]
    fn gpt2_at_the_bench_size_has_the_known_parameters() {
        let program = gpt(&GptConfig::gpt2(65, 64, 2, 64, 4)).expect("a good program");
        let block = 12 * 64 * 64 + 13 * 64;
        assert_eq!(program.parameter_count(), 65 * 64 + 64 * 64 + 2 * block + 2 * 64 + 65 * 64);
    }

    #[test]
    fn every_preset_round_trips_and_differentiates() {
        let image = [1, 28, 28];
        let cnn_config = CnnConfig { image, channels: vec![8, 16], residual: true, classes: 10 };
        let vit_config = VitConfig { image, patch: 7, layers: 2, width: 32, heads: 4, classes: 10 };
        for program in [cnn(&cnn_config), vit(&vit_config), gpt(&llama()), gpt(&GptConfig::gpt2(65, 64, 2, 64, 4))] {
            let program = program.expect("a good program");
            assert_eq!(Program::parse(program.to_json().as_bytes()), Ok(program.clone()));
            let graph = differentiate(&program);
            for (gradient, parameter) in graph.gradients.iter().zip(program.parameters()) {
                assert_eq!(graph.shapes[gradient.index()].dims, parameter.shape, "{}", parameter.name);
            }
        }
    }

    #[test]
    fn a_tied_head_gets_both_gradients() {
        let program = gpt(&llama()).expect("a good program");
        let graph = differentiate(&program);
        let table = graph.gradients[0];
        assert!(matches!(graph.nodes[table.index()], Op::Binary { f: BinaryFn::Add, .. }));
        assert!(graph.nodes.iter().any(|op| matches!(op, Op::Derivative(Derivative::EmbeddingGrad { .. }))));
    }
}
