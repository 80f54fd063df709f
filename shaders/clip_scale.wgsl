// out[0] = min(1, clip / norm), norm the root of the sum of 256 partial sums: second stage of the
// global norm. One workgroup.

struct Sizes {
    clip: f32,
}

const PARTIALS = 256u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

var<workgroup> lanes: array<f32, PARTIALS>;

@compute @workgroup_size(PARTIALS)
fn main(@builtin(local_invocation_index) lane: u32) {
    lanes[lane] = partials[lane];
    workgroupBarrier();
    for (var half = PARTIALS / 2u; half > 0u; half /= 2u) {
        if lane < half {
            lanes[lane] += lanes[lane + half];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        let norm = sqrt(lanes[0]);
        out[0] = select(1.0, sizes.clip / norm, norm > sizes.clip);
    }
}
