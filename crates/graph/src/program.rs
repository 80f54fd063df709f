//! The program: serialisable, hashed, validated. Everything in it may come from a stranger.

use potluck_protocol::{BlobId, ProgramFacts, limits};
use serde::{Deserialize, Serialize};

use crate::{
    DType, Form, NodeId, Op, ProgramError, Shape,
    infer::{self, Checked},
    random,
};

/// The only format that there is so far.
const FORMAT: &str = "potluck-program/1";

/// A static tensor graph with named parameters, inputs and a loss. Always valid: the two ways to
/// one, [`Program::parse`] and [`crate::Graph::finish`], check it whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Program {
    format: String,
    inputs: Vec<InputSpec>,
    parameters: Vec<ParameterSpec>,
    nodes: Vec<Op>,
    loss: Loss,
    /// What is looked at: the same graph without custom operations.
    #[serde(skip)]
    checked: Checked,
}

/// The same, not yet checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProgram {
    format: String,
    inputs: Vec<InputSpec>,
    parameters: Vec<ParameterSpec>,
    nodes: Vec<Op>,
    loss: Loss,
}

/// A column of the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Its name.
    pub name: String,
    /// Shape for one sample; the batch comes before it.
    pub shape: Vec<u32>,
    /// Element type.
    pub dtype: DType,
}

/// A trainable tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterSpec {
    /// PyTorch-style name, such as `hidden.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<u32>,
    /// Its first values.
    pub init: Init,
}

/// First values of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
// Exhaustive on purpose: what forgets a variant must not compile.
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Uniform in [-bound, bound).
    Uniform {
        /// Half the width.
        bound: f32,
    },
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f32,
    },
}

/// What is minimised: the mean over all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
// Exhaustive on purpose: what forgets a variant must not compile.
pub enum Loss {
    /// Softmax cross-entropy in nats, a row for every label; accuracy is its metric.
    CrossEntropy {
        /// `[.., classes]`.
        logits: NodeId,
        /// `[..]`, u32.
        labels: NodeId,
    },
    /// `(prediction - target)^2`, a row for every value.
    Mse {
        /// Any shape.
        prediction: NodeId,
        /// The same shape, f32.
        target: NodeId,
    },
    /// Binary cross-entropy of `sigmoid(logits)` in nats, a row for every value; accuracy at 0.5 is
    /// its metric.
    BinaryCrossEntropy {
        /// Any shape.
        logits: NodeId,
        /// The same shape, f32 in [0, 1].
        target: NodeId,
    },
}

impl Loss {
    /// Softmax cross-entropy of `logits` `[.., classes]` with `labels` `[..]`.
    pub fn cross_entropy(logits: NodeId, labels: NodeId) -> Self {
        Self::CrossEntropy { logits, labels }
    }

    /// The same loss of other nodes.
    pub(crate) fn moved(self, place: impl Fn(NodeId) -> NodeId) -> Self {
        match self {
            Self::CrossEntropy { logits, labels } => {
                Self::CrossEntropy { logits: place(logits), labels: place(labels) }
            }
            Self::Mse { prediction, target } => Self::Mse { prediction: place(prediction), target: place(target) },
            Self::BinaryCrossEntropy { logits, target } => {
                Self::BinaryCrossEntropy { logits: place(logits), target: place(target) }
            }
        }
    }

    /// The prediction and what it is compared with.
    pub fn operands(self) -> (NodeId, NodeId) {
        match self {
            Self::CrossEntropy { logits, labels } => (logits, labels),
            Self::Mse { prediction, target } => (prediction, target),
            Self::BinaryCrossEntropy { logits, target } => (logits, target),
        }
    }
}

impl ParameterSpec {
    /// Values in it.
    pub fn values(&self) -> usize {
        Shape::fixed(&self.shape).values() as usize
    }

    /// True for matrices and above; weight decay applies to these only.
    pub fn is_matrix(&self) -> bool {
        self.shape.len() >= 2
    }
}

impl Program {
    pub(crate) fn new(
        inputs: Vec<InputSpec>,
        parameters: Vec<ParameterSpec>,
        nodes: Vec<Op>,
        loss: Loss,
    ) -> Result<Self, ProgramError> {
        let checked = infer::validate(&inputs, &parameters, &nodes, loss)?;
        Ok(Self { format: FORMAT.to_owned(), inputs, parameters, nodes, loss, checked })
    }

    /// Reads and checks a program, whoever wrote it.
    ///
    /// # Errors
    /// Names the node and the shapes. Never panics and never allocates beyond the limits, whatever
    /// the bytes.
    pub fn parse(json: &[u8]) -> Result<Self, ProgramError> {
        if json.len() > limits::PROGRAM_BYTES_MAX {
            return Err(ProgramError::TooLong { got: json.len(), max: limits::PROGRAM_BYTES_MAX });
        }
        let raw: RawProgram = serde_json::from_slice(json).map_err(|e| ProgramError::Parse(e.to_string()))?;
        if raw.format != FORMAT {
            let got = raw.format.chars().take(80).collect();
            return Err(ProgramError::Format { expected: FORMAT, got });
        }
        Self::new(raw.inputs, raw.parameters, raw.nodes, raw.loss)
    }

    /// The program as JSON: what is hashed, stored and sent.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a program holds only finite numbers and text keys")
    }

    /// SHA-256 of [`Program::to_json`].
    pub fn id(&self) -> BlobId {
        BlobId::of(self.to_json().as_bytes())
    }

    /// Columns of a batch, in order.
    pub fn inputs(&self) -> &[InputSpec] {
        &self.inputs
    }

    /// Trainable tensors, in the order of their values everywhere.
    pub fn parameters(&self) -> &[ParameterSpec] {
        &self.parameters
    }

    /// The graph, in topological order, every custom operation replaced by its reference.
    pub fn nodes(&self) -> &[Op] {
        &self.checked.nodes
    }

    /// Shape of each node's output.
    pub fn shapes(&self) -> &[Shape] {
        &self.checked.shapes
    }

    /// What is minimised, in terms of [`Program::nodes`].
    pub fn loss(&self) -> Loss {
        self.checked.loss
    }

    /// Values of all parameters together.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(ParameterSpec::values).sum()
    }

    /// First values of all parameters, concatenated in order. Parameter `i` draws from the stream
    /// `mix(seed, i)`.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.parameter_count());
        for (stream, parameter) in (0u64..).zip(&self.parameters) {
            let mut random = random::SplitMix64::new(random::mix(seed, stream));
            let count = parameter.values();
            match parameter.init {
                Init::Zeros => values.extend(std::iter::repeat_n(0.0, count)),
                Init::Ones => values.extend(std::iter::repeat_n(1.0, count)),
                Init::Normal { std } => values.extend((0..count).map(|_| std * random.normal())),
                Init::Uniform { bound } => values.extend((0..count).map(|_| bound * (2.0 * random.unit() - 1.0))),
            }
        }
        values
    }

    /// Size and cost of the program: the multiplications and additions of matrix products,
    /// convolutions and attention, which are all but a few per cent of the work.
    pub fn facts(&self) -> ProgramFacts {
        let forward = self.flops(|_| true);
        // A product whose left side is data needs no gradient of it.
        let is_data = |x: &NodeId| matches!(self.nodes()[x.index()], Op::Input { .. });
        let on_data = |op: &Op| match op {
            Op::Linear { x, .. } | Op::Conv2d { x, .. } => is_data(x),
            Op::MatMul { a, b, form: _ } => is_data(a) || is_data(b),
            _ => false,
        };
        ProgramFacts {
            parameters: self.parameter_count() as u64,
            train_flops_per_sample: forward.saturating_mul(3).saturating_sub(self.flops(on_data)),
            evaluate_flops_per_sample: forward,
        }
    }

    fn flops(&self, counts: impl Fn(&Op) -> bool) -> u64 {
        let each = self
            .nodes()
            .iter()
            .zip(self.shapes())
            .filter(|(op, _)| counts(op))
            .map(|(op, shape)| self.flops_of(op, shape));
        each.fold(0, u64::saturating_add)
    }

    /// Multiply-adds count as two.
    fn flops_of(&self, op: &Op, out: &Shape) -> u64 {
        let shape = |id: &NodeId| &self.shapes()[id.index()];
        match op {
            Op::Linear { x, weight, .. } => {
                shape(weight).values().saturating_mul(shape(x).rows_in(1)).saturating_mul(2)
            }
            Op::MatMul { form, a, b: _ } => {
                let dims = &shape(a).dims;
                let k = if *form == Form::Tn { dims[dims.len() - 2] } else { shape(a).last() };
                out.values().saturating_mul(k.into()).saturating_mul(2)
            }
            Op::Conv2d { weight, .. } => {
                let per_output = shape(weight).values() / u64::from(shape(weight).dims[0]);
                out.values().saturating_mul(per_output).saturating_mul(2)
            }
            Op::Attention { qkv, heads } => {
                let keys = u64::from(shape(qkv).dims[0]);
                let seen = if heads.causal { keys.div_ceil(2) } else { keys };
                out.values().saturating_mul(seen).saturating_mul(4)
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;
    use crate::preset;

    fn digits() -> Program {
        preset::mlp(4, &[3], 2).expect("a good program")
    }

    #[track_caller]
    fn check(from: &str, to: &str, expected: Expect) {
        let json = digits().to_json();
        assert!(json.contains(from), "{from} is not in {json}");
        let error = Program::parse(json.replacen(from, to, 1).as_bytes()).expect_err("an error");
        expected.assert_eq(&error.to_string());
    }

    #[test]
    fn the_format_is_kept() {
        expect![[r#"{"format":"potluck-program/1","inputs":[{"name":"x","shape":[4],"dtype":"f32"},{"name":"y","shape":[],"dtype":"u32"}],"parameters":[{"name":"layers.0.weight","shape":[3,4],"init":{"kind":"uniform","bound":0.5}},{"name":"layers.0.bias","shape":[3],"init":{"kind":"uniform","bound":0.5}},{"name":"layers.1.weight","shape":[2,3],"init":{"kind":"uniform","bound":0.57735026}},{"name":"layers.1.bias","shape":[2],"init":{"kind":"uniform","bound":0.57735026}}],"nodes":[{"op":"input","input":0},{"op":"input","input":1},{"op":"parameter","parameter":0},{"op":"parameter","parameter":1},{"op":"linear","x":0,"weight":2,"bias":3},{"op":"unary","f":"relu","x":4},{"op":"parameter","parameter":2},{"op":"parameter","parameter":3},{"op":"linear","x":5,"weight":6,"bias":7}],"loss":{"kind":"cross_entropy","logits":8,"labels":1}}"#]].assert_eq(&digits().to_json());
    }

    #[test]
    fn round_trips() {
        let program = digits();
        assert_eq!(Program::parse(program.to_json().as_bytes()), Ok(program));
    }

    #[test]
    fn counts_what_a_sample_costs() {
        let facts = digits().facts();
        assert_eq!(facts.parameters, 4 * 3 + 3 + 3 * 2 + 2);
        assert_eq!(facts.evaluate_flops_per_sample, 2 * (12 + 6));
        assert_eq!(facts.train_flops_per_sample, 2 * (2 * 12 + 3 * 6));
    }

    #[test]
    fn a_later_node_is_refused() {
        check(
            r#"{"op":"unary","f":"relu","x":4}"#,
            r#"{"op":"unary","f":"relu","x":5}"#,
            expect!["node 5 (unary) refers to node 5, which is not before it"],
        );
    }

    #[test]
    fn a_wrong_shape_is_refused() {
        check(
            r#""shape":[3,4]"#,
            r#""shape":[3,5]"#,
            expect![
                "node 4 (linear) cannot take shapes [batch, 4] and [3, 5] and [3]: x [batch, .., k], weight [n, k], bias [n]"
            ],
        );
    }

    #[test]
    fn unknown_ops_and_derivatives_are_refused() {
        for op in ["rm", "column_sum", "derivative"] {
            let json = digits().to_json().replacen(r#""op":"unary","f":"relu""#, &format!(r#""op":"{op}""#), 1);
            let error = Program::parse(json.as_bytes()).expect_err("an error").to_string();
            assert!(error.starts_with(&format!("program does not parse: unknown variant `{op}`")), "{error}");
        }
    }

    #[test]
    fn a_huge_tensor_is_refused() {
        check(
            r#""shape":[3,4]"#,
            r#""shape":[4000000000,4000000000,4000000000]"#,
            expect!["program has 18446744073709551615 parameters, at most 53687091"],
        );
    }

    #[test]
    fn labels_must_be_whole_numbers() {
        check(r#""dtype":"u32""#, r#""dtype":"f32""#, expect!["node 9 (loss) expects U32 in node 1, which is F32"]);
    }

    #[test]
    fn an_unused_parameter_is_refused() {
        check(
            r#"{"op":"unary","f":"relu","x":4}"#,
            r#"{"op":"unary","f":"relu","x":3}"#,
            expect![
                "node 8 (linear) cannot take shapes [3] and [2, 3] and [2]: x [batch, .., k], weight [n, k], bias [n]"
            ],
        );
        check(r#""logits":8"#, r#""logits":4"#, expect![[r#"parameter "layers.1.weight" does not reach the loss"#]]);
    }

    #[test]
    fn an_input_is_one_node() {
        check(
            r#"{"op":"input","input":0},{"op":"input","input":1}"#,
            r#"{"op":"input","input":1},{"op":"input","input":1}"#,
            expect!["node 4 (linear) expects F32 in node 0, which is U32"],
        );
        check(
            r#""inputs":[{"name":"x","shape":[4],"dtype":"f32"},"#,
            r#""inputs":[{"name":"x","shape":[4],"dtype":"f32"},{"name":"z","shape":[],"dtype":"u32"},"#,
            expect![[r#"input "y" is 0 nodes, expected one"#]],
        );
    }

    #[test]
    fn a_trained_target_is_refused() {
        let mut g = crate::Graph::new();
        let x = g.input("x", &[crate::Dim::Batch, crate::Dim::Of(2)], DType::F32).expect("an input");
        let [a, b] = ["a", "b"].map(|name| g.linear(name, x, 2).expect("a layer"));
        let error = g.finish(Loss::Mse { prediction: a, target: b }).expect_err("an error");
        assert_eq!(error, ProgramError::Unreachable { name: "b.weight".to_owned() });
        let mut g = crate::Graph::new();
        let x = g.input("x", &[crate::Dim::Batch, crate::Dim::Of(2)], DType::F32).expect("an input");
        let a = g.linear("a", x, 2).expect("a layer");
        let error = g.finish(Loss::Mse { prediction: a, target: a }).expect_err("an error");
        assert_eq!(error, ProgramError::TrainedTarget { node: a });
    }

    #[test]
    fn huge_and_empty_windows_are_refused() {
        use crate::{Dim, Graph, PoolFn, Window};
        let mut g = Graph::new();
        let dims = [Dim::Batch, Dim::Of(1), Dim::Of(2), Dim::Of(2)];
        let x = g.input("x", &dims, DType::F32).expect("an input");
        let huge = Window { size: 65_535, stride: 65_535, padding: 65_534 };
        assert!(g.pool2d(x, PoolFn::Max, huge).is_err());
        assert!(g.pool2d(x, PoolFn::Max, Window { padding: 32_767, ..huge }).is_err());
        assert!(g.conv2d("c", x, 1, huge, 1).is_err());
        // Found by fuzzing: the last of these windows lies behind the image.
        let empty = Window { size: 0, stride: 2, padding: 0 };
        assert!(g.pool2d(x, PoolFn::Max, empty).is_err());
        assert!(g.pool2d(x, PoolFn::Average, empty).is_err());
    }

    proptest! {
        #[test]
        fn damaged_programs_never_panic(at in any::<prop::sample::Index>(), text in "[0-9a-z{}\\[\\]\",:]{0,12}", cut in 0usize..20) {
            let mut json = digits().to_json();
            let at = at.index(json.len());
            let end = (at + cut).min(json.len());
            json.replace_range(at..end, &text);
            let _ = Program::parse(json.as_bytes()).map(|p| (p.facts(), p.initial(1), crate::differentiate(&p)));
        }
    }
}
