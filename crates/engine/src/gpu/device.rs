//! One adapter with its device, its compiled pipelines and its faults.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use futures::channel::oneshot;

use super::{
    launch::{Launch, PipelineKey},
    subgroups,
};
use crate::{EngineError, Kernel, Tier};

/// Submits that may be in flight: the one that runs and the one behind it. More would only make a
/// stop slower.
const IN_FLIGHT_MAX: usize = 2;

/// A device and everything that lives as long as it.
pub(crate) struct GpuDevice {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) name: String,
    /// A program plays the GPU.
    pub(crate) software: bool,
    /// Neighbours can exchange what is in their registers.
    pub(crate) subgroups: bool,
    fault: Arc<Mutex<Option<EngineError>>>,
    modules: RefCell<HashMap<&'static str, wgpu::ShaderModule>>,
    pipelines: RefCell<HashMap<PipelineKey, wgpu::ComputePipeline>>,
    /// What this adapter's compiler would not take, with its words.
    refused: RefCell<HashMap<PipelineKey, String>>,
    /// The fastest tiers of the shapes that were measured here, a shape being its first tier's launch.
    fastest: RefCell<Vec<(Launch, Tier)>>,
    /// A shader whose text a test breaks.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) broken: std::cell::Cell<&'static str>,
    in_flight: RefCell<Vec<oneshot::Receiver<()>>>,
}

impl GpuDevice {
    /// Opens the system's preferred adapter.
    pub(crate) async fn open() -> Result<Rc<Self>, EngineError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = instance
            .request_adapter(&wgpu::RequestAdapterOptions::default())
            .await
            .map_err(|e| EngineError::NoAdapter(no_adapter(&e)))?;
        let (device, queue, subgroups) =
            subgroups::request_device(&adapter).await.map_err(|e| EngineError::NoDevice(e.to_string()))?;
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
        let info = adapter.get_info();
        Ok(Rc::new(Self {
            name: name(&info, &device),
            software: info.device_type == wgpu::DeviceType::Cpu,
            subgroups,
            device,
            queue,
            fault,
            modules: RefCell::default(),
            pipelines: RefCell::default(),
            refused: RefCell::default(),
            fastest: RefCell::default(),
            #[cfg(any(test, feature = "conformance"))]
            broken: std::cell::Cell::default(),
            in_flight: RefCell::default(),
        }))
    }

    /// The first fault that the device has reported, if any.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        match &*self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }

    /// The first of these tiers whose shader this adapter compiles. One pipeline at a time, with a
    /// turn of the event loop behind each, so that whoever else wants the adapter gets it in between.
    pub(crate) async fn compiled(
        &self,
        kernel: &Kernel,
        tiers: impl Iterator<Item = Tier>,
    ) -> Result<Tier, EngineError> {
        let mut words = String::new();
        for tier in tiers {
            let launch = Launch::of(kernel, tier);
            let key = launch.key();
            if let Some(before) = self.refused.borrow().get(&key) {
                words.clone_from(before);
                continue;
            }
            if self.pipelines.borrow().contains_key(&key) {
                return Ok(tier);
            }
            let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation]
                .map(|filter| self.device.push_error_scope(filter));
            self.pipeline(&launch);
            let [internal, invalid] = scopes;
            let (invalid, internal) = (invalid.pop().await, internal.pop().await);
            self.check()?;
            let Some(error) = invalid.or(internal) else { return Ok(tier) };
            words = format!("{}: {error}", key.0);
            self.pipelines.borrow_mut().remove(&key);
            self.refused.borrow_mut().insert(key, words.clone());
        }
        Err(EngineError::Shader(words))
    }

    /// The tiers of a kernel that this device can be asked for.
    pub(crate) fn tiers(&self, kernel: &Kernel) -> impl Iterator<Item = Tier> + use<> {
        let subgroups = self.subgroups;
        Tier::options(kernel).iter().copied().filter(move |&tier| subgroups || tier != Tier::Quads)
    }

    /// The fastest tier of a kernel, where it was measured here.
    pub(crate) fn fastest(&self, kernel: &Kernel) -> Option<Tier> {
        let launch = Launch::of(kernel, Tier::usual(kernel));
        self.fastest.borrow().iter().find(|(measured, _)| *measured == launch).map(|&(_, tier)| tier)
    }

    /// Keeps what measuring came to.
    pub(crate) fn measured(&self, kernel: &Kernel, fastest: Tier) {
        self.fastest.borrow_mut().push((Launch::of(kernel, Tier::usual(kernel)), fastest));
    }

    /// What was refused, each with the compiler's words.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.refused.borrow().values().cloned().collect()
    }

    /// The pipeline of a launch, compiled once.
    pub(super) fn pipeline(&self, launch: &Launch) -> wgpu::ComputePipeline {
        let (name, text) = launch.source;
        #[cfg(any(test, feature = "conformance"))]
        let text = if self.broken.get() == name { "not WGSL" } else { text };
        let key = launch.key();
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
        let (sender, receiver) = oneshot::channel();
        self.queue.on_submitted_work_done(move || {
            // Nobody listens where the executor was dropped meanwhile.
            let _ = sender.send(());
        });
        self.in_flight.borrow_mut().push(receiver);
        self.check()
    }

    /// Waits until nothing is in flight.
    pub(crate) async fn drain(&self) -> Result<(), EngineError> {
        let newest = self.in_flight.take().pop();
        match newest {
            Some(done) => self.wait(done).await,
            None => self.check(),
        }
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
        let staging = self.staging(bytes);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(source, 0, &staging, 0, bytes);
        self.queue.submit([encoder.finish()]);
        self.map(&staging).await
    }

    /// A buffer that the device copies into and the host reads.
    pub(crate) fn staging(&self, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: bytes,
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        })
    }

    /// What the newest submit has copied into a staging buffer.
    pub(crate) async fn map(&self, staging: &wgpu::Buffer) -> Result<Vec<u8>, EngineError> {
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

/// In a browser wgpu's own text speaks of backends that no browser has.
fn no_adapter(error: &wgpu::RequestAdapterError) -> String {
    if cfg!(target_arch = "wasm32") { "this browser offers none here".to_owned() } else { error.to_string() }
}

/// What the adapter calls itself, for people.
#[cfg(not(target_arch = "wasm32"))]
fn name(info: &wgpu::AdapterInfo, _: &wgpu::Device) -> String {
    joined([info.name.as_str(), info.driver.as_str()])
}

/// Browsers say vendor and architecture (`GPUAdapterInfo`), seldom more; wgpu passes on none of it.
#[cfg(target_arch = "wasm32")]
fn name(info: &wgpu::AdapterInfo, device: &wgpu::Device) -> String {
    let told = device.as_webgpu().and_then(|device| js_sys::Reflect::get(device, &"adapterInfo".into()).ok());
    let field = |name: &str| {
        let value = told.as_ref().and_then(|told| js_sys::Reflect::get(told, &name.into()).ok());
        value.and_then(|value| value.as_string()).unwrap_or_default()
    };
    let [vendor, architecture, model, description] = ["vendor", "architecture", "device", "description"].map(field);
    let software = if info.device_type == wgpu::DeviceType::Cpu { "software adapter" } else { "" };
    joined([vendor.as_str(), &architecture, &model, &description, software])
}

fn joined<const N: usize>(parts: [&str; N]) -> String {
    let parts: Vec<&str> = parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "unnamed adapter".to_owned() } else { parts.join(", ") }
}
