//! One change to a program's text. Most keep it a program, so that what lies behind validation is
//! reached; the others try what validation is for.

use potluck_graph::random::SplitMix64;
use serde_json::{Map, Value, json};

/// Fields of a node or of the loss that name a node.
const OPERANDS: [&str; 12] =
    ["x", "a", "b", "weight", "bias", "tokens", "qkv", "condition", "logits", "labels", "prediction", "target"];

/// Sizes around workgroups, tiles, bindings and the ends of the number types, and what is no size.
const NUMBERS: [f64; 37] = [
    0.0,
    1.0,
    2.0,
    3.0,
    4.0,
    5.0,
    7.0,
    8.0,
    9.0,
    16.0,
    31.0,
    32.0,
    33.0,
    63.0,
    64.0,
    65.0,
    127.0,
    128.0,
    129.0,
    255.0,
    256.0,
    257.0,
    4095.0,
    4096.0,
    65_535.0,
    65_536.0,
    1_048_577.0,
    33_554_432.0,
    33_554_433.0,
    2_147_483_648.0,
    4_294_967_295.0,
    4_294_967_296.0,
    -1.0,
    0.5,
    1e-45,
    3.5e38,
    -1e300,
];

const OPERATIONS: [&str; 24] = [
    "input",
    "parameter",
    "linear",
    "matmul",
    "conv2d",
    "pool2d",
    "embedding",
    "layer_norm",
    "rms_norm",
    "rope",
    "attention",
    "unary",
    "binary",
    "affine",
    "clamp",
    "where",
    "softmax",
    "reduce",
    "reshape",
    "transpose",
    "custom",
    "derivative",
    "column_sum",
    "rm -rf",
];

/// Changes one thing.
pub fn mutate(text: &[u8], random: &mut SplitMix64) -> Vec<u8> {
    let kind = random.below(16);
    if kind == 0 {
        return damage(text, random);
    }
    let Ok(mut program) = serde_json::from_slice::<Value>(text) else { return damage(text, random) };
    if nodes(&mut program).is_none_or(|nodes| nodes.is_empty()) {
        return damage(text, random);
    }
    match kind {
        1 | 2 => replace_number(&mut program, random),
        3..=5 => resize(&mut program, random),
        6 => rewire(&mut program, random),
        7 => swap_nodes(&mut program, random),
        8 => rename(&mut program, random),
        9 => other_operation(&mut program, random),
        10 => repeat_a_part(&mut program, random),
        _ => insert(&mut program, random),
    }
    program.to_string().into_bytes()
}

fn pick<'a, T>(of: &'a [T], random: &mut SplitMix64) -> &'a T {
    &of[random.below(of.len() as u32) as usize]
}

fn number(random: &mut SplitMix64) -> Value {
    let value = *pick(&NUMBERS, random);
    if value >= 0.0 && value.fract() == 0.0 { json!(value as u64) } else { json!(value) }
}

fn nodes(program: &mut Value) -> Option<&mut Vec<Value>> {
    program.get_mut("nodes")?.as_array_mut()
}

/// A node and its index.
fn some_node<'a>(program: &'a mut Value, random: &mut SplitMix64) -> Option<(usize, &'a mut Map<String, Value>)> {
    let nodes = nodes(program)?;
    let index = random.below(nodes.len() as u32) as usize;
    Some((index, nodes[index].as_object_mut()?))
}

fn damage(text: &[u8], random: &mut SplitMix64) -> Vec<u8> {
    let mut text = text.to_vec();
    let at = random.below(text.len() as u32 + 1) as usize;
    let end = (at + random.below(20) as usize).min(text.len());
    match random.below(4) {
        0 => text.truncate(at),
        1 => drop(text.splice(at..end, std::iter::empty())),
        2 => drop(text.splice(at..at, std::iter::repeat_n(*pick(b"[{\"0", random), 1 << random.below(12)))),
        _ => text[at..end].iter_mut().for_each(|byte| *byte ^= 1 << random.below(8)),
    }
    text
}

/// Every number below a value.
fn numbers<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    match value {
        Value::Number(_) => found.push(value),
        Value::Array(all) => all.iter_mut().for_each(|value| numbers(value, found)),
        Value::Object(all) => all.values_mut().for_each(|value| numbers(value, found)),
        _ => {}
    }
}

fn replace_number(program: &mut Value, random: &mut SplitMix64) {
    let mut found = Vec::new();
    numbers(program, &mut found);
    if found.is_empty() {
        return;
    }
    let at = random.below(found.len() as u32) as usize;
    *found[at] = number(random);
}

/// The same size becomes another everywhere: often the program stays good.
fn resize(program: &mut Value, random: &mut SplitMix64) {
    let Some(program) = program.as_object_mut() else { return };
    let parts = program.iter_mut().filter(|(part, _)| ["inputs", "parameters", "nodes"].contains(&part.as_str()));
    let all = parts.filter_map(|(_, part)| part.as_array_mut()).flatten();
    let shapes = all.filter_map(|each| each.get_mut("shape")?.as_array_mut());
    let mut sizes: Vec<&mut Value> = shapes.flatten().collect();
    if sizes.is_empty() {
        return;
    }
    let old = sizes[random.below(sizes.len() as u32) as usize].clone();
    let new = number(random);
    sizes.iter_mut().filter(|size| ***size == old).for_each(|size| **size = new.clone());
}

/// Another operand: before, itself, or one that comes later, which would be a cycle.
fn rewire(program: &mut Value, random: &mut SplitMix64) {
    let count = nodes(program).map_or(0, |nodes| nodes.len() as u32);
    let operand = json!(random.below(count + 2));
    let Some((_, node)) = some_node(program, random) else { return };
    let keys: Vec<String> = OPERANDS.iter().filter(|key| node.contains_key(**key)).map(|key| key.to_string()).collect();
    if !keys.is_empty() {
        node.insert(pick(&keys, random).clone(), operand);
    }
}

fn swap_nodes(program: &mut Value, random: &mut SplitMix64) {
    let Some(nodes) = nodes(program) else { return };
    let [a, b] = [0, 1].map(|_| random.below(nodes.len() as u32) as usize);
    nodes.swap(a, b);
}

/// Names that are taken, empty, long or odd.
fn rename(program: &mut Value, random: &mut SplitMix64) {
    let part = *pick(&["inputs", "parameters"], random);
    let Some(all) = program.get_mut(part).and_then(Value::as_array_mut).filter(|all| !all.is_empty()) else { return };
    let taken = pick(all, random)["name"].clone();
    let at = random.below(all.len() as u32) as usize;
    all[at]["name"] = match random.below(4) {
        0 => json!(""),
        1 => json!("a".repeat(1 << random.below(12))),
        2 => json!("../\u{0}\u{202e}"),
        _ => taken,
    };
}

fn other_operation(program: &mut Value, random: &mut SplitMix64) {
    let name = *pick(&OPERATIONS, random);
    if let Some((_, node)) = some_node(program, random) {
        node.insert("op".to_owned(), json!(name));
    }
}

/// A part of the program many times over.
fn repeat_a_part(program: &mut Value, random: &mut SplitMix64) {
    let part = *pick(&["inputs", "parameters", "nodes"], random);
    let Some(all) = program.get_mut(part).and_then(Value::as_array_mut).filter(|all| !all.is_empty()) else { return };
    let one = pick(all, random).clone();
    all.extend(std::iter::repeat_n(one, 1 << random.below(14)));
}

/// A new operation behind a node; whoever read the node reads the new one.
fn insert(program: &mut Value, random: &mut SplitMix64) {
    let count = nodes(program).map_or(0, |nodes| nodes.len() as u32);
    let at = random.below(count);
    let node = operation(at, random);
    let moved = |id: &mut Value| {
        // The new node's number is `at + 1`, and what came after moves up by one.
        if let Some(number) = id.as_u64().filter(|number| *number >= u64::from(at)) {
            *id = json!(number.saturating_add(1));
        }
    };
    let Some(nodes) = nodes(program) else { return };
    for object in nodes.iter_mut().skip(at as usize + 1).filter_map(Value::as_object_mut) {
        OPERANDS.iter().filter_map(|key| object.get_mut(*key).map(&moved)).for_each(drop);
        object.get_mut("operands").and_then(Value::as_array_mut).into_iter().flatten().for_each(&moved);
    }
    nodes.insert(at as usize + 1, node);
    if let Some(loss) = program.get_mut("loss").and_then(Value::as_object_mut) {
        OPERANDS.iter().filter_map(|key| loss.get_mut(*key).map(&moved)).for_each(drop);
    }
}

/// An operation over one node. Most keep its shape.
fn operation(x: u32, random: &mut SplitMix64) -> Value {
    let functions = ["relu", "gelu", "silu", "tanh", "sigmoid", "exp", "log", "sqrt"];
    let small = random.below(4);
    match random.below(16) {
        0..=2 => json!({"op": "unary", "f": pick(&functions, random), "x": x}),
        3 => json!({"op": "binary", "f": pick(&["add", "sub", "mul", "div", "pow"], random), "a": x, "b": x}),
        4 => json!({"op": "affine", "x": x, "scale": number(random), "shift": number(random)}),
        5 => json!({"op": "clamp", "x": x, "min": number(random), "max": number(random)}),
        6 => json!({"op": "where", "condition": x, "a": x, "b": x}),
        7 => json!({"op": "softmax", "x": x}),
        8 => json!({"op": "dropout", "x": x, "p": 0.5, "stream": number(random)}),
        9 => json!({"op": "broadcast", "x": x, "axis": small, "count": number(random)}),
        10 => json!({"op": "reduce", "f": pick(&["sum", "mean", "max"], random), "x": x, "axis": small}),
        11 => json!({"op": "concat", "a": x, "b": x, "axis": small}),
        12 => json!({"op": "slice", "x": x, "axis": small, "start": number(random), "end": number(random)}),
        13 => json!({"op": "matmul", "form": pick(&["nn", "nt", "tn"], random), "a": x, "b": x}),
        14 => {
            let window = json!({"size": 1 + small, "stride": 1 + random.below(3), "padding": random.below(2)});
            json!({"op": "pool2d", "x": x, "f": pick(&["max", "average"], random), "window": window})
        }
        _ => {
            let nodes = json!([{"op": "input", "input": 0}, {"op": "unary", "f": "relu", "x": 0}]);
            let reference = json!({"nodes": nodes, "output": random.below(3)});
            json!({"op": "custom", "name": "own", "operands": [x], "reference": reference})
        }
    }
}
