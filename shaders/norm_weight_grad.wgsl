// Gradient of a norm with respect to its weight (and, with BIAS, its bias): sums over rows of
// dy xhat and of dy. One workgroup of 64 lanes takes 64 columns. Rows go by in tiles of 64: first
// every lane finds mean and spread of one row, then every lane walks the tile down its column.

struct Sizes {
    rows: u32,
    width: u32,
    eps: f32,
}

const LANES = 64u;
override CENTRED: u32 = 1u;
override BIAS: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> weight_grad: array<f32>;
@group(0) @binding(4) var<storage, read_write> bias_grad: array<f32>;

var<workgroup> moments: array<vec2<f32>, LANES>;

fn row_moments(row: u32) -> vec2<f32> {
    let start = row * sizes.width;
    let count = f32(sizes.width);
    var mean = 0.0;
    if CENTRED != 0u {
        for (var c = 0u; c < sizes.width; c++) {
            mean += x[start + c];
        }
        mean /= count;
    }
    var square = 0.0;
    for (var c = 0u; c < sizes.width; c++) {
        let d = x[start + c] - mean;
        square += d * d;
    }
    return vec2(mean, 1.0 / sqrt(square / count + sizes.eps));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * LANES + lane;
    var weight_sum = 0.0;
    var bias_sum = 0.0;
    for (var tile = 0u; tile < sizes.rows; tile += LANES) {
        workgroupBarrier();
        if tile + lane < sizes.rows {
            moments[lane] = row_moments(tile + lane);
        }
        workgroupBarrier();
        if column < sizes.width {
            for (var i = 0u; i < min(LANES, sizes.rows - tile); i++) {
                let at = (tile + i) * sizes.width + column;
                weight_sum += dy[at] * (x[at] - moments[i].x) * moments[i].y;
                bias_sum += dy[at];
            }
        }
    }
    if column < sizes.width {
        weight_grad[column] = weight_sum;
        if BIAS != 0u {
            bias_grad[column] = bias_sum;
        }
    }
}
