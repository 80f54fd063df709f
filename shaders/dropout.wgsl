// out[i] = 0 where the hash of (seed, stream, i) is below the threshold, else scale x[i]; the
// identity in evaluation. The hash is "lowbias32" (Ettinger 2018) applied twice: whole numbers, so
// that every device drops the same values.

struct Sizes {
    len: u32,
    threshold: u32,
    stream: u32,
    scale: f32,
}

struct Step {
    lr: f32,
    correction1: f32,
    correction2: f32,
    dropping: u32,
    seed: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> step_values: Step;

fn lowbias32(value: u32) -> u32 {
    var x = value;
    x ^= x >> 16u;
    x *= 0x7feb352du;
    x ^= x >> 15u;
    x *= 0x846ca68bu;
    return x ^ (x >> 16u);
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.len {
        let hash = lowbias32(lowbias32(i ^ step_values.seed) + sizes.stream * 0x9e3779b9u);
        let kept = select(sizes.scale * x[i], 0.0, hash < sizes.threshold);
        out[i] = select(x[i], kept, step_values.dropping != 0u);
    }
}
