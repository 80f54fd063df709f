// out[i] = scale x[i] + shift

struct Sizes {
    len: u32,
    scale: f32,
    shift: f32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.len {
        out[i] = sizes.scale * x[i] + sizes.shift;
    }
}
