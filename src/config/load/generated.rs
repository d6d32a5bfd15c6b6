//! What must hold of `[generated_passwords]`.

use super::Reader;
use crate::config::Config;
use crate::engine::generated::Shape;

impl Reader<'_, '_, '_> {
    /// Dashes alone are no password, and short ones are guessed.
    pub(super) fn generated_passwords(&mut self, config: &Config) {
        let shape = config.generated_passwords.shape();
        if !Shape::LENGTHS.contains(&shape.length) {
            let (least, most) = (Shape::LENGTHS.start(), Shape::LENGTHS.end());
            self.error(&["generated_passwords", "length"], format!("must be {least} to {most}"));
        }
        if !shape.lower && !shape.upper {
            self.error(
                &["generated_passwords", "classes"],
                "has neither \"lower\" nor \"upper\"; write one of them, or both",
            );
        }
    }
}
