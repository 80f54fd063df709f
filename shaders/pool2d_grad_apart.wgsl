// As pool2d_grad.wgsl for windows that lie apart (stride >= size, no padding): an invocation a window,
// with the pixels of x up to the next one. Pixels that no window saw get zero.

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

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// Where the first of the largest values of a window is.
fn winner(start: u32) -> u32 {
    var best = start;
    var largest = x[start];
    for (var ky = 0u; ky < sizes.size; ky++) {
        for (var kx = 0u; kx < sizes.size; kx++) {
            let at = start + ky * sizes.w + kx;
            let value = x[at];
            if value > largest {
                largest = value;
                best = at;
            }
        }
    }
    return best;
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let cells_down = (sizes.h + sizes.stride - 1u) / sizes.stride;
    let cells_across = (sizes.w + sizes.stride - 1u) / sizes.stride;
    for (var i = id.x; i < sizes.batch * sizes.c * cells_down * cells_across; i += groups.x * 256u) {
        let across = i % cells_across;
        let down = i / cells_across % cells_down;
        let plane = i / (cells_across * cells_down);
        let top = down * sizes.stride;
        let left = across * sizes.stride;
        let start = (plane * sizes.h + top) * sizes.w + left;
        let seen = down < sizes.out_h && across < sizes.out_w;
        var gradient = 0.0;
        var best = start;
        if seen {
            gradient = dy[(plane * sizes.out_h + down) * sizes.out_w + across];
            if FUNCTION == 0u {
                best = winner(start);
            } else {
                gradient /= f32(sizes.size * sizes.size);
            }
        }
        for (var y = 0u; y < min(sizes.stride, sizes.h - top); y++) {
            for (var column = 0u; column < min(sizes.stride, sizes.w - left); column++) {
                let at = start + y * sizes.w + column;
                let within = y < sizes.size && column < sizes.size;
                out[at] = select(0.0, gradient, select(within, at == best, FUNCTION == 0u));
            }
        }
    }
}
