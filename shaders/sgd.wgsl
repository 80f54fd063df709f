// One step of SGD with Nesterov momentum over the whole parameter arena, with the gradient scaled by
// the clip: m <- mu m + g; p <- p - lr (g + mu m + decay p). Matrices lie in front of decay_len; only
// they decay.

struct Sizes {
    len: u32,
    decay_len: u32,
    momentum: f32,
    weight_decay: f32,
}

struct Step {
    lr: f32,
    correction1: f32,
    correction2: f32,
    dropping: u32,
    seed: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> gradients: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> parameters: array<f32>;
@group(0) @binding(4) var<storage, read_write> first: array<f32>;
@group(0) @binding(5) var<uniform> step_values: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.len {
        let g = gradients[i] * scale[0];
        let m = sizes.momentum * first[i] + g;
        first[i] = m;
        let p = parameters[i];
        let decay = select(0.0, sizes.weight_decay, i < sizes.decay_len);
        parameters[i] = p - step_values.lr * (g + sizes.momentum * m + decay * p);
    }
}
