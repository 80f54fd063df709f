// As norm.wgsl for widths that are multiples of four, an invocation a row: no barrier, which on an
// adapter without a GPU costs more than the row itself.

struct Sizes {
    rows: u32,
    width: u32,
    eps: f32,
}

override CENTRED: u32 = 1u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

const ONES = vec4(1.0, 1.0, 1.0, 1.0);

fn norm_row(row: u32) {
    let width = sizes.width / 4u;
    let start = row * width;
    let count = f32(sizes.width);
    var mean = 0.0;
    if CENTRED != 0u {
        var sum = vec4<f32>();
        for (var c = 0u; c < width; c++) {
            sum += x[start + c];
        }
        mean = dot(sum, ONES) / count;
    }
    var square = vec4<f32>();
    for (var c = 0u; c < width; c++) {
        let d = x[start + c] - mean;
        square += d * d;
    }
    let rstd = 1.0 / sqrt(dot(square, ONES) / count + sizes.eps);
    for (var c = 0u; c < width; c++) {
        var value = (x[start + c] - mean) * rstd * weight[c];
        if CENTRED != 0u {
            value += bias[c];
        }
        out[start + c] = value;
    }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = id.y * groups.x * 64u + id.x;
    if row < sizes.rows {
        norm_row(row);
    }
}
