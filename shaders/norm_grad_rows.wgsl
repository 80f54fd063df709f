// As norm_grad.wgsl for widths that are multiples of four, an invocation a row; see norm_rows.wgsl.

struct Sizes {
    rows: u32,
    width: u32,
    eps: f32,
}

override CENTRED: u32 = 1u;
override ADD: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> extra: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;

const ONES = vec4(1.0, 1.0, 1.0, 1.0);

fn grad_row(row: u32) {
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
    var g_sum = vec4<f32>();
    var along = vec4<f32>();
    for (var c = 0u; c < width; c++) {
        let d = x[start + c] - mean;
        let g = dy[start + c] * weight[c];
        square += d * d;
        g_sum += g;
        along += g * d;
    }
    let rstd = 1.0 / sqrt(dot(square, ONES) / count + sizes.eps);
    let slope = dot(along, ONES) * rstd / count;
    var level = 0.0;
    if CENTRED != 0u {
        level = dot(g_sum, ONES) / count;
    }
    for (var c = 0u; c < width; c++) {
        let xhat = (x[start + c] - mean) * rstd;
        var value = rstd * (dy[start + c] * weight[c] - level - xhat * slope);
        if ADD != 0u {
            value += extra[start + c];
        }
        out[start + c] = value;
    }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = id.y * groups.x * 64u + id.x;
    if row < sizes.rows {
        grad_row(row);
    }
}
