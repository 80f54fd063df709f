// Layer norm (CENTRED) or RMS norm of each row of x (rows, width):
// out = (x - mean) / sqrt(variance + eps) weight + bias, or x / sqrt(mean(x^2) + eps) weight.
// One workgroup a row.

struct Sizes {
    rows: u32,
    width: u32,
    eps: f32,
}

const LANES = 64u;
override CENTRED: u32 = 1u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

var<workgroup> lanes: array<f32, LANES>;

// Sum over the lanes, the same value for all of them.
fn lane_sum(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    lanes[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            lanes[lane] += lanes[lane + half];
        }
        workgroupBarrier();
    }
    return lanes[0];
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * 65535u;
    let inside = row < sizes.rows;
    let start = select(0u, row * sizes.width, inside);
    let count = f32(sizes.width);

    var mean = 0.0;
    if CENTRED != 0u {
        var sum = 0.0;
        for (var c = lane; c < sizes.width; c += LANES) {
            sum += x[start + c];
        }
        mean = lane_sum(lane, sum) / count;
    }
    var square = 0.0;
    for (var c = lane; c < sizes.width; c += LANES) {
        let d = x[start + c] - mean;
        square += d * d;
    }
    let rstd = 1.0 / sqrt(lane_sum(lane, square) / count + sizes.eps);
    if !inside {
        return;
    }
    for (var c = lane; c < sizes.width; c += LANES) {
        var value = (x[start + c] - mean) * rstd * weight[c];
        if CENTRED != 0u {
            value += bias[c];
        }
        out[start + c] = value;
    }
}
