//! The WebGPU executor: natively through Vulkan, Metal or DirectX 12, in a browser through its own
//! WebGPU. Needs nothing beyond WebGPU's default limits, so that every adapter will do.

mod device;
mod executor;
mod launch;
mod launch_images;
mod launch_rows;
mod launch_values;
mod subgroups;

pub(crate) use device::GpuDevice;
pub(crate) use executor::GpuExecutor;

/// The name of the WGSL file that computes a kernel in one of its tiers.
#[cfg(any(test, feature = "conformance"))]
pub(crate) fn shader_of(kernel: &crate::Kernel, tier: crate::Tier) -> &'static str {
    launch::Launch::of(kernel, tier).source.0
}
