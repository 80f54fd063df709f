// As reduce.wgsl, one workgroup an output, for few outputs with long sums. The lanes' sums are
// added in a fixed tree: the same bits on every run.

struct Sizes {
    outputs: u32,
    inner: u32,
    outer_stride: u32,
    inner_stride: u32,
    counts: vec2<u32>,
    strides: vec2<u32>,
    scale: f32,
}

const LANES = 64u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

var<workgroup> lanes: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let o = group.x + group.y * 65535u;
    let inside = o < sizes.outputs;
    let base = o / sizes.inner * sizes.outer_stride + o % sizes.inner * sizes.inner_stride;
    var sum = 0.0;
    if inside {
        if sizes.counts.y >= LANES {
            for (var i = 0u; i < sizes.counts.x; i++) {
                for (var j = lane; j < sizes.counts.y; j += LANES) {
                    sum += x[base + i * sizes.strides.x + j * sizes.strides.y];
                }
            }
        } else {
            for (var at = lane; at < sizes.counts.x * sizes.counts.y; at += LANES) {
                let i = at / sizes.counts.y;
                let j = at - i * sizes.counts.y;
                sum += x[base + i * sizes.strides.x + j * sizes.strides.y];
            }
        }
    }
    lanes[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            lanes[lane] += lanes[lane + half];
        }
        workgroupBarrier();
    }
    if lane == 0u && inside {
        out[o] = sizes.scale * lanes[0];
    }
}
