// out[i] = function(a[i], b[i % period]); 0 add, 1 subtract, 2 multiply, 3 divide, 4 power

struct Sizes {
    len: u32,
    period: u32,
}

override FUNCTION: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn apply(left: f32, right: f32) -> f32 {
    switch FUNCTION {
        case 0u: { return left + right; }
        case 1u: { return left - right; }
        case 2u: { return left * right; }
        case 3u: { return left / right; }
        default: { return pow(left, right); }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.len {
        out[i] = apply(a[i], b[i % sizes.period]);
    }
}
