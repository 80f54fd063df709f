// out[o] = scale sum over i < counts.x, j < counts.y of
//   x[(o / inner) outer_stride + (o % inner) inner_stride + i strides.x + j strides.y]
// One invocation an output, for many outputs: neighbours read neighbours.

struct Sizes {
    outputs: u32,
    inner: u32,
    outer_stride: u32,
    inner_stride: u32,
    counts: vec2<u32>,
    strides: vec2<u32>,
    scale: f32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let o = id.y * groups.x * 256u + id.x;
    if o < sizes.outputs {
        let base = o / sizes.inner * sizes.outer_stride + o % sizes.inner * sizes.inner_stride;
        var sum = 0.0;
        for (var i = 0u; i < sizes.counts.x; i++) {
            for (var j = 0u; j < sizes.counts.y; j++) {
                sum += x[base + i * sizes.strides.x + j * sizes.strides.y];
            }
        }
        out[o] = sizes.scale * sum;
    }
}
