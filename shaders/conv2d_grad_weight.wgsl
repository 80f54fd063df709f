// Gradient of a convolution with respect to its filters (n, c / groups, size, size). A workgroup
// takes four channels of dy, one of x, and 3 x 4 taps: twelve vec4 in registers a lane. Its 64 lanes
// share the rows of all images; a lane walks along a row of dy, and with stride 1 the pixels under the
// filter slide along with it. The lanes' sums are added in order: the same bits on every run.

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
const ROWS = 3u;
const SUMS = 12u;
const FOUR = vec4(0, 1, 2, 3);

override STRIDE: u32 = 1u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// 64 x 12 x 16 B = 12 KiB.
var<workgroup> lanes: array<vec4<f32>, 768>;

// A pixel of a row of x; rows and columns before the first wrap around to large ones.
fn pixel(plane: u32, y: u32, column: i32) -> f32 {
    return select(0.0, x[(plane + y) * sizes.w + u32(column)], u32(column) < sizes.w && y < sizes.h);
}

fn four_pixels(plane: u32, y: u32, column: i32) -> vec4<f32> {
    let at = vec4(column) + FOUR;
    return vec4(pixel(plane, y, at.x), pixel(plane, y, at.y), pixel(plane, y, at.z), pixel(plane, y, at.w));
}

// The pixels under four taps in a row, one column further along.
fn slide(seen: vec4<f32>, plane: u32, y: u32, column: i32) -> vec4<f32> {
    if STRIDE == 1u {
        return vec4(seen.yzw, pixel(plane, y, column + 3));
    }
    return four_pixels(plane, y, column);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let group_n = sizes.n / sizes.groups;
    let group_c = sizes.c / sizes.groups;
    let across = (sizes.size + 3u) / 4u;
    let ky = group.z / across * ROWS;
    let kx = group.z % across * 4u;
    let blocks = (group_n + 3u) / 4u;
    let channel_group = group.y / blocks;
    let first = channel_group * group_n + group.y % blocks * 4u;
    let channels = min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4((channel_group + 1u) * group_n - 1u));
    let c = channel_group * group_c + group.x;

    var sums = array<vec4<f32>, SUMS>();
    for (var i = lane; i < sizes.batch * sizes.out_h; i += LANES) {
        let image = i / sizes.out_h;
        let row = i % sizes.out_h;
        let plane = (image * sizes.c + c) * sizes.h;
        let y = row * STRIDE + ky - sizes.padding;
        let left = i32(kx) - i32(sizes.padding);
        var at_dy = ((image * sizes.n + channels) * sizes.out_h + row) * sizes.out_w;
        var seen0 = four_pixels(plane, y, left);
        var seen1 = four_pixels(plane, y + 1u, left);
        var seen2 = four_pixels(plane, y + 2u, left);
        for (var column = 0u; column < sizes.out_w; column++) {
            if column > 0u {
                let at = left + i32(column * STRIDE);
                seen0 = slide(seen0, plane, y, at);
                seen1 = slide(seen1, plane, y + 1u, at);
                seen2 = slide(seen2, plane, y + 2u, at);
            }
            let gradient = vec4(dy[at_dy.x], dy[at_dy.y], dy[at_dy.z], dy[at_dy.w]);
            at_dy += vec4(1u);
            sums[0] = fma(vec4(gradient.x), seen0, sums[0]);
            sums[1] = fma(vec4(gradient.x), seen1, sums[1]);
            sums[2] = fma(vec4(gradient.x), seen2, sums[2]);
            sums[3] = fma(vec4(gradient.y), seen0, sums[3]);
            sums[4] = fma(vec4(gradient.y), seen1, sums[4]);
            sums[5] = fma(vec4(gradient.y), seen2, sums[5]);
            sums[6] = fma(vec4(gradient.z), seen0, sums[6]);
            sums[7] = fma(vec4(gradient.z), seen1, sums[7]);
            sums[8] = fma(vec4(gradient.z), seen2, sums[8]);
            sums[9] = fma(vec4(gradient.w), seen0, sums[9]);
            sums[10] = fma(vec4(gradient.w), seen1, sums[10]);
            sums[11] = fma(vec4(gradient.w), seen2, sums[11]);
        }
    }
    lanes[0u * LANES + lane] = sums[0];
    lanes[1u * LANES + lane] = sums[1];
    lanes[2u * LANES + lane] = sums[2];
    lanes[3u * LANES + lane] = sums[3];
    lanes[4u * LANES + lane] = sums[4];
    lanes[5u * LANES + lane] = sums[5];
    lanes[6u * LANES + lane] = sums[6];
    lanes[7u * LANES + lane] = sums[7];
    lanes[8u * LANES + lane] = sums[8];
    lanes[9u * LANES + lane] = sums[9];
    lanes[10u * LANES + lane] = sums[10];
    lanes[11u * LANES + lane] = sums[11];
    workgroupBarrier();
    // A lane for each of 12 x 4 sums.
    let n = group.y % blocks * 4u + lane / SUMS;
    let tap_y = ky + lane / 4u % ROWS;
    let tap_x = kx + lane % 4u;
    if lane < 4u * SUMS && n < group_n && tap_y < sizes.size && tap_x < sizes.size {
        var sum = 0.0;
        for (var i = 0u; i < LANES; i++) {
            sum += lanes[lane / 4u * LANES + i][lane % 4u];
        }
        out[(((channel_group * group_n + n) * group_c + group.x) * sizes.size + tap_y) * sizes.size + tap_x] = sum;
    }
}
