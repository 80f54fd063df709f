// Flash attention, backward, second half: the parts of d qkv that belong to keys and values:
// dv = p^T dy, dk = scale ds^T q. A workgroup takes 32 keys of a key head, one an invocation;
// queries and gradients of every query head that reads it pass through workgroup memory.

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
const TILE_VALUES = 1920u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> sums: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_qkv: array<f32>;

// Two of 1,920 values and two of 32: 15,616 of the 16,384 bytes that WebGPU gives.
var<workgroup> queries: array<f32, TILE_VALUES>;
var<workgroup> grads: array<f32, TILE_VALUES>;
var<workgroup> tile_lse: array<f32, LANES>;
var<workgroup> tile_sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let key = group.x * LANES + lane;
    let kv_head = group.y;
    let sample = group.z;
    let packed = (sizes.heads + 2u * sizes.kv_heads) * WIDTH;
    let first = sample * sizes.t * packed;
    let inside = key < sizes.t;
    let key_at = first + min(key, sizes.t - 1u) * packed + (sizes.heads + kv_head) * WIDTH;
    let value_at = key_at + sizes.kv_heads * WIDTH;
    let tile = min(LANES, TILE_VALUES / WIDTH);
    let readers = sizes.heads / sizes.kv_heads;

    var k: array<f32, WIDTH_MAX>;
    var v: array<f32, WIDTH_MAX>;
    var dk: array<f32, WIDTH_MAX>;
    var dv: array<f32, WIDTH_MAX>;
    for (var d = 0u; d < WIDTH; d++) {
        k[d] = sizes.scale * qkv[key_at + d];
        v[d] = qkv[value_at + d];
        dk[d] = 0.0;
        dv[d] = 0.0;
    }
    let begin = select(0u, group.x * LANES / tile * tile, CAUSAL != 0u);
    for (var head = kv_head * readers; head < (kv_head + 1u) * readers; head++) {
        for (var start = begin; start < sizes.t; start += tile) {
            workgroupBarrier();
            for (var i = lane; i < tile * WIDTH; i += LANES) {
                let query = min(start + i / WIDTH, sizes.t - 1u);
                queries[i] = qkv[first + query * packed + head * WIDTH + i % WIDTH];
                grads[i] = dy[((sample * sizes.t + query) * sizes.heads + head) * WIDTH + i % WIDTH];
            }
            let mine = (sample * sizes.t + min(start + lane, sizes.t - 1u)) * sizes.heads + head;
            tile_lse[lane] = lse[mine];
            tile_sums[lane] = sums[mine];
            workgroupBarrier();
            for (var j = 0u; j < min(tile, sizes.t - start); j++) {
                if CAUSAL != 0u && start + j < key {
                    continue;
                }
                var score = 0.0;
                var dp = 0.0;
                for (var d = 0u; d < WIDTH; d++) {
                    score += k[d] * queries[j * WIDTH + d];
                    dp += v[d] * grads[j * WIDTH + d];
                }
                let p = exp(score - tile_lse[j]);
                let ds = p * (dp - tile_sums[j]) * sizes.scale;
                for (var d = 0u; d < WIDTH; d++) {
                    dv[d] += p * grads[j * WIDTH + d];
                    dk[d] += ds * queries[j * WIDTH + d];
                }
            }
        }
    }
    if inside {
        for (var d = 0u; d < WIDTH; d++) {
            d_qkv[key_at + d] = dk[d];
            d_qkv[value_at + d] = dv[d];
        }
    }
}
