// out[i] = min(max(x[i], low), high), or for the gradient dy[i] where x[i] is inside, else 0

struct Sizes {
    len: u32,
    low: f32,
    high: f32,
}

override GRADIENT: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.len {
        let value = x[i];
        if GRADIENT != 0u {
            out[i] = select(0.0, dy[i], sizes.low <= value && value <= sizes.high);
        } else {
            out[i] = min(max(value, sizes.low), sizes.high);
        }
    }
}
