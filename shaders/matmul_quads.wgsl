enable subgroups;
// out = then(a . b + bias) as in matmul.wgsl, for sizes that are multiples of four (m only in form TN).
//
// Neighbours exchange what they have read: four invocations hold a block of 16 x 32 of `out`, each
// eight columns of it. Each reads four rows of `a` and eight columns of `b` for itself, and gets the
// other twelve rows from its neighbours' registers: 12 loads of 16 bytes for 512 multiplications and
// additions, where matmul_wide.wgsl has 16 for 256. No workgroup memory and no barrier; the sums are
// added up in the same order as there. That neighbours by number are neighbours in a subgroup is what
// every adapter does with a workgroup of one dimension.
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

// The eight blocks of an invocation, two of each neighbour's four rows. A loop, though it costs a
// little time: 32 copies of the above would take long to compile.
fn store_all(blocks: array<mat4x4<f32>, 8>, product: u32, row: u32, column: u32, lane: u32) {
    var sums = blocks;
    for (var i = 0u; i < 32u; i++) {
        let block = i / 4u;
        store(sums[block][i % 4u], product, row + 4u * (lane ^ (block / 2u)) + i % 4u, column + block % 2u);
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

// What the neighbours have: the one beside, the one below, the one across.
fn beside(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(quadSwapX(m[0]), quadSwapX(m[1]), quadSwapX(m[2]), quadSwapX(m[3]));
}

fn below(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(quadSwapY(m[0]), quadSwapY(m[1]), quadSwapY(m[2]), quadSwapY(m[3]));
}

fn across(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(quadSwapDiagonal(m[0]), quadSwapDiagonal(m[1]), quadSwapDiagonal(m[2]), quadSwapDiagonal(m[3]));
}

// The 16 rows from `row` and this lane's eight columns from `column`. Nobody leaves early: neighbours
// past the edge have rows that are wanted.
fn block(row: u32, column: u32, product: u32, lane: u32) {
    var own = left_start(row + 4u * lane, product);
    var near = right_start(column, product);
    var far = right_start(column + 4u, product);
    let left_step = vec4(select(1u, sizes.m, LEFT_TURNED != 0u));
    let right_step = vec4(select(sizes.n, 1u, RIGHT_TURNED != 0u));
    var near0 = mat4x4<f32>();
    var near1 = mat4x4<f32>();
    var near2 = mat4x4<f32>();
    var near3 = mat4x4<f32>();
    var far0 = mat4x4<f32>();
    var far1 = mat4x4<f32>();
    var far2 = mat4x4<f32>();
    var far3 = mat4x4<f32>();
    var row_sums = vec4<f32>();
    for (var p = 0u; p < sizes.k; p += 4u) {
        let r0 = right(near);
        let r1 = right(far);
        let l0 = left(own);
        near0 += r0 * l0;
        far0 += r1 * l0;
        let l1 = beside(l0);
        near1 += r0 * l1;
        far1 += r1 * l1;
        let l2 = below(l0);
        near2 += r0 * l2;
        far2 += r1 * l2;
        let l3 = across(l0);
        near3 += r0 * l3;
        far3 += r1 * l3;
        if ROW_SUMS != 0u {
            row_sums += vec4(1.0) * l0;
        }
        own += left_step;
        near += right_step;
        far += right_step;
    }
    store_all(array(near0, far0, near1, far1, near2, far2, near3, far3), product, row, column / 4u, lane);
    let mine = row + 4u * lane;
    if ROW_SUMS != 0u && column == 8u * lane && mine < sizes.m {
        second[mine / 4u] = row_sums;
    }
}

// Eight times four neighbours, two across and four down: a tile of 64 x 64. A grid has at most 65,535
// workgroups in a dimension; more rows than these cover take another turn.
@compute @workgroup_size(32)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_invocation_id) in_subgroup: u32,
) {
    let lane = in_subgroup % 4u;
    let column = group.x * 64u + index / 4u % 2u * 32u + lane * 8u;
    for (var top = group.y * 64u; top < sizes.m; top += groups.y * 64u) {
        block(top + index / 8u * 16u, column, group.z, lane);
    }
}
