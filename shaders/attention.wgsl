// Flash attention (arXiv 2205.14135), forward: y = softmax(q k^T scale) v a head, and the
// log-sum-exp of each query. qkv is (batch, t, (heads + 2 kv_heads) WIDTH): queries, keys, values.
// A workgroup takes 32 queries of a head and a sample, one an invocation, which keeps its query and
// its running result in registers; keys and values pass through workgroup memory 32 at a time.
// 2 x 32 x 64 x 4 B = 16 KiB, all that WebGPU gives: wider heads pass in tiles of fewer keys.

struct Sizes {
    batch: u32,
    t: u32,
    heads: u32,
    kv_heads: u32,
    width: u32,
    scale: f32,
}

override WIDTH: u32 = 16u;
override CAUSAL: u32 = 1u;

const LANES = 32u;
const WIDTH_MAX = 128u;
const TILE_VALUES = 2048u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

var<workgroup> keys: array<f32, TILE_VALUES>;
var<workgroup> values: array<f32, TILE_VALUES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let query = group.x * LANES + lane;
    let head = group.y;
    let sample = group.z;
    let packed = (sizes.heads + 2u * sizes.kv_heads) * WIDTH;
    let kv_head = head / (sizes.heads / sizes.kv_heads);
    let first = sample * sizes.t * packed;
    let key_start = first + (sizes.heads + kv_head) * WIDTH;
    let value_start = key_start + sizes.kv_heads * WIDTH;
    let inside = query < sizes.t;
    let tile = min(LANES, TILE_VALUES / WIDTH);

    var q: array<f32, WIDTH_MAX>;
    var sum: array<f32, WIDTH_MAX>;
    for (var d = 0u; d < WIDTH; d++) {
        q[d] = sizes.scale * qkv[first + min(query, sizes.t - 1u) * packed + head * WIDTH + d];
        sum[d] = 0.0;
    }
    var largest = -3.4028234e38;
    var total = 0.0;
    let last = select(sizes.t, min(sizes.t, (group.x + 1u) * LANES), CAUSAL != 0u);
    for (var start = 0u; start < last; start += tile) {
        workgroupBarrier();
        for (var i = lane; i < tile * WIDTH; i += LANES) {
            let key = min(start + i / WIDTH, sizes.t - 1u);
            keys[i] = qkv[key_start + key * packed + i % WIDTH];
            values[i] = qkv[value_start + key * packed + i % WIDTH];
        }
        workgroupBarrier();
        let end = select(min(tile, sizes.t - start), min(tile, max(query + 1u, start) - start), CAUSAL != 0u);
        for (var j = 0u; j < min(end, sizes.t - start); j++) {
            var score = 0.0;
            for (var d = 0u; d < WIDTH; d++) {
                score += q[d] * keys[j * WIDTH + d];
            }
            let larger = max(largest, score);
            let shrink = exp(largest - larger);
            let p = exp(score - larger);
            total = total * shrink + p;
            for (var d = 0u; d < WIDTH; d++) {
                sum[d] = sum[d] * shrink + p * values[j * WIDTH + d];
            }
            largest = larger;
        }
    }
    if inside {
        let row = sample * sizes.t + query;
        for (var d = 0u; d < WIDTH; d++) {
            y[(row * sizes.heads + head) * WIDTH + d] = sum[d] / total;
        }
        lse[row * sizes.heads + head] = largest + log(total);
    }
}
