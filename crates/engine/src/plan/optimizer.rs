//! The optimizer's share of a plan: after the backward pass, over the arenas.

use potluck_protocol::{Optimizer, Recipe, limits};

use super::{
    Dispatch, Place,
    arena::{Arena, Hidden},
};
use crate::{Form, Kernel, Stack, Then, kernel::NORM_PARTIALS};

/// Newton-Schulz steps, and the quintic's coefficients: they blow small singular values up fast and
/// leave all of them within 0.7 to 1.2 (Jordan 2024).
const NEWTON_SCHULZ_STEPS: usize = 5;
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];

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

/// Clips the gradient by its global norm and takes a step.
pub(super) fn optimizer(recipe: &Recipe, arena: &Arena, mut slots: Slots<'_>) -> Vec<Dispatch> {
    let len = arena.len as u32;
    let gradients = Place::Gradient { offset: 0, len: arena.len };
    let parameters = Place::Parameter { offset: 0, len: arena.len };
    let partials = slots.new_slot(NORM_PARTIALS as usize);
    let scale = slots.new_slot(1);
    let clip_bits = recipe.clip_norm.to_bits();
    let mut all = vec![
        Dispatch::new(Kernel::NormPartials { len }, vec![gradients], vec![partials]),
        Dispatch::new(Kernel::ClipScale { clip_bits }, vec![partials], vec![scale]),
    ];
    let decay_len = arena.decay_len as u32;
    let adamw = |constants: [f32; 4], (start, end): (usize, usize)| Kernel::AdamW {
        len,
        decay_len,
        constants: constants.map(f32::to_bits),
        skip_start: start as u32,
        skip_end: end as u32,
    };
    let mut applied = Vec::new();
    let last = match recipe.optimizer {
        Optimizer::Adamw { beta1, beta2, eps, weight_decay } => {
            adamw([beta1, beta2, eps, weight_decay], (arena.decay_len, arena.decay_len))
        }
        Optimizer::Muon { momentum, beta1, beta2, eps, weight_decay } => {
            for members in stacks(&arena.hidden) {
                let [n, m] = [members[0].shorter(), members[0].longer()].map(|v| v as u32);
                let count = members.len() as u32;
                let stack = Stack { count, n, m, momentum_bits: momentum.to_bits() };
                let (work, apply) = muon(stack, &members, [gradients, scale, parameters], weight_decay, &mut slots);
                all.extend(work);
                applied.push(apply);
            }
            // What changes parameters comes last: until then a step can be forgotten.
            all.append(&mut applied);
            adamw([beta1, beta2, eps, weight_decay], arena.hidden_range)
        }
        Optimizer::Sgd { momentum, weight_decay } => {
            Kernel::Sgd { len, decay_len, momentum_bits: momentum.to_bits(), decay_bits: weight_decay.to_bits() }
        }
    };
    all.push(Dispatch::new(last, vec![gradients, scale], vec![parameters]));
    all
}

/// Matrices whose shorter sides agree go through Newton-Schulz together, longest first: padding the
/// longer side with zeros changes nothing. A new stack begins where padding would quadruple a matrix
/// or the stack outgrow a binding.
fn stacks(hidden: &[Hidden]) -> Vec<Vec<Hidden>> {
    let mut sorted = hidden.to_vec();
    sorted.sort_by_key(|matrix| (matrix.shorter(), std::cmp::Reverse(matrix.longer())));
    let mut stacks: Vec<Vec<Hidden>> = Vec::new();
    for matrix in sorted {
        let joins = |stack: &&mut Vec<Hidden>| {
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

/// `A = X X^T; B = c A A + b A; X <- B X + a X`, five times; and the dispatch that puts it back.
fn muon(
    stack: Stack,
    members: &[Hidden],
    [gradients, scale, parameters]: [Place; 3],
    decay: f32,
    slots: &mut Slots<'_>,
) -> (Vec<Dispatch>, Dispatch) {
    let Stack { count, n, m, .. } = stack;
    let row = |h: &Hidden| [h.offset as u32, h.rows as u32, h.columns as u32, u32::from(h.rows > h.columns)];
    let table = slots.new_table(members.iter().flat_map(row).collect());
    let [wide, square] = [count * n * m, count * n * n].map(|len| len as usize);
    let mut x = slots.new_slot(wide);
    let mut spare = slots.new_slot(wide);
    let [gram, polynomial] = [slots.new_slot(square), slots.new_slot(square)];
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
    let reads = vec![gradients, scale, table];
    let mut all = vec![Dispatch::new(Kernel::MuonGather(stack), reads, vec![x])];
    for _ in 0..NEWTON_SCHULZ_STEPS {
        let outer = product(Form::Nt, [n, n, m], Then::Store);
        let inner = product(Form::Nn, [n, n, n], blend(c, b));
        let step = product(Form::Nn, [n, m, n], blend(1.0, a));
        all.push(Dispatch::new(outer, vec![x, x], vec![gram]));
        all.push(Dispatch::new(inner, vec![gram, gram, gram], vec![polynomial]));
        all.push(Dispatch::new(step, vec![polynomial, x, x], vec![spare]));
        std::mem::swap(&mut x, &mut spare);
    }
    let kernel = Kernel::MuonApply { stack, decay_bits: decay.to_bits() };
    (all, Dispatch::new(kernel, vec![x, table], vec![parameters]))
}
