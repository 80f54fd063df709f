// As attention_grad_kv.wgsl for heads whose width is a multiple of four; see attention_blocks.wgsl. An
// invocation takes four keys and sixteen values of their gradients and of their values' gradients.

struct Sizes {
    batch: u32,
    t: u32,
    heads: u32,
    kv_heads: u32,
    width: u32,
    scale: f32,
}

override CAUSAL: u32 = 1u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> sums: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_qkv: array<vec4<f32>>;

const FOUR = vec4(0u, 1u, 2u, 3u);

fn four(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4(qkv[at.x], qkv[at.y], qkv[at.z], qkv[at.w]);
}

fn four_dy(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
}

// The attention that four queries pay to a key.
fn weight(scores: vec4<f32>, logs: vec4<f32>, queries: vec4<u32>, key: u32) -> vec4<f32> {
    let later = queries >= vec4(key);
    let seen = (queries < vec4(sizes.t)) & (later | vec4(CAUSAL == 0u));
    return select(vec4(0.0), exp(sizes.scale * scores - logs), seen);
}

// Sixteen values of one row.
fn store(inside: bool, start: u32, columns: vec4<u32>, values: mat4x4<f32>) {
    if inside {
        let at = vec4(start) + columns;
        d_qkv[at.x] = values[0];
        d_qkv[at.y] = values[1];
        d_qkv[at.z] = values[2];
        d_qkv[at.w] = values[3];
    }
}

fn grad(key: u32, part: u32, kv_head: u32, sample: u32) {
    let width = sizes.width / 4u;
    let packed = (sizes.heads + 2u * sizes.kv_heads) * width;
    let readers = sizes.heads / sizes.kv_heads;
    let last = vec4(sizes.t - 1u);
    let first = sample * sizes.t;
    let keys = vec4(key) + FOUR;
    let at_k = (vec4(first) + min(keys, last)) * packed + vec4((sizes.heads + kv_head) * width);
    let at_v = at_k + vec4(sizes.kv_heads * width);
    let columns = min(vec4(part * 4u) + FOUR, vec4(width - 1u));

    var dk0 = mat4x4<f32>();
    var dk1 = mat4x4<f32>();
    var dk2 = mat4x4<f32>();
    var dk3 = mat4x4<f32>();
    var dv0 = mat4x4<f32>();
    var dv1 = mat4x4<f32>();
    var dv2 = mat4x4<f32>();
    var dv3 = mat4x4<f32>();
    let begin = select(0u, key, CAUSAL != 0u);
    for (var head = kv_head * readers; head < (kv_head + 1u) * readers; head++) {
        for (var query = begin; query < sizes.t; query += 4u) {
            let queries = vec4(query) + FOUR;
            let rows = (vec4(first) + min(queries, last)) * sizes.heads + vec4(head);
            let at_q = (vec4(first) + min(queries, last)) * packed + vec4(head * width);
            let at_dy = rows * width;
            // A column a key, a row a query.
            var scores = mat4x4<f32>();
            var slopes = mat4x4<f32>();
            for (var d = 0u; d < width; d++) {
                scores += transpose(four(at_q + vec4(d))) * four(at_k + vec4(d));
                slopes += transpose(four_dy(at_dy + vec4(d))) * four(at_v + vec4(d));
            }
            let logs = vec4(lse[rows.x], lse[rows.y], lse[rows.z], lse[rows.w]);
            let row_sums = vec4(sums[rows.x], sums[rows.y], sums[rows.z], sums[rows.w]);
            let p = mat4x4(
                weight(scores[0], logs, queries, keys.x),
                weight(scores[1], logs, queries, keys.y),
                weight(scores[2], logs, queries, keys.z),
                weight(scores[3], logs, queries, keys.w),
            );
            let ds = mat4x4(
                p[0] * (slopes[0] - row_sums) * sizes.scale,
                p[1] * (slopes[1] - row_sums) * sizes.scale,
                p[2] * (slopes[2] - row_sums) * sizes.scale,
                p[3] * (slopes[3] - row_sums) * sizes.scale,
            );
            dv0 += four_dy(at_dy + vec4(columns.x)) * p;
            dv1 += four_dy(at_dy + vec4(columns.y)) * p;
            dv2 += four_dy(at_dy + vec4(columns.z)) * p;
            dv3 += four_dy(at_dy + vec4(columns.w)) * p;
            dk0 += four(at_q + vec4(columns.x)) * ds;
            dk1 += four(at_q + vec4(columns.y)) * ds;
            dk2 += four(at_q + vec4(columns.z)) * ds;
            dk3 += four(at_q + vec4(columns.w)) * ds;
        }
    }
    let inside = keys <= last;
    store(inside.x, at_k.x, columns, mat4x4(dk0[0], dk1[0], dk2[0], dk3[0]));
    store(inside.y, at_k.y, columns, mat4x4(dk0[1], dk1[1], dk2[1], dk3[1]));
    store(inside.z, at_k.z, columns, mat4x4(dk0[2], dk1[2], dk2[2], dk3[2]));
    store(inside.w, at_k.w, columns, mat4x4(dk0[3], dk1[3], dk2[3], dk3[3]));
    store(inside.x, at_v.x, columns, mat4x4(dv0[0], dv1[0], dv2[0], dv3[0]));
    store(inside.y, at_v.y, columns, mat4x4(dv0[1], dv1[1], dv2[1], dv3[1]));
    store(inside.z, at_v.z, columns, mat4x4(dv0[2], dv1[2], dv2[2], dv3[2]));
    store(inside.w, at_v.w, columns, mat4x4(dv0[3], dv1[3], dv2[3], dv3[3]));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let parts = (sizes.width + 15u) / 16u;
    let key = id.x / parts * 4u;
    if key < sizes.t {
        grad(key, id.x % parts, id.y, id.z);
    }
}
