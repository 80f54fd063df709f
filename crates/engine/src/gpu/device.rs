//! One adapter with its device, its compiled pipelines and its faults.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use futures::channel::oneshot;

use super::launch::Launch;
use crate::EngineError;

/// Submits that may be in flight: the one that runs and the one behind it. More would only make a
/// stop slower.
const IN_FLIGHT_MAX: usize = 2;

/// Shader and constants.
type PipelineKey = (&'static str, Vec<(&'static str, u32)>);

/// A device and everything that lives as long as it.
pub(crate) struct GpuDevice {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) name: String,
    fault: Arc<Mutex<Option<EngineError>>>,
    modules: RefCell<HashMap<&'static str, wgpu::ShaderModule>>,
    pipelines: RefCell<HashMap<PipelineKey, wgpu::ComputePipeline>>,
    in_flight: RefCell<Vec<oneshot::Receiver<()>>>,
    submits: Cell<u64>,
}

impl GpuDevice {
    /// Opens the system's preferred adapter.
    pub(crate) async fn open() -> Result<Rc<Self>, EngineError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = instance
            .request_adapter(&wgpu::RequestAdapterOptions::default())
            .await
            .map_err(|e| EngineError::NoAdapter(e.to_string()))?;
        let descriptor = wgpu::DeviceDescriptor { label: Some("potluck"), ..Default::default() };
        let (device, queue) =
            adapter.request_device(&descriptor).await.map_err(|e| EngineError::NoDevice(e.to_string()))?;
        let fault = Arc::new(Mutex::new(None));
        let keep = |kind: fn(String) -> EngineError| {
            let fault = Arc::clone(&fault);
            move |text: String| {
                fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(kind(text));
            }
        };
        let lost = keep(EngineError::DeviceLost);
        device.set_device_lost_callback(move |reason, text| lost(format!("{reason:?}: {text}")));
        let error = keep(EngineError::Device);
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| error(e.to_string())));
        Ok(Rc::new(Self {
            name: name(&adapter.get_info()),
            device,
            queue,
            fault,
            modules: RefCell::default(),
            pipelines: RefCell::default(),
            in_flight: RefCell::default(),
            submits: Cell::new(0),
        }))
    }

    /// The first fault that the device has reported, if any.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        match &*self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }

    /// The pipeline of a launch, compiled once.
    pub(super) fn pipeline(&self, launch: &Launch) -> wgpu::ComputePipeline {
        let (name, text) = launch.source;
        let key = (name, launch.constants.clone());
        if let Some(pipeline) = self.pipelines.borrow().get(&key) {
            return pipeline.clone();
        }
        let mut modules = self.modules.borrow_mut();
        let module = modules.entry(name).or_insert_with(|| {
            self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(name),
                source: wgpu::ShaderSource::Wgsl(text.into()),
            })
        });
        let constants: Vec<(&str, f64)> = launch.constants.iter().map(|&(name, value)| (name, value.into())).collect();
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: None,
            module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
            cache: None,
        });
        self.pipelines.borrow_mut().insert(key, pipeline.clone());
        pipeline
    }

    /// Submits, after waiting until fewer than the limit are in flight.
    pub(crate) async fn submit(&self, commands: wgpu::CommandBuffer) -> Result<(), EngineError> {
        let oldest = {
            let mut in_flight = self.in_flight.borrow_mut();
            (in_flight.len() >= IN_FLIGHT_MAX).then(|| in_flight.remove(0))
        };
        if let Some(done) = oldest {
            self.wait(done).await?;
        }
        self.queue.submit([commands]);
        self.submits.set(self.submits.get() + 1);
        let (sender, receiver) = oneshot::channel();
        self.queue.on_submitted_work_done(move || {
            // Nobody listens where the executor was dropped meanwhile.
            let _ = sender.send(());
        });
        self.in_flight.borrow_mut().push(receiver);
        self.check()
    }

    /// Waits for something that the device will tell.
    pub(crate) async fn wait<T>(&self, told: oneshot::Receiver<T>) -> Result<T, EngineError> {
        let result = self.drive(told).await;
        self.check()?;
        result.map_err(|_| EngineError::DeviceLost("the device went away before it answered".to_owned()))
    }

    /// Natively nothing happens unless somebody polls.
    #[cfg(not(target_arch = "wasm32"))]
    async fn drive<T>(&self, told: oneshot::Receiver<T>) -> Result<T, oneshot::Canceled> {
        if let Err(error) = self.device.poll(wgpu::PollType::wait_indefinitely()) {
            let text = error.to_string();
            self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(EngineError::Device(text));
        }
        told.await
    }

    /// Firefox looks at finished work only every 100 ms unless its queue is poked: an empty submit
    /// a millisecond brings the answer as soon as it is there.
    #[cfg(target_arch = "wasm32")]
    async fn drive<T>(&self, mut told: oneshot::Receiver<T>) -> Result<T, oneshot::Canceled> {
        use futures::future::{Either, select};
        loop {
            match select(told, gloo_timers::future::TimeoutFuture::new(1)).await {
                Either::Left((answer, _)) => return answer,
                Either::Right(((), again)) => told = again,
            }
            if self.check().is_err() {
                return Err(oneshot::Canceled);
            }
            self.queue.submit([]);
        }
    }

    /// Copies the front of a buffer to the host.
    pub(crate) async fn read(&self, source: &wgpu::Buffer, bytes: u64) -> Result<Vec<u8>, EngineError> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: bytes,
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(source, 0, &staging, 0, bytes);
        self.queue.submit([encoder.finish()]);
        let (sender, receiver) = oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            let _ = sender.send(result);
        });
        self.wait(receiver).await?.map_err(|e| EngineError::Device(e.to_string()))?;
        let view = staging.get_mapped_range(..).map_err(|e| EngineError::Device(e.to_string()))?;
        let data = view.to_vec();
        drop(view);
        staging.unmap();
        // The queue is in order: whatever was submitted before this copy is done.
        self.in_flight.borrow_mut().clear();
        Ok(data)
    }
}

/// What the adapter calls itself, for people; browsers often leave most of it empty.
fn name(info: &wgpu::AdapterInfo) -> String {
    let parts: Vec<&str> = [info.name.trim(), info.driver.trim()].into_iter().filter(|p| !p.is_empty()).collect();
    if parts.is_empty() { "unnamed adapter".to_owned() } else { parts.join(", ") }
}
