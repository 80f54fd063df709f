// out[p] = sum of squares of the gradients p, p + 256, p + 512, ...: 256 partial sums, first stage
// of the global norm. No atomics: the order of the additions is fixed. A segment of the arena that is
// not the first goes on where the one before it has ended.

struct Sizes {
    len: u32,
    start: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> gradients: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

const PARTIALS = 256u;
const LANES = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var sum = select(0.0, out[id.x], sizes.start > 0u);
    // 2^32 is a multiple of 256, so it does not matter that this wraps.
    for (var i = (id.x - sizes.start) % PARTIALS; i < sizes.len; i += PARTIALS) {
        let g = gradients[i];
        sum += g * g;
    }
    out[id.x] = sum;
}
