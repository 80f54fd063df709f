// stats[i] = (loss, correct) of sigmoid(logits[i]) against expected[i], grad[i] = (sigmoid - expected)
// / len. loss = log(1 + e^-|x|) + max(x, 0) - x t: it never overflows.

struct Sizes {
    len: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> expected: array<f32>;
@group(0) @binding(3) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> grad: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.len {
        let x = logits[i];
        let t = expected[i];
        let loss = log(1.0 + exp(-abs(x))) + max(x, 0.0) - x * t;
        stats[i] = vec2(loss, select(0.0, 1.0, (x > 0.0) == (t > 0.5)));
        grad[i] = (1.0 / (1.0 + exp(-x)) - t) / f32(sizes.len);
    }
}
