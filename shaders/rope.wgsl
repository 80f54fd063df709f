// Rotary positions (arXiv 2104.09864) on the first heads x width values of each row of x
// (rows, packed), the others pass; `sign` -1 turns back. Halves are rotated as in Llama.

struct Sizes {
    rows: u32,
    packed: u32,
    positions: u32,
    heads: u32,
    width: u32,
    sign: f32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
// Cosine and sine of each position and pair (positions, width / 2), made on the host: the sine of a
// GPU may be off by 2^-11.
@group(0) @binding(2) var<storage, read> turns: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let half = sizes.width / 2u;
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.rows * sizes.packed {
        let row = i / sizes.packed;
        let column = i % sizes.packed;
        if column >= sizes.heads * sizes.width {
            out[i] = x[i];
            return;
        }
        let within = column % sizes.width;
        let pair = within % half;
        let turn = turns[row % sizes.positions * half + pair];
        let c = turn.x;
        let s = sizes.sign * turn.y;
        if within < half {
            out[i] = x[i] * c - x[i + half] * s;
        } else {
            out[i] = x[i - half] * s + x[i] * c;
        }
    }
}
