// As attention_grad_q.wgsl for heads whose width is a multiple of four; see attention_blocks.wgsl.

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
@group(0) @binding(2) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_qkv: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> sums: array<f32>;

const FOUR = vec4(0u, 1u, 2u, 3u);

fn four(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4(qkv[at.x], qkv[at.y], qkv[at.z], qkv[at.w]);
}

fn four_dy(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
}

// Sum of y dy over the head, a value a query.
fn inner(at: vec4<u32>, width: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var d = 0u; d < width; d++) {
        let here = at + vec4(d);
        sum += vec4(
            dot(y[here.x], dy[here.x]),
            dot(y[here.y], dy[here.y]),
            dot(y[here.z], dy[here.z]),
            dot(y[here.w], dy[here.w]),
        );
    }
    return sum;
}

// What a query's scores want to change by, a value a key.
fn score_slope(scores: vec4<f32>, log: f32, slopes: vec4<f32>, row_sum: f32, seen: vec4<bool>) -> vec4<f32> {
    let p = exp(sizes.scale * scores - log);
    return select(vec4(0.0), p * (slopes - row_sum) * sizes.scale, seen);
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

fn grad(query: u32, part: u32, head: u32, sample: u32) {
    let width = sizes.width / 4u;
    let packed = (sizes.heads + 2u * sizes.kv_heads) * width;
    let kv_head = head / (sizes.heads / sizes.kv_heads);
    let last = vec4(sizes.t - 1u);
    let first = sample * sizes.t;
    let queries = min(vec4(query) + FOUR, last);
    let at_q = (vec4(first) + queries) * packed + vec4(head * width);
    let rows = (vec4(first) + queries) * sizes.heads + vec4(head);
    let at_dy = rows * width;
    let columns = min(vec4(part * 4u) + FOUR, vec4(width - 1u));
    let logs = vec4(lse[rows.x], lse[rows.y], lse[rows.z], lse[rows.w]);
    let row_sums = inner(at_dy, width);

    var dq0 = mat4x4<f32>();
    var dq1 = mat4x4<f32>();
    var dq2 = mat4x4<f32>();
    var dq3 = mat4x4<f32>();
    let end = select(sizes.t, min(sizes.t, query + 4u), CAUSAL != 0u);
    for (var key = 0u; key < end; key += 4u) {
        let keys = vec4(key) + FOUR;
        let at_k = (vec4(first) + min(keys, last)) * packed + vec4((sizes.heads + kv_head) * width);
        let at_v = at_k + vec4(sizes.kv_heads * width);
        // A column a query, a row a key.
        var scores = mat4x4<f32>();
        var slopes = mat4x4<f32>();
        for (var d = 0u; d < width; d++) {
            scores += transpose(four(at_k + vec4(d))) * four(at_q + vec4(d));
            slopes += transpose(four(at_v + vec4(d))) * four_dy(at_dy + vec4(d));
        }
        let bounds = select(last, queries, CAUSAL != 0u);
        let ds = mat4x4(
            score_slope(scores[0], logs.x, slopes[0], row_sums.x, keys <= vec4(bounds.x)),
            score_slope(scores[1], logs.y, slopes[1], row_sums.y, keys <= vec4(bounds.y)),
            score_slope(scores[2], logs.z, slopes[2], row_sums.z, keys <= vec4(bounds.z)),
            score_slope(scores[3], logs.w, slopes[3], row_sums.w, keys <= vec4(bounds.w)),
        );
        dq0 += four(at_k + vec4(columns.x)) * ds;
        dq1 += four(at_k + vec4(columns.y)) * ds;
        dq2 += four(at_k + vec4(columns.z)) * ds;
        dq3 += four(at_k + vec4(columns.w)) * ds;
    }
    let inside = vec4(query) + FOUR <= last;
    store(inside.x, at_q.x, columns, mat4x4(dq0[0], dq1[0], dq2[0], dq3[0]));
    store(inside.y, at_q.y, columns, mat4x4(dq0[1], dq1[1], dq2[1], dq3[1]));
    store(inside.z, at_q.z, columns, mat4x4(dq0[2], dq1[2], dq2[2], dq3[2]));
    store(inside.w, at_q.w, columns, mat4x4(dq0[3], dq1[3], dq2[3], dq3[3]));
    if part == 0u {
        for (var i = 0u; i < 4u && query + i < sizes.t; i++) {
            sums[rows[i]] = row_sums[i];
        }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let parts = (sizes.width + 15u) / 16u;
    let query = id.x / parts * 4u;
    if query < sizes.t {
        grad(query, id.x % parts, id.y, id.z);
    }
}
