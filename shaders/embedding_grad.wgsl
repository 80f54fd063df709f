// out[v] = sum of dy[r] over the rows r with tokens[r] = v, in order of r: deterministic, no
// atomics. dy is (rows, width), out is (vocabulary, width). One invocation a value of `out`.

struct Sizes {
    rows: u32,
    width: u32,
    vocabulary: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < sizes.vocabulary * sizes.width; i += groups.x * 256u) {
        let token = i / sizes.width;
        let column = i % sizes.width;
        var sum = 0.0;
        for (var row = 0u; row < sizes.rows; row++) {
            if tokens[row] == token {
                sum += dy[row * sizes.width + column];
            }
        }
        out[i] = sum;
    }
}
