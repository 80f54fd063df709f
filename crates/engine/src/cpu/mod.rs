//! The processor's executor: follows a plan over plain vectors. It is the oracle for the GPU's
//! kernels, the fallback without WebGPU, and the trusted checker.

mod attention;
mod conv;
mod elementwise;
mod gemm;
mod kernels;
mod lanes;
mod losses;
mod matmul;
mod norms;
mod optimizer;
#[cfg(any(target_arch = "wasm32", test))]
mod packed;
mod rows;
mod shapes;
mod slices;
mod tables;
#[cfg(any(target_arch = "wasm32", test))]
mod tile;

use std::{ops::Range, sync::Arc};

pub(crate) use gemm::PANEL_VALUES;

use crate::{Dispatch, Kernel, Place, Plan, step::StepValues};

/// A plan with its memory.
pub(crate) struct CpuExecutor {
    plan: Arc<Plan>,
    slots: Vec<Vec<f32>>,
    parameters: Vec<f32>,
    gradients: Vec<f32>,
    moments: [Vec<f32>; 2],
    scratch: Scratch,
}

/// What kernels need beside their operands. It is kept, so that a step allocates nothing once every
/// kernel has run.
#[derive(Default)]
struct Scratch {
    gemm: gemm::Buffers,
    work: [Vec<f32>; 2],
    /// For outputs that go into an arena, at most two a kernel.
    aside: [Vec<f32>; 2],
}

impl CpuExecutor {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        let slots = plan.slots.iter().map(|&len| vec![0.0; len]).collect();
        let arena = || vec![0.0; plan.arena_len];
        Self {
            slots,
            parameters: arena(),
            gradients: arena(),
            moments: [arena(), arena()],
            scratch: Scratch::default(),
            plan,
        }
    }

    /// Replaces the parameter arena and forgets the optimizer's state.
    pub(crate) fn restart(&mut self, arena: &[f32]) {
        self.write_parameters(arena);
        self.moments.iter_mut().for_each(|m| m.fill(0.0));
    }

    /// Replaces the parameter arena alone.
    pub(crate) fn write_parameters(&mut self, arena: &[f32]) {
        self.parameters.copy_from_slice(arena);
    }

    /// Writes the front of a slot; u32 values come as their bits.
    pub(crate) fn write_slot(&mut self, slot: usize, bytes: &[u8]) {
        bytemuck::cast_slice_mut::<f32, u8>(&mut self.slots[slot])[..bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn read(&self, place: Place) -> &[f32] {
        match place {
            Place::Slot(slot) => &self.slots[slot],
            Place::Parameter { offset, len } => &self.parameters[offset..][..len],
            Place::Gradient { offset, len } => &self.gradients[offset..][..len],
        }
    }

    pub(crate) fn run(&mut self, range: Range<usize>, step: StepValues) {
        let plan = Arc::clone(&self.plan);
        for dispatch in &plan.dispatches[range] {
            self.dispatch(dispatch, step);
        }
    }

    fn dispatch(&mut self, dispatch: &Dispatch, step: StepValues) {
        let Dispatch { kernel, tier: _, reads, writes } = dispatch;
        if self.optimize(dispatch, step) {
            return;
        }
        // Outputs are moved out while the operands are read: a plan never writes what it reads.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut outputs: Vec<Vec<f32>> =
            writes.iter().zip(&mut scratch.aside).map(|(&place, aside)| self.take(place, aside)).collect();
        let operands: Vec<&[f32]> = reads.iter().map(|&place| self.read(place)).collect();
        let mut targets: Vec<&mut [f32]> = Vec::with_capacity(outputs.len());
        for (buffer, len) in outputs.iter_mut().zip(kernel.output_lens()) {
            targets.push(&mut buffer[..len]);
        }
        kernels::run(kernel, &operands, &mut targets, step, &mut scratch);
        for ((&place, buffer), aside) in writes.iter().zip(outputs).zip(&mut scratch.aside) {
            self.put(place, buffer, aside);
        }
        self.scratch = scratch;
    }

    /// Runs a kernel that changes the arenas; false where it is none.
    fn optimize(&mut self, dispatch: &Dispatch, step: StepValues) -> bool {
        let Dispatch { kernel, tier: _, reads, writes } = dispatch;
        let segment = match (reads.first(), writes.first()) {
            (Some(&Place::Gradient { offset, len }), _) | (_, Some(&Place::Parameter { offset, len })) => {
                offset..offset + len
            }
            _ => return false,
        };
        let [m, v] = self.moments.each_mut().map(|moment| &mut moment[segment.clone()]);
        let (parameters, gradients) = (&mut self.parameters[segment.clone()], &self.gradients[segment]);
        let scalar = |place: Place| if let Place::Slot(slot) = place { self.slots[slot][0] } else { 1.0 };
        match *kernel {
            Kernel::AdamW { .. } => {
                let state = optimizer::State { parameters, m, v };
                optimizer::adamw(kernel, state, gradients, scalar(reads[1]), step);
            }
            Kernel::Sgd { .. } => {
                let state = optimizer::State { parameters, m, v };
                optimizer::sgd(kernel, state, gradients, scalar(reads[1]), step);
            }
            Kernel::MuonGather(stack) => {
                let (Place::Slot(table), Place::Slot(out)) = (reads[2], writes[0]) else { return false };
                let scale = scalar(reads[1]);
                let mut target = std::mem::take(&mut self.slots[out]);
                optimizer::muon_gather(stack, &self.slots[table], gradients, scale, m, &mut target);
                self.slots[out] = target;
            }
            Kernel::MuonApply { stack, decay_bits } => {
                let (Place::Slot(x), Place::Slot(table)) = (reads[0], reads[1]) else { return false };
                let decay = f32::from_bits(decay_bits);
                optimizer::muon_apply(stack, &self.slots[x], &self.slots[table], decay, step.lr, parameters);
            }
            _ => return false,
        }
        true
    }

    /// Slots move whole; a range of an arena is computed aside, for two may be written at once.
    fn take(&mut self, place: Place, aside: &mut Vec<f32>) -> Vec<f32> {
        match place {
            Place::Slot(slot) => std::mem::take(&mut self.slots[slot]),
            Place::Parameter { len, .. } | Place::Gradient { len, .. } => {
                aside.resize(aside.len().max(len), 0.0);
                std::mem::take(aside)
            }
        }
    }

    fn put(&mut self, place: Place, buffer: Vec<f32>, aside: &mut Vec<f32>) {
        let (arena, offset, len) = match place {
            Place::Slot(slot) => {
                self.slots[slot] = buffer;
                return;
            }
            Place::Parameter { offset, len } => (&mut self.parameters, offset, len),
            Place::Gradient { offset, len } => (&mut self.gradients, offset, len),
        };
        arena[offset..][..len].copy_from_slice(&buffer[..len]);
        *aside = buffer;
    }
}
