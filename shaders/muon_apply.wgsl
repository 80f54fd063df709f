// Puts count matrices of a stack (.., n, m) of orthogonalised updates back: p <- p - lr (0.2 sqrt(longer
// side) x + decay p). One invocation a value of the stack; padding is skipped.

struct Sizes {
    count: u32,
    n: u32,
    m: u32,
    weight_decay: f32,
}

struct Step {
    lr: f32,
    correction1: f32,
    correction2: f32,
    dropping: u32,
    seed: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
// Where each matrix lies: its first value in the segment, its rows, its columns, and twice its place in
// the stack, plus 1 where it is put in transposed.
@group(0) @binding(2) var<storage, read> table: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> parameters: array<f32>;
@group(0) @binding(4) var<uniform> step_values: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let size = sizes.n * sizes.m;
    let i = id.y * groups.x * 256u + id.x;
    if i < sizes.count * size {
        let place = table[i / size];
        let row = i % size / sizes.m;
        let column = i % sizes.m;
        let longer = max(place.y, place.z);
        if column >= longer {
            return;
        }
        let at = place.x + select(row * place.z + column, column * place.z + row, place.w % 2u == 1u);
        let p = parameters[at];
        parameters[at] = p - step_values.lr * (0.2 * sqrt(f32(longer)) * x[place.w / 2u * size + i % size] + sizes.weight_decay * p);
    }
}
