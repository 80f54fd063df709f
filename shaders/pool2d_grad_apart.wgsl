// As pool2d_grad.wgsl for windows that lie apart (stride >= size, no padding): an invocation a window,
// with the pixels of x up to the next one. Pixels that no window saw get zero.
// With EVEN the windows are 2 x 2 and tile their planes, so one division finds a window.
// With RELU x came out of a ReLU, whose gradient this is as well: no pixel that is zero gets any.

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
override EVEN: u32 = 0u;
override RELU: u32 = 0u;

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

fn even(window: u32) {
    let row = window / sizes.out_w;
    let at = row * 2u * sizes.w + (window - row * sizes.out_w) * 2u;
    let seen = vec4(x[at], x[at + 1u], x[at + sizes.w], x[at + sizes.w + 1u]);
    let gradient = dy[window];
    var shares = vec4(gradient / 4.0);
    if FUNCTION == 0u {
        // The first of equals wins.
        let second = seen.y > seen.x;
        let upper = select(seen.x, seen.y, second);
        let third = seen.z > upper;
        let fourth = seen.w > select(upper, seen.z, third);
        let below = third || fourth;
        let wins = vec4(!below && !second, !below && second, third && !fourth, fourth);
        shares = select(vec4(0.0), vec4(gradient), wins);
    }
    if RELU != 0u {
        shares = select(vec4(0.0), shares, seen > vec4(0.0));
    }
    out[at] = shares.x;
    out[at + 1u] = shares.y;
    out[at + sizes.w] = shares.z;
    out[at + sizes.w + 1u] = shares.w;
}

fn general(cell: u32) {
    let cells_down = (sizes.h + sizes.stride - 1u) / sizes.stride;
    let cells_across = (sizes.w + sizes.stride - 1u) / sizes.stride;
    let across = cell % cells_across;
    let down = cell / cells_across % cells_down;
    let plane = cell / (cells_across * cells_down);
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
            let gets = select(within, at == best, FUNCTION == 0u) && (RELU == 0u || x[at] > 0.0);
            out[at] = select(0.0, gradient, gets);
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if EVEN != 0u {
        if i < sizes.batch * sizes.c * sizes.out_h * sizes.out_w {
            even(i);
        }
        return;
    }
    let cells = (sizes.h + sizes.stride - 1u) / sizes.stride * ((sizes.w + sizes.stride - 1u) / sizes.stride);
    if i < sizes.batch * sizes.c * cells {
        general(i);
    }
}
