//! Attention with its gradient, one head of one sample at a time, through matrix products over blocks
//! of queries, so that a causal one leaves out most of what is not seen.

use std::ops::Range;

use super::Scratch;
use super::gemm::{Buffers, Matrix, Product, gemm};
use super::lanes::Lanes;
use super::slices::{dot, exp_below, largest, scale, sum, update_with};
use crate::AttentionSizes;

/// Rows of a product: eight tiles, and half of what a short context holds.
const BLOCK: usize = 32;

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

    /// Blocks of queries, and how many keys their last one sees.
    fn blocks(&self) -> impl Iterator<Item = (Range<usize>, usize)> + use<'_> {
        (0..self.t).step_by(BLOCK).map(|first| {
            let end = self.t.min(first + BLOCK);
            (first..end, self.seen(end - 1))
        })
    }

    /// `factor a b^T`, `(t, t)`, where it is seen; rows of `a` and of `b` are `a_row` and `packed` apart.
    fn pairs(&self, [a, b]: [&[f32]; 2], a_row: usize, factor: f32, out: &mut [f32], buffers: &mut Buffers) {
        for (queries, keys) in self.blocks() {
            let a = Matrix::new(&a[queries.start * a_row..], a_row, 1);
            let b = Matrix::new(b, 1, self.packed);
            let product = Product::new([queries.len(), keys, self.width], a, b).times(factor);
            gemm(product, &mut out[queries.start * self.t..], self.t, buffers);
        }
    }

    /// `scale q k^T`, `(t, t)`.
    fn scores(&self, qkv: &[f32], head: &Head, scores: &mut [f32], buffers: &mut Buffers) {
        self.pairs([&qkv[head.q..], &qkv[head.k..]], self.packed, self.scale, scores, buffers);
    }

    /// Probabilities from scores and the log-sum-exp; zero where a query does not see.
    fn probabilities(&self, lse: &[f32], head: &Head, scores: &mut [f32]) {
        for (query, row) in scores.chunks_exact_mut(self.t).enumerate() {
            let (seen, hidden) = row.split_at_mut(self.seen(query));
            let lse = lse[head.sums + query * self.heads];
            exp_below(seen, lse);
            hidden.fill(0.0);
        }
    }

    /// `p (dy v^T - sum) scale`, in place of `p`; `work` is `dy v^T`.
    fn score_gradients(&self, sums: &[f32], head: &Head, p: &mut [f32], work: &[f32]) {
        for (query, (p, dp)) in p.chunks_exact_mut(self.t).zip(work.chunks_exact(self.t)).enumerate() {
            let (seen, sum) = (self.seen(query), Lanes::splat(sums[head.sums + query * self.heads]));
            let scale = Lanes::splat(self.scale);
            update_with(&mut p[..seen], &dp[..seen], |p, dp| p * ((dp - sum) * scale));
        }
    }

    /// `dy v^T`, `(t, t)`.
    fn value_gradients(&self, qkv: &[f32], dy: &[f32], head: &Head, work: &mut [f32], buffers: &mut Buffers) {
        self.pairs([&dy[head.y..], &qkv[head.v..]], self.heads * self.width, 1.0, work, buffers);
    }

    /// `weights values`, a row a query: `(t, t)` times `(t, width)`; rows of `out` are `out_row` apart.
    fn by_query(&self, weights: &[f32], values: &[f32], out: &mut [f32], out_row: usize, buffers: &mut Buffers) {
        for (queries, keys) in self.blocks() {
            let weights = Matrix::new(&weights[queries.start * self.t..], self.t, 1);
            let values = Matrix::new(values, self.packed, 1);
            let product = Product::new([queries.len(), self.width, keys], weights, values);
            gemm(product, &mut out[queries.start * out_row..], out_row, buffers);
        }
    }

    /// `out += weights^T values`, a row a key; rows of `values` are `row` apart, those of `out` `packed`.
    fn by_key(&self, weights: &[f32], values: &[f32], row: usize, out: &mut [f32], buffers: &mut Buffers) {
        for (queries, keys) in self.blocks() {
            let weights = Matrix::new(&weights[queries.start * self.t..], 1, self.t);
            let values = Matrix::new(&values[queries.start * row..], row, 1);
            gemm(Product::new([keys, self.width, queries.len()], weights, values).added(), out, self.packed, buffers);
        }
    }

    /// Two `(t, t)` of a head; what they hold from before is overwritten.
    fn room<'a>(&self, work: &'a mut [Vec<f32>; 2]) -> [&'a mut [f32]; 2] {
        work.each_mut().map(|work| {
            work.resize(self.t * self.t, 0.0);
            work.as_mut_slice()
        })
    }
}

pub(super) fn forward(sizes: AttentionSizes, qkv: &[f32], out: &mut [&mut [f32]], scratch: &mut Scratch) {
    let g = Geometry::new(sizes);
    let [y, lse] = out else { unreachable!("two outputs") };
    let [scores, _] = g.room(&mut scratch.work);
    for head in g.each_head() {
        g.scores(qkv, &head, scores, &mut scratch.gemm);
        for (query, row) in scores.chunks_exact_mut(g.t).enumerate() {
            let (seen, hidden) = row.split_at_mut(g.seen(query));
            let max = largest(seen);
            exp_below(seen, max);
            let sum = sum(seen);
            scale(seen, 1.0 / sum);
            hidden.fill(0.0);
            lse[head.sums + query * g.heads] = max + sum.ln();
        }
        g.by_query(scores, &qkv[head.v..], &mut y[head.y..], g.heads * g.width, &mut scratch.gemm);
    }
}

/// Reads `qkv`, `y`, `dy`, `lse`.
pub(super) fn grad_q(sizes: AttentionSizes, x: &[&[f32]], out: &mut [&mut [f32]], scratch: &mut Scratch) {
    let g = Geometry::new(sizes);
    let [dqkv, sums] = out else { unreachable!("two outputs") };
    let rows = x[1].chunks_exact(g.width).zip(x[2].chunks_exact(g.width));
    sums.iter_mut().zip(rows).for_each(|(s, (y, dy))| *s = dot(y, dy));
    let [p, work] = g.room(&mut scratch.work);
    for head in g.each_head() {
        g.scores(x[0], &head, p, &mut scratch.gemm);
        g.probabilities(x[3], &head, p);
        g.value_gradients(x[0], x[2], &head, work, &mut scratch.gemm);
        g.score_gradients(sums, &head, p, work);
        g.by_query(p, &x[0][head.k..], &mut dqkv[head.q..], g.packed, &mut scratch.gemm);
    }
}

/// Reads `qkv`, `dy`, `lse`, `sums`.
pub(super) fn grad_kv(sizes: AttentionSizes, x: &[&[f32]], dqkv: &mut [f32], scratch: &mut Scratch) {
    let g = Geometry::new(sizes);
    dqkv.chunks_exact_mut(g.packed).for_each(|row| row[g.heads * g.width..].fill(0.0));
    let [p, work] = g.room(&mut scratch.work);
    for head in g.each_head() {
        g.scores(x[0], &head, p, &mut scratch.gemm);
        g.probabilities(x[2], &head, p);
        g.by_key(p, &x[1][head.y..], g.heads * g.width, &mut dqkv[head.v..], &mut scratch.gemm);
        g.value_gradients(x[0], x[1], &head, work, &mut scratch.gemm);
        g.score_gradients(x[3], &head, p, work);
        g.by_key(p, &x[0][head.q..], g.packed, &mut dqkv[head.k..], &mut scratch.gemm);
    }
}
