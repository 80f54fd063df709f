//! The plan: a program for one batch size, lowered to dispatches over named places in memory.
//! Fixed once; both executors follow it to the letter.

use std::collections::BTreeMap;

use potluck_graph::{Loss, NodeId, Op, Program, TrainingGraph, differentiate};
use potluck_protocol::{BlobId, Optimizer, Recipe, limits};

use crate::{EngineError, Epilogue, Form, Kernel, kernel::NORM_PARTIALS};

/// Values that a parameter's offset is rounded up to: 64 x 4 B = 256 B, WebGPU's
/// `minStorageBufferOffsetAlignment`.
const ALIGN: usize = 64;

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
    /// What it reads, in the kernel's order.
    pub reads: Vec<Place>,
    /// Where the result goes; never one of the places that it reads.
    pub write: Place,
}

/// A program, differentiated, fused and laid out for one batch size and recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Samples in a step.
    pub batch: u32,
    /// All dispatches of a training step, in order.
    pub dispatches: Vec<Dispatch>,
    /// The first ones, which an evaluation runs: forward and statistics.
    pub forward_count: usize,
    /// Values of each slot.
    pub slots: Vec<usize>,
    /// Slot of each program input, with the values that it holds.
    pub inputs: Vec<(usize, usize)>,
    /// Slot of the rows' (loss, correct).
    pub stats: usize,
    /// Rows in it.
    pub stats_rows: u32,
    /// Classes that a label must be below.
    pub classes: u32,
    /// Index of the labels among the inputs.
    pub labels: usize,
    /// Parameter arena: for each parameter its first value and its length.
    pub parameters: Vec<(usize, usize)>,
    /// Values of each arena, padding included.
    pub arena_len: usize,
}

impl Plan {
    /// Lowers a program.
    ///
    /// # Errors
    /// Where a tensor would not fit WebGPU's default limits or the whole not a tab's memory.
    pub fn new(program: &Program, recipe: &Recipe) -> Result<Self, EngineError> {
        let graph = differentiate(program);
        let arena = Arena::new(program);
        let (bytes, max) = (arena.len as u64 * 4, limits::TENSOR_VALUES_MAX * 4);
        if bytes > max {
            return Err(EngineError::TooLarge { what: "the parameter arena", bytes, max });
        }
        let mut lowering = Lowering::new(program, &graph, recipe.batch, &arena)?;
        lowering.run()?;
        let plan = lowering.finish(program, recipe, &arena);
        let bytes = memory_bytes(&plan);
        if bytes > limits::TAB_MEMORY_BYTES_MAX {
            return Err(EngineError::TooLarge { what: "training", bytes, max: limits::TAB_MEMORY_BYTES_MAX });
        }
        Ok(plan)
    }

    /// Names everything that can change a bit of the result on one executor.
    pub fn id(&self) -> BlobId {
        BlobId::of(format!("potluck-plan/1 {self:?}").as_bytes())
    }
}

/// Bytes that a training run of this plan takes on its device: slots, parameters, gradients and
/// two moments.
pub fn memory_bytes(plan: &Plan) -> u64 {
    4 * (plan.slots.iter().sum::<usize>() + 4 * plan.arena_len) as u64
}

/// Where each parameter lies. Matrices come first, so that weight decay is one comparison.
struct Arena {
    places: Vec<(usize, usize)>,
    decay_len: usize,
    len: usize,
}

impl Arena {
    fn new(program: &Program) -> Self {
        let mut places = vec![(0, 0); program.parameters().len()];
        let mut len = 0;
        let mut decay_len = 0;
        for matrices in [true, false] {
            for (place, spec) in places.iter_mut().zip(program.parameters()).filter(|(_, s)| s.is_matrix() == matrices)
            {
                *place = (len, spec.values());
                len = (len + spec.values()).next_multiple_of(ALIGN);
            }
            if matrices {
                decay_len = len;
            }
        }
        Self { places, decay_len, len }
    }
}

struct Lowering<'a> {
    graph: &'a TrainingGraph,
    batch: u32,
    places: Vec<Option<Place>>,
    slots: Vec<usize>,
    free: Vec<usize>,
    /// Reads of each node that are still to come.
    pending_reads: Vec<usize>,
    gradient_of: BTreeMap<NodeId, (usize, usize)>,
    dispatches: Vec<Dispatch>,
    forward_count: usize,
    inputs: Vec<(usize, usize)>,
}

impl<'a> Lowering<'a> {
    fn new(program: &Program, graph: &'a TrainingGraph, batch: u32, arena: &Arena) -> Result<Self, EngineError> {
        let mut pending_reads = vec![0; graph.nodes.len()];
        for operand in graph.nodes.iter().flat_map(Op::operands) {
            pending_reads[operand.index()] += 1;
        }
        // The statistics are read by the host after the step: never free.
        pending_reads[graph.stats.index()] += 1;
        let mut lowering = Self {
            graph,
            batch,
            places: vec![None; graph.nodes.len()],
            slots: Vec::new(),
            free: Vec::new(),
            pending_reads,
            gradient_of: graph.gradients.iter().copied().zip(arena.places.iter().copied()).collect(),
            dispatches: Vec::new(),
            forward_count: 0,
            inputs: vec![(0, 0); program.inputs().len()],
        };
        for (index, op) in graph.nodes.iter().enumerate() {
            match *op {
                Op::Parameter { parameter } => {
                    let (offset, len) = arena.places[parameter as usize];
                    lowering.places[index] = Some(Place::Parameter { offset, len });
                }
                Op::Input { input } => {
                    let len = lowering.len(NodeId(index as u32))?;
                    // Inputs are written by the host before the step: their slots are never shared.
                    lowering.pending_reads[index] += 1;
                    lowering.slots.push(len);
                    lowering.inputs[input as usize] = (lowering.slots.len() - 1, len);
                    lowering.places[index] = Some(Place::Slot(lowering.slots.len() - 1));
                }
                _ => {}
            }
        }
        Ok(lowering)
    }

    fn run(&mut self) -> Result<(), EngineError> {
        for index in 0..self.graph.nodes.len() {
            if index == self.graph.forward_count {
                self.forward_count = self.dispatches.len();
            }
            let id = NodeId(index as u32);
            if self.places[index].is_none() && self.fused_into(id).is_none() {
                self.node(id)?;
            }
        }
        Ok(())
    }

    /// The elementwise node that takes this matrix product into its own kernel: the only reader of
    /// it, and next to it in meaning (ReLU after a biased product, its gradient after NN).
    fn fused_into(&self, id: NodeId) -> Option<NodeId> {
        let mut readers = (0u32..).zip(&self.graph.nodes).filter(|(_, op)| op.operands().contains(&id));
        let (reader, reader_op) = readers.next()?;
        if readers.next().is_some() || self.gradient_of.contains_key(&id) {
            return None;
        }
        let fits = match (&self.graph.nodes[id.index()], reader_op) {
            (Op::Linear { bias: Some(_), .. }, Op::Relu { .. }) => true,
            (Op::MatMulNn { .. }, Op::ReluGrad { dy, .. }) => *dy == id,
            _ => false,
        };
        fits.then_some(NodeId(reader))
    }

    fn node(&mut self, id: NodeId) -> Result<(), EngineError> {
        let op = &self.graph.nodes[id.index()];
        let (kernel, reads) = match *op {
            Op::Linear { x, weight, bias } => self.linear(x, weight, bias, false)?,
            Op::Relu { x } => match self.graph.nodes[x.index()] {
                Op::Linear { x: inner, weight, bias } if self.fused_into(x).is_some() => {
                    self.linear(inner, weight, bias, true)?
                }
                _ => (Kernel::Relu { len: self.len_u32(id)? }, vec![x]),
            },
            Op::ReluGrad { y, dy } => match self.graph.nodes[dy.index()] {
                Op::MatMulNn { a, b } if self.fused_into(dy).is_some() => {
                    (self.matmul(Form::Nn, id, a, Epilogue::Mask)?, vec![a, b, y])
                }
                _ => (Kernel::ReluGrad { len: self.len_u32(id)? }, vec![y, dy]),
            },
            Op::MatMulNn { a, b } => (self.matmul(Form::Nn, id, a, Epilogue::None)?, vec![a, b]),
            Op::MatMulTn { a, b } => (self.matmul(Form::Tn, id, a, Epilogue::None)?, vec![a, b]),
            Op::ColumnSum { x } => {
                let (rows, columns) = self.matrix(x)?;
                (Kernel::ColumnSum { rows, columns }, vec![x])
            }
            Op::CrossEntropyStats { logits, labels } => {
                let (rows, classes) = self.matrix(logits)?;
                (Kernel::CrossEntropyStats { rows, classes }, vec![logits, labels])
            }
            Op::CrossEntropyGrad { logits, labels } => {
                let (rows, classes) = self.matrix(logits)?;
                (Kernel::CrossEntropyGrad { rows, classes }, vec![logits, labels])
            }
            Op::Add { a, b } => (Kernel::Add { len: self.len_u32(id)? }, vec![a, b]),
            Op::Input { .. } | Op::Parameter { .. } => unreachable!("placed before"),
        };
        let places = reads.iter().map(|r| self.places[r.index()].expect("operands come before")).collect();
        let write = match self.gradient_of.get(&id) {
            Some(&(offset, len)) => Place::Gradient { offset, len },
            None => Place::Slot(self.take_slot(self.len(id)?)),
        };
        self.places[id.index()] = Some(write);
        self.dispatches.push(Dispatch { kernel, reads: places, write });
        for read in reads {
            self.release(read);
        }
        Ok(())
    }

    fn linear(
        &self,
        x: NodeId,
        weight: NodeId,
        bias: Option<NodeId>,
        relu: bool,
    ) -> Result<(Kernel, Vec<NodeId>), EngineError> {
        let (m, k) = self.matrix(x)?;
        let n = self.graph.shapes[weight.index()].dims[0];
        let epilogue = match (bias, relu) {
            (Some(_), true) => Epilogue::BiasRelu,
            (Some(_), false) => Epilogue::Bias,
            (None, _) => Epilogue::None,
        };
        let kernel = Kernel::MatMul { form: Form::Nt, m, n, k, epilogue };
        Ok((kernel, [Some(x), Some(weight), bias].into_iter().flatten().collect()))
    }

    /// `out` is a matrix of known shape; only the length of the sums depends on the form.
    fn matmul(&self, form: Form, out: NodeId, a: NodeId, epilogue: Epilogue) -> Result<Kernel, EngineError> {
        let (m, n) = self.matrix(out)?;
        let (a_rows, a_columns) = self.matrix(a)?;
        let k = if form == Form::Tn { a_rows } else { a_columns };
        Ok(Kernel::MatMul { form, m, n, k, epilogue })
    }

    fn len(&self, id: NodeId) -> Result<usize, EngineError> {
        let values = self.graph.shapes[id.index()].values_in(self.batch);
        if values > limits::TENSOR_VALUES_MAX {
            return Err(EngineError::TooLarge {
                what: "a tensor",
                bytes: values.saturating_mul(4),
                max: limits::TENSOR_VALUES_MAX * 4,
            });
        }
        Ok(values as usize)
    }

    fn len_u32(&self, id: NodeId) -> Result<u32, EngineError> {
        self.len(id).map(|len| len as u32)
    }

    /// The tensor as (rows, columns), columns being its last dimension.
    fn matrix(&self, id: NodeId) -> Result<(u32, u32), EngineError> {
        let len = self.len(id)? as u32;
        let columns = self.graph.shapes[id.index()].last();
        Ok((len / columns, columns))
    }

    /// The smallest free slot that is large enough, else a new one.
    fn take_slot(&mut self, len: usize) -> usize {
        let best = self
            .free
            .iter()
            .enumerate()
            .filter(|(_, slot)| self.slots[**slot] >= len)
            .min_by_key(|(_, slot)| self.slots[**slot]);
        if let Some((at, _)) = best {
            return self.free.swap_remove(at);
        }
        self.slots.push(len);
        self.slots.len() - 1
    }

    fn release(&mut self, read: NodeId) {
        let pending = &mut self.pending_reads[read.index()];
        *pending = pending.saturating_sub(1);
        if let (0, Some(Place::Slot(slot))) = (*pending, self.places[read.index()]) {
            self.free.push(slot);
        }
    }

    fn finish(mut self, program: &Program, recipe: &Recipe, arena: &Arena) -> Plan {
        let Loss::CrossEntropy { logits, labels } = program.loss();
        let stats_rows = self.graph.shapes[labels.index()].values_in(self.batch) as u32;
        let Some(Place::Slot(stats)) = self.places[self.graph.stats.index()] else {
            unreachable!("statistics have a slot")
        };
        let labels_input = match self.graph.nodes[labels.index()] {
            Op::Input { input } => input as usize,
            _ => unreachable!("only inputs are u32"),
        };
        self.optimizer(recipe, arena);
        Plan {
            batch: self.batch,
            dispatches: self.dispatches,
            forward_count: self.forward_count,
            slots: self.slots,
            inputs: self.inputs,
            stats,
            stats_rows,
            classes: self.graph.shapes[logits.index()].last(),
            labels: labels_input,
            parameters: arena.places.clone(),
            arena_len: arena.len,
        }
    }

    fn optimizer(&mut self, recipe: &Recipe, arena: &Arena) {
        let Optimizer::Adamw { beta1, beta2, eps, weight_decay } = recipe.optimizer;
        let len = arena.len as u32;
        let gradients = Place::Gradient { offset: 0, len: arena.len };
        let partials = Place::Slot(self.take_slot(NORM_PARTIALS as usize));
        let scale = Place::Slot(self.take_slot(1));
        let constants = [beta1, beta2, eps, weight_decay].map(f32::to_bits);
        let clip_bits = recipe.clip_norm.to_bits();
        self.dispatches.extend([
            Dispatch { kernel: Kernel::NormPartials { len }, reads: vec![gradients], write: partials },
            Dispatch { kernel: Kernel::ClipScale { clip_bits }, reads: vec![partials], write: scale },
            Dispatch {
                kernel: Kernel::AdamW { len, decay_len: arena.decay_len as u32, constants },
                reads: vec![gradients, scale],
                write: Place::Parameter { offset: 0, len: arena.len },
            },
        ]);
    }
}
