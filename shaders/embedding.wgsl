// out[r] = table[tokens[r]] (+ positions[r % period]); table is (vocabulary, width), tokens (rows)
// below the vocabulary, positions (period, width).

struct Sizes {
    rows: u32,
    width: u32,
    vocabulary: u32,
    period: u32,
}

override POSITIONS: u32 = 0u;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> positions: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.rows * sizes.width {
        let row = i / sizes.width;
        let column = i % sizes.width;
        var value = table[min(tokens[row], sizes.vocabulary - 1u) * sizes.width + column];
        if POSITIONS != 0u {
            value += positions[row % sizes.period * sizes.width + column];
        }
        out[i] = value;
    }
}
