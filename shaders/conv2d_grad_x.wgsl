// Gradient of a convolution with respect to its images: every pixel of x gathers from the windows
// that saw it. Reads dy (batch, n, out_h, out_w) and weight (n, c / groups, SIZE, SIZE).

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

override SIZE: u32 = 3u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let group_n = sizes.n / sizes.groups;
    let group_c = sizes.c / sizes.groups;
    let taps = group_c * SIZE * SIZE;
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.batch * sizes.c * sizes.h * sizes.w {
        let column = i % sizes.w;
        let row = i / sizes.w % sizes.h;
        let channel = i / (sizes.w * sizes.h) % sizes.c;
        let image = i / (sizes.w * sizes.h * sizes.c);
        let channel_group = channel / group_c;
        var sum = 0.0;
        for (var ky = 0u; ky < SIZE; ky++) {
            let y = row + sizes.padding - ky;
            if row + sizes.padding < ky || y % sizes.stride != 0u || y / sizes.stride >= sizes.out_h {
                continue;
            }
            for (var kx = 0u; kx < SIZE; kx++) {
                let x = column + sizes.padding - kx;
                if column + sizes.padding < kx || x % sizes.stride != 0u || x / sizes.stride >= sizes.out_w {
                    continue;
                }
                var at_dy = ((image * sizes.n + channel_group * group_n) * sizes.out_h + y / sizes.stride) * sizes.out_w + x / sizes.stride;
                var at_weight = channel_group * group_n * taps + (channel % group_c * SIZE + ky) * SIZE + kx;
                for (var n = 0u; n < group_n; n++) {
                    sum += dy[at_dy] * weight[at_weight];
                    at_dy += sizes.out_h * sizes.out_w;
                    at_weight += taps;
                }
            }
        }
        out[i] = sum;
    }
}
