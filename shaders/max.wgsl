// The largest along the middle of x (outputs / inner, count, inner); with GRADIENT dy where x is the
// first of the largest, else 0. One invocation an output.

struct Sizes {
    outputs: u32,
    inner: u32,
    count: u32,
}

override GRADIENT: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let o = id.y * groups.x * 256u + id.x;
    if o < sizes.outputs {
        let first = o / sizes.inner * sizes.inner * sizes.count + o % sizes.inner;
        var best = first;
        for (var j = 1u; j < sizes.count; j++) {
            let at = first + j * sizes.inner;
            if x[at] > x[best] {
                best = at;
            }
        }
        if GRADIENT == 0u {
            out[o] = x[best];
        } else {
            for (var j = 0u; j < sizes.count; j++) {
                let at = first + j * sizes.inner;
                out[at] = select(0.0, dy[o], at == best);
            }
        }
    }
}
