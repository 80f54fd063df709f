//! Where each parameter lies: first the matrices that AdamW or SGD trains, then the weights of layers
//! that Muon may train, then the rest. So weight decay is one comparison, and Muon's share one range.
//! An arena that is larger than a binding is cut between parameters.

use potluck_graph::{Op, Program};

/// Values that a parameter's offset is rounded up to: 64 x 4 B = 256 B, WebGPU's
/// `minStorageBufferOffsetAlignment`.
const ALIGN: usize = 64;

pub(super) struct Arena {
    /// For each parameter its first value and its length.
    pub(super) places: Vec<(usize, usize)>,
    /// The weights of layers, in the order of parameters.
    pub(super) layers: Vec<LayerWeight>,
    /// Their range.
    pub(super) layers_range: (usize, usize),
    /// Values before this one belong to matrices.
    pub(super) decay_len: usize,
    /// First value and length of each segment, in order and without gaps.
    pub(super) segments: Vec<(usize, usize)>,
    /// Values in all, padding included.
    pub(super) len: usize,
}

/// The matrix of a layer; a filter is one of `(channels, taps)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LayerWeight {
    pub(super) offset: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl LayerWeight {
    pub(super) fn shorter(self) -> usize {
        self.rows.min(self.columns)
    }

    pub(super) fn longer(self) -> usize {
        self.rows.max(self.columns)
    }
}

/// Groups in the order of the arena.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Group {
    OtherMatrix,
    LayerWeight,
    Rest,
}

impl Arena {
    /// A segment has at most `segment_values`, or one parameter.
    pub(super) fn new(program: &Program, segment_values: usize) -> Self {
        let groups = groups(program);
        let mut places = vec![(0, 0); groups.len()];
        let mut layers = Vec::new();
        let mut ends = Vec::new();
        let mut segments = Vec::new();
        let (mut start, mut len) = (0, 0);
        for group in [Group::OtherMatrix, Group::LayerWeight, Group::Rest] {
            for (index, spec) in program.parameters().iter().enumerate().filter(|(index, _)| groups[*index] == group) {
                let padded = spec.values().next_multiple_of(ALIGN);
                if len > start && len + padded - start > segment_values {
                    segments.push((start, len - start));
                    start = len;
                }
                places[index] = (len, spec.values());
                if group == Group::LayerWeight {
                    let rows = spec.shape[0] as usize;
                    layers.push(LayerWeight { offset: len, rows, columns: spec.values() / rows });
                }
                len += padded;
            }
            ends.push(len);
        }
        segments.push((start, len - start));
        Self { places, layers, layers_range: (ends[0], ends[1]), decay_len: ends[1], segments, len }
    }
}

/// A prediction of more values than this many times what it is made of chooses from a large vocabulary.
const OUTPUTS_PER_INPUT_MAX: usize = 8;

/// A layer's weight is that of a linear layer or of a convolution, but no embedding, nor one that makes
/// a prediction over a large vocabulary: that is a table of words as well, and Muon would need more
/// memory for it than all the rest takes.
fn groups(program: &Program) -> Vec<Group> {
    let mut groups: Vec<Group> = program
        .parameters()
        .iter()
        .map(|spec| if spec.is_matrix() { Group::OtherMatrix } else { Group::Rest })
        .collect();
    let parameter_of = |id: potluck_graph::NodeId| match program.nodes()[id.index()] {
        Op::Parameter { parameter } => Some(parameter as usize),
        _ => None,
    };
    let (prediction, _) = program.loss().operands();
    let is_vocabulary = |parameter: usize| {
        let spec = &program.parameters()[parameter];
        let outputs = spec.shape[0] as usize;
        outputs > OUTPUTS_PER_INPUT_MAX * (spec.values() / outputs)
    };
    let mut tables = Vec::new();
    for (index, op) in program.nodes().iter().enumerate() {
        match *op {
            Op::Linear { weight, .. } | Op::Conv2d { weight, .. } => {
                let Some(parameter) = parameter_of(weight) else { continue };
                groups[parameter] = Group::LayerWeight;
                if index == prediction.index() && is_vocabulary(parameter) {
                    tables.push(parameter);
                }
            }
            Op::Embedding { weight, .. } => tables.extend(parameter_of(weight)),
            _ => {}
        }
    }
    tables.into_iter().for_each(|parameter| groups[parameter] = Group::OtherMatrix);
    groups
}
