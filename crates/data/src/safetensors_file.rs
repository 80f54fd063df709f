//! Parameters as a safetensors file that PyTorch, JAX and numpy read without any code of ours.

use std::collections::BTreeMap;

use potluck_graph::Program;
use safetensors::{Dtype, SafeTensorError, tensor::TensorView};

/// Why parameters cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SafetensorsError {
    /// The parameters are another program's.
    #[error("the program has {expected} parameters, got {got}")]
    Count {
        /// What the program has.
        expected: usize,
        /// What was given.
        got: usize,
    },
    /// The format refuses them.
    #[error("cannot write safetensors: {0}")]
    Format(#[from] SafeTensorError),
}

/// `weights`, concatenated in the order of `program.parameters()`, as a safetensors file: one f32
/// tensor a parameter under its PyTorch-style name and shape, row-major. A linear layer's weight is
/// `[out, in]`, as `torch.nn.Linear` has it. `metadata` becomes the file's `__metadata__`.
///
/// The same arguments give the same bytes, so that a version's file can be named by its hash.
///
/// # Errors
/// Where `weights` are not as many as the program's parameters.
pub fn safetensors_from(
    program: &Program,
    weights: &[f32],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, SafetensorsError> {
    if weights.len() != program.parameter_count() {
        return Err(SafetensorsError::Count { expected: program.parameter_count(), got: weights.len() });
    }
    let bytes: Vec<u8> = weights.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut rest = bytes.as_slice();
    let mut tensors = Vec::with_capacity(program.parameters().len());
    for parameter in program.parameters() {
        let (mine, after) = rest.split_at(4 * parameter.values());
        rest = after;
        let shape = parameter.shape.iter().map(|&extent| extent as usize).collect();
        tensors.push((parameter.name.as_str(), TensorView::new(Dtype::F32, shape, mine)?));
    }
    let file = safetensors::serialize(tensors, None)?;
    Ok(with_metadata(file, metadata))
}

/// Puts metadata into a file that has none. The crate writes metadata in the random order of a
/// hash map, which would give every call other bytes.
///
/// Layout: header length (u64, little-endian), header (JSON, padded with spaces to 8 bytes), data.
fn with_metadata(file: Vec<u8>, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let Some((length, rest)) = file.split_first_chunk::<8>().filter(|_| !metadata.is_empty()) else { return file };
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let old = header.trim_ascii_end();
    let comma = if old == b"{}" { "" } else { "," };
    let entry = format!("{{\"__metadata__\":{}{comma}", serde_json::json!(metadata));
    let mut header = [entry.as_bytes(), &old[1..]].concat();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat()
}

#[cfg(test)]
mod tests {
    use potluck_graph::preset;
    use safetensors::SafeTensors;

    use super::*;

    fn program() -> Program {
        preset::mlp(3, &[2], 2).expect("a good program")
    }

    #[test]
    fn tensors_have_their_names_shapes_and_values() {
        let weights: Vec<f32> = (0..14).map(|value| value as f32).collect();
        let file = safetensors_from(&program(), &weights, &BTreeMap::new()).expect("a file");
        let tensors = SafeTensors::deserialize(&file).expect("a readable file");
        let mut at = 0;
        for (name, shape) in [
            ("layers.0.weight", &[2, 3][..]),
            ("layers.0.bias", &[2]),
            ("layers.1.weight", &[2, 2]),
            ("layers.1.bias", &[2]),
        ] {
            let tensor = tensors.tensor(name).expect(name);
            assert_eq!(tensor.shape(), shape, "{name}");
            let count: usize = shape.iter().product();
            let expected: Vec<u8> = weights[at..at + count].iter().flat_map(|v| v.to_le_bytes()).collect();
            assert_eq!(tensor.data(), expected, "{name}");
            at += count;
        }
        assert_eq!(tensors.len(), 4);
    }

    #[test]
    fn metadata_is_kept_and_the_bytes_are_always_the_same() {
        let keys = ["job", "version", "licence", "quo\"te}"];
        let metadata: BTreeMap<String, String> = keys.iter().map(|k| (k.to_string(), format!("a {k} {{}}"))).collect();
        let write = || safetensors_from(&program(), &[0.5; 14], &metadata).expect("a file");
        let file = write();
        assert_eq!(file, write());
        let (_, header) = SafeTensors::read_metadata(&file).expect("a header");
        let read: BTreeMap<_, _> = header.metadata().clone().expect("metadata").into_iter().collect();
        assert_eq!(read, metadata);
        assert_eq!(SafeTensors::deserialize(&file).expect("a readable file").len(), 4);
        assert_eq!(u64::from_le_bytes(*file.first_chunk().expect("a length")) % 8, 0);
    }

    #[test]
    fn another_programs_weights_are_refused() {
        let error = safetensors_from(&program(), &[0.0; 13], &BTreeMap::new()).expect_err("an error");
        assert_eq!(error.to_string(), "the program has 14 parameters, got 13");
    }
}
