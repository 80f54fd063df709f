// out[i] = dy[i] where (condition[i] > 0) is KEEP, else 0

struct Sizes {
    len: u32,
}

override KEEP: u32 = 1u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> condition: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.len {
        out[i] = select(0.0, dy[i], (condition[i] > 0.0) == (KEEP != 0u));
    }
}
