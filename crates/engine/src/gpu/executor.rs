//! A plan on a device: buffers, pipelines and bind groups are made once; a step only writes its
//! inputs and one small uniform, and encodes the dispatches into one submit.

use std::{ops::Range, rc::Rc, sync::Arc};

use super::{GpuDevice, launch};
use crate::{Dispatch, EngineError, Kernel, Place, Plan, cpu::StepValues};

/// Bytes between two kernels' uniforms (`minUniformBufferOffsetAlignment`).
const UNIFORM_STRIDE: u64 = 256;

/// A plan with its memory on the device.
pub(crate) struct GpuExecutor {
    gpu: Rc<GpuDevice>,
    plan: Arc<Plan>,
    memory: Memory,
    step: wgpu::Buffer,
    launches: Vec<Prepared>,
}

struct Memory {
    slots: Vec<wgpu::Buffer>,
    parameters: wgpu::Buffer,
    gradients: wgpu::Buffer,
    moments: [wgpu::Buffer; 2],
}

struct Prepared {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    grid: [u32; 3],
}

impl GpuExecutor {
    /// Allocates and compiles everything that the plan needs.
    pub(crate) async fn new(gpu: Rc<GpuDevice>, plan: Arc<Plan>) -> Result<Self, EngineError> {
        let out_of_memory = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let invalid = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = Memory::new(&gpu.device, &plan);
        let uniforms = uniforms(&gpu, &plan);
        let step = buffer(&gpu.device, "step", 16, wgpu::BufferUsages::UNIFORM);
        let launches = (0..)
            .zip(&plan.dispatches)
            .map(|(index, dispatch)| memory.prepare(&gpu, dispatch, &uniforms, index, &step))
            .collect();
        let (invalid, out_of_memory) = (invalid.pop().await, out_of_memory.pop().await);
        if let Some(error) = invalid.or(out_of_memory) {
            return Err(EngineError::Device(error.to_string()));
        }
        gpu.check()?;
        Ok(Self { gpu, plan, memory, step, launches })
    }

    /// Replaces the parameter arena and forgets the optimizer's state.
    pub(crate) async fn restart(&self, arena: &[f32]) -> Result<(), EngineError> {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.memory.moments.iter().for_each(|moment| encoder.clear_buffer(moment, 0, None));
        self.gpu.queue.write_buffer(&self.memory.parameters, 0, bytemuck::cast_slice(arena));
        self.gpu.submit(encoder.finish()).await
    }

    /// Writes the front of a slot.
    pub(crate) fn write_slot(&self, slot: usize, bytes: &[u8]) {
        self.gpu.queue.write_buffer(&self.memory.slots[slot], 0, bytes);
    }

    /// Encodes these dispatches into one submit.
    pub(crate) async fn run(&self, range: Range<usize>, step: StepValues) -> Result<(), EngineError> {
        let StepValues { lr, correction1, correction2 } = step;
        self.gpu.queue.write_buffer(&self.step, 0, bytemuck::cast_slice(&[lr, correction1, correction2, 0.0]));
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for Prepared { pipeline, bindings, grid: [x, y, z] } in &self.launches[range] {
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, bindings, &[]);
                pass.dispatch_workgroups(*x, *y, *z);
            }
        }
        self.gpu.submit(encoder.finish()).await
    }

    /// Reads a slot or an arena back.
    pub(crate) async fn read(&self, place: Place) -> Result<Vec<f32>, EngineError> {
        let (source, offset, len) = match place {
            Place::Slot(slot) => (&self.memory.slots[slot], 0, self.plan.slots[slot]),
            Place::Parameter { offset, len } => (&self.memory.parameters, offset, len),
            Place::Gradient { offset, len } => (&self.memory.gradients, offset, len),
        };
        let bytes = self.gpu.read(source, 4 * (offset + len) as u64).await?;
        Ok(bytes.chunks_exact(4).skip(offset).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect())
    }
}

impl Memory {
    fn new(device: &wgpu::Device, plan: &Plan) -> Self {
        let storage = |name: &str, len: usize| buffer(device, name, 4 * len.max(1) as u64, wgpu::BufferUsages::STORAGE);
        Self {
            slots: plan.slots.iter().map(|&len| storage("slot", len)).collect(),
            parameters: storage("parameters", plan.arena_len),
            gradients: storage("gradients", plan.arena_len),
            moments: ["first moment", "second moment"].map(|name| storage(name, plan.arena_len)),
        }
    }

    fn binding(&self, place: Place) -> wgpu::BindingResource<'_> {
        let range = |buffer, offset: usize, len: usize| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset: 4 * offset as u64,
                size: wgpu::BufferSize::new(4 * len as u64),
            })
        };
        match place {
            Place::Slot(slot) => self.slots[slot].as_entire_binding(),
            Place::Parameter { offset, len } => range(&self.parameters, offset, len),
            Place::Gradient { offset, len } => range(&self.gradients, offset, len),
        }
    }

    fn prepare(
        &self,
        gpu: &GpuDevice,
        dispatch: &Dispatch,
        uniforms: &wgpu::Buffer,
        index: u64,
        step: &wgpu::Buffer,
    ) -> Prepared {
        let Dispatch { kernel, reads, write } = dispatch;
        let pipeline = gpu.pipeline(kernel);
        let mut resources = vec![wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: uniforms,
            offset: index * UNIFORM_STRIDE,
            size: wgpu::BufferSize::new(32),
        })];
        resources.extend(reads.iter().map(|&place| self.binding(place)));
        if matches!(kernel, Kernel::MatMul { .. }) && reads.len() == 2 {
            resources.push(self.binding(reads[0]));
        }
        resources.push(self.binding(*write));
        if matches!(kernel, Kernel::AdamW { .. }) {
            resources.extend(self.moments.iter().map(|moment| moment.as_entire_binding()));
            resources.push(step.as_entire_binding());
        }
        let entries: Vec<_> =
            (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        let bindings = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.name()),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        Prepared { pipeline, bindings, grid: launch::grid(kernel) }
    }
}

/// One buffer with every kernel's sizes, which never change.
fn uniforms(gpu: &GpuDevice, plan: &Plan) -> wgpu::Buffer {
    let mut bytes = vec![0u8; plan.dispatches.len() * UNIFORM_STRIDE as usize];
    for (chunk, dispatch) in bytes.chunks_exact_mut(UNIFORM_STRIDE as usize).zip(&plan.dispatches) {
        chunk[..32].copy_from_slice(bytemuck::cast_slice(&launch::uniform(&dispatch.kernel)));
    }
    let uniforms = buffer(&gpu.device, "sizes", bytes.len() as u64, wgpu::BufferUsages::UNIFORM);
    gpu.queue.write_buffer(&uniforms, 0, &bytes);
    uniforms
}

fn buffer(device: &wgpu::Device, label: &str, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size,
        usage: usage | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    })
}
