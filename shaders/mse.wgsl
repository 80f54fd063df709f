// stats[i] = ((prediction - target)^2, 0), grad[i] = 2 (prediction - target) / len: squared error
// and the gradient of its mean.

struct Sizes {
    len: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> prediction: array<f32>;
@group(0) @binding(2) var<storage, read> expected: array<f32>;
@group(0) @binding(3) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> grad: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.len {
        let error = prediction[i] - expected[i];
        stats[i] = vec2(error * error, 0.0);
        grad[i] = error * (2.0 / f32(sizes.len));
    }
}
