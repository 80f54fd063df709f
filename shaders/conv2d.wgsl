// Convolution of x (batch, c, h, w) with weight (n, c / groups, SIZE, SIZE), plus bias, then ReLU:
// out is (batch, n, out_h, out_w). One invocation computes four channels of eight pixels in a row.
// With STRIDE 1 the pixels slide along under the filter: one new load for a step of kx.
//
// With TURNED it is the gradient of a convolution of stride 1 with respect to its images: `x` is dy,
// c and n are exchanged, and the filters, which lie as (c, n / groups, SIZE, SIZE), are read back to
// front.

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
override STRIDE: u32 = 1u;
override BIAS: u32 = 1u;
override RELU: u32 = 0u;
override TURNED: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

const FOUR = vec4(0, 1, 2, 3);

// A pixel of the row that begins at `row`; columns left of the image wrap around to large ones.
fn pixel(row: u32, column: i32) -> f32 {
    return select(0.0, x[row + u32(column)], u32(column) < sizes.w);
}

fn four_pixels(row: u32, columns: vec4<i32>) -> vec4<f32> {
    return vec4(pixel(row, columns.x), pixel(row, columns.y), pixel(row, columns.z), pixel(row, columns.w));
}

// One row of one filter of each of the four channels, over one row of pixels.
fn add_row(sums: array<vec4<f32>, 8>, row: u32, left: i32, taps: vec4<u32>) -> array<vec4<f32>, 8> {
    var near = four_pixels(row, vec4(left) + FOUR * i32(STRIDE));
    var far = four_pixels(row, vec4(left) + (FOUR + 4) * i32(STRIDE));
    var all = sums;
    for (var kx = 0u; kx < SIZE; kx++) {
        if kx > 0u {
            if STRIDE == 1u {
                near = vec4(near.yzw, far.x);
                far = vec4(far.yzw, pixel(row, left + 7 + i32(kx)));
            } else {
                near = four_pixels(row, vec4(left + i32(kx)) + FOUR * i32(STRIDE));
                far = four_pixels(row, vec4(left + i32(kx)) + (FOUR + 4) * i32(STRIDE));
            }
        }
        let at = select(taps + kx, taps - kx, TURNED != 0u);
        let w = vec4(weight[at.x], weight[at.y], weight[at.z], weight[at.w]);
        all[0] = fma(vec4(w.x), near, all[0]);
        all[1] = fma(vec4(w.x), far, all[1]);
        all[2] = fma(vec4(w.y), near, all[2]);
        all[3] = fma(vec4(w.y), far, all[3]);
        all[4] = fma(vec4(w.z), near, all[4]);
        all[5] = fma(vec4(w.z), far, all[5]);
        all[6] = fma(vec4(w.w), near, all[6]);
        all[7] = fma(vec4(w.w), far, all[7]);
    }
    return all;
}

fn finish(sums: vec4<f32>) -> vec4<f32> {
    return select(sums, max(sums, vec4(0.0)), RELU != 0u);
}

fn store_four(sums: vec4<f32>, at: u32, count: u32) {
    for (var p = 0u; p < min(count, 4u); p++) {
        out[at + p] = sums[p];
    }
}

// Eight pixels of one channel, `plane` being its number among the channels of all images.
fn store_eight(near: vec4<f32>, far: vec4<f32>, inside: bool, plane: u32, row: u32, column: u32) {
    if !inside {
        return;
    }
    var level = 0.0;
    if BIAS != 0u {
        level = bias[plane % sizes.n];
    }
    let at = (plane * sizes.out_h + row) * sizes.out_w + column;
    store_four(finish(near + level), at, sizes.out_w - column);
    if column + 4u < sizes.out_w {
        store_four(finish(far + level), at + 4u, sizes.out_w - column - 4u);
    }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let group_n = sizes.n / sizes.groups;
    let group_c = sizes.c / sizes.groups;
    let blocks = (group_n + 3u) / 4u;
    let channel_group = group.y / blocks;
    let first = group.y % blocks * 4u;
    let channels = min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(group_n - 1u));
    let area = SIZE * SIZE;
    // Where each channel's filter begins or, read back to front, where its first image's ends.
    let forward = (channel_group * group_n + channels) * group_c * area;
    let backward = (channel_group * group_c * group_n + channels) * area + area - 1u;
    let starts = select(forward, backward, TURNED != 0u);
    let next = select(area, group_n * area, TURNED != 0u);
    let strips = (sizes.out_w + 7u) / 8u;
    for (var i = id.x; i < sizes.out_h * strips; i += groups.x * 64u) {
        let row = i / strips;
        let column = i % strips * 8u;
        let top = i32(row * STRIDE) - i32(sizes.padding);
        let left = i32(column * STRIDE) - i32(sizes.padding);
        var sums = array<vec4<f32>, 8>();
        for (var c = 0u; c < group_c; c++) {
            let plane = (group.z * sizes.c + channel_group * group_c + c) * sizes.h;
            for (var ky = 0u; ky < SIZE; ky++) {
                let y = u32(top + i32(ky));
                if y < sizes.h {
                    let within = select(ky * SIZE, 0u - ky * SIZE, TURNED != 0u);
                    sums = add_row(sums, (plane + y) * sizes.w, left, starts + c * next + within);
                }
            }
        }
        let image = group.z * sizes.n + channel_group * group_n + first;
        store_eight(sums[0], sums[1], first < group_n, image, row, column);
        store_eight(sums[2], sums[3], first + 1u < group_n, image + 1u, row, column);
        store_eight(sums[4], sums[5], first + 2u < group_n, image + 2u, row, column);
        store_eight(sums[6], sums[7], first + 3u < group_n, image + 3u, row, column);
    }
}
