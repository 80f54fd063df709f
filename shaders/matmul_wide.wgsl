// out = then(a . b + bias) as in matmul.wgsl, for sizes that are multiples of four (m only in form TN).
//
// No workgroup memory. Each invocation holds an 8 x 8 block of `out` in four matrices of 4 x 4 and
// reads nothing but whole vec4, in every form: a matrix of `a` has a row of four sums' left factors
// as each column, one of `b` a step of the sum, and where memory has it the other way round it is
// transposed in registers. 16 loads of 16 bytes for 256 multiplications and additions.
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

fn block(row: u32, column: u32, product: u32) {
    var top = left_start(row, product);
    var bottom = left_start(row + 4u, product);
    var near = right_start(column, product);
    var far = right_start(column + 4u, product);
    let left_step = vec4(select(1u, sizes.m, LEFT_TURNED != 0u));
    let right_step = vec4(select(sizes.n, 1u, RIGHT_TURNED != 0u));
    var top_near = mat4x4<f32>();
    var top_far = mat4x4<f32>();
    var bottom_near = mat4x4<f32>();
    var bottom_far = mat4x4<f32>();
    var top_sums = vec4<f32>();
    var bottom_sums = vec4<f32>();
    for (var p = 0u; p < sizes.k; p += 4u) {
        let l0 = left(top);
        let l1 = left(bottom);
        let r0 = right(near);
        let r1 = right(far);
        top_near += r0 * l0;
        top_far += r1 * l0;
        bottom_near += r0 * l1;
        bottom_far += r1 * l1;
        if ROW_SUMS != 0u {
            top_sums += vec4(1.0) * l0;
            bottom_sums += vec4(1.0) * l1;
        }
        top += left_step;
        bottom += left_step;
        near += right_step;
        far += right_step;
    }
    store_all(array(top_near, top_far, bottom_near, bottom_far), product, row, column / 4u);
    if ROW_SUMS != 0u && column == 0u {
        second[row / 4u] = top_sums;
        if row + 4u < sizes.m {
            second[row / 4u + 1u] = bottom_sums;
        }
    }
}

// A grid has at most 65,535 workgroups in a dimension; more rows than these cover take another turn.
@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let column = id.x * 8u;
    if column >= sizes.n {
        return;
    }
    for (var row = id.y * 8u; row < sizes.m; row += groups.y * 64u) {
        block(row, column, id.z);
    }
}
