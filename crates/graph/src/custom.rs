//! Operations that a program brings itself. Each says what it computes by a reference: a small graph
//! of known operations over its operands. The reference is put in the operation's place before
//! anything else looks at a program, so whatever holds for known operations holds for it too:
//! validation, differentiation, cost, and the same result on every device.
//!
//! WGSL may be kept beside the reference. It is bounded in length and not run.

use serde::{Deserialize, Serialize};

use crate::{Loss, NodeId, Op};

/// An operation by its reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// For errors and tables: 1 to 128 of a-z, A-Z, 0-9, `_` and `.`.
    pub name: String,
    /// What it reads.
    pub operands: Vec<NodeId>,
    /// What it computes.
    pub reference: Reference,
    /// A faster forward kernel in WGSL: kept, not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wgsl_forward: Option<String>,
    /// A faster backward kernel in WGSL: kept, not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wgsl_backward: Option<String>,
}

/// A graph of known operations. Its nodes count from 0; its inputs are the operands of the custom
/// operation, whatever their shape; it has no parameters and holds no custom operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// In topological order.
    pub nodes: Vec<Op>,
    /// The node that is the result.
    pub output: NodeId,
}

impl Custom {
    /// An operation without kernels of its own.
    pub fn new(name: &str, operands: &[NodeId], reference: Reference) -> Self {
        Self { name: name.to_owned(), operands: operands.to_vec(), reference, wgsl_forward: None, wgsl_backward: None }
    }
}

/// The same graph with every custom operation replaced by its reference. The graph must be valid.
pub(crate) fn inline(nodes: &[Op], loss: Loss) -> (Vec<Op>, Loss) {
    let mut flat: Vec<Op> = Vec::with_capacity(nodes.len());
    // For each node of the program the node of `flat` that stands for it.
    let mut places: Vec<NodeId> = Vec::with_capacity(nodes.len());
    for op in nodes {
        let place = match op {
            Op::Custom(Custom { operands, reference, .. }) => {
                let operands: Vec<NodeId> = operands.iter().map(|id| places[id.index()]).collect();
                put_reference(&mut flat, &operands, reference)
            }
            op => put(&mut flat, op, &places),
        };
        places.push(place);
    }
    (flat, loss.moved(|id| places[id.index()]))
}

fn put_reference(flat: &mut Vec<Op>, operands: &[NodeId], reference: &Reference) -> NodeId {
    let mut places: Vec<NodeId> = Vec::with_capacity(reference.nodes.len());
    for op in &reference.nodes {
        let place = match *op {
            Op::Input { input } => operands[input as usize],
            ref op => put(flat, op, &places),
        };
        places.push(place);
    }
    places[reference.output.index()]
}

fn put(flat: &mut Vec<Op>, op: &Op, places: &[NodeId]) -> NodeId {
    let mut op = op.clone();
    op.operands_mut().into_iter().for_each(|id| *id = places[id.index()]);
    flat.push(op);
    NodeId(flat.len() as u32 - 1)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::{BinaryFn, DType, Dim, Graph, Program, UnaryFn};

    fn squared_relu() -> Reference {
        let nodes = vec![
            Op::Input { input: 0 },
            Op::Unary { f: UnaryFn::Relu, x: NodeId(0) },
            Op::Binary { f: BinaryFn::Mul, a: NodeId(1), b: NodeId(1) },
        ];
        Reference { nodes, output: NodeId(2) }
    }

    fn program(make: impl FnOnce(&mut Graph, NodeId) -> NodeId) -> Program {
        let mut g = Graph::new();
        let x = g.input("x", &[Dim::Batch, Dim::Of(4)], DType::F32).expect("an input");
        let y = g.input("y", &[Dim::Batch], DType::U32).expect("an input");
        let h = g.linear("a", x, 3).expect("a layer");
        let h = make(&mut g, h);
        let logits = g.linear("head", h, 2).expect("a layer");
        g.finish(Loss::cross_entropy(logits, y)).expect("a good program")
    }

    fn custom() -> Program {
        program(|g, h| g.custom(Custom::new("squared_relu", &[h], squared_relu())).expect("an operation"))
    }

    #[track_caller]
    fn check(from: &str, to: &str, expected: Expect) {
        let json = custom().to_json();
        assert!(json.contains(from), "{from} is not in {json}");
        let error = Program::parse(json.replacen(from, to, 1).as_bytes()).expect_err("an error");
        expected.assert_eq(&error.to_string());
    }

    #[test]
    fn the_reference_stands_in_its_place() {
        let by_hand = program(|g, h| {
            let h = g.relu(h).expect("a function");
            g.binary(BinaryFn::Mul, h, h).expect("a square")
        });
        let custom = custom();
        assert_eq!(custom.nodes(), by_hand.nodes());
        assert_eq!(custom.loss(), by_hand.loss());
        assert_eq!(crate::differentiate(&custom), crate::differentiate(&by_hand));
        assert_eq!(custom.facts(), by_hand.facts());
    }

    #[test]
    fn the_format_keeps_it_whole() {
        let program = custom();
        let json = program.to_json();
        expect![[r#"{"op":"custom","name":"squared_relu","operands":[4],"reference":{"nodes":[{"op":"input","input":0},{"op":"unary","f":"relu","x":0},{"op":"binary","f":"mul","a":1,"b":1}],"output":2}}"#]].assert_eq(&json[json.find(r#"{"op":"custom""#).expect("is there")..json.rfind(r#",{"op":"parameter","parameter":2}"#).expect("is there")]);
        assert_eq!(Program::parse(json.as_bytes()), Ok(program));
    }

    #[test]
    fn a_bad_reference_is_refused_by_name() {
        check(
            r#""f":"mul","a":1,"b":1"#,
            r#""f":"mul","a":1,"b":2"#,
            expect![[
                r#"node 5 (custom "squared_relu"), in its reference: node 2 (binary) refers to node 2, which is not before it"#
            ]],
        );
        check(
            r#""output":2"#,
            r#""output":3"#,
            expect![[
                r#"node 5 (custom "squared_relu"), in its reference: node 3 (output) refers to node 3, which is not before it"#
            ]],
        );
        check(
            r#"{"op":"input","input":0},{"op":"unary""#,
            r#"{"op":"parameter","parameter":0},{"op":"unary""#,
            expect![[
                r#"node 5 (custom "squared_relu"), in its reference: node 0 (parameter) refers to index 0, the program has 0"#
            ]],
        );
        check(
            r#"{"op":"unary","f":"relu","x":0}"#,
            r#"{"op":"custom","name":"a","operands":[],"reference":{"nodes":[],"output":0}}"#,
            expect![[
                r#"node 5 (custom "squared_relu"), in its reference: node 1 is a custom operation, a reference may not hold one"#
            ]],
        );
        check(
            r#""operands":[4]"#,
            r#""operands":[]"#,
            expect![[
                r#"node 5 (custom "squared_relu"), in its reference: node 0 (input) refers to index 0, the program has 0"#
            ]],
        );
    }

    #[test]
    fn its_wgsl_is_kept_and_bounded() {
        let with = |text: String| {
            let wgsl = format!(r#""output":2}},"wgsl_forward":"{text}"}}"#);
            Program::parse(custom().to_json().replacen(r#""output":2}}"#, &wgsl, 1).as_bytes())
        };
        let kept = with("fn main() {}".to_owned()).expect("a good program");
        assert!(kept.to_json().contains("fn main() {}"));
        let error = with("x".repeat(20_000)).expect_err("too long").to_string();
        assert_eq!(error, "program has 20000 bytes of WGSL in a custom operation, at most 16384");
    }
}
