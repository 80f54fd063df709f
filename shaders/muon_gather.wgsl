// Gathers the Nesterov updates of count matrices into a stack (.., n, m), the shorter side as rows,
// padded with zeros, each scaled to a Frobenius norm of 1 at most:
// first <- mu first + g; u = g + mu first; out = u / (|u| + 1e-7). One workgroup a matrix; a lane meets
// the same values again when it scales them, so storage needs no barrier.

struct Sizes {
    count: u32,
    n: u32,
    m: u32,
    momentum: f32,
}

const LANES = 256u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> gradients: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
// Where each matrix lies: its first value in the segment, its rows, its columns, and twice its place in
// the stack, plus 1 where it is put in transposed.
@group(0) @binding(3) var<storage, read> table: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<storage, read_write> first: array<f32>;

var<workgroup> lanes: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let matrix = min(group.x + group.y * 65535u, sizes.count - 1u);
    let place = table[matrix];
    let size = sizes.n * sizes.m;
    let start = place.w / 2u * size;
    let longer = max(place.y, place.z);
    var square = 0.0;
    for (var i = lane; i < size; i += LANES) {
        let row = i / sizes.m;
        let column = i % sizes.m;
        var u = 0.0;
        if column < longer {
            let at = place.x + select(row * place.z + column, column * place.z + row, place.w % 2u == 1u);
            let g = gradients[at] * scale[0];
            let m = sizes.momentum * first[at] + g;
            first[at] = m;
            u = g + sizes.momentum * m;
        }
        out[start + i] = u;
        square += u * u;
    }
    lanes[lane] = square;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            lanes[lane] += lanes[lane + half];
        }
        workgroupBarrier();
    }
    let shrink = 1.0 / (sqrt(lanes[0]) + 1e-7);
    for (var i = lane; i < size; i += LANES) {
        out[start + i] *= shrink;
    }
}
