//! Stored passwords: the schemes that an LDIF file may hold, and how a password is compared with them.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER_PERMISSIVE};
use ring::digest;

use crate::clock;
use crate::engine::response::{Kept, nt_hash};
use crate::hashing::argon2_into;
use crate::secret::Secret;

/// A `userPassword` value.
#[derive(Clone)]
pub(super) struct StoredPassword {
    scheme: Scheme,
    /// What the scheme compares with.
    expected: Secret,
    salt: Vec<u8>,
}

#[derive(Clone)]
enum Scheme {
    Digest(&'static digest::Algorithm),
    Argon2(Box<Argon2<'static>>),
    /// The NT hash: MD4 over UTF-16LE, without salt.
    Nt,
    /// The password itself.
    Clear,
}

/// Whether a file may hold passwords as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clear {
    /// It may.
    Allowed,
    /// It may not.
    Refused,
}

/// Hides everything but the kind of the hash.
impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scheme {
            Scheme::Digest(_) => "[digest]",
            Scheme::Argon2(_) => "[argon2]",
            Scheme::Nt => "[NT hash]",
            Scheme::Clear => "[clear]",
        })
    }
}

impl StoredPassword {
    /// Reads `{SCHEME}value`.
    ///
    /// The error names what is wrong and the remedy, and never shows the value.
    pub(super) fn parse(value: &[u8], clear: Clear) -> Result<Self, String> {
        let remedy = "make one with `portcullis password-hash`";
        let scheme_and_rest = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.trim().strip_prefix('{')?.split_once('}'));
        let not_hashed = || format!("the password is not hashed; {remedy}, or set cleartext = true in the directory");
        let Some((scheme, rest)) = scheme_and_rest else {
            return Self::clear(value, clear).ok_or_else(not_hashed);
        };
        let digest = |algorithm| Self::digest(algorithm, rest).map_err(|fault| format!("{fault}; {remedy}"));
        match scheme.to_ascii_uppercase().as_str() {
            "SHA" | "SSHA" => digest(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            "SHA256" | "SSHA256" => digest(&digest::SHA256),
            "SHA384" | "SSHA384" => digest(&digest::SHA384),
            "SHA512" | "SSHA512" => digest(&digest::SHA512),
            "ARGON2" => Self::argon2(rest).map_err(|fault| format!("{fault}; {remedy}")),
            "NT" => Self::nt(rest.as_bytes()).map_err(|fault| format!("{fault}; {remedy}")),
            "CLEARTEXT" => Self::clear(rest.as_bytes(), clear).ok_or_else(not_hashed),
            _ => Err(format!(
                "the scheme is none of {{ARGON2}}, {{SSHA}}, {{SSHA256}}, {{SSHA512}}, {{NT}}; {remedy}"
            )),
        }
    }

    /// Reads an NT hash, 32 hexadecimal digits: what stands behind `{NT}`, or in `sambaNTPassword`.
    pub(super) fn nt(digits: &[u8]) -> Result<Self, String> {
        let octets = HEXLOWER_PERMISSIVE.decode(digits.trim_ascii()).ok();
        let expected = octets.filter(|octets| octets.len() == 16).map(Secret::new);
        Ok(Self {
            scheme: Scheme::Nt,
            expected: expected.ok_or("an NT hash has 32 hexadecimal digits")?,
            salt: Vec::new(),
        })
    }

    fn clear(value: &[u8], clear: Clear) -> Option<Self> {
        (clear == Clear::Allowed && !value.is_empty()).then(|| Self {
            scheme: Scheme::Clear,
            expected: Secret::new(value),
            salt: Vec::new(),
        })
    }

    /// What is kept that a response to a challenge can be compared with.
    pub(super) fn kept(&self) -> Option<Kept<'_>> {
        match self.scheme {
            Scheme::Digest(_) | Scheme::Argon2(_) => None,
            Scheme::Nt => Some(Kept::NtHash(&self.expected)),
            Scheme::Clear => Some(Kept::Clear(&self.expected)),
        }
    }

    /// A hash that costs as much as `self` and that nothing matches.
    pub(super) fn decoy(&self) -> Self {
        Self {
            scheme: self.scheme.clone(),
            expected: Secret::new(vec![0; self.expected.len()]),
            salt: clock::random::<16>().to_vec(),
        }
    }

    /// The decoy for a file in which nobody has a password.
    pub(super) fn default_decoy() -> Self {
        Self {
            scheme: Scheme::Argon2(Box::new(our_argon2())),
            expected: Secret::new([0; OUTPUT]),
            salt: clock::random::<16>().to_vec(),
        }
    }

    /// Whether comparing takes milliseconds, and so a thread of its own.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self.scheme, Scheme::Argon2(_))
    }

    /// What comparing costs, for choosing the decoy: the blocks of memory passed over.
    pub(super) fn cost(&self) -> u64 {
        match &self.scheme {
            Scheme::Digest(_) | Scheme::Nt | Scheme::Clear => 0,
            Scheme::Argon2(argon2) => u64::from(argon2.params().m_cost()) * u64::from(argon2.params().t_cost()),
        }
    }

    /// The octets that change whenever the stored password does.
    pub(super) fn identity(&self) -> [&[u8]; 2] {
        [self.expected.expose(), &self.salt]
    }

    /// Compares; `blocks` is working memory for Argon2, grown as needed and worth keeping.
    pub(super) fn matches(&self, password: &Secret, blocks: &mut Vec<Block>) -> bool {
        match &self.scheme {
            Scheme::Digest(algorithm) => {
                let mut context = digest::Context::new(algorithm);
                context.update(password.expose());
                context.update(&self.salt);
                self.expected.matches(context.finish().as_ref())
            }
            Scheme::Argon2(argon2) => {
                let mut computed = vec![0; self.expected.len()];
                argon2_into(argon2, password.expose(), &self.salt, &mut computed, blocks)
                    && self.expected.matches(&computed)
            }
            Scheme::Nt => nt_hash(password).is_some_and(|hash| self.expected.matches(hash.expose())),
            Scheme::Clear => self.expected.matches(password.expose()),
        }
    }

    fn digest(algorithm: &'static digest::Algorithm, encoded: &str) -> Result<Self, String> {
        let octets = BASE64
            .decode(encoded.trim().as_bytes())
            .map_err(|_| "what follows the scheme is not base64".to_owned())?;
        let (expected, salt) = octets
            .split_at_checked(algorithm.output_len())
            .ok_or_else(|| "the hash is too short".to_owned())?;
        Ok(Self {
            scheme: Scheme::Digest(algorithm),
            expected: Secret::new(expected),
            salt: salt.to_vec(),
        })
    }

    /// `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`, base64 without padding.
    fn argon2(text: &str) -> Result<Self, String> {
        let broken = || "what follows {ARGON2} is not `$argon2id$v=19$m=…,t=…,p=…$salt$hash`".to_owned();
        let fields: Vec<&str> = text.trim().split('$').collect();
        let ["", algorithm, "v=19", costs, salt, hash] = fields.as_slice() else {
            return Err(broken());
        };
        let algorithm = match *algorithm {
            "argon2id" => Algorithm::Argon2id,
            "argon2i" => Algorithm::Argon2i,
            _ => return Err(broken()),
        };
        let mut numbers = costs.split(',').zip(["m=", "t=", "p="]).map(|(field, name)| {
            let number = field.strip_prefix(name)?;
            number.parse::<u32>().ok()
        });
        let mut number = || numbers.next().flatten().ok_or_else(broken);
        let (memory, passes, lanes) = (number()?, number()?, number()?);
        if memory > MAX_MEMORY || passes > MAX_PASSES || lanes > MAX_LANES {
            return Err(format!(
                "the costs are above m={MAX_MEMORY},t={MAX_PASSES},p={MAX_LANES}"
            ));
        }
        let decode = |text: &str| BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| broken());
        let (salt, expected) = (decode(salt)?, decode(hash)?);
        if salt.len() < argon2::MIN_SALT_LEN || !(16..=64).contains(&expected.len()) {
            return Err("the salt has less than 8 octets, or the hash not 16 to 64".into());
        }
        let params = Params::new(memory, passes, lanes, Some(expected.len())).map_err(|_| broken())?;
        Ok(Self {
            scheme: Scheme::Argon2(Box::new(Argon2::new(algorithm, Version::V0x13, params))),
            expected: Secret::new(expected),
            salt,
        })
    }
}

/// Hashes `password` as a `userPassword` value for an LDIF file:
/// `{ARGON2}$argon2id$v=19$m=19456,t=2,p=1$…` (RFC 9106; the costs that OWASP recommends).
///
/// Takes some tens of milliseconds and 19 MiB: not for the runtime's threads.
pub fn hash_password(password: &Secret) -> String {
    let salt: [u8; 16] = clock::random();
    let mut output = [0u8; OUTPUT];
    let argon2 = our_argon2();
    let done = argon2_into(&argon2, password.expose(), &salt, &mut output, &mut Vec::new());
    debug_assert!(done, "the costs are within Argon2's bounds");
    format!(
        "{{ARGON2}}$argon2id$v=19$m={},t={},p={}${}${}",
        argon2.params().m_cost(),
        argon2.params().t_cost(),
        argon2.params().p_cost(),
        BASE64_NOPAD.encode(&salt),
        BASE64_NOPAD.encode(&output)
    )
}

fn our_argon2() -> Argon2<'static> {
    // The default costs are m=19456, t=2, p=1.
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

const OUTPUT: usize = 32;

/// Highest costs loaded, so that a file cannot make a login take minutes or all memory.
const MAX_MEMORY: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stored: &str, password: &str) -> bool {
        let stored = StoredPassword::parse(stored.as_bytes(), Clear::Refused).unwrap();
        stored.matches(&Secret::new(password), &mut Vec::new())
    }

    #[test]
    fn digests_of_other_implementations() {
        // Made with slappasswd (2.5, pw-sha2) for "secret".
        for stored in [
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "{sha256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
            "{SHA512}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
        ] {
            assert!(check(stored, "secret"), "{stored}");
            assert!(!check(stored, "Secret"), "{stored}");
        }
    }

    #[test]
    fn salted_digests() {
        for (scheme, algorithm) in [
            ("SSHA", &digest::SHA1_FOR_LEGACY_USE_ONLY),
            ("SSHA256", &digest::SHA256),
            ("SSHA512", &digest::SHA512),
        ] {
            let mut octets = digest::digest(algorithm, b"pwsalt").as_ref().to_vec();
            octets.extend_from_slice(b"salt");
            let stored = format!("{{{scheme}}}{}", BASE64.encode(&octets));
            assert!(check(&stored, "pw"), "{scheme}");
            assert!(!check(&stored, "pwsalt"), "{scheme}");
        }
    }

    #[test]
    fn argon2_of_another_implementation_and_ours() {
        // The reference implementation's test vector for "password", "somesalt" (t=2, m=64 KiB, p=1).
        let vector = "{ARGON2}$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(check(vector, "password"));
        assert!(!check(vector, "passwort"));
        // Made with OpenLDAP's argon2 module.
        let slappasswd =
            "{ARGON2}$argon2i$v=19$m=4096,t=3,p=1$nQLQVFHgJ4iMXC4Y1QXnKA$RrudPzKhaDkG8giBlIg26A7LOOQYbXqmut+0YrTHxTI";
        assert!(check(slappasswd, "argon2pw"));
        let ours = hash_password(&Secret::new("hunter2"));
        assert!(ours.starts_with("{ARGON2}$argon2id$v=19$m=19456,t=2,p=1$"), "{ours}");
        assert!(check(&ours, "hunter2"));
        assert!(!check(&ours, "hunter3"));
        assert_ne!(ours, hash_password(&Secret::new("hunter2")), "salted");
    }

    #[test]
    fn what_is_no_hash_is_refused_without_showing_it() {
        for value in [
            "hunter2",
            "{CLEARTEXT}hunter2",
            "{CRYPT}$6$hunter2",
            "{SSHA}hunter2",
            "{SHA256}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "{ARGON2}hunter2",
            "{ARGON2}$argon2id$v=19$m=99999999,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "{ARGON2}$argon2id$v=19$m=1,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "{ARGON2}$argon2id$v=19$m=19456,t=2,p=1$c29$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "",
        ] {
            let fault = StoredPassword::parse(value.as_bytes(), Clear::Refused).unwrap_err();
            assert!(fault.contains("portcullis password-hash"), "{value}: {fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
        assert!(StoredPassword::parse(b"\xff", Clear::Refused).is_err());
    }

    #[test]
    fn nt_hashes_and_clear_passwords_can_answer_for_responses() {
        // The password of RFC 2759 section 9.2.
        let nt = StoredPassword::parse(b"{NT}44EBBA8D5312B8D611474411F56989AE", Clear::Refused).unwrap();
        assert!(nt.matches(&Secret::new("clientPass"), &mut Vec::new()));
        assert!(!nt.matches(&Secret::new("clientpass"), &mut Vec::new()));
        assert!(!nt.matches(&Secret::new([0xff]), &mut Vec::new()));
        assert!(matches!(nt.kept(), Some(Kept::NtHash(_))));
        for value in ["{CLEARTEXT}hunter2", "hunter2"] {
            let clear = StoredPassword::parse(value.as_bytes(), Clear::Allowed).unwrap();
            assert!(clear.matches(&Secret::new("hunter2"), &mut Vec::new()));
            assert!(!clear.matches(&Secret::new("hunter"), &mut Vec::new()));
            assert!(matches!(clear.kept(), Some(Kept::Clear(_))));
            assert!(!format!("{clear:?}").contains("hunter2"));
        }
        for empty in ["{CLEARTEXT}", "", "{NT}44EB", "{NT}"] {
            assert!(
                StoredPassword::parse(empty.as_bytes(), Clear::Allowed).is_err(),
                "{empty}"
            );
        }
        let unknown = StoredPassword::parse(b"{MD5}hunter2", Clear::Allowed).unwrap_err();
        assert!(unknown.contains("the scheme is none of"), "{unknown}");
        let hashed = StoredPassword::parse(b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", Clear::Allowed).unwrap();
        assert!(hashed.kept().is_none());
    }

    #[test]
    fn a_decoy_costs_the_same_and_matches_nothing() {
        let stored = StoredPassword::parse(hash_password(&Secret::new("x")).as_bytes(), Clear::Refused).unwrap();
        assert_eq!(stored.decoy().cost(), stored.cost());
        assert!(!stored.decoy().matches(&Secret::new("x"), &mut Vec::new()));
        assert_eq!(StoredPassword::default_decoy().cost(), stored.cost());
    }
}
