// Softmax of each row of x (rows, width), or with GRADIENT, x being the result y,
// out = y (dy - sum(y dy)). One workgroup a row.

struct Sizes {
    rows: u32,
    width: u32,
}

const LANES = 64u;
override GRADIENT: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

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

// The largest over the lanes, the same value for all of them.
fn lane_max(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    lanes[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            lanes[lane] = max(lanes[lane], lanes[lane + half]);
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

    var largest = -3.4028234e38;
    for (var c = lane; c < sizes.width; c += LANES) {
        largest = max(largest, x[start + c]);
    }
    largest = lane_max(lane, largest);
    var sum = 0.0;
    for (var c = lane; c < sizes.width; c += LANES) {
        sum += select(exp(x[start + c] - largest), x[start + c] * dy[start + c], GRADIENT != 0u);
    }
    sum = lane_sum(lane, sum);
    if !inside {
        return;
    }
    for (var c = lane; c < sizes.width; c += LANES) {
        let value = x[start + c];
        if GRADIENT != 0u {
            out[start + c] = value * (dy[start + c] - sum);
        } else {
            out[start + c] = exp(value - largest) / sum;
        }
    }
}
