// out[c] = sum over rows r of x[r, c]; x is (rows, columns). One invocation a column, rows in
// order: neighbours read neighbours, and the sum is the same on every run.

struct Sizes {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    if column >= sizes.columns {
        return;
    }
    var sum = 0.0;
    for (var row = 0u; row < sizes.rows; row++) {
        sum += x[row * sizes.columns + column];
    }
    out[column] = sum;
}
