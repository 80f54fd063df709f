//! A plan on a device: buffers, pipelines and bind groups are made once; a step only writes its
//! inputs and one small uniform, and encodes the dispatches into one submit, with a copy of the
//! statistics for whoever asks for the loss.

use std::{cell::RefCell, ops::Range, rc::Rc, sync::Arc};

use super::{
    GpuDevice,
    launch::{Launch, SIZES_WORDS},
};
use crate::{Dispatch, EngineError, Kernel, Place, Plan, step::StepValues};

/// Bytes between two kernels' uniforms (`minUniformBufferOffsetAlignment`).
const UNIFORM_STRIDE: u64 = 256;

/// A plan with its memory on the device.
pub(crate) struct GpuExecutor {
    gpu: Rc<GpuDevice>,
    plan: Arc<Plan>,
    memory: Memory,
    step: wgpu::Buffer,
    /// The statistics of the newest run, ready to be mapped; away while they are read.
    stats: RefCell<Option<wgpu::Buffer>>,
    launches: Vec<Prepared>,
}

struct Memory {
    slots: Vec<wgpu::Buffer>,
    segments: Vec<Segment>,
    /// Bound where a variant of a kernel does not use an output.
    spare: wgpu::Buffer,
}

/// A segment of the arenas.
struct Segment {
    /// Its first value in the arena.
    start: usize,
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
        let launches: Vec<Launch> = plan.dispatches.iter().map(|d| Launch::of(&d.kernel, d.tier)).collect();
        let uniforms = uniforms(&gpu, &launches);
        let step = buffer(&gpu.device, "step", 32, wgpu::BufferUsages::UNIFORM);
        let each = (0..).zip(plan.dispatches.iter().zip(&launches));
        let launches = each
            .map(|(index, (dispatch, launch))| memory.prepare(&gpu, dispatch, launch, [&uniforms, &step], index))
            .collect();
        let (invalid, out_of_memory) = (invalid.pop().await, out_of_memory.pop().await);
        if let Some(error) = invalid.or(out_of_memory) {
            return Err(EngineError::Device(error.to_string()));
        }
        gpu.check()?;
        Ok(Self { gpu, plan, memory, step, stats: RefCell::default(), launches })
    }

    /// Replaces the parameter arena and forgets the optimizer's state.
    pub(crate) async fn restart(&self, arena: &[f32]) -> Result<(), EngineError> {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for segment in &self.memory.segments {
            segment.moments.iter().for_each(|moment| encoder.clear_buffer(moment, 0, None));
        }
        self.write_parameters(arena);
        self.gpu.submit(encoder.finish()).await
    }

    /// Replaces the parameter arena alone.
    pub(crate) fn write_parameters(&self, arena: &[f32]) {
        for (segment, &(start, len)) in self.memory.segments.iter().zip(&self.plan.segments) {
            self.gpu.queue.write_buffer(&segment.parameters, 0, bytemuck::cast_slice(&arena[start..][..len]));
        }
    }

    /// Writes the front of a slot.
    pub(crate) fn write_slot(&self, slot: usize, bytes: &[u8]) {
        self.gpu.queue.write_buffer(&self.memory.slots[slot], 0, bytes);
    }

    /// Encodes these dispatches into one submit.
    pub(crate) async fn run(&self, range: Range<usize>, step: StepValues) -> Result<(), EngineError> {
        self.gpu.queue.write_buffer(&self.step, 0, bytemuck::cast_slice(&step.words()));
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encode(&mut encoder, self.launches[range].iter());
        if self.plan.stats_rows > 0 {
            let bytes = self.stats_bytes();
            let mut stats = self.stats.borrow_mut();
            let copy = stats.get_or_insert_with(|| self.gpu.staging(bytes));
            encoder.copy_buffer_to_buffer(&self.memory.slots[self.plan.stats], 0, copy, 0, bytes);
        }
        self.gpu.submit(encoder.finish()).await
    }

    /// Runs one dispatch so many times in one submit, and waits until it is done.
    pub(crate) async fn repeat(&self, dispatch: usize, times: usize) -> Result<(), EngineError> {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encode(&mut encoder, std::iter::repeat_n(&self.launches[dispatch], times));
        self.gpu.submit(encoder.finish()).await?;
        self.gpu.drain().await
    }

    /// Frees the slots at once, where dropping them leaves that to a browser's garbage collector. Nothing
    /// may be in flight.
    pub(crate) fn free(self) {
        self.memory.slots.iter().for_each(wgpu::Buffer::destroy);
    }

    /// Waits until the queue is empty.
    pub(crate) async fn drain(&self) -> Result<(), EngineError> {
        self.gpu.drain().await
    }

    /// The statistics of the newest run, a pair a row: no submit of their own.
    pub(crate) async fn stats(&self) -> Result<Vec<f32>, EngineError> {
        let taken = self.stats.take();
        let Some(copy) = taken else { return self.read(Place::Slot(self.plan.stats)).await };
        let bytes = self.gpu.map(&copy).await?;
        self.stats.replace(Some(copy));
        Ok(floats(&bytes).collect())
    }

    /// Loss and correctness of each row.
    fn stats_bytes(&self) -> u64 {
        8 * u64::from(self.plan.stats_rows)
    }

    /// Reads a slot or an arena back.
    pub(crate) async fn read(&self, place: Place) -> Result<Vec<f32>, EngineError> {
        let (mut at, end) = match place {
            Place::Slot(slot) => (0, self.plan.slots[slot]),
            Place::Parameter { offset, len } | Place::Gradient { offset, len } => (offset, offset + len),
        };
        let mut values = Vec::with_capacity(end - at);
        while at < end {
            let (source, start) = self.memory.source(place, at);
            let bytes = self.gpu.read(source, source.size()).await?;
            values.extend(floats(&bytes).skip(at - start).take(end - at));
            at = start + bytes.len() / 4;
        }
        Ok(values)
    }
}

fn encode<'a>(encoder: &mut wgpu::CommandEncoder, launches: impl Iterator<Item = &'a Prepared>) {
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    for Prepared { pipeline, bindings, grid: [x, y, z] } in launches {
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, bindings, &[]);
        pass.dispatch_workgroups(*x, *y, *z);
    }
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))
}

impl Memory {
    fn new(device: &wgpu::Device, plan: &Plan) -> Self {
        let storage = |name: &str, len: usize| {
            buffer(device, name, 4 * whole_vectors(len.max(1)) as u64, wgpu::BufferUsages::STORAGE)
        };
        let segment = |&(start, len): &(usize, usize)| {
            let [parameters, gradients, first, second] =
                ["parameters", "gradients", "first moment", "second moment"].map(|name| storage(name, len));
            Segment { start, parameters, gradients, moments: [first, second] }
        };
        Self {
            slots: plan.slots.iter().map(|&len| storage("slot", len)).collect(),
            segments: plan.segments.iter().map(segment).collect(),
            spare: storage("spare", 64),
        }
    }

    /// The segment that holds this value of an arena.
    fn segment(&self, at: usize) -> &Segment {
        let behind = self.segments.iter().rposition(|segment| segment.start <= at);
        &self.segments[behind.unwrap_or_default()]
    }

    /// The buffer that holds value `at` of a place's slot or arena, and its first value there.
    fn source(&self, place: Place, at: usize) -> (&wgpu::Buffer, usize) {
        if let Place::Slot(slot) = place {
            return (&self.slots[slot], 0);
        }
        let Segment { start, parameters, gradients, .. } = self.segment(at);
        (if let Place::Parameter { .. } = place { parameters } else { gradients }, *start)
    }

    fn binding(&self, place: Place) -> wgpu::BindingResource<'_> {
        let (Place::Parameter { offset, len } | Place::Gradient { offset, len }) = place else {
            return self.source(place, 0).0.as_entire_binding();
        };
        let (buffer, start) = self.source(place, offset);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer,
            offset: 4 * (offset - start) as u64,
            size: wgpu::BufferSize::new(4 * whole_vectors(len) as u64),
        })
    }

    /// Binds sizes, reads, writes and step in the shaders' order; see [`Launch`].
    fn prepare(
        &self,
        gpu: &GpuDevice,
        dispatch: &Dispatch,
        launch: &Launch,
        [uniforms, step]: [&wgpu::Buffer; 2],
        index: u64,
    ) -> Prepared {
        let Dispatch { kernel, tier: _, reads, writes } = dispatch;
        let mut resources = vec![wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: uniforms,
            offset: index * UNIFORM_STRIDE,
            size: wgpu::BufferSize::new(4 * SIZES_WORDS as u64),
        })];
        resources.extend(operand_order(kernel, reads, launch.reads).map(|place| self.binding(place)));
        resources.extend(writes.iter().map(|&place| self.binding(place)));
        let moments = match kernel {
            Kernel::AdamW { .. } => 2,
            Kernel::Sgd { .. } | Kernel::MuonGather(_) => 1,
            _ => 0,
        };
        if let Some(&Place::Gradient { offset, .. }) = reads.first() {
            let here = self.segment(offset).moments.iter().take(moments);
            resources.extend(here.map(wgpu::Buffer::as_entire_binding));
        }
        while resources.len() < 1 + launch.reads + launch.writes {
            resources.push(self.spare.as_entire_binding());
        }
        if launch.step {
            resources.push(step.as_entire_binding());
        }
        let pipeline = gpu.pipeline(launch);
        let entries: Vec<_> =
            (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        let bindings = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.name()),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        Prepared { pipeline, bindings, grid: launch.grid }
    }
}

/// Shaders read whole vec4: what is bound is rounded up. Behind a parameter lies the arena's padding.
fn whole_vectors(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// The operands in the shader's order: one that a variant does not read is bound to the first.
fn operand_order(kernel: &Kernel, reads: &[Place], full: usize) -> impl Iterator<Item = Place> {
    let mut places = reads.to_vec();
    if let Kernel::MatMul { bias: false, .. } = kernel {
        places.insert(2, reads[0]);
    }
    places.resize(full.max(places.len()), reads[0]);
    places.into_iter()
}

/// One buffer with every kernel's sizes, which never change.
fn uniforms(gpu: &GpuDevice, launches: &[Launch]) -> wgpu::Buffer {
    let mut bytes = vec![0u8; launches.len() * UNIFORM_STRIDE as usize];
    for (chunk, launch) in bytes.chunks_exact_mut(UNIFORM_STRIDE as usize).zip(launches) {
        chunk[..4 * launch.words.len()].copy_from_slice(bytemuck::cast_slice(&launch.words));
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
