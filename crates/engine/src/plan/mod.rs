//! The plan: a program for one batch size, lowered to dispatches over named places in memory.
//! Fixed once; both executors follow it to the letter.

mod arena;
mod lower;
mod lower_ops;
mod optimizer;
mod slots;

use potluck_graph::{DType, Loss, Op, Program, Shape, TrainingGraph, differentiate, loss_rows};
use potluck_protocol::{BlobId, Recipe, limits};

use crate::{EngineError, Kernel, Tier, kernel::PRODUCTS_MAX};
use arena::Arena;

/// A tensor's place in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// A slot of its own size; slots are shared by tensors whose lives do not overlap.
    Slot(usize),
    /// A range of the parameter arena.
    Parameter {
        /// First value.
        offset: usize,
        /// Values.
        len: usize,
    },
    /// A range of the gradient arena.
    Gradient {
        /// First value.
        offset: usize,
        /// Values.
        len: usize,
    },
}

/// One kernel over its operands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// What to compute.
    pub kernel: Kernel,
    /// How a GPU computes it.
    pub tier: Tier,
    /// What it reads, in the kernel's order.
    pub reads: Vec<Place>,
    /// Where the results go, in the kernel's order; never one of the places that it reads.
    pub writes: Vec<Place>,
}

impl Dispatch {
    /// A kernel over its operands, in its usual tier.
    pub(crate) fn new(kernel: Kernel, reads: Vec<Place>, writes: Vec<Place>) -> Self {
        Self { kernel, tier: Tier::usual(&kernel), reads, writes }
    }
}

/// A program, differentiated, fused and laid out for one batch size and recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Samples in a step.
    pub batch: u32,
    /// All dispatches of a training step, in order.
    pub dispatches: Vec<Dispatch>,
    /// The first ones, which an evaluation runs: forward and statistics.
    pub forward_count: usize,
    /// The first ones, which change no parameter: a step may be given up behind any of them.
    pub divisible: usize,
    /// Values of each slot.
    pub slots: Vec<usize>,
    /// Slots that hold constants, with their values: written once, when the plan is opened.
    pub tables: Vec<(usize, Vec<f32>)>,
    /// Slot of each program input, with the values that it holds.
    pub inputs: Vec<(usize, usize)>,
    /// For each program input of type u32 what its values must be below.
    pub bounds: Vec<Option<u32>>,
    /// Slot of the rows' (loss, correct).
    pub stats: usize,
    /// Rows in it.
    pub stats_rows: u32,
    /// Where the prediction (logits) lies after a forward pass, with its length.
    pub prediction: (Place, usize),
    /// Parameter arena: for each parameter its first value and its length.
    pub parameters: Vec<(usize, usize)>,
    /// Values of each arena, padding included.
    pub arena_len: usize,
    /// First value and length of the buffers that each arena is made of, in order and without gaps.
    pub segments: Vec<(usize, usize)>,
}

impl Plan {
    /// Lowers a program.
    ///
    /// # Errors
    /// Where a tensor would not fit WebGPU's default limits or the whole not a tab's memory.
    pub fn new(program: &Program, recipe: &Recipe) -> Result<Self, EngineError> {
        Self::in_segments(program, recipe, limits::TENSOR_VALUES_MAX as usize)
    }

    /// [`Plan::new`] for a device on which so many values fit one binding: an arena with more is cut
    /// between parameters, and a parameter with more has a segment of its own. That does not change a
    /// bit of the result.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn in_segments(program: &Program, recipe: &Recipe, segment_values: usize) -> Result<Self, EngineError> {
        let batch = recipe.batch;
        let graph = differentiate(program);
        check_sizes(&graph, batch)?;
        let arena = Arena::new(program, segment_values);
        let lowered = lower::lower(&graph, batch);
        check_products(&lowered)?;
        let (prediction, _) = program.loss().operands();
        let pinned = [lowered.stats, lowered.resolve(prediction)];
        let mut layout = slots::Layout::new(&lowered, &arena, &pinned);
        let prediction = layout.place(pinned[1]);
        let Place::Slot(stats) = layout.place(pinned[0]) else { unreachable!("statistics are in a slot") };
        let inputs: Vec<_> = (0..program.inputs().len()).map(|input| layout.input(input)).collect();
        let mut tables = Vec::new();
        let own = optimizer::Slots { slots: &mut layout.slots, tables: &mut tables };
        layout.dispatches.extend(optimizer::optimizer(recipe, &arena, own));
        let largest = layout.slots.iter().max().map_or(0, |&len| 4 * len as u64);
        fits("a tensor", largest, limits::TENSOR_VALUES_MAX * 4)?;
        let changes = |dispatch: &Dispatch| dispatch.writes.iter().any(|w| matches!(w, Place::Parameter { .. }));
        let divisible = layout.dispatches.iter().position(changes).unwrap_or(layout.dispatches.len());
        let mut plan = Self {
            batch,
            divisible,
            dispatches: layout.dispatches,
            forward_count: lowered.forward_count,
            slots: layout.slots,
            tables,
            inputs,
            bounds: bounds(program),
            stats,
            stats_rows: loss_rows(program.loss(), program.shapes(), batch) as u32,
            prediction: (prediction, program.shapes()[program.loss().operands().0.index()].values_in(batch) as usize),
            parameters: arena.places,
            arena_len: arena.len,
            segments: arena.segments,
        };
        fits("training", memory_bytes(&plan), limits::TAB_MEMORY_BYTES_MAX)?;
        let table = |&(slot, [positions, width, base]): &(usize, [u32; 3])| {
            (slot, lower_ops::rope_table(positions, width, f32::from_bits(base)))
        };
        plan.tables.extend(layout.rotations.iter().map(table));
        Ok(plan)
    }

    /// Dispatches over slots of these sizes, and nothing around them.
    pub(crate) fn bare(dispatches: Vec<Dispatch>, slots: Vec<usize>, arena_len: usize) -> Self {
        Self {
            batch: 1,
            forward_count: dispatches.len(),
            divisible: dispatches.len(),
            dispatches,
            slots,
            tables: Vec::new(),
            inputs: Vec::new(),
            bounds: Vec::new(),
            stats: 0,
            stats_rows: 0,
            prediction: (Place::Slot(0), 0),
            parameters: Vec::new(),
            arena_len,
            segments: vec![(0, arena_len)],
        }
    }

    /// The tier of each dispatch: what measuring has chosen, to be given to another device.
    pub fn tiers(&self) -> Vec<Tier> {
        self.dispatches.iter().map(|dispatch| dispatch.tier).collect()
    }

    /// Names everything that can change a bit of the result on one executor.
    pub fn id(&self) -> BlobId {
        BlobId::of(format!("potluck-plan/3 {self:?}").as_bytes())
    }
}

/// Bytes that a training run of this plan takes on its device: slots, parameters, gradients, two
/// moments, the copy through which a GPU's weights are read, which on the processor stands for the
/// gradients that are computed aside, and what the hungriest kernel needs there beside its operands.
pub fn memory_bytes(plan: &Plan) -> u64 {
    let slots: u64 = plan.slots.iter().map(|&len| len as u64).sum();
    let scratch = plan.dispatches.iter().map(|dispatch| dispatch.kernel.scratch_values()).max().unwrap_or(0);
    let scratch = scratch.saturating_add(crate::cpu::PANEL_VALUES);
    slots.saturating_add(5 * plan.arena_len as u64).saturating_add(scratch).saturating_mul(4)
}

fn fits(what: &str, bytes: u64, max: u64) -> Result<(), EngineError> {
    if bytes <= max { Ok(()) } else { Err(EngineError::TooLarge { what: what.to_owned(), bytes, max }) }
}

/// A grid has only so many products one behind the other.
fn check_products(lowered: &lower::Lowered) -> Result<(), EngineError> {
    let counts =
        lowered.steps.iter().map(|step| if let Kernel::MatMul { batch, .. } = step.kernel { batch } else { 1 });
    match counts.max() {
        Some(got) if got > PRODUCTS_MAX => {
            Err(EngineError::TooMany { what: "products of matrices in one operation", got, max: PRODUCTS_MAX })
        }
        _ => Ok(()),
    }
}

/// Every value of the graph fits a binding.
fn check_sizes(graph: &TrainingGraph, batch: u32) -> Result<(), EngineError> {
    let max = limits::TENSOR_VALUES_MAX * 4;
    let bytes = |shape: &Shape| shape.values_in(batch).saturating_mul(4);
    match graph.shapes.iter().position(|shape| bytes(shape) > max) {
        Some(node) => {
            let what = format!("node {node} ({}) for a batch of {batch}", graph.nodes[node].name());
            fits(&what, bytes(&graph.shapes[node]), max)
        }
        None => Ok(()),
    }
}

/// Labels are below the classes, tokens below the vocabulary: kernels index with them.
fn bounds(program: &Program) -> Vec<Option<u32>> {
    let mut bounds = vec![None; program.inputs().len()];
    let mut bound = |node: potluck_graph::NodeId, max: u32| {
        if let Op::Input { input } = program.nodes()[node.index()] {
            let slot: &mut Option<u32> = &mut bounds[input as usize];
            *slot = Some(slot.map_or(max, |m| m.min(max)));
        }
    };
    for op in program.nodes() {
        if let Op::Embedding { tokens, weight } = op {
            bound(*tokens, program.shapes()[weight.index()].dims[0]);
        }
    }
    if let Loss::CrossEntropy { logits, labels } = program.loss() {
        bound(labels, program.shapes()[logits.index()].last());
    }
    debug_assert!(bounds.iter().zip(program.inputs()).all(|(b, i)| b.is_none() || i.dtype == DType::U32));
    bounds
}
