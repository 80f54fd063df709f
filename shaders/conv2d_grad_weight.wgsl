// Gradient of a convolution with respect to its filters (n, c / groups, size, size): a workgroup a
// tap, whose 64 lanes share the pixels of all images and add up in a fixed tree.

struct Sizes {
    batch: u32,
    c: u32,
    h: u32,
    w: u32,
    n: u32,
    out_h: u32,
    out_w: u32,
    size: u32,
    stride: u32,
    padding: u32,
    groups: u32,
}

const LANES = 64u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

var<workgroup> lanes: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tap = group.x + group.y * 65535u;
    let group_n = sizes.n / sizes.groups;
    let group_c = sizes.c / sizes.groups;
    let area = sizes.size * sizes.size;
    let inside = tap < sizes.n * group_c * area;
    let kx = tap % sizes.size;
    let ky = tap / sizes.size % sizes.size;
    let c = tap / area % group_c;
    let n = tap / (area * group_c);
    let channel = n / group_n * group_c + c;
    let pixels = sizes.out_h * sizes.out_w;
    var sum = 0.0;
    if inside {
        for (var i = lane; i < sizes.batch * pixels; i += LANES) {
            let image = i / pixels;
            let pixel = i % pixels;
            let row = pixel / sizes.out_w * sizes.stride + ky;
            let column = pixel % sizes.out_w * sizes.stride + kx;
            let y = row - sizes.padding;
            let at = column - sizes.padding;
            if row >= sizes.padding && y < sizes.h && column >= sizes.padding && at < sizes.w {
                let seen = x[((image * sizes.c + channel) * sizes.h + y) * sizes.w + at];
                sum += seen * dy[(image * sizes.n + n) * pixels + pixel];
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
        out[tap] = lanes[0];
    }
}
