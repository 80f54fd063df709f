// Gradient of a norm with respect to x: with g = dy weight and xhat the normalised row,
// out = rstd (g - mean(g) - xhat mean(g xhat)); RMS norm has no mean(g). With ADD plus the fourth
// operand. One workgroup a row.

struct Sizes {
    rows: u32,
    width: u32,
    eps: f32,
}

const LANES = 64u;
override CENTRED: u32 = 1u;
override ADD: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read> extra: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

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
    var g_sum = 0.0;
    var along = 0.0;
    for (var c = lane; c < sizes.width; c += LANES) {
        let d = x[start + c] - mean;
        let g = dy[start + c] * weight[c];
        square += d * d;
        g_sum += g;
        along += g * d;
    }
    let rstd = 1.0 / sqrt(lane_sum(lane, square) / count + sizes.eps);
    let slope = lane_sum(lane, along) * rstd / count;
    var level = 0.0;
    if CENTRED != 0u {
        level = lane_sum(lane, g_sum) / count;
    }
    if !inside {
        return;
    }
    for (var c = lane; c < sizes.width; c += LANES) {
        let xhat = (x[start + c] - mean) * rstd;
        var value = rstd * (dy[start + c] * weight[c] - level - xhat * slope);
        if ADD != 0u {
            value += extra[start + c];
        }
        out[start + c] = value;
    }
}
