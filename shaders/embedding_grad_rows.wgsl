// As embedding_grad.wgsl for widths that are multiples of four, without workgroup memory: an
// invocation takes a token and four columns.

struct Sizes {
    rows: u32,
    width: u32,
    vocabulary: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let width = sizes.width / 4u;
    let i = id.y * groups.x * 64u + id.x;
    if i < sizes.vocabulary * width {
        let token = i / width;
        let column = i % width;
        var sum = vec4<f32>();
        for (var row = 0u; row < sizes.rows; row++) {
            if tokens[row] == token {
                sum += dy[row * width + column];
            }
        }
        out[i] = sum;
    }
}
