// Convolution of x (batch, c, h, w) with weight (n, c / groups, SIZE, SIZE), plus bias, then ReLU:
// out is (batch, n, out_h, out_w). One invocation computes four channels of four pixels in a row:
// sixteen sums for eight loads a tap.

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
override BIAS: u32 = 1u;
override RELU: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

fn pixel(plane: u32, row: i32, column: i32) -> f32 {
    let inside = row >= 0 && row < i32(sizes.h) && column >= 0 && column < i32(sizes.w);
    let at = select(0u, plane + u32(max(row, 0)) * sizes.w + u32(max(column, 0)), inside);
    return select(0.0, x[at], inside);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let group_n = sizes.n / sizes.groups;
    let group_c = sizes.c / sizes.groups;
    let blocks = (group_n + 3u) / 4u;
    let channel_group = group.y / blocks;
    let channel = channel_group * group_n + group.y % blocks * 4u;
    let channels = min(vec4(channel) + vec4(0u, 1u, 2u, 3u), vec4((channel_group + 1u) * group_n - 1u));
    let taps = group_c * SIZE * SIZE;
    let strips = (sizes.out_w + 3u) / 4u;
    for (var i = id.x; i < sizes.out_h * strips; i += groups.x * 64u) {
        let row = i / strips;
        let column = i % strips * 4u;
        let top = i32(row * sizes.stride) - i32(sizes.padding);
        let left = vec4<i32>((vec4(column) + vec4(0u, 1u, 2u, 3u)) * sizes.stride) - vec4(i32(sizes.padding));
        var sums0 = vec4<f32>();
        var sums1 = vec4<f32>();
        var sums2 = vec4<f32>();
        var sums3 = vec4<f32>();
        for (var c = 0u; c < group_c; c++) {
            let plane = (group.z * sizes.c + channel_group * group_c + c) * sizes.h * sizes.w;
            for (var ky = 0u; ky < SIZE; ky++) {
                for (var kx = 0u; kx < SIZE; kx++) {
                    let y = top + i32(ky);
                    let at = left + vec4(i32(kx));
                    let seen = vec4(pixel(plane, y, at.x), pixel(plane, y, at.y), pixel(plane, y, at.z), pixel(plane, y, at.w));
                    let tap = (c * SIZE + ky) * SIZE + kx;
                    sums0 = fma(vec4(weight[channels.x * taps + tap]), seen, sums0);
                    sums1 = fma(vec4(weight[channels.y * taps + tap]), seen, sums1);
                    sums2 = fma(vec4(weight[channels.z * taps + tap]), seen, sums2);
                    sums3 = fma(vec4(weight[channels.w * taps + tap]), seen, sums3);
                }
            }
        }
        let sums = array(sums0, sums1, sums2, sums3);
        for (var n = 0u; n < 4u && group.y % blocks * 4u + n < group_n; n++) {
            for (var p = 0u; p < 4u && column + p < sizes.out_w; p++) {
                var value = sums[n][p];
                if BIAS != 0u {
                    value += bias[channel + n];
                }
                if RELU != 0u {
                    value = max(value, 0.0);
                }
                out[((group.z * sizes.n + channel + n) * sizes.out_h + row) * sizes.out_w + column + p] = value;
            }
        }
    }
}
