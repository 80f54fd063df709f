// One AdamW step over the whole parameter arena (Loshchilov and Hutter, arXiv 1711.05101), with the
// gradient scaled by the clip. Matrices lie in front of decay_len; only they decay. What
// lies from skip_start to skip_end belongs to another optimizer. All of these are multiples of 64.

struct Sizes {
    len: u32,
    decay_len: u32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    weight_decay: f32,
    skip_start: u32,
    skip_end: u32,
}

struct Step {
    lr: f32,
    correction1: f32,
    correction2: f32,
    dropping: u32,
    seed: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> parameters: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> first: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> second: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> step_values: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let clip = scale[0];
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.len / 4u {
        if sizes.skip_start <= 4u * i && 4u * i < sizes.skip_end {
            return;
        }
        let g = gradients[i] * clip;
        let m = sizes.beta1 * first[i] + (1.0 - sizes.beta1) * g;
        let v = sizes.beta2 * second[i] + (1.0 - sizes.beta2) * g * g;
        first[i] = m;
        second[i] = v;
        let p = parameters[i];
        let decay = select(0.0, sizes.weight_decay, 4u * i < sizes.decay_len);
        let move_by = m * step_values.correction1 / (sqrt(v * step_values.correction2) + sizes.eps) + decay * p;
        parameters[i] = p - step_values.lr * move_by;
    }
}
