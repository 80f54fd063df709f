// out = then(a . b + bias), out is (m, n), row-major.
//
// Tier A: no workgroup memory. Each invocation holds a 4 x 4 block of `out` in registers, a
// workgroup of 8 x 8 covers 32 x 32. The three forms differ only in strides:
//   NN  a (m, k), b (k, n)      a_row = k, a_column = 1, b_row = n, b_column = 1
//   NT  a (m, k), b (n, k)      a_row = k, a_column = 1, b_row = 1, b_column = k
//   TN  a (k, m), b (k, n)      a_row = 1, a_column = m, b_row = n, b_column = 1
// Rows and columns past the edge read the last valid one and are not stored: no branch in the sum.

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
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> extra: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
@group(0) @binding(6) var<storage, read_write> second: array<f32>;

// The functions by their number: 0 relu, 1 gelu, 2 silu, 3 tanh, 4 sigmoid, 5 exp, 6 log, 7 sqrt.
// gelu's 0.5 (1 + tanh(u)) is the logistic function of 2 u, one exp instead of a tanh.
// The argument of tanh is clamped: beyond 15 it is 1 in f32, and some drivers overflow there.
fn apply(x: f32) -> f32 {
    switch FUNCTION {
        case 0u: { return max(x, 0.0); }
        case 1u: { return x / (1.0 + exp(-1.5957691 * (x + 0.044715 * x * x * x))); }
        case 2u: { return x / (1.0 + exp(-x)); }
        case 3u: { return tanh(clamp(x, -15.0, 15.0)); }
        case 4u: { return 1.0 / (1.0 + exp(-x)); }
        case 5u: { return exp(x); }
        case 6u: { return log(x); }
        default: { return sqrt(x); }
    }
}

// The derivative by the function's number, from its result (relu, tanh, sigmoid, exp, sqrt) or its
// argument (gelu, silu, log).
fn slope(saved: f32) -> f32 {
    switch FUNCTION {
        case 0u: { return select(0.0, 1.0, saved > 0.0); }
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

fn store(sum: f32, product: u32, row: u32, column: u32) {
    let at = (product * sizes.m + row) * sizes.n + column;
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

fn block(row: u32, column: u32, product: u32) {
    let rows = min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(sizes.m - 1u));
    let columns = min(vec4(column) + vec4(0u, 1u, 2u, 3u), vec4(sizes.n - 1u));
    // Products of a batch lie one after another in every operand.
    var at_a = vec4(product * sizes.m * sizes.k) + rows * sizes.a_row;
    var at_b = vec4(product * sizes.k * sizes.n) + columns * sizes.b_column;

    var sums0 = vec4<f32>();
    var sums1 = vec4<f32>();
    var sums2 = vec4<f32>();
    var sums3 = vec4<f32>();
    var row_sums = vec4<f32>();
    for (var p = 0u; p < sizes.k; p++) {
        let left = vec4(a[at_a.x], a[at_a.y], a[at_a.z], a[at_a.w]);
        let right = vec4(b[at_b.x], b[at_b.y], b[at_b.z], b[at_b.w]);
        sums0 = fma(vec4(left.x), right, sums0);
        sums1 = fma(vec4(left.y), right, sums1);
        sums2 = fma(vec4(left.z), right, sums2);
        sums3 = fma(vec4(left.w), right, sums3);
        if ROW_SUMS != 0u {
            row_sums += left;
        }
        at_a += vec4(sizes.a_column);
        at_b += vec4(sizes.b_row);
    }

    let sums = array(sums0, sums1, sums2, sums3);
    for (var i = 0u; i < 4u && row + i < sizes.m; i++) {
        for (var j = 0u; j < 4u && column + j < sizes.n; j++) {
            store(sums[i][j], product, row + i, column + j);
        }
        if ROW_SUMS != 0u && column == 0u {
            second[row + i] = row_sums[i];
        }
    }
}

// A grid has at most 65,535 workgroups in a dimension; more rows than these cover take another turn.
@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let column = id.x * 4u;
    if column >= sizes.n {
        return;
    }
    for (var row = id.y * 4u; row < sizes.m; row += groups.y * 32u) {
        block(row, column, id.z);
    }
}
