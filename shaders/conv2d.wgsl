// Convolution of x (batch, c, h, w) with weight (n, c / groups, SIZE, SIZE), plus bias, then ReLU:
// out is (batch, n, out_h, out_w). One invocation computes four channels of eight pixels in a row.
// Filters of 3 x 3 with STRIDE 1 slide over the pixels, with one new load for a step of kx.
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

// A pixel of the row that begins at `row`, zero outside of its `width`; columns left of the image wrap
// around to large ones.
fn pixel(row: u32, column: u32, width: u32) -> f32 {
    return select(0.0, x[row + column], column < width);
}

fn four_pixels(row: u32, column: u32, width: u32) -> vec4<f32> {
    let at = vec4(column) + vec4(0u, 1u, 2u, 3u) * STRIDE;
    return vec4(pixel(row, at.x, width), pixel(row, at.y, width), pixel(row, at.z, width), pixel(row, at.w, width));
}

fn four_taps(taps: vec4<u32>, kx: u32) -> vec4<f32> {
    let at = select(taps + kx, taps - kx, TURNED != 0u);
    return vec4(weight[at.x], weight[at.y], weight[at.z], weight[at.w]);
}

// Four pixels under a tap of each of four channels.
fn outer(pixels: vec4<f32>, taps: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(pixels * taps.x, pixels * taps.y, pixels * taps.z, pixels * taps.w);
}

fn finish(sums: vec4<f32>) -> vec4<f32> {
    return select(sums, max(sums, vec4(0.0)), RELU != 0u);
}

fn store_four(sums: vec4<f32>, at: u32, count: u32) {
    out[at] = sums.x;
    if count > 1u {
        out[at + 1u] = sums.y;
    }
    if count > 2u {
        out[at + 2u] = sums.z;
    }
    if count > 3u {
        out[at + 3u] = sums.w;
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
    let left = sizes.out_w - column;
    store_four(finish(near + level), at, left);
    if left > 4u {
        store_four(finish(far + level), at + 4u, left - 4u);
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
    let next = select(area, group_n * area, TURNED != 0u);
    let strips = (sizes.out_w + 7u) / 8u;
    // Where a grid is too short for all strips of an image, the third dimension holds the rest.
    let image = group.z % sizes.batch;
    let strip = group.z / sizes.batch * groups.x * 64u + id.x;
    let row = strip / strips;
    let column = (strip - row * strips) * 8u;
    if row >= sizes.out_h {
        return;
    }
    let top = row * STRIDE - sizes.padding;
    let left = column * STRIDE - sizes.padding;
    // A column for each channel.
    var near = mat4x4<f32>();
    var far = mat4x4<f32>();
    for (var c = 0u; c < group_c; c++) {
        let plane = (image * sizes.c + channel_group * group_c + c) * sizes.h;
        let filters = select(forward, backward, TURNED != 0u) + c * next;
        for (var ky = 0u; ky < SIZE; ky++) {
            let y = top + ky;
            let width = select(0u, sizes.w, y < sizes.h);
            let pixels = (plane + y) * sizes.w;
            let taps = select(filters + ky * SIZE, filters - ky * SIZE, TURNED != 0u);
            if SIZE == 3u && STRIDE == 1u {
                let near0 = four_pixels(pixels, left, width);
                let far0 = four_pixels(pixels, left + 4u, width);
                let taps0 = four_taps(taps, 0u);
                near += outer(near0, taps0);
                far += outer(far0, taps0);
                let near1 = vec4(near0.yzw, far0.x);
                let far1 = vec4(far0.yzw, pixel(pixels, left + 8u, width));
                let taps1 = four_taps(taps, 1u);
                near += outer(near1, taps1);
                far += outer(far1, taps1);
                let near2 = vec4(near1.yzw, far1.x);
                let far2 = vec4(far1.yzw, pixel(pixels, left + 9u, width));
                let taps2 = four_taps(taps, 2u);
                near += outer(near2, taps2);
                far += outer(far2, taps2);
            } else {
                for (var kx = 0u; kx < SIZE; kx++) {
                    let four = four_taps(taps, kx);
                    near += outer(four_pixels(pixels, left + kx, width), four);
                    far += outer(four_pixels(pixels, left + kx + 4u * STRIDE, width), four);
                }
            }
        }
    }
    let at = image * sizes.n + channel_group * group_n + first;
    store_eight(near[0], far[0], true, at, row, column);
    store_eight(near[1], far[1], first + 1u < group_n, at + 1u, row, column);
    store_eight(near[2], far[2], first + 2u < group_n, at + 2u, row, column);
    store_eight(near[3], far[3], first + 3u < group_n, at + 3u, row, column);
}
