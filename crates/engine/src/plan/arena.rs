//! Where each parameter lies. Matrices come first, so that weight decay is one comparison.

use potluck_graph::Program;

/// Values that a parameter's offset is rounded up to: 64 x 4 B = 256 B, WebGPU's
/// `minStorageBufferOffsetAlignment`.
const ALIGN: usize = 64;

pub(super) struct Arena {
    /// For each parameter its first value and its length.
    pub(super) places: Vec<(usize, usize)>,
    /// Values before this one belong to matrices.
    pub(super) decay_len: usize,
    /// Values in all, padding included.
    pub(super) len: usize,
}

impl Arena {
    pub(super) fn new(program: &Program) -> Self {
        let mut places = vec![(0, 0); program.parameters().len()];
        let mut len = 0;
        let mut decay_len = 0;
        for matrices in [true, false] {
            let specs = program.parameters();
            for (place, spec) in places.iter_mut().zip(specs).filter(|(_, s)| s.is_matrix() == matrices) {
                *place = (len, spec.values());
                len = (len + spec.values()).next_multiple_of(ALIGN);
            }
            if matrices {
                decay_len = len;
            }
        }
        Self { places, decay_len, len }
    }
}
