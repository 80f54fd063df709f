//! The shape of each operation from the shapes of its operands, or what would fit.

use crate::{Form, Heads, Shape, Window};

type Fits = Result<Shape, &'static str>;

fn is_vector(shape: &Shape, len: u32) -> bool {
    !shape.batched && shape.dims == [len]
}

pub(super) fn finite(constants: &[f32], x: &Shape) -> Fits {
    if constants.iter().all(|c| c.is_finite()) { Ok(x.clone()) } else { Err("finite constants") }
}

pub(super) fn linear(x: &Shape, weight: &Shape, bias: Option<&Shape>) -> Fits {
    const EXPECTED: &str = "x [batch, .., k], weight [n, k], bias [n]";
    let (Some((&k, rows)), &[n, weight_k]) = (x.dims.split_last(), weight.dims.as_slice()) else {
        return Err(EXPECTED);
    };
    let fits = x.batched && !weight.batched && weight_k == k && bias.is_none_or(|b| is_vector(b, n));
    if fits { Ok(Shape::batched(&[rows, &[n]].concat())) } else { Err(EXPECTED) }
}

pub(super) fn matmul(form: Form, a: &Shape, b: &Shape) -> Fits {
    const EXPECTED: &str =
        "nn: a [.., m, k], b [.., k, n]; nt: b [.., n, k]; tn: a [.., k, m]; the same leading dimensions";
    let (Some((a_lead, &[a_rows, a_columns])), Some((b_lead, &[b_rows, b_columns]))) =
        (a.dims.split_last_chunk(), b.dims.split_last_chunk())
    else {
        return Err(EXPECTED);
    };
    let ([m, k], [n, b_k]) = match form {
        Form::Nn => ([a_rows, a_columns], [b_columns, b_rows]),
        Form::Nt => ([a_rows, a_columns], [b_rows, b_columns]),
        Form::Tn => ([a_columns, a_rows], [b_columns, b_rows]),
    };
    if k == b_k && a_lead == b_lead && a.batched == b.batched {
        Ok(Shape { batched: a.batched, dims: [a_lead, &[m, n]].concat() })
    } else {
        Err(EXPECTED)
    }
}

pub(super) fn conv2d(x: &Shape, weight: &Shape, bias: Option<&Shape>, window: Window, groups: u32) -> Fits {
    const EXPECTED: &str = "x [batch, c, h, w], weight [n, c / groups, size, size], bias [n], a window that fits";
    let (&[c, h, w], &[n, per_group, rows, columns]) = (x.dims.as_slice(), weight.dims.as_slice()) else {
        return Err(EXPECTED);
    };
    let grouped = groups > 0 && n % groups == 0 && per_group.checked_mul(groups) == Some(c);
    let fits = x.batched && !weight.batched && grouped && rows == window.size && columns == window.size;
    let bounded = window.padding < window.size && n <= GRID_MAX && is_bounded(window, h, w);
    if !fits || !bias.is_none_or(|b| is_vector(b, n)) || !bounded {
        return Err(EXPECTED);
    }
    match (window.count(h), window.count(w)) {
        (Some(h), Some(w)) => Ok(Shape::batched(&[n, h, w])),
        _ => Err(EXPECTED),
    }
}

pub(super) fn pool2d(x: &Shape, window: Window) -> Fits {
    const EXPECTED: &str = "x [batch, c, h, w] and a window that fits, padding at most half of it";
    let &[c, image_h, image_w] = x.dims.as_slice() else { return Err(EXPECTED) };
    match (window.count(image_h), window.count(image_w)) {
        (Some(h), Some(w))
            if x.batched && window.padding <= window.size / 2 && is_bounded(window, image_h, image_w) =>
        {
            Ok(Shape::batched(&[c, h, w]))
        }
        _ => Err(EXPECTED),
    }
}

/// A window without values has no largest one; one much larger than the image sees nothing more, but
/// costs its square.
fn is_bounded(window: Window, h: u32, w: u32) -> bool {
    window.size > 0 && u64::from(window.size) <= 2 * u64::from(h.max(w)) + 2
}

/// Workgroups in one dimension of a grid (`maxComputeWorkgroupsPerDimension`): one is a channel of a
/// convolution, a head, 32 positions, 64 columns of a norm.
const GRID_MAX: u32 = 65_535;

pub(super) fn embedding(tokens: &Shape, weight: &Shape) -> Fits {
    match weight.dims.as_slice() {
        &[_, c] if tokens.batched && !weight.batched => Ok(Shape::batched(&[tokens.dims.as_slice(), &[c]].concat())),
        _ => Err("tokens [batch, ..], weight [vocabulary, c]"),
    }
}

pub(super) fn norm(x: &Shape, vectors: &[&Shape], eps: f32) -> Fits {
    let fits =
        x.batched && !x.dims.is_empty() && x.last() <= 64 * GRID_MAX && vectors.iter().all(|v| is_vector(v, x.last()));
    if fits && eps.is_finite() && eps > 0.0 { Ok(x.clone()) } else { Err("x [batch, .., c], vectors [c], eps above 0") }
}

pub(super) fn rope(x: &Shape, heads: u32, width: u32, base: f32) -> Fits {
    let turned = u64::from(heads) * u64::from(width);
    let fits = x.batched && x.dims.len() == 2 && turned > 0 && width.is_multiple_of(2) && turned <= u64::from(x.last());
    if fits && base.is_finite() && base > 1.0 {
        Ok(x.clone())
    } else {
        Err("x [batch, t, at least heads width], width even, base above 1")
    }
}

/// Widest head: what one invocation keeps in registers.
const HEAD_WIDTH_MAX: u32 = 128;

pub(super) fn attention(qkv: &Shape, heads: Heads) -> Fits {
    const EXPECTED: &str = "qkv [batch, t, (count + 2 kv_count) d], kv_count a divisor of count, d at most 128";
    let Heads { count, kv_count, causal: _ } = heads;
    let &[t, packed] = qkv.dims.as_slice() else { return Err(EXPECTED) };
    let all = u64::from(count) + 2 * u64::from(kv_count);
    let fits = qkv.batched && count > 0 && kv_count > 0 && count % kv_count == 0 && u64::from(packed) % all == 0;
    let width = u64::from(packed).checked_div(all).unwrap_or(0) as u32;
    if fits && (1..=HEAD_WIDTH_MAX).contains(&width) && count <= GRID_MAX && t <= 32 * GRID_MAX {
        Ok(Shape::batched(&[t, count * width]))
    } else {
        Err(EXPECTED)
    }
}

pub(super) fn binary(a: &Shape, b: &Shape) -> Fits {
    let same = a == b;
    let broadcast = !b.batched && a.dims.ends_with(&b.dims);
    if same || broadcast {
        Ok(a.clone())
    } else {
        Err("b of the shape of a, or of its last dimensions without the batch")
    }
}

pub(super) fn reduce(x: &Shape, axis: u32) -> Fits {
    if axis as usize >= x.dims.len() {
        return Err("an axis that x has");
    }
    let mut out = x.clone();
    out.dims.remove(axis as usize);
    Ok(out)
}

pub(super) fn broadcast(x: &Shape, axis: u32, count: u32) -> Fits {
    if axis as usize > x.dims.len() {
        return Err("an axis of the result");
    }
    let mut out = x.clone();
    out.dims.insert(axis as usize, count);
    Ok(out)
}

pub(super) fn reshape(x: &Shape, shape: &[u32]) -> Fits {
    let out = Shape { batched: x.batched, dims: shape.to_vec() };
    if out.values() == x.values() { Ok(out) } else { Err("a shape with as many values") }
}

pub(super) fn transpose(x: &Shape, axes: &[u32]) -> Fits {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..x.dims.len() as u32) {
        return Err("axes that are a permutation of x's dimensions");
    }
    Ok(Shape { batched: x.batched, dims: axes.iter().map(|&axis| x.dims[axis as usize]).collect() })
}

pub(super) fn slice(x: &Shape, axis: u32, start: u32, end: u32) -> Fits {
    let size = x.dims.get(axis as usize).copied().unwrap_or(0);
    if start >= end || end > size {
        return Err("start < end <= the size of an axis that x has");
    }
    let mut out = x.clone();
    out.dims[axis as usize] = end - start;
    Ok(out)
}

pub(super) fn concat(a: &Shape, b: &Shape, axis: u32) -> Fits {
    const EXPECTED: &str = "shapes that differ in that axis only";
    let axis = axis as usize;
    if a.batched != b.batched || a.dims.len() != b.dims.len() || axis >= a.dims.len() {
        return Err(EXPECTED);
    }
    let mut out = a.clone();
    out.dims[axis] = b.dims[axis];
    if out != *b {
        return Err(EXPECTED);
    }
    out.dims[axis] = a.dims[axis].checked_add(b.dims[axis]).ok_or(EXPECTED)?;
    Ok(out)
}
