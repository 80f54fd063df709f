// out = (softmax(logits) - one_hot(labels)) / rows: the gradient of the mean cross-entropy.
// logits and out are (rows, classes), labels is (rows). One workgroup a row.

struct Sizes {
    rows: u32,
    classes: u32,
}

const LANES = 64u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

var<workgroup> lanes: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * 65535u;
    let inside = row < sizes.rows;
    let start = select(0u, row * sizes.classes, inside);

    var largest = -3.4028234e38;
    for (var c = lane; c < sizes.classes; c += LANES) {
        largest = max(largest, logits[start + c]);
    }
    lanes[lane] = largest;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            lanes[lane] = max(lanes[lane], lanes[lane + half]);
        }
        workgroupBarrier();
    }
    let row_max = lanes[0];
    workgroupBarrier();

    var sum = 0.0;
    for (var c = lane; c < sizes.classes; c += LANES) {
        sum += exp(logits[start + c] - row_max);
    }
    lanes[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            lanes[lane] += lanes[lane + half];
        }
        workgroupBarrier();
    }
    let row_sum = lanes[0];

    if inside {
        let label = labels[row];
        for (var c = lane; c < sizes.classes; c += LANES) {
            let hot = select(0.0, 1.0, c == label);
            out[start + c] = (exp(logits[start + c] - row_max) / row_sum - hot) / f32(sizes.rows);
        }
    }
}
