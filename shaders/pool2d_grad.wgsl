// Gradient of a pooling: every pixel of x (batch, c, h, w) gathers from the windows that saw it. For
// the largest value, a window's gradient goes to the first of equals, rows before columns.
// With RELU x came out of a ReLU, whose gradient this is as well.

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

override FUNCTION: u32 = 0u;
override RELU: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// True where the value at (row, column) is the first of the largest in its window.
fn wins(plane: u32, top: u32, left: u32, row: u32, column: u32) -> bool {
    let mine = x[plane + row * sizes.w + column];
    for (var ky = 0u; ky < sizes.size; ky++) {
        for (var kx = 0u; kx < sizes.size; kx++) {
            let y = top + ky - sizes.padding;
            let at = left + kx - sizes.padding;
            if top + ky >= sizes.padding && y < sizes.h && left + kx >= sizes.padding && at < sizes.w {
                let other = x[plane + y * sizes.w + at];
                let before = y < row || (y == row && at < column);
                if other > mine || (other == mine && before) {
                    return false;
                }
            }
        }
    }
    return true;
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.batch * sizes.c * sizes.h * sizes.w {
        let column = i % sizes.w;
        let row = i / sizes.w % sizes.h;
        let channel = i / (sizes.w * sizes.h);
        let plane = channel * sizes.h * sizes.w;
        var sum = 0.0;
        for (var ky = 0u; ky < sizes.size; ky++) {
            let y = row + sizes.padding - ky;
            if row + sizes.padding < ky || y % sizes.stride != 0u || y / sizes.stride >= sizes.out_h {
                continue;
            }
            for (var kx = 0u; kx < sizes.size; kx++) {
                let at = column + sizes.padding - kx;
                if column + sizes.padding < kx || at % sizes.stride != 0u || at / sizes.stride >= sizes.out_w {
                    continue;
                }
                let gradient = dy[(channel * sizes.out_h + y / sizes.stride) * sizes.out_w + at / sizes.stride];
                if FUNCTION != 0u {
                    sum += gradient / f32(sizes.size * sizes.size);
                } else if wins(plane, y, at, row, column) {
                    sum += gradient;
                }
            }
        }
        out[i] = select(0.0, sum, RELU == 0u || x[i] > 0.0);
    }
}
