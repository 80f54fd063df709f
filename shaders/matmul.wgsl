// out = epilogue(a . b), out is (m, n), row-major.
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
    unused: u32,
}

const EPILOGUE_NONE = 0u;
const EPILOGUE_BIAS = 1u;
const EPILOGUE_BIAS_RELU = 2u;
const EPILOGUE_MASK = 3u;

override EPILOGUE: u32 = EPILOGUE_NONE;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
// bias (n) or mask (m, n); bound to `a` again where the epilogue reads neither.
@group(0) @binding(3) var<storage, read> extra: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

fn finish(sum: f32, row: u32, column: u32) -> f32 {
    switch EPILOGUE {
        case EPILOGUE_BIAS: {
            return sum + extra[column];
        }
        case EPILOGUE_BIAS_RELU: {
            return max(sum + extra[column], 0.0);
        }
        case EPILOGUE_MASK: {
            return select(0.0, sum, extra[row * sizes.n + column] > 0.0);
        }
        default: {
            return sum;
        }
    }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.y * 4u;
    let column = id.x * 4u;
    if row >= sizes.m || column >= sizes.n {
        return;
    }
    let rows = min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(sizes.m - 1u));
    let columns = min(vec4(column) + vec4(0u, 1u, 2u, 3u), vec4(sizes.n - 1u));
    var at_a = rows * sizes.a_row;
    var at_b = columns * sizes.b_column;

    var sums = array<vec4<f32>, 4>();
    for (var p = 0u; p < sizes.k; p++) {
        let right = vec4(b[at_b.x], b[at_b.y], b[at_b.z], b[at_b.w]);
        sums[0] = fma(vec4(a[at_a.x]), right, sums[0]);
        sums[1] = fma(vec4(a[at_a.y]), right, sums[1]);
        sums[2] = fma(vec4(a[at_a.z]), right, sums[2]);
        sums[3] = fma(vec4(a[at_a.w]), right, sums[3]);
        at_a += vec4(sizes.a_column);
        at_b += vec4(sizes.b_row);
    }

    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            if row + i < sizes.m && column + j < sizes.n {
                out[(row + i) * sizes.n + column + j] = finish(sums[i][j], row + i, column + j);
            }
        }
    }
}
