// Pooling of x (batch, c, h, w): 0 the largest value of a window, 1 the mean with padding counted.
// With EVEN the windows are 2 x 2 and tile their planes, so one division finds a window.

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

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

fn even(window: u32) -> f32 {
    let row = window / sizes.out_w;
    let at = row * 2u * sizes.w + (window - row * sizes.out_w) * 2u;
    let upper = vec2(x[at], x[at + 1u]);
    let lower = vec2(x[at + sizes.w], x[at + sizes.w + 1u]);
    if FUNCTION == 0u {
        let larger = max(upper, lower);
        return max(larger.x, larger.y);
    }
    return (upper.x + upper.y + lower.x + lower.y) / 4.0;
}

fn general(window: u32) -> f32 {
    let pixels = sizes.out_h * sizes.out_w;
    let plane = window / pixels * sizes.h * sizes.w;
    let top = window % pixels / sizes.out_w * sizes.stride;
    let left = window % sizes.out_w * sizes.stride;
    var largest = -3.4028234e38;
    var sum = 0.0;
    for (var ky = 0u; ky < sizes.size; ky++) {
        for (var kx = 0u; kx < sizes.size; kx++) {
            let row = top + ky - sizes.padding;
            let column = left + kx - sizes.padding;
            if top + ky >= sizes.padding && row < sizes.h && left + kx >= sizes.padding && column < sizes.w {
                let value = x[plane + row * sizes.w + column];
                largest = max(largest, value);
                sum += value;
            }
        }
    }
    return select(sum / f32(sizes.size * sizes.size), largest, FUNCTION == 0u);
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i >= sizes.batch * sizes.c * sizes.out_h * sizes.out_w {
        return;
    }
    if EVEN != 0u {
        out[i] = even(i);
    } else {
        out[i] = general(i);
    }
}
