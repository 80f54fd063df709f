// out[v] = sum of dy[r] over the rows r with tokens[r] = v, in order of r: deterministic, no
// atomics. dy is (rows, width), out is (vocabulary, width). A workgroup takes a token and 64 columns:
// its lanes look at 64 rows at a time, note which of them hold the token, and then all add those.

struct Sizes {
    rows: u32,
    width: u32,
    vocabulary: u32,
}

const LANES = 64u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

var<workgroup> hits: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column = group.y * LANES + lane;
    for (var token = group.x; token < sizes.vocabulary; token += groups.x) {
        var sum = 0.0;
        for (var tile = 0u; tile < sizes.rows; tile += LANES) {
            workgroupBarrier();
            hits[lane] = u32(tile + lane < sizes.rows && tokens[tile + lane] == token);
            workgroupBarrier();
            for (var i = 0u; i < LANES; i++) {
                if hits[i] != 0u && column < sizes.width {
                    sum += dy[(tile + i) * sizes.width + column];
                }
            }
        }
        if column < sizes.width {
            out[token * sizes.width + column] = sum;
        }
    }
}
