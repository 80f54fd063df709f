//! The optimizer's share of a plan: after the backward pass, over the arenas.

use potluck_protocol::{Optimizer, Recipe, limits};

use super::{
    Dispatch, Place,
    arena::{Arena, LayerWeight},
};
use crate::{Form, Kernel, Stack, Then, kernel::NORM_PARTIALS};

/// Newton-Schulz steps, and the quintic's coefficients: they blow small singular values up fast and
/// leave all of them within 0.7 to 1.2 (Jordan 2024).
const NEWTON_SCHULZ_STEPS: usize = 5;
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// Values of one dispatch of partial sums: 16 Ki turns of the loop of each of its 256 invocations. Mesa's
/// software driver ends a loop without a word after 64 Ki, and no slice should wait for more.
const NORM_VALUES_MAX: usize = 4 << 20;

/// Slots that only the optimizer uses.
pub(super) struct Slots<'a> {
    pub(super) slots: &'a mut Vec<usize>,
    pub(super) tables: &'a mut Vec<(usize, Vec<f32>)>,
}

impl Slots<'_> {
    fn new_slot(&mut self, len: usize) -> Place {
        self.slots.push(len);
        Place::Slot(self.slots.len() - 1)
    }

    /// A table of whole numbers, kept as the bits of f32 like every u32 in a slot.
    fn new_table(&mut self, values: Vec<u32>) -> Place {
        self.slots.push(values.len());
        self.tables.push((self.slots.len() - 1, values.into_iter().map(f32::from_bits).collect()));
        Place::Slot(self.slots.len() - 1)
    }
}

/// Clips the gradient by its global norm and takes a step. What goes over an arena goes over one
/// segment after another, in the order of additions of an arena in one piece.
pub(super) fn optimizer(recipe: &Recipe, arena: &Arena, mut slots: Slots<'_>) -> Vec<Dispatch> {
    let partials = slots.new_slot(NORM_PARTIALS as usize);
    let scale = slots.new_slot(1);
    let mut all = Vec::new();
    for &(start, len) in &arena.segments {
        for offset in (start..start + len).step_by(NORM_VALUES_MAX) {
            let len = (start + len - offset).min(NORM_VALUES_MAX);
            let kernel = Kernel::NormPartials { len: len as u32, start: offset as u32 };
            push(&mut all, kernel, &[Place::Gradient { offset, len }], partials);
        }
    }
    push(&mut all, Kernel::ClipScale { clip_bits: recipe.clip_norm.to_bits() }, &[partials], scale);
    let mut skipped = (arena.decay_len, arena.decay_len);
    if let Optimizer::Muon { momentum, weight_decay, .. } = recipe.optimizer {
        skipped = arena.layers_range;
        let mut applied = Vec::new();
        for members in stacks(&arena.layers) {
            let [n, m] = [members[0].shorter(), members[0].longer()].map(|v| v as u32);
            let stack = Stack { count: members.len() as u32, n, m, momentum_bits: momentum.to_bits() };
            let muon = Muon { stack, members: &members, segments: &arena.segments, scale, decay: weight_decay };
            muon.dispatch(&mut slots, &mut all, &mut applied);
        }
        // What changes parameters comes last: until then a step can be forgotten.
        all.append(&mut applied);
    }
    for &(offset, len) in &arena.segments {
        let inside = |at: usize| (at.clamp(offset, offset + len) - offset) as u32;
        let (values, decay_len) = (len as u32, inside(arena.decay_len));
        let kernel = match recipe.optimizer {
            Optimizer::Adamw { beta1, beta2, eps, weight_decay }
            | Optimizer::Muon { beta1, beta2, eps, weight_decay, .. } => Kernel::AdamW {
                len: values,
                decay_len,
                constants: [beta1, beta2, eps, weight_decay].map(f32::to_bits),
                skip_start: inside(skipped.0),
                skip_end: inside(skipped.1),
            },
            Optimizer::Sgd { momentum, weight_decay } => Kernel::Sgd {
                len: values,
                decay_len,
                momentum_bits: momentum.to_bits(),
                decay_bits: weight_decay.to_bits(),
            },
        };
        push(&mut all, kernel, &[Place::Gradient { offset, len }, scale], Place::Parameter { offset, len });
    }
    all
}

/// Not compiled into each place that calls it: the wasm package must stay small.
#[inline(never)]
fn push(all: &mut Vec<Dispatch>, kernel: Kernel, reads: &[Place], write: Place) {
    all.push(Dispatch::new(kernel, reads.to_vec(), vec![write]));
}

/// Matrices whose shorter sides agree go through Newton-Schulz together, longest first: padding the
/// longer side with zeros changes nothing. A new stack begins where padding would quadruple a matrix
/// or the stack outgrow a binding.
fn stacks(layers: &[LayerWeight]) -> Vec<Vec<LayerWeight>> {
    let mut sorted = layers.to_vec();
    sorted.sort_by_key(|matrix| (matrix.shorter(), std::cmp::Reverse(matrix.longer())));
    let mut stacks: Vec<Vec<LayerWeight>> = Vec::new();
    for matrix in sorted {
        let joins = |stack: &&mut Vec<LayerWeight>| {
            let first = stack[0];
            let values = (stack.len() as u64 + 1) * first.shorter() as u64 * first.longer() as u64;
            first.shorter() == matrix.shorter()
                && first.longer() <= 4 * matrix.longer()
                && values <= limits::TENSOR_VALUES_MAX
        };
        match stacks.last_mut().filter(joins) {
            Some(stack) => stack.push(matrix),
            None => stacks.push(vec![matrix]),
        }
    }
    stacks
}

/// A stack's share of a step.
struct Muon<'a> {
    stack: Stack,
    members: &'a [LayerWeight],
    segments: &'a [(usize, usize)],
    scale: Place,
    decay: f32,
}

impl Muon<'_> {
    /// `A = X X^T; B = c A A + b A; X <- B X + a X`, five times, between what gathers the stack and what
    /// puts it back: a dispatch each for every segment that has matrices of it.
    fn dispatch(self, slots: &mut Slots<'_>, all: &mut Vec<Dispatch>, applied: &mut Vec<Dispatch>) {
        let Self { stack, members, segments, scale, decay } = self;
        let Stack { count, n, m, .. } = stack;
        let [wide, square] = [count * n * m, count * n * n].map(|len| len as usize);
        let mut x = slots.new_slot(wide);
        let mut spare = slots.new_slot(wide);
        let [gram, polynomial] = [slots.new_slot(square), slots.new_slot(square)];
        // An odd number of steps ends in the other slot.
        let last = if NEWTON_SCHULZ_STEPS.is_multiple_of(2) { x } else { spare };
        for &(offset, len) in segments {
            let mut table = Vec::new();
            for (at, h) in (0u32..).zip(members) {
                if (offset..offset + len).contains(&h.offset) {
                    let turned = u32::from(h.rows > h.columns);
                    table.extend([(h.offset - offset) as u32, h.rows as u32, h.columns as u32, 2 * at + turned]);
                }
            }
            if table.is_empty() {
                continue;
            }
            let stack = Stack { count: table.len() as u32 / 4, ..stack };
            let table = slots.new_table(table);
            push(all, Kernel::MuonGather(stack), &[Place::Gradient { offset, len }, scale, table], x);
            let kernel = Kernel::MuonApply { stack, decay_bits: decay.to_bits() };
            push(applied, kernel, &[last, table], Place::Parameter { offset, len });
        }
        let [a, b, c] = QUINTIC;
        let product = |form, [m, n, k]: [u32; 3], then| Kernel::MatMul {
            form,
            m,
            n,
            k,
            bias: false,
            then,
            row_sums: false,
            batch: count,
        };
        let blend = |alpha: f32, beta: f32| Then::Blend { alpha_bits: alpha.to_bits(), beta_bits: beta.to_bits() };
        for _ in 0..NEWTON_SCHULZ_STEPS {
            push(all, product(Form::Nt, [n, n, m], Then::Store), &[x, x], gram);
            push(all, product(Form::Nn, [n, n, n], blend(c, b)), &[gram, gram, gram], polynomial);
            push(all, product(Form::Nn, [n, m, n], blend(1.0, a)), &[polynomial, x, x], spare);
            std::mem::swap(&mut x, &mut spare);
        }
    }
}
