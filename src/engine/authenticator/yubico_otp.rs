//! Yubico OTP: what a key types when it is touched. 12 symbols of public identity, then 32 that its AES key
//! encrypts: private identity, counters, a checksum. Judged here; no validation server is asked.

use std::sync::LazyLock;

use aes::Aes128;
use aes::cipher::{Array, BlockCipherDecrypt as _, KeyInit as _};
use data_encoding::{Encoding, Specification};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::clock::Timestamp;
use crate::engine::authenticator::{CodeAuthenticator, Context, Judgement, Kind, oath};
use crate::engine::record::{Token, TokenKind, UserRecord};
use crate::keyring::KeyError;
use crate::secret::Secret;

/// Symbols of a code: 6 octets of public identity and one AES block. Keys can be made with a public identity of
/// none to 16 octets; what they are shipped with, and what is taken here, is 6.
pub const LENGTH: usize = 44;

/// Octets of what is kept sealed of a key: its AES key, then its private identity.
pub const SEED_OCTETS: usize = 22;

/// The symbols of modhex: hexadecimal in letters that are in the same place on most keyboards.
pub const SYMBOLS: &str = "cbdefghijklnrtuv";

/// Keys that type Yubico OTP.
#[derive(Debug)]
pub struct YubicoOtp;

impl CodeAuthenticator for YubicoOtp {
    fn kind(&self) -> Kind {
        Kind::YubicoOtp
    }

    fn enrolled(&self, record: &UserRecord, _now: Timestamp) -> bool {
        record.tokens.iter().any(|token| oath::is_usable(token, is_key))
    }

    fn judge(&self, typed: &str, record: &mut UserRecord, context: &Context<'_>) -> Result<Judgement, KeyError> {
        let read = read(typed);
        if read.is_empty() || !self.enrolled(record, context.now) {
            return Ok(Judgement::NotApplicable);
        }
        // It has the form: a guess, also where it is of a key that is not the person's.
        let mut best = Judgement::Wrong;
        for token in record.tokens.iter_mut().filter(|token| oath::is_usable(token, is_key)) {
            let TokenKind::YubicoOtp { public, last } = token.kind else {
                continue;
            };
            let Some(code) = read.iter().find(|code| code.public == public) else {
                continue;
            };
            let place = Token::place(context.user.as_str(), token.id);
            let seed = context.keyring.open(&place, &token.seed)?;
            match code.decrypt(&seed) {
                None => token.count_failure(),
                Some(count) if last.is_some_and(|last| count <= last) => best = best.max(Judgement::Replayed),
                Some(count) => {
                    token.kind = TokenKind::YubicoOtp {
                        public,
                        last: Some(count),
                    };
                    token.count_success(context.now);
                    return Ok(Judgement::Right);
                }
            }
        }
        Ok(best)
    }
}

/// A code as it was read: whose it says it is, and the block.
#[derive(Clone, Debug)]
pub struct Code {
    /// Public identity of the key.
    pub public: [u8; 6],
    block: [u8; 16],
}

impl Code {
    /// Its counters, `usage << 8 | session`, if the key of `seed` made it; they only grow. The private identity
    /// is compared in constant time.
    pub fn decrypt(&self, seed: &Secret) -> Option<u32> {
        let (key, private) = seed.expose().split_at_checked(16)?;
        let cipher = Aes128::new_from_slice(key).ok()?;
        let mut block = Array::from(self.block);
        cipher.decrypt_block(&mut block);
        let plain = Zeroizing::new(<[u8; 16]>::from(block));
        block.zeroize();
        let [a, b, c, d, e, f, low, high, _, _, _, session, _, _, _, _] = *plain;
        let is_private = bool::from([a, b, c, d, e, f].as_slice().ct_eq(private));
        let is_whole = checksum(plain.as_slice()) == RESIDUE;
        // The top bit says that the lock for capitals was on.
        let usage = u16::from_le_bytes([low, high]) & 0x7fff;
        (is_private && is_whole).then_some(u32::from(usage) << 8 | u32::from(session))
    }
}

/// What was typed as a code, in each way that it can be read: a key presses the keys of an American keyboard,
/// whatever the layout makes of them. Empty for what is none.
pub fn read(typed: &str) -> Vec<Code> {
    let typed = typed.trim();
    if typed.len() != LENGTH {
        return Vec::new();
    }
    let readings = LAYOUTS.iter().filter_map(|layout| layout.decode(typed.as_bytes()).ok());
    readings.filter_map(|octets| Code::of(&octets)).collect()
}

impl Code {
    fn of(octets: &[u8]) -> Option<Self> {
        let (public, block) = octets.split_at_checked(6)?;
        Some(Self {
            public: public.try_into().ok()?,
            block: block.try_into().ok()?,
        })
    }
}

/// Cuts a code off the end of what stands before it; a `separator` right before the code belongs to neither.
/// `None` when there is no code at the end, or nothing before it.
pub fn cut(typed: &str, separator: Option<char>) -> Option<(&str, &str)> {
    let at = typed.len().checked_sub(LENGTH)?;
    let (before, code) = typed.split_at_checked(at)?;
    let is_code = LAYOUTS.iter().any(|layout| layout.decode(code.as_bytes()).is_ok());
    let before = separator.map_or(before, |mark| before.strip_suffix(mark).unwrap_or(before));
    (is_code && !before.is_empty()).then_some((before, code))
}

/// A public identity of 6 octets, written in modhex.
pub fn public_identity(text: &str) -> Option<[u8; 6]> {
    MODHEX.decode(text.trim().as_bytes()).ok()?.try_into().ok()
}

/// A public identity as keys type it.
pub fn written(public: [u8; 6]) -> String {
    MODHEX.encode(&public)
}

/// What is kept sealed of a key, from what its maker says, in hexadecimal: 12 digits of private identity and 32 of
/// AES key.
pub fn seed(private: &str, key: &str) -> Option<Secret> {
    let octets = |text: &str| data_encoding::HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok();
    let (private, key) = (Zeroizing::new(octets(private)?), Zeroizing::new(octets(key)?));
    let seed = Secret::new([key.as_slice(), private.as_slice()].concat());
    (key.len() == 16 && seed.len() == SEED_OCTETS).then_some(seed)
}

fn is_key(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::YubicoOtp { .. })
}

/// What the checksum of a whole block comes to, its own two octets included (ISO/IEC 13239).
const RESIDUE: u16 = 0xf0b8;

/// CRC-16 of ISO/IEC 13239, as the keys compute it.
fn checksum(octets: &[u8]) -> u16 {
    octets.iter().fold(0xffff, |crc, octet| {
        (0..8).fold(crc ^ u16::from(*octet), |crc, _| {
            let carry = crc & 1 == 1;
            (crc >> 1) ^ if carry { 0x8408 } else { 0 }
        })
    })
}

static MODHEX: LazyLock<Encoding> = LazyLock::new(|| hexadecimal(SYMBOLS, "CBDEFGHIJKLNRTUV"));

/// The same keys where the layout is Dvorak.
static DVORAK: LazyLock<Encoding> = LazyLock::new(|| hexadecimal("jxe.uidchtnbpygk", "JXE>UIDCHTNBPYGK"));

static LAYOUTS: LazyLock<[Encoding; 2]> = LazyLock::new(|| [MODHEX.clone(), DVORAK.clone()]);

#[allow(clippy::expect_used, reason = "16 symbols, each once: it is an encoding")]
fn hexadecimal(symbols: &str, capitals: &str) -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str(symbols);
    for (from, to) in capitals.chars().zip(symbols.chars()).filter(|(from, to)| from != to) {
        specification.translate.from.push(from);
        specification.translate.to.push(to);
    }
    specification.encoding().expect("an encoding")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::facts::UserKey;
    use crate::engine::record::Algorithm;
    use crate::keyring::Keyring;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f";
    const PRIVATE: &str = "010203040506";
    /// Usage 1, session 1 and 2; usage 4095, session 1: of that key.
    const BLOCKS: [(&str, u32); 3] = [
        ("dvgtiblfkbgturecfllberrvkinnctnn", 0x0101),
        ("rnibcnfhdninbrdebccrndfhjgnhftee", 0x0102),
        ("iikkijbdknrrdhfdrjltvgrbkkjblcbh", 0x0fff01),
    ];
    const PUBLIC: &str = "vvccccccbcde";

    fn typed(block: usize) -> String {
        format!("{PUBLIC}{}", BLOCKS[block].0)
    }

    fn record(keyring: &Keyring, user: &UserKey) -> UserRecord {
        let token = Token {
            id: 1,
            label: "key".into(),
            kind: TokenKind::YubicoOtp {
                public: public_identity(PUBLIC).unwrap(),
                last: None,
            },
            algorithm: Algorithm::Sha1,
            digits: 44,
            seed: keyring.seal(&Token::place(user.as_str(), 1), seed(PRIVATE, KEY).unwrap().expose()),
            disabled: false,
            failures: 0,
            enrolled: Timestamp::default(),
            last_used: None,
        };
        UserRecord {
            tokens: vec![token],
            ..UserRecord::default()
        }
    }

    /// The vectors of libyubikey: its `test-vectors.txt` and self test.
    #[test]
    fn blocks_as_yubico_published_them() {
        let code = |block: &str| read(&format!("{PUBLIC}{block}")).remove(0);
        let of = |private: &str, key: &str| seed(private, key).unwrap();
        for (block, count) in BLOCKS {
            assert_eq!(code(block).decrypt(&of(PRIVATE, KEY)), Some(count), "{block}");
        }
        let others = [
            (
                "hknhfjbrjnlnldnhcujvddbikngjrtgh",
                "8792ebfe26cc",
                "ecde18dbe76fbd0c33330f1c354871db",
                0x1311,
            ),
            (
                "iucvrkjiegbhidrcicvlgrcgkgurhjnj",
                "33c69e7f249e",
                "c4422890653076cde73d449b191b416a",
                0x0100,
            ),
        ];
        for (block, private, key, count) in others {
            assert_eq!(code(block).decrypt(&of(private, key)), Some(count), "{block}");
            assert_eq!(code(block).decrypt(&of(private, KEY)), None, "another key");
            assert_eq!(
                code(block).decrypt(&of("8792ebfe26cd", key)),
                None,
                "another private identity"
            );
        }
        assert_eq!(MODHEX.decode(b"ifhgieif").unwrap(), b"test");
        assert_eq!(written(public_identity("VVCCCCCCBCDE").unwrap()), PUBLIC);
    }

    #[test]
    fn counters_only_grow() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let context = Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(1),
            sent: None,
        };
        let mut record = record(&keyring, &user);
        let mut judge = |typed: &str| YubicoOtp.judge(typed, &mut record, &context).unwrap();
        assert_eq!(judge(&typed(1)), Judgement::Right);
        assert_eq!(judge(&typed(1)), Judgement::Replayed);
        assert_eq!(judge(&typed(0)), Judgement::Replayed, "an older touch");
        assert_eq!(judge(&typed(2)), Judgement::Right);
        assert_eq!(judge("492811"), Judgement::NotApplicable);
        assert_eq!(judge(&typed(2)[1..]), Judgement::NotApplicable);
        assert_eq!(record.tokens[0].failures, 0);
        assert_eq!(record.tokens[0].last_used, Some(context.now));
    }

    #[test]
    fn what_is_wrong_counts() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let context = Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(1),
            sent: None,
        };
        let mut record = record(&keyring, &user);
        let forged = format!("{PUBLIC}{}", "c".repeat(32));
        assert_eq!(
            YubicoOtp.judge(&forged, &mut record, &context).unwrap(),
            Judgement::Wrong
        );
        assert_eq!(record.tokens[0].failures, 1);
        let strange = format!("vvccccccbcdf{}", BLOCKS[0].0);
        assert_eq!(
            YubicoOtp.judge(&strange, &mut record, &context).unwrap(),
            Judgement::Wrong
        );
        assert_eq!(record.tokens[0].failures, 1, "not this key's");
        record.tokens[0].disabled = true;
        assert_eq!(
            YubicoOtp.judge(&typed(0), &mut record, &context).unwrap(),
            Judgement::NotApplicable
        );
    }

    #[test]
    fn read_whatever_the_keyboard_makes_of_it() {
        let modhex = "cbdefghijklnrtuv";
        let as_on = |layout: &str, capitals: bool| {
            let typed = typed(0);
            let other = typed.chars().map(|symbol| {
                let at = modhex.find(symbol).unwrap();
                layout.chars().nth(at).unwrap()
            });
            let other: String = other.collect();
            if capitals { other.to_uppercase() } else { other }
        };
        let seed = seed(PRIVATE, KEY).unwrap();
        for typed in [
            as_on(modhex, true),
            as_on("jxe.uidchtnbpygk", false),
            as_on("jxe.uidchtnbpygk", true),
            format!(" {}\n", typed(0)),
        ] {
            let read = read(&typed);
            assert!(read.iter().any(|code| code.decrypt(&seed) == Some(0x0101)), "{typed}");
        }
        assert!(read(&"a".repeat(44)).is_empty());
        assert!(read(&"é".repeat(22)).is_empty());
    }

    #[test]
    fn cut_off_a_password() {
        let code = typed(0);
        let cut = |before: &str, mark| {
            let text = format!("{before}{code}");
            cut(&text, mark).map(|(before, code)| (before.to_owned(), code.to_owned()))
        };
        let pair = |before: &str| Some((before.to_owned(), code.clone()));
        assert_eq!(cut("hunter2", None), pair("hunter2"));
        assert_eq!(cut("hun,ter2", Some(',')), pair("hun,ter2"));
        assert_eq!(cut("hunter2,", Some(',')), pair("hunter2"));
        assert_eq!(cut("hunter2,", None), pair("hunter2,"));
        assert_eq!(cut("", Some(',')), None);
        assert_eq!(cut(",", Some(',')), None);
        assert_eq!(super::cut("hunter2,492811", Some(',')), None);
        assert_eq!(
            super::cut(&format!("é{}", &code[1..]), None),
            None,
            "within a character"
        );
    }
}
