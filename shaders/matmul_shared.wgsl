// out = then(a . b + bias) as in matmul.wgsl, for sizes that are multiples of four (m only in form TN).
//
// Tier B: a workgroup of 8 x 8 covers a tile of 64 x 64 of `out`, 8 x 8 sums an invocation, as
// matmul_wide.wgsl has them. 16 steps of the sum at a time pass through workgroup memory: each
// invocation brings one 4 x 4 block of `a` and one of `b`, so memory is read once for 64 rows or columns.
//   NN  a (m, k), b (k, n)
//   NT  a (m, k), b (n, k)      RIGHT_TURNED
//   TN  a (k, m), b (k, n)      LEFT_TURNED

struct Sizes {
    m: u32,
    n: u32,
    k: u32,
    a_row: u32,
    a_column: u32,
    b_row: u32,
    b_column: u32,
    alpha: f32,
    beta: f32,
}

override LEFT_TURNED: u32 = 0u;
override RIGHT_TURNED: u32 = 0u;
override BIAS: u32 = 0u;
// What happens before the store: 0 nothing, 1 a function, 2 times the slope of a function, 3 plus
// the extra operand, 4 alpha times the sum plus beta times the extra operand.
override THEN: u32 = 0u;
override FUNCTION: u32 = 0u;
// Also stores the argument of the function.
override KEEP: u32 = 0u;
// Also stores the sums of the rows of `a`.
override ROW_SUMS: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> extra: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;
// The kept arguments, or the row sums.
@group(0) @binding(6) var<storage, read_write> second: array<vec4<f32>>;

// The functions by their number: 0 relu, 1 gelu, 2 silu, 3 tanh, 4 sigmoid, 5 exp, 6 log, 7 sqrt.
// gelu's 0.5 (1 + tanh(u)) is the logistic function of 2 u, one exp instead of a tanh.
// The argument of tanh is clamped: beyond 15 it is 1 in f32, and some drivers overflow there.
fn apply(x: vec4<f32>) -> vec4<f32> {
    switch FUNCTION {
        case 0u: { return max(x, vec4(0.0)); }
        case 1u: { return x / (1.0 + exp(-1.5957691 * (x + 0.044715 * x * x * x))); }
        case 2u: { return x / (1.0 + exp(-x)); }
        case 3u: { return tanh(clamp(x, vec4(-15.0), vec4(15.0))); }
        case 4u: { return 1.0 / (1.0 + exp(-x)); }
        case 5u: { return exp(x); }
        case 6u: { return log(x); }
        default: { return sqrt(x); }
    }
}

// The derivative by the function's number, from its result (relu, tanh, sigmoid, exp, sqrt) or its
// argument (gelu, silu, log).
fn slope(saved: vec4<f32>) -> vec4<f32> {
    switch FUNCTION {
        case 0u: { return select(vec4(0.0), vec4(1.0), saved > vec4(0.0)); }
        case 1u: {
            let x = saved;
            let s = 1.0 / (1.0 + exp(-1.5957691 * (x + 0.044715 * x * x * x)));
            return s + x * s * (1.0 - s) * 1.5957691 * (1.0 + 3.0 * 0.044715 * x * x);
        }
        case 2u: {
            let s = 1.0 / (1.0 + exp(-saved));
            return s * (1.0 + saved * (1.0 - s));
        }
        case 3u: { return 1.0 - saved * saved; }
        case 4u: { return saved * (1.0 - saved); }
        case 5u: { return saved; }
        case 6u: { return 1.0 / saved; }
        default: { return 0.5 / saved; }
    }
}

// Four sums of one row, whose first column is 4 x `column`.
fn store(sum: vec4<f32>, product: u32, row: u32, column: u32) {
    let width = sizes.n / 4u;
    if row >= sizes.m || column >= width {
        return;
    }
    let at = (product * sizes.m + row) * width + column;
    var value = sum;
    if BIAS != 0u {
        value += bias[column];
    }
    if KEEP != 0u {
        second[at] = value;
    }
    switch THEN {
        case 1u: { value = apply(value); }
        case 2u: { value *= slope(extra[at]); }
        case 3u: { value += extra[at]; }
        case 4u: { value = sizes.alpha * value + sizes.beta * extra[at]; }
        default: {}
    }
    out[at] = value;
}

// The four blocks of an invocation: rows from `row`, columns from 4 x `column`. A loop, though it
// costs a little time: sixteen copies of the above would take long to compile.
fn store_all(blocks: array<mat4x4<f32>, 4>, product: u32, row: u32, column: u32) {
    var sums = blocks;
    for (var i = 0u; i < 16u; i++) {
        let block = i / 4u;
        store(sums[block][i % 4u], product, row + block / 2u * 4u + i % 4u, column + block % 2u);
    }
}

// Four vec4 of memory.
fn four_of_a(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4(a[at.x], a[at.y], a[at.z], a[at.w]);
}

fn four_of_b(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4(b[at.x], b[at.y], b[at.z], b[at.w]);
}

fn left(at: vec4<u32>) -> mat4x4<f32> {
    if LEFT_TURNED != 0u {
        return transpose(four_of_a(at));
    }
    return four_of_a(at);
}

fn right(at: vec4<u32>) -> mat4x4<f32> {
    if RIGHT_TURNED != 0u {
        return transpose(four_of_b(at));
    }
    return four_of_b(at);
}

const FOUR = vec4(0u, 1u, 2u, 3u);

// Where four rows of `a` begin; rows and columns past the edge read the last ones and are not stored.
fn left_start(row: u32, product: u32) -> vec4<u32> {
    let start = vec4(product * sizes.m * sizes.k / 4u);
    if LEFT_TURNED != 0u {
        return start + FOUR * (sizes.m / 4u) + vec4(min(row, sizes.m - 4u) / 4u);
    }
    return start + min(vec4(row) + FOUR, vec4(sizes.m - 1u)) * (sizes.k / 4u);
}

fn right_start(column: u32, product: u32) -> vec4<u32> {
    let start = vec4(product * sizes.k * sizes.n / 4u);
    let inside = min(column, sizes.n - 4u);
    if RIGHT_TURNED != 0u {
        return start + (vec4(inside) + FOUR) * (sizes.k / 4u);
    }
    return start + FOUR * (sizes.n / 4u) + vec4(inside / 4u);
}

// Sixteen blocks of four rows of `a`, or columns of `b`, by four blocks of steps, four vec4 each:
// 2 x 64 x 4 x 16 B = 8 KiB.
const BLOCKS = 16u;
const STEPS = 16u;
var<workgroup> lefts: array<mat4x4<f32>, 64>;
var<workgroup> rights: array<mat4x4<f32>, 64>;

// Which block a lane brings: neighbours read neighbours in memory.
fn brings(lane: u32, turned: bool) -> vec2<u32> {
    return select(vec2(lane / 4u, lane % 4u), vec2(lane % BLOCKS, lane / BLOCKS), turned);
}

fn tile(top: u32, start: u32, product: u32, lane: u32) {
    let mine = brings(lane, LEFT_TURNED != 0u);
    let other = brings(lane, RIGHT_TURNED == 0u);
    let left_step = vec4(select(1u, sizes.m, LEFT_TURNED != 0u));
    let right_step = vec4(select(sizes.n, 1u, RIGHT_TURNED != 0u));
    let at_left = left_start(top + 4u * mine.x, product) + mine.y * left_step;
    let at_right = right_start(start + 4u * other.x, product) + other.y * right_step;
    let y = lane / 8u * 2u;
    let x = lane % 8u * 2u;
    var top_near = mat4x4<f32>();
    var top_far = mat4x4<f32>();
    var bottom_near = mat4x4<f32>();
    var bottom_far = mat4x4<f32>();
    var top_sums = vec4<f32>();
    var bottom_sums = vec4<f32>();
    for (var p = 0u; p < sizes.k; p += STEPS) {
        workgroupBarrier();
        // Steps past the last add nothing.
        var l = mat4x4<f32>();
        var r = mat4x4<f32>();
        if p + 4u * mine.y < sizes.k {
            l = left(at_left + p / 4u * left_step);
        }
        if p + 4u * other.y < sizes.k {
            r = right(at_right + p / 4u * right_step);
        }
        lefts[mine.y * BLOCKS + mine.x] = l;
        rights[other.y * BLOCKS + other.x] = r;
        workgroupBarrier();
        for (var step = 0u; step < 4u; step++) {
            let l0 = lefts[step * BLOCKS + y];
            let l1 = lefts[step * BLOCKS + y + 1u];
            let r0 = rights[step * BLOCKS + x];
            let r1 = rights[step * BLOCKS + x + 1u];
            top_near += r0 * l0;
            top_far += r1 * l0;
            bottom_near += r0 * l1;
            bottom_far += r1 * l1;
            if ROW_SUMS != 0u {
                top_sums += vec4(1.0) * l0;
                bottom_sums += vec4(1.0) * l1;
            }
        }
    }
    let row = top + 4u * y;
    let column = start / 4u + x;
    store_all(array(top_near, top_far, bottom_near, bottom_far), product, row, column);
    if ROW_SUMS != 0u && column == 0u && row < sizes.m {
        second[row / 4u] = top_sums;
        if row + 4u < sizes.m {
            second[row / 4u + 1u] = bottom_sums;
        }
    }
}

// A grid has at most 65,535 workgroups in a dimension; more rows than these cover take another turn.
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    for (var top = group.y * 64u; top < sizes.m; top += groups.y * 64u) {
        tile(top, group.x * 64u, group.z, lane);
    }
}
