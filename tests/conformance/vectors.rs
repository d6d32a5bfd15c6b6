//! Vector files: `secret = "…"`, then `[name]` and lines of hexadecimal octets; `#` begins a comment.

use std::collections::HashMap;

use portcullis::secret::Secret;

pub(crate) struct Vectors {
    pub(crate) secret: Secret,
    packets: HashMap<String, Vec<u8>>,
}

impl Vectors {
    pub(crate) fn load(file: &str) -> Self {
        let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut vectors = Self {
            secret: Secret::default(),
            packets: HashMap::new(),
        };
        let mut current = String::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if let Some(secret) = line.strip_prefix("secret =") {
                vectors.secret = Secret::new(secret.trim().trim_matches('"'));
            } else if let Some(name) = line.strip_prefix('[') {
                current = name.trim_end_matches(']').to_owned();
                assert!(!vectors.packets.contains_key(&current), "{path}: [{current}] twice");
            } else if !line.is_empty() {
                let octets = line
                    .split_whitespace()
                    .map(|octet| u8::from_str_radix(octet, 16).unwrap_or_else(|_| panic!("{path}: `{octet}`")));
                vectors.packets.entry(current.clone()).or_default().extend(octets);
            }
        }
        vectors
    }

    pub(crate) fn packet(&self, name: &str) -> &[u8] {
        self.packets.get(name).unwrap_or_else(|| panic!("no vector [{name}]"))
    }
}
