// Flash attention, backward, first half: the part of d qkv that belongs to queries, and the sum of
// y dy of each query and head. With p = exp(q k^T scale - lse) and ds = p (dy v^T - sum):
// dq = scale ds k. A workgroup takes 32 queries; see attention.wgsl.

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
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_qkv: array<f32>;
@group(0) @binding(6) var<storage, read_write> sums: array<f32>;

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
    let safe_query = min(query, sizes.t - 1u);
    let row = sample * sizes.t + safe_query;
    let tile = min(LANES, TILE_VALUES / WIDTH);

    var q: array<f32, WIDTH_MAX>;
    var g: array<f32, WIDTH_MAX>;
    var dq: array<f32, WIDTH_MAX>;
    var sum = 0.0;
    for (var d = 0u; d < WIDTH; d++) {
        let at = (row * sizes.heads + head) * WIDTH + d;
        q[d] = sizes.scale * qkv[first + safe_query * packed + head * WIDTH + d];
        g[d] = dy[at];
        dq[d] = 0.0;
        sum += y[at] * dy[at];
    }
    let row_lse = lse[row * sizes.heads + head];
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
            var dp = 0.0;
            for (var d = 0u; d < WIDTH; d++) {
                score += q[d] * keys[j * WIDTH + d];
                dp += g[d] * values[j * WIDTH + d];
            }
            let ds = exp(score - row_lse) * (dp - sum) * sizes.scale;
            for (var d = 0u; d < WIDTH; d++) {
                dq[d] += ds * keys[j * WIDTH + d];
            }
        }
    }
    if inside {
        for (var d = 0u; d < WIDTH; d++) {
            d_qkv[first + query * packed + head * WIDTH + d] = dq[d];
        }
        sums[row * sizes.heads + head] = sum;
    }
}
