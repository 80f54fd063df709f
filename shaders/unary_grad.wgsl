// out[i] = dy[i] times the slope of a function

struct Sizes {
    len: u32,
}

override FUNCTION: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> saved: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// The derivative by the function's number, from its result (relu, tanh, sigmoid, exp, sqrt) or its
// argument (gelu, silu, log).
fn slope(saved: f32) -> f32 {
    switch FUNCTION {
        case 0u: { return select(0.0, 1.0, saved > 0.0); }
        case 1u: {
            let x = saved;
            let s = 1.0 / (1.0 + exp(-1.5957691 * (x + 0.044715 * x * x * x)));
            return s + x * s * (1.0 - s) * 1.5957691 * (1.0 + 3.0 * 0.044715 * x * x);
        }
        case 2u: {
            let s = 1.0 / (1.0 + exp(-saved));
            return s * (1.0 + saved * (1.0 - s));
        }
        case 3u: { return 1.0 - saved * saved; }
        case 4u: { return saved * (1.0 - saved); }
        case 5u: { return saved; }
        case 6u: { return 1.0 / saved; }
        default: { return 0.5 / saved; }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.len {
        out[i] = dy[i] * slope(saved[i]);
    }
}
