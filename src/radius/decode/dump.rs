//! Octets out of text: bare hexadecimal, and the dumps of `xxd`, `hexdump -C`, `od -tx1`, Wireshark and
//! `tcpdump -x`, with or without the column of characters.

/// One run of octets that a text holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The line where it begins, from 1.
    pub line: usize,
    /// The octets.
    pub octets: Vec<u8>,
}

/// Why a text holds no octets that could be read. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpFault {
    /// Nothing but space.
    #[error("there are no octets to read")]
    Empty,
    /// Neither a hexadecimal digit nor something that stands between octets.
    #[error("line {line}, column {column}: `{found}` is not a hexadecimal digit")]
    NotHex {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
        /// The character.
        found: char,
    },
    /// Half an octet.
    #[error("line {line}, column {column}: an odd number of digits ends here")]
    OddDigits {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// A line of a dump is missing, or its column of characters was read as octets.
    #[error("line {line}: its offset is {said:#x}, but {counted:#x} octets stand before it")]
    Offset {
        /// Line.
        line: usize,
        /// The offset that it begins with.
        said: usize,
        /// Octets read so far.
        counted: usize,
    },
}

/// Reads all runs of octets in a text.
///
/// A text with offsets is a dump: each offset of zero begins a run, and lines without an offset (the
/// summaries of `tcpdump`) belong to none. A text without offsets is hexadecimal digits; spaces, colons,
/// dashes, commas, `0x` and `\x` may stand between octets, `#` begins a comment, and an empty line ends a
/// run.
///
/// # Errors
/// [`DumpFault`], with its place.
pub fn read(text: &str) -> Result<Vec<Run>, DumpFault> {
    let is_dump = text.lines().any(|line| offset(line).is_some_and(|found| found.0 == 0));
    let runs = if is_dump { read_dump(text)? } else { read_plain(text)? };
    if runs.is_empty() {
        return Err(DumpFault::Empty);
    }
    Ok(runs)
}

fn read_dump(text: &str) -> Result<Vec<Run>, DumpFault> {
    let mut runs: Vec<Run> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let Some((said, body)) = offset(text) else { continue };
        if said == 0 {
            runs.push(Run {
                line,
                octets: Vec::new(),
            });
        }
        let Some(run) = runs.last_mut() else { continue };
        let counted = run.octets.len();
        if said != counted {
            return Err(DumpFault::Offset { line, said, counted });
        }
        read_dump_line(body, &mut run.octets);
    }
    runs.retain(|run| !run.octets.is_empty());
    Ok(runs)
}

/// The offset that a line begins with, and what follows it.
fn offset(line: &str) -> Option<(usize, &str)> {
    let line = line.trim_start();
    let digits = line.strip_prefix("0x").unwrap_or(line);
    let width = digits.bytes().take_while(u8::is_ascii_hexdigit).count();
    let (number, rest) = digits.split_at_checked(width)?;
    if !(4..=8).contains(&width) {
        return None;
    }
    let hexadecimal = || usize::from_str_radix(number, 16).ok();
    if let Some(body) = rest.strip_prefix(':') {
        return body
            .starts_with(char::is_whitespace)
            .then(hexadecimal)?
            .map(|said| (said, body));
    }
    let body = rest.trim_start();
    let gap = rest.len() - body.len();
    let first = body.bytes().take_while(u8::is_ascii_hexdigit).count();
    match (width, gap, first) {
        // The last line of `hexdump` and `od` is an offset alone.
        (7 | 8, _, 0) if body.is_empty() => None,
        // `od` counts in octal.
        (7, 1, 2) => Some((usize::from_str_radix(number, 8).ok()?, body)),
        (_, 2.., 2) => Some((hexadecimal()?, body)),
        _ => None,
    }
}

/// Reads groups of octets up to the column of characters, which a wide gap sets apart.
fn read_dump_line(body: &str, octets: &mut Vec<u8>) {
    let mut rest = body.trim_start();
    let mut taken = 0;
    let mut width = 0;
    loop {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let Some((group, after)) = rest.split_at_checked(end) else {
            return;
        };
        let Some(read) = pairs(group) else { return };
        if taken > 0 && group.len() > width {
            return;
        }
        width = group.len();
        taken += read.len();
        octets.extend(read);
        let next = after.trim_start();
        let gap = after.len() - next.len();
        // Some put a second space after eight octets.
        if next.is_empty() || gap > 2 || (gap == 2 && (taken != 8 || width != 2)) {
            return;
        }
        rest = next;
    }
}

fn pairs(group: &str) -> Option<Vec<u8>> {
    if group.is_empty() || !group.len().is_multiple_of(2) {
        return None;
    }
    group
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| {
            let &[high, low] = pair else { return None };
            Some(digit(high)? << 4 | digit(low)?)
        })
        .collect()
}

fn read_plain(text: &str) -> Result<Vec<Run>, DumpFault> {
    let mut runs: Vec<Run> = Vec::new();
    let mut open = false;
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() {
            open = false;
            continue;
        }
        let octets = read_plain_line(text, line)?;
        if octets.is_empty() {
            continue;
        }
        match runs.last_mut().filter(|_| open) {
            Some(run) => run.octets.extend(octets),
            None => runs.push(Run { line, octets }),
        }
        open = true;
    }
    Ok(runs)
}

fn read_plain_line(text: &str, line: usize) -> Result<Vec<u8>, DumpFault> {
    let mut octets = Vec::new();
    let mut half = None;
    let mut characters = (1..).zip(text.chars()).peekable();
    while let Some((column, found)) = characters.next() {
        let value = u8::try_from(found).ok().and_then(digit);
        match (value, half, found) {
            (Some(0) | None, None, '0' | '\\')
                if characters.next_if(|(_, next)| matches!(next, 'x' | 'X')).is_some() => {}
            (Some(value), None, _) => half = Some(value),
            (Some(value), Some(high), _) => {
                octets.push(high << 4 | value);
                half = None;
            }
            (None, Some(_), ':' | '-' | ',' | '#') => return Err(DumpFault::OddDigits { line, column }),
            (None, Some(_), space) if space.is_whitespace() => return Err(DumpFault::OddDigits { line, column }),
            (None, None, '#') => return Ok(octets),
            (None, None, ':' | '-' | ',') => {}
            (None, None, space) if space.is_whitespace() => {}
            (None, _, found) => return Err(DumpFault::NotHex { line, column, found }),
        }
    }
    match half {
        None => Ok(octets),
        Some(_) => Err(DumpFault::OddDigits {
            line,
            column: text.chars().count() + 1,
        }),
    }
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 24 octets, the last of which read as hexadecimal digits in a column of characters.
    fn sample() -> Vec<u8> {
        let mut octets: Vec<u8> = (0..16).collect();
        octets.extend(*b"abcdef01");
        octets
    }

    fn one(text: &str) -> Vec<u8> {
        let mut runs = read(text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
        assert_eq!(runs.len(), 1, "{text}");
        runs.remove(0).octets
    }

    #[test]
    fn every_way_of_writing_the_same_octets() {
        for text in [
            "000102030405060708090a0b0c0d0e0f6162636465663031",
            "00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F\n61 62 63 64 65 66 30 31\n",
            "00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:61:62:63:64:65:66:30:31",
            "0x000102030405060708090a0b0c0d0e0f6162636465663031",
            "0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08 0x09 0x0a 0x0b0c0d0e0f # half\n6162636465663031",
            r"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x61\x62\x63\x64\x65\x66\x30\x31",
            // xxd, xxd -g1
            "00000000: 0001 0203 0405 0607 0809 0a0b 0c0d 0e0f  ................\n\
             00000010: 6162 6364 6566 3031                      abcdef01\n",
            "00000000: 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  ................\n\
             00000010: 61 62 63 64 65 66 30 31                          abcdef01\n",
            // hexdump -C
            "00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|\n\
             00000010  61 62 63 64 65 66 30 31                           |abcdef01|\n\
             00000018\n",
            // od -tx1
            "0000000 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f\n\
             0000020 61 62 63 64 65 66 30 31\n0000030\n",
            // Wireshark
            "0000   00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f   ................\n\
             0010   61 62 63 64 65 66 30 31                           abcdef01\n",
            // tcpdump -x, -X
            "12:00:00.000000 IP 127.0.0.1.1 > 127.0.0.1.1812: RADIUS, Access-Request (1), id: 0x2a length: 76\n\
             \t0x0000:  0001 0203 0405 0607 0809 0a0b 0c0d 0e0f\n\
             \t0x0010:  6162 6364 6566 3031\n",
            "\t0x0000:  0001 0203 0405 0607 0809 0a0b 0c0d 0e0f  ................\n\
             \t0x0010:  6162 6364 6566 3031                      abcdef01\n",
        ] {
            assert_eq!(one(text), sample(), "{text}");
        }
    }

    #[test]
    fn several_runs() {
        let text = "a: IP\n\t0x0000:  0102\nb: IP\n\t0x0000:  0304 05\n";
        let runs = read(text).unwrap();
        assert_eq!(
            runs,
            [
                Run {
                    line: 2,
                    octets: vec![1, 2]
                },
                Run {
                    line: 4,
                    octets: vec![3, 4, 5]
                }
            ]
        );
        assert_eq!(read("# one\n01\n02\n\n# two\n03\n").unwrap().len(), 2);
    }

    #[test]
    fn faults_have_places() {
        assert_eq!(read(" \n"), Err(DumpFault::Empty));
        let not_hex = DumpFault::NotHex {
            line: 2,
            column: 4,
            found: 'g',
        };
        assert_eq!(read("01\n02 gh"), Err(not_hex));
        let not_hex = DumpFault::NotHex {
            line: 1,
            column: 2,
            found: 'g',
        };
        assert_eq!(read("0g"), Err(not_hex));
        assert_eq!(read("01 2 03"), Err(DumpFault::OddDigits { line: 1, column: 5 }));
        assert_eq!(read("012"), Err(DumpFault::OddDigits { line: 1, column: 4 }));
        let gap = DumpFault::Offset {
            line: 2,
            said: 0x20,
            counted: 2,
        };
        assert_eq!(read("0x0000:  0102\n0x0020:  03"), Err(gap));
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in r"[0-9a-fx:# \n\t.|é\\]{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn what_is_written_is_read(octets in prop::collection::vec(any::<u8>(), 1..80)) {
            let text: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            prop_assert_eq!(one(&text), octets.clone());
            let mut dump = String::new();
            for (at, line) in octets.chunks(16).enumerate() {
                let groups: Vec<String> = line.iter().map(|octet| format!("{octet:02x}")).collect();
                let shown: String = line.iter().map(|&octet| if octet.is_ascii_graphic() { char::from(octet) } else { '.' }).collect();
                dump += &format!("{:08x}: {:<47}  {shown}\n", at * 16, groups.join(" "));
            }
            prop_assert_eq!(one(&dump), octets);
        }
    }
}
