// As attention.wgsl for heads whose width is a multiple of four, without workgroup memory. An
// invocation takes four queries and sixteen values of the result, all in registers: 4 x 4 scores are
// one product of matrices, and what they bring to the result is four more. Where a head is wider than
// sixteen, each part of it finds the scores for itself.
// qkv is (batch, t, (heads + 2 kv_heads) width), y (batch, t, heads width), lse (batch, t, heads).

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
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

const FOUR = vec4(0u, 1u, 2u, 3u);
const LEAST = -3.4028234e38;

fn four(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4(qkv[at.x], qkv[at.y], qkv[at.z], qkv[at.w]);
}

// Sixteen values of one query's result.
fn store(inside: bool, row: u32, columns: vec4<u32>, values: mat4x4<f32>) {
    if inside {
        let at = vec4(row * sizes.width / 4u) + columns;
        y[at.x] = values[0];
        y[at.y] = values[1];
        y[at.z] = values[2];
        y[at.w] = values[3];
    }
}

fn attend(query: u32, part: u32, head: u32, sample: u32) {
    let width = sizes.width / 4u;
    let packed = (sizes.heads + 2u * sizes.kv_heads) * width;
    let kv_head = head / (sizes.heads / sizes.kv_heads);
    let last = vec4(sizes.t - 1u);
    let first = sample * sizes.t;
    let queries = vec4(query) + FOUR;
    let at_q = (vec4(first) + min(queries, last)) * packed + vec4(head * width);
    let columns = min(vec4(part * 4u) + FOUR, vec4(width - 1u));

    var sum0 = mat4x4<f32>();
    var sum1 = mat4x4<f32>();
    var sum2 = mat4x4<f32>();
    var sum3 = mat4x4<f32>();
    var largest = vec4(LEAST);
    var total = vec4<f32>();
    let end = select(sizes.t, min(sizes.t, query + 4u), CAUSAL != 0u);
    for (var key = 0u; key < end; key += 4u) {
        let keys = vec4(key) + FOUR;
        let at_k = (vec4(first) + min(keys, last)) * packed + vec4((sizes.heads + kv_head) * width);
        let at_v = at_k + vec4(sizes.kv_heads * width);
        // A column a query, a row a key.
        var scores = mat4x4<f32>();
        for (var d = 0u; d < width; d++) {
            scores += transpose(four(at_k + vec4(d))) * four(at_q + vec4(d));
        }
        let bounds = select(last, min(queries, last), CAUSAL != 0u);
        // Turned: a row a query, so that the largest of each query is one of columns.
        let turned = transpose(mat4x4(
            select(vec4(LEAST), sizes.scale * scores[0], keys <= vec4(bounds.x)),
            select(vec4(LEAST), sizes.scale * scores[1], keys <= vec4(bounds.y)),
            select(vec4(LEAST), sizes.scale * scores[2], keys <= vec4(bounds.z)),
            select(vec4(LEAST), sizes.scale * scores[3], keys <= vec4(bounds.w)),
        ));
        let larger = max(largest, max(max(turned[0], turned[1]), max(turned[2], turned[3])));
        let shrink = exp(largest - larger);
        let weights = transpose(mat4x4(
            exp(turned[0] - larger),
            exp(turned[1] - larger),
            exp(turned[2] - larger),
            exp(turned[3] - larger),
        ));
        total = total * shrink + vec4(1.0) * weights;
        let shrunk = mat4x4(
            vec4(shrink.x, 0.0, 0.0, 0.0),
            vec4(0.0, shrink.y, 0.0, 0.0),
            vec4(0.0, 0.0, shrink.z, 0.0),
            vec4(0.0, 0.0, 0.0, shrink.w),
        );
        sum0 = sum0 * shrunk + four(at_v + vec4(columns.x)) * weights;
        sum1 = sum1 * shrunk + four(at_v + vec4(columns.y)) * weights;
        sum2 = sum2 * shrunk + four(at_v + vec4(columns.z)) * weights;
        sum3 = sum3 * shrunk + four(at_v + vec4(columns.w)) * weights;
        largest = larger;
    }
    let over = 1.0 / total;
    let logs = largest + log(total);
    let rows = (vec4(first) + queries) * sizes.heads + vec4(head);
    let inside = queries <= last;
    store(inside.x, rows.x, columns, over.x * mat4x4(sum0[0], sum1[0], sum2[0], sum3[0]));
    store(inside.y, rows.y, columns, over.y * mat4x4(sum0[1], sum1[1], sum2[1], sum3[1]));
    store(inside.z, rows.z, columns, over.z * mat4x4(sum0[2], sum1[2], sum2[2], sum3[2]));
    store(inside.w, rows.w, columns, over.w * mat4x4(sum0[3], sum1[3], sum2[3], sum3[3]));
    if part == 0u {
        for (var i = 0u; i < 4u && query + i < sizes.t; i++) {
            lse[rows[i]] = logs[i];
        }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let parts = (sizes.width + 15u) / 16u;
    let query = id.x / parts * 4u;
    if query < sizes.t {
        attend(query, id.x % parts, id.y, id.z);
    }
}
