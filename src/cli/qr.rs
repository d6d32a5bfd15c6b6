//! QR codes, for the terminal and as SVG.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use qrcode::render::{svg, unicode};
use qrcode::{EcLevel, QrCode};

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QrError {
    /// The text is too long for a QR code.
    #[error("the URI does not fit a QR code")]
    Long(#[source] qrcode::types::QrError),
    /// The file cannot be made; an existing one is never replaced.
    #[error("the token was enrolled, but {0} cannot be written")]
    File(PathBuf, #[source] io::Error),
}

/// Two rows of modules in each line of text, light on dark, as most terminals are.
pub(crate) fn blocks(text: &str) -> Result<String, QrError> {
    let image = code(text)?
        .render::<unicode::Dense1x2>()
        .dark_color(unicode::Dense1x2::Light)
        .light_color(unicode::Dense1x2::Dark)
        .quiet_zone(true)
        .build();
    Ok(image)
}

/// Writes a file that only its owner can read: the code holds a secret.
pub(super) fn write_svg(text: &str, file: &Path) -> Result<(), QrError> {
    let image = code(text)?.render::<svg::Color<'_>>().min_dimensions(240, 240).build();
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    opened
        .and_then(|mut file| file.write_all(image.as_bytes()))
        .map_err(|error| QrError::File(file.to_owned(), error))
}

fn code(text: &str) -> Result<QrCode, QrError> {
    QrCode::with_error_correction_level(text, EcLevel::L).map_err(QrError::Long)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn draws() {
        let drawn = blocks("otpauth://totp/Portcullis:ana?secret=GEZDGNBVGY3TQOJQ").unwrap();
        let widths: Vec<usize> = drawn.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]));
        assert!(widths[0] >= 29);
    }

    #[test]
    fn files_are_private_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ana.svg");
        write_svg("otpauth://totp/x", &file).unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(std::fs::read_to_string(&file).unwrap().contains("<svg"));
        assert!(write_svg("otpauth://totp/x", &file).is_err());
    }
}
