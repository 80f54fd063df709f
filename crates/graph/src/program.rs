//! The program: serialisable, hashed, validated. Everything in it may come from a stranger.

use potluck_protocol::{BlobId, ProgramFacts, limits};
use serde::{Deserialize, Serialize};

use crate::{DType, NodeId, Op, ProgramError, Shape, infer, random};

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
    #[serde(skip)]
    shapes: Vec<Shape>,
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
    /// Uniform in [-bound, bound).
    Uniform {
        /// Half the width.
        bound: f32,
    },
}

/// What is minimised: the mean over all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
// Exhaustive on purpose: what forgets a variant must not compile.
pub enum Loss {
    /// Softmax cross-entropy in nats; accuracy is its metric.
    CrossEntropy {
        /// `[.., classes]`.
        logits: NodeId,
        /// `[..]`, u32.
        labels: NodeId,
    },
}

impl Loss {
    /// Softmax cross-entropy of `logits` `[.., classes]` with `labels` `[..]`.
    pub fn cross_entropy(logits: NodeId, labels: NodeId) -> Self {
        Self::CrossEntropy { logits, labels }
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
        let shapes = infer::validate(&inputs, &parameters, &nodes, loss)?;
        Ok(Self { format: FORMAT.to_owned(), inputs, parameters, nodes, loss, shapes })
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

    /// The graph, in topological order.
    pub fn nodes(&self) -> &[Op] {
        &self.nodes
    }

    /// Shape of each node's output.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// What is minimised.
    pub fn loss(&self) -> Loss {
        self.loss
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
                Init::Uniform { bound } => values.extend((0..count).map(|_| bound * (2.0 * random.unit() - 1.0))),
            }
        }
        values
    }

    /// Size and cost of the program. Multiplications and additions of matrix products only: they
    /// are what every implementation has to do, and all but a few per cent of the work.
    pub fn facts(&self) -> ProgramFacts {
        let forward: u64 = self.nodes.iter().map(|op| self.flops_forward(op)).fold(0, u64::saturating_add);
        let reaches_input = |x: NodeId| matches!(self.nodes[x.index()], Op::Input { .. });
        let no_input_gradient: u64 = self
            .nodes
            .iter()
            .filter(|op| matches!(op, Op::Linear { x, .. } if reaches_input(*x)))
            .map(|op| self.flops_forward(op))
            .fold(0, u64::saturating_add);
        ProgramFacts {
            parameters: self.parameter_count() as u64,
            train_flops_per_sample: forward.saturating_mul(3).saturating_sub(no_input_gradient),
            evaluate_flops_per_sample: forward,
        }
    }

    /// Multiply-adds count as two.
    fn flops_forward(&self, op: &Op) -> u64 {
        match op {
            Op::Linear { x, weight, bias: _ } => {
                let rows = self.shapes[x.index()].rows_in(1);
                self.shapes[weight.index()].values().saturating_mul(rows).saturating_mul(2)
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
        expect![[r#"{"format":"potluck-program/1","inputs":[{"name":"x","shape":[4],"dtype":"f32"},{"name":"y","shape":[],"dtype":"u32"}],"parameters":[{"name":"layers.0.weight","shape":[3,4],"init":{"kind":"uniform","bound":0.5}},{"name":"layers.0.bias","shape":[3],"init":{"kind":"uniform","bound":0.5}},{"name":"layers.1.weight","shape":[2,3],"init":{"kind":"uniform","bound":0.57735026}},{"name":"layers.1.bias","shape":[2],"init":{"kind":"uniform","bound":0.57735026}}],"nodes":[{"op":"input","input":0},{"op":"input","input":1},{"op":"parameter","parameter":0},{"op":"parameter","parameter":1},{"op":"linear","x":0,"weight":2,"bias":3},{"op":"relu","x":4},{"op":"parameter","parameter":2},{"op":"parameter","parameter":3},{"op":"linear","x":5,"weight":6,"bias":7}],"loss":{"kind":"cross_entropy","logits":8,"labels":1}}"#]].assert_eq(&digits().to_json());
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
            r#"{"op":"relu","x":4}"#,
            r#"{"op":"relu","x":5}"#,
            expect!["node 5 (relu) refers to node 5, which is not before it"],
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
    fn an_unknown_op_is_refused() {
        check(
            r#""op":"relu""#,
            r#""op":"rm""#,
            expect![
                "program does not parse: unknown variant `rm`, expected one of `input`, `parameter`, `linear`, `relu` at line 1 column 632"
            ],
        );
    }

    #[test]
    fn a_derivative_is_refused() {
        check(
            r#"{"op":"relu","x":4}"#,
            r#"{"op":"column_sum","x":4}"#,
            expect![
                "program does not parse: unknown variant `column_sum`, expected one of `input`, `parameter`, `linear`, `relu` at line 1 column 640"
            ],
        );
    }

    #[test]
    fn a_huge_tensor_is_refused() {
        check(
            r#""shape":[3,4]"#,
            r#""shape":[4000000000,4000000000,4000000000]"#,
            expect!["program has 18446744073709551615 parameters, at most 33554432"],
        );
    }

    #[test]
    fn labels_must_be_whole_numbers() {
        check(
            r#""dtype":"u32""#,
            r#""dtype":"f32""#,
            expect!["node 9 (cross_entropy_stats) expects U32 in node 1, which is F32"],
        );
    }

    #[test]
    fn an_unused_parameter_is_refused() {
        check(
            r#"{"op":"relu","x":4}"#,
            r#"{"op":"relu","x":3}"#,
            expect![
                "node 8 (linear) cannot take shapes [3] and [2, 3] and [2]: x [batch, .., k], weight [n, k], bias [n]"
            ],
        );
        check(r#""logits":8"#, r#""logits":4"#, expect![[r#"parameter "layers.1.weight" does not reach the loss"#]]);
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
