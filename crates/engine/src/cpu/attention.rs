//! Attention with its gradient, one head of one sample at a time, through matrix products.

use super::matmul::{Matrix, gemm};
use crate::AttentionSizes;

/// Where a head of a sample lies in packed `qkv`, in `y` and in the sums a head.
struct Head {
    q: usize,
    k: usize,
    v: usize,
    y: usize,
    sums: usize,
}

struct Geometry {
    t: usize,
    width: usize,
    packed: usize,
    heads: usize,
    scale: f32,
    sizes: AttentionSizes,
}

impl Geometry {
    fn new(sizes: AttentionSizes) -> Self {
        let [t, width, packed, heads] = [sizes.t, sizes.width, sizes.packed(), sizes.heads].map(|v| v as usize);
        Self { t, width, packed, heads, scale: 1.0 / (width as f32).sqrt(), sizes }
    }

    fn each_head(&self) -> impl Iterator<Item = Head> + use<> {
        let AttentionSizes { batch, t, heads, kv_heads, width, .. } = self.sizes;
        let [batch, t, heads, kv_heads, width] = [batch, t, heads, kv_heads, width].map(|v| v as usize);
        let packed = (heads + 2 * kv_heads) * width;
        (0..batch * heads).map(move |at| {
            let (sample, head) = (at / heads, at % heads);
            let row = sample * t * packed;
            let k = row + (heads + head / (heads / kv_heads)) * width;
            let y = sample * t * heads * width + head * width;
            Head { q: row + head * width, k, v: k + kv_heads * width, y, sums: sample * t * heads + head }
        })
    }

    fn seen(&self, query: usize) -> usize {
        if self.sizes.causal { query + 1 } else { self.t }
    }

    /// `scale q k^T`, `(t, t)`.
    fn scores(&self, qkv: &[f32], head: &Head, scores: &mut [f32]) {
        let q = Matrix::new(&qkv[head.q..], self.packed, 1);
        let k = Matrix::new(&qkv[head.k..], 1, self.packed);
        gemm([self.t, self.t, self.width], self.scale, q, k, 0.0, scores, self.t);
    }

    /// Probabilities from scores and the log-sum-exp; zero where a query does not see.
    fn probabilities(&self, lse: &[f32], head: &Head, scores: &mut [f32]) {
        for (query, row) in scores.chunks_exact_mut(self.t).enumerate() {
            let (seen, hidden) = row.split_at_mut(self.seen(query));
            let lse = lse[head.sums + query * self.heads];
            seen.iter_mut().for_each(|s| *s = (*s - lse).exp());
            hidden.fill(0.0);
        }
    }

    /// `p (dy v^T - sum) scale`, in place of `p`.
    fn score_gradients(&self, qkv: &[f32], dy: &[f32], sums: &[f32], head: &Head, p: &mut [f32], work: &mut [f32]) {
        let dy = Matrix::new(&dy[head.y..], self.heads * self.width, 1);
        let v = Matrix::new(&qkv[head.v..], 1, self.packed);
        gemm([self.t, self.t, self.width], 1.0, dy, v, 0.0, work, self.t);
        for (query, (p, dp)) in p.chunks_exact_mut(self.t).zip(work.chunks_exact(self.t)).enumerate() {
            let sum = sums[head.sums + query * self.heads];
            p.iter_mut().zip(dp).for_each(|(p, dp)| *p *= (dp - sum) * self.scale);
        }
    }
}

pub(super) fn forward(sizes: AttentionSizes, qkv: &[f32], out: &mut [&mut [f32]]) {
    let g = Geometry::new(sizes);
    let [y, lse] = out else { unreachable!("two outputs") };
    let mut scores = vec![0.0; g.t * g.t];
    for head in g.each_head() {
        g.scores(qkv, &head, &mut scores);
        for (query, row) in scores.chunks_exact(g.t).enumerate() {
            let seen = &row[..g.seen(query)];
            let max = seen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            lse[head.sums + query * g.heads] = max + seen.iter().map(|s| (s - max).exp()).sum::<f32>().ln();
        }
        g.probabilities(lse, &head, &mut scores);
        let v = Matrix::new(&qkv[head.v..], g.packed, 1);
        let row = g.heads * g.width;
        gemm([g.t, g.width, g.t], 1.0, Matrix::new(&scores, g.t, 1), v, 0.0, &mut y[head.y..], row);
    }
}

/// Reads `qkv`, `y`, `dy`, `lse`.
pub(super) fn grad_q(sizes: AttentionSizes, x: &[&[f32]], out: &mut [&mut [f32]]) {
    let g = Geometry::new(sizes);
    let [dqkv, sums] = out else { unreachable!("two outputs") };
    let rows = x[1].chunks_exact(g.width).zip(x[2].chunks_exact(g.width));
    sums.iter_mut().zip(rows).for_each(|(s, (y, dy))| *s = y.iter().zip(dy).map(|(y, dy)| y * dy).sum());
    let mut p = vec![0.0; g.t * g.t];
    let mut work = vec![0.0; g.t * g.t];
    for head in g.each_head() {
        g.scores(x[0], &head, &mut p);
        g.probabilities(x[3], &head, &mut p);
        g.score_gradients(x[0], x[2], sums, &head, &mut p, &mut work);
        let k = Matrix::new(&x[0][head.k..], g.packed, 1);
        gemm([g.t, g.width, g.t], 1.0, Matrix::new(&p, g.t, 1), k, 0.0, &mut dqkv[head.q..], g.packed);
    }
}

/// Reads `qkv`, `dy`, `lse`, `sums`.
pub(super) fn grad_kv(sizes: AttentionSizes, x: &[&[f32]], dqkv: &mut [f32]) {
    let g = Geometry::new(sizes);
    dqkv.chunks_exact_mut(g.packed).for_each(|row| row[g.heads * g.width..].fill(0.0));
    let mut p = vec![0.0; g.t * g.t];
    let mut work = vec![0.0; g.t * g.t];
    for head in g.each_head() {
        g.scores(x[0], &head, &mut p);
        g.probabilities(x[2], &head, &mut p);
        let dy = Matrix::new(&x[1][head.y..], g.heads * g.width, 1);
        gemm([g.t, g.width, g.t], 1.0, Matrix::new(&p, 1, g.t), dy, 1.0, &mut dqkv[head.v..], g.packed);
        g.score_gradients(x[0], x[1], x[3], &head, &mut p, &mut work);
        let q = Matrix::new(&x[0][head.q..], g.packed, 1);
        gemm([g.t, g.width, g.t], 1.0, Matrix::new(&p, 1, g.t), q, 1.0, &mut dqkv[head.k..], g.packed);
    }
}
