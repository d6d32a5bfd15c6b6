//! Errors told in one line: `Display` of an error omits what it stems from.

use std::error::Error;

/// An error and all that it stems from, in one line.
pub fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
