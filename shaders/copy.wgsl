// A strided copy with six dimensions: out[i0..i5] = scale x[sum of i_d stride_d + offset] where
// start <= i_axis < end, else 0; with ADD on top of what is there. Transposition, slicing,
// expansion (stride 0), padding and concatenation are all of this form.

struct Sizes {
    len: u32,
    offset: i32,
    axis: u32,
    start: u32,
    end: u32,
    scale: f32,
    dims: array<vec4<u32>, 2>,
    strides: array<vec4<u32>, 2>,
}

override ADD: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.len {
        var rest = i;
        var at = sizes.offset;
        var inside = true;
        for (var back = 0u; back < 6u; back++) {
            let d = 5u - back;
            let dim = sizes.dims[d / 4u][d % 4u];
            let index = rest % dim;
            rest /= dim;
            at += i32(index * sizes.strides[d / 4u][d % 4u]);
            inside = inside && (d != sizes.axis || (sizes.start <= index && index < sizes.end));
        }
        var value = 0.0;
        if inside {
            value = sizes.scale * x[at];
        }
        if ADD != 0u {
            value += out[i];
        }
        out[i] = value;
    }
}
