//! What the tokens of a text stand for: a symbol for each number, and the file in which other tools
//! read it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The symbols of a text, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alphabet {
    /// Characters in the order of their code points; `None` where tokens are bytes.
    symbols: Option<Vec<char>>,
}

impl Alphabet {
    /// The characters that occur in a text, in the order of their code points.
    pub fn of(text: &str) -> Self {
        let symbols: BTreeSet<char> = text.chars().collect();
        Self { symbols: Some(symbols.into_iter().collect()) }
    }

    /// All 256 bytes.
    pub fn bytes() -> Self {
        Self { symbols: None }
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.symbols.as_ref().map_or(256, |symbols| symbols.len() as u32) // Fewer than 2^21 characters exist.
    }

    /// True without symbols: the alphabet of an empty text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of a text; characters that are not in the alphabet are left out.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let Some(symbols) = &self.symbols else { return text.bytes().map(u32::from).collect() };
        let numbers: BTreeMap<char, u32> = symbols.iter().copied().zip(0..).collect();
        text.chars().filter_map(|symbol| numbers.get(&symbol).copied()).collect()
    }

    /// The text of these tokens; numbers past the last symbol are left out, and bytes that are not
    /// UTF-8 become U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> String {
        match &self.symbols {
            Some(symbols) => tokens.iter().filter_map(|&token| symbols.get(token as usize)).collect(),
            None => {
                let bytes: Vec<u8> = tokens.iter().filter_map(|&token| u8::try_from(token).ok()).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
        }
    }

    /// `tokenizer.json` as the `tokenizers` library reads it: every character, or every byte, is a
    /// token of its own.
    pub fn tokenizer_json(&self) -> String {
        let (before, decoder, model) = match &self.symbols {
            Some(symbols) => {
                let vocabulary: Map<String, Value> =
                    symbols.iter().zip(0u32..).map(|(symbol, number)| (symbol.to_string(), json!(number))).collect();
                (
                    json!({"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": false}),
                    json!({"type": "Fuse"}),
                    json!({"type": "WordLevel", "vocab": vocabulary, "unk_token": ""}),
                )
            }
            None => {
                let vocabulary: Map<String, Value> =
                    (0..=255u8).map(|byte| (printable(byte).to_string(), json!(byte))).collect();
                (
                    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}),
                    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}),
                    json!({
                        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                        "vocab": vocabulary, "merges": [],
                    }),
                )
            }
        };
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": before, "post_processor": null, "decoder": decoder, "model": model,
        });
        format!("{file}\n")
    }
}

/// The character that stands for a byte in byte-level vocabularies (GPT-2): itself where it can be
/// seen, else one of those from U+0100 on.
fn printable(byte: u8) -> char {
    let visible = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if visible(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !visible(other)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or('\u{fffd}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn characters_are_numbered_by_code_point() {
        let alphabet = Alphabet::of("béa\n");
        assert_eq!(alphabet.encode("\nabé?"), [0, 1, 2, 3]);
        assert_eq!(alphabet.decode(&[3, 1, 9]), "éa");
    }

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let all: BTreeSet<char> = (0..=255).map(printable).collect();
        assert_eq!(all.len(), 256);
        // As GPT-2's vocabulary has them.
        assert_eq!((printable(b'!'), printable(b' '), printable(b'\n')), ('!', 'Ġ', 'Ċ'));
    }

    proptest! {
        #[test]
        fn texts_come_back(text in "\\PC*") {
            for alphabet in [Alphabet::of(&text), Alphabet::bytes()] {
                prop_assert_eq!(alphabet.decode(&alphabet.encode(&text)), text.clone());
            }
        }
    }
}
