//! QR codes, for the terminal, as SVG and as PNG.

use std::fs::{File, OpenOptions};
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

/// Writes an SVG file that only its owner can read: the code holds a secret.
pub(super) fn write_svg(text: &str, file: &Path) -> Result<(), QrError> {
    let image = code(text)?.render::<svg::Color<'_>>().min_dimensions(240, 240).build();
    create(file)
        .and_then(|mut file| file.write_all(image.as_bytes()))
        .map_err(|error| QrError::File(file.to_owned(), error))
}

/// Writes a PNG file that only its owner can read: black on white, eight pixels a module, with the quiet zone of
/// four modules (ISO/IEC 18004 section 6.3.8).
pub(super) fn write_png(text: &str, file: &Path) -> Result<(), QrError> {
    let code = code(text)?;
    let modules = code.width() + 2 * QUIET;
    let dark = |x: usize, y: usize| -> bool {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < code.width());
        let (Some(x), Some(y)) = (inside(x), inside(y)) else {
            return false;
        };
        code[(x, y)] == qrcode::Color::Dark
    };
    let mut image = Vec::with_capacity(modules * modules * SCALE);
    for y in 0..modules {
        // One bit a pixel, so an octet is a module's row; set bits are white.
        let row: Vec<u8> = (0..modules).map(|x| if dark(x, y) { 0x00 } else { 0xff }).collect();
        for _ in 0..SCALE {
            image.extend_from_slice(&row);
        }
    }
    let side = u32::try_from(modules * SCALE).unwrap_or(u32::MAX);
    create(file)
        .and_then(|file| {
            let mut encoder = png::Encoder::new(io::BufWriter::new(file), side, side);
            encoder.set_color(png::ColorType::Grayscale);
            encoder.set_depth(png::BitDepth::One);
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&image)?;
            writer.finish()?;
            Ok(())
        })
        .map_err(|error| QrError::File(file.to_owned(), error))
}

/// Modules of white around a code.
const QUIET: usize = 4;

/// Pixels of a module's side: as many as an octet has bits.
const SCALE: usize = 8;

fn create(file: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)
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
        assert!(write_png("otpauth://totp/x", &file).is_err());
    }

    #[test]
    fn the_png_shows_the_same_modules() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ana.png");
        let text = "otpauth://totp/Portcullis:ana?secret=GEZDGNBVGY3TQOJQ";
        write_png(text, &file).unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut decoder = png::Decoder::new(io::BufReader::new(File::open(&file).unwrap()));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let shape = reader.next_frame(&mut pixels).unwrap();
        let code = code(text).unwrap();
        let side = (code.width() + 2 * QUIET) * SCALE;
        assert_eq!((shape.width as usize, shape.height as usize), (side, side));
        for y in 0..side {
            for x in 0..side {
                let (column, row) = ((x / SCALE).wrapping_sub(QUIET), (y / SCALE).wrapping_sub(QUIET));
                let inside = column < code.width() && row < code.width();
                let dark = inside && code[(column, row)] == qrcode::Color::Dark;
                assert_eq!(pixels[y * side + x] == 0, dark, "{x} {y}");
            }
        }
    }
}
