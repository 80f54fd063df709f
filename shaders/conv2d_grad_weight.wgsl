// Gradient of a convolution with respect to its filters (n, c / groups, size, size). A workgroup
// takes four channels of dy, one of x, and 3 x 3 taps: nine vec4 in registers a lane. Its 64 lanes
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
const TAPS = 9u;

override STRIDE: u32 = 1u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// 64 x 9 x 16 B = 9 KiB.
var<workgroup> lanes: array<vec4<f32>, 576>;

// A pixel of the row that begins at `row`, zero outside of its `width`; columns left of the image wrap
// around to large ones.
fn pixel(row: u32, column: u32, width: u32) -> f32 {
    return select(0.0, x[row + column], column < width);
}

// A column of pixels, in three rows of these widths.
fn three_pixels(rows: vec3<u32>, column: u32, widths: vec3<u32>) -> vec3<f32> {
    return vec3(pixel(rows.x, column, widths.x), pixel(rows.y, column, widths.y), pixel(rows.z, column, widths.z));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let group_n = sizes.n / sizes.groups;
    let group_c = sizes.c / sizes.groups;
    let across = (sizes.size + 2u) / 3u;
    let ky = group.z / across * 3u;
    let kx = group.z % across * 3u;
    let blocks = (group_n + 3u) / 4u;
    let channel_group = group.y / blocks;
    let first = channel_group * group_n + group.y % blocks * 4u;
    let last = (channel_group + 1u) * group_n - 1u;
    let channels = min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(last));
    let c = channel_group * group_c + group.x;

    var sums = array<vec4<f32>, TAPS>();
    for (var i = lane; i < sizes.batch * sizes.out_h; i += LANES) {
        let image = i / sizes.out_h;
        let row = i - image * sizes.out_h;
        let y = vec3(row * STRIDE + ky - sizes.padding) + vec3(0u, 1u, 2u);
        let widths = select(vec3(0u), vec3(sizes.w), y < vec3(sizes.h));
        let rows = ((image * sizes.c + c) * sizes.h + y) * sizes.w;
        let left = kx - sizes.padding;
        var at_dy = ((image * sizes.n + channels) * sizes.out_h + row) * sizes.out_w;
        var first_column = three_pixels(rows, left, widths);
        var second_column = three_pixels(rows, left + 1u, widths);
        for (var column = 0u; column < sizes.out_w; column++) {
            let at = left + column * STRIDE;
            let third_column = three_pixels(rows, at + 2u, widths);
            let gradient = vec4(dy[at_dy.x], dy[at_dy.y], dy[at_dy.z], dy[at_dy.w]);
            at_dy += vec4(1u);
            sums[0] += first_column.x * gradient;
            sums[1] += second_column.x * gradient;
            sums[2] += third_column.x * gradient;
            sums[3] += first_column.y * gradient;
            sums[4] += second_column.y * gradient;
            sums[5] += third_column.y * gradient;
            sums[6] += first_column.z * gradient;
            sums[7] += second_column.z * gradient;
            sums[8] += third_column.z * gradient;
            if STRIDE == 1u {
                first_column = second_column;
                second_column = third_column;
            } else {
                first_column = three_pixels(rows, at + STRIDE, widths);
                second_column = three_pixels(rows, at + STRIDE + 1u, widths);
            }
        }
    }
    for (var tap = 0u; tap < TAPS; tap++) {
        lanes[tap * LANES + lane] = sums[tap];
    }
    workgroupBarrier();
    // A lane for each of 9 x 4 sums.
    let tap = lane / 4u;
    let n = first + lane % 4u;
    let tap_y = ky + tap / 3u;
    let tap_x = kx + tap % 3u;
    if tap < TAPS && n <= last && tap_y < sizes.size && tap_x < sizes.size {
        var sum = 0.0;
        for (var i = 0u; i < LANES; i++) {
            sum += lanes[tap * LANES + i][lane % 4u];
        }
        out[((n * group_c + group.x) * sizes.size + tap_y) * sizes.size + tap_x] = sum;
    }
}
