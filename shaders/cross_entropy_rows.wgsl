// As cross_entropy.wgsl, an invocation a row; see norm_rows.wgsl.

struct Sizes {
    rows: u32,
    classes: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> grad: array<f32>;

fn judge_row(row: u32) {
    let start = row * sizes.classes;
    var largest = logits[start];
    var best = 0u;
    for (var c = 1u; c < sizes.classes; c++) {
        let logit = logits[start + c];
        if logit > largest {
            largest = logit;
            best = c;
        }
    }
    var sum = 0.0;
    for (var c = 0u; c < sizes.classes; c++) {
        let p = exp(logits[start + c] - largest);
        grad[start + c] = p;
        sum += p;
    }
    let label = min(labels[row], sizes.classes - 1u);
    let loss = log(sum) - (logits[start + label] - largest);
    stats[row] = vec2(loss, select(0.0, 1.0, best == label));
    for (var c = 0u; c < sizes.classes; c++) {
        let hot = select(0.0, 1.0, c == label);
        grad[start + c] = (grad[start + c] / sum - hot) / f32(sizes.rows);
    }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = id.y * groups.x * 64u + id.x;
    if row < sizes.rows {
        judge_row(row);
    }
}
