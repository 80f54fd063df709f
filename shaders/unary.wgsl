// out[i] = function(x[i])

struct Sizes {
    len: u32,
}

override FUNCTION: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

// The functions by their number: 0 relu, 1 gelu, 2 silu, 3 tanh, 4 sigmoid, 5 exp, 6 log, 7 sqrt.
// gelu's 0.5 (1 + tanh(u)) is the logistic function of 2 u, one exp instead of a tanh.
// The argument of tanh is clamped: beyond 15 it is 1 in f32, and some drivers overflow there.
fn apply(x: f32) -> f32 {
    switch FUNCTION {
        case 0u: { return max(x, 0.0); }
        case 1u: { return x / (1.0 + exp(-1.5957691 * (x + 0.044715 * x * x * x))); }
        case 2u: { return x / (1.0 + exp(-x)); }
        case 3u: { return tanh(clamp(x, -15.0, 15.0)); }
        case 4u: { return 1.0 / (1.0 + exp(-x)); }
        case 5u: { return exp(x); }
        case 6u: { return log(x); }
        default: { return sqrt(x); }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.len {
        out[i] = apply(x[i]);
    }
}
