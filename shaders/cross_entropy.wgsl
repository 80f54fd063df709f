// Softmax cross-entropy of logits (rows, classes) with labels (rows), each below classes:
// stats[r] = (loss, correct), loss = log(sum(exp(logits - max))) - (logits[label] - max), correct 1
// where the first of the largest logits is the label's; grad = (softmax - one_hot) / rows, the
// gradient of the mean loss. One workgroup a row.

struct Sizes {
    rows: u32,
    classes: u32,
}

const LANES = 64u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> grad: array<f32>;

var<workgroup> lane_max: array<f32, LANES>;
var<workgroup> lane_best: array<u32, LANES>;
var<workgroup> lane_sum: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * 65535u;
    let inside = row < sizes.rows;
    let start = select(0u, row * sizes.classes, inside);

    var largest = -3.4028234e38;
    var best = 0xffffffffu;
    for (var c = lane; c < sizes.classes; c += LANES) {
        let logit = logits[start + c];
        if best == 0xffffffffu || logit > largest {
            largest = logit;
            best = c;
        }
    }
    lane_max[lane] = largest;
    lane_best[lane] = best;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            let other = lane + half;
            let better = lane_max[other] > lane_max[lane];
            let first = lane_max[other] == lane_max[lane] && lane_best[other] < lane_best[lane];
            if better || first {
                lane_max[lane] = lane_max[other];
                lane_best[lane] = lane_best[other];
            }
        }
        workgroupBarrier();
    }
    let row_max = lane_max[0];

    var sum = 0.0;
    for (var c = lane; c < sizes.classes; c += LANES) {
        sum += exp(logits[start + c] - row_max);
    }
    lane_sum[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            lane_sum[lane] += lane_sum[lane + half];
        }
        workgroupBarrier();
    }
    if !inside {
        return;
    }
    let row_sum = lane_sum[0];
    let label = min(labels[row], sizes.classes - 1u);
    if lane == 0u {
        let loss = log(row_sum) - (logits[start + label] - row_max);
        stats[row] = vec2(loss, select(0.0, 1.0, lane_best[0] == label));
    }
    for (var c = lane; c < sizes.classes; c += LANES) {
        let hot = select(0.0, 1.0, c == label);
        grad[start + c] = (exp(logits[start + c] - row_max) / row_sum - hot) / f32(sizes.rows);
    }
}
