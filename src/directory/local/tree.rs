//! The entries of an LDIF file as a tree, for answering LDAP searches without a server.

use std::collections::HashMap;
use std::path::Path;

use crate::directory::ldif::{self, Record, fault};
use crate::directory::local::hash::{Clear, StoredPassword};
use crate::document::Faults;
use crate::engine::facts::normalise_dn;

/// The entries of an LDIF file. Stored passwords cannot be reached through it from outside this
/// directory: they are neither attributes nor compared.
#[derive(Debug)]
pub struct Tree {
    entries: Vec<Entry>,
    by_dn: HashMap<String, usize>,
    roots: Vec<usize>,
    passwords: HashMap<usize, StoredPassword>,
    /// `sambaNTPassword` beside a password that is kept in another way.
    nt_hashes: HashMap<usize, StoredPassword>,
}

/// One entry.
#[derive(Debug)]
pub struct Entry {
    dn: String,
    normalised_dn: String,
    attributes: Vec<Attribute>,
    parent: Option<usize>,
    children: Vec<usize>,
}

/// One attribute of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The description as the file writes it.
    pub name: String,
    /// At least one value.
    pub values: Vec<Vec<u8>>,
    /// Returned by a search only when asked for by name or by `+` (RFC 4511 section 4.5.1.8, RFC 3673).
    pub operational: bool,
}

impl Tree {
    /// Reads the text of an LDIF file; `file` is named in faults. A password in clear is a fault.
    ///
    /// `memberOf` is computed from the `groupOfNames` and `groupOfUniqueNames` in the file, `entryUUID`
    /// from the name where the file has none.
    ///
    /// # Errors
    /// Every fault with its line: of LDIF, of stored passwords, of names without their parent.
    pub fn parse(file: &Path, text: &[u8]) -> Result<Self, Faults> {
        Self::parse_with(file, text, Clear::Refused)
    }

    /// The same for a file that may hold passwords in clear.
    pub(super) fn parse_with(file: &Path, text: &[u8], clear: Clear) -> Result<Self, Faults> {
        let records = ldif::parse(file, text)?;
        let mut faults = Faults::default();
        let mut tree = Self {
            entries: Vec::with_capacity(records.len()),
            by_dn: HashMap::with_capacity(records.len()),
            roots: Vec::new(),
            passwords: HashMap::new(),
            nt_hashes: HashMap::new(),
        };
        let lines: Vec<usize> = records.iter().map(|record| record.line).collect();
        for record in records {
            tree.add(file, record, clear, &mut faults);
        }
        tree.link(file, &lines, &mut faults);
        tree.compute_member_of();
        if faults.0.is_empty() { Ok(tree) } else { Err(faults) }
    }

    /// All entries, in the order of the file.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The entry named `dn`, in any spelling.
    pub fn get(&self, dn: &str) -> Option<&Entry> {
        self.entries.get(self.index(&normalise_dn(dn))?)
    }

    /// The entries directly below `entry`.
    pub fn children<'t>(&'t self, entry: &'t Entry) -> impl Iterator<Item = &'t Entry> {
        entry.children.iter().filter_map(|&index| self.entries.get(index))
    }

    /// The entry directly above `entry`.
    pub fn parent(&self, entry: &Entry) -> Option<&Entry> {
        self.entries.get(entry.parent?)
    }

    /// The entries with nothing above them: the naming contexts.
    pub fn roots(&self) -> impl Iterator<Item = &Entry> {
        self.roots.iter().filter_map(|&index| self.entries.get(index))
    }

    /// `entry` and everything below it, parents before their children.
    pub fn subtree<'t>(&'t self, entry: &'t Entry) -> impl Iterator<Item = &'t Entry> {
        let mut open = vec![entry];
        std::iter::from_fn(move || {
            let next = open.pop()?;
            open.extend(next.children.iter().rev().filter_map(|&index| self.entries.get(index)));
            Some(next)
        })
    }

    pub(super) fn index(&self, normalised_dn: &str) -> Option<usize> {
        self.by_dn.get(normalised_dn).copied()
    }

    /// Entries that have a password: the people. The last is their `sambaNTPassword`, where the password is
    /// kept in another way.
    pub(super) fn people(&self) -> impl Iterator<Item = (&Entry, &StoredPassword, Option<&StoredPassword>)> {
        let with_password = |(index, entry)| Some((entry, self.passwords.get(&index)?, self.nt_hashes.get(&index)));
        self.entries.iter().enumerate().filter_map(with_password)
    }

    fn add(&mut self, file: &Path, record: Record, clear: Clear, faults: &mut Faults) {
        let index = self.entries.len();
        let mut attributes = Vec::with_capacity(record.attributes.len() + 2);
        for attribute in record.attributes {
            // Options make no other attribute of it: `userPassword;x-old` is a password as well.
            let base = attribute.name.split(';').next().unwrap_or_default();
            let secret = [USER_PASSWORD, NT_PASSWORD]
                .into_iter()
                .find(|name| base.eq_ignore_ascii_case(name));
            let Some(secret) = secret else {
                attributes.push(Attribute {
                    operational: is_operational(&attribute.name),
                    name: attribute.name,
                    values: attribute.values,
                });
                continue;
            };
            let (stored, place) = match attribute.values.as_slice() {
                [value] if secret == NT_PASSWORD => (StoredPassword::nt(value), &mut self.nt_hashes),
                [value] => (StoredPassword::parse(value, clear), &mut self.passwords),
                _ => (
                    Err("more than one value; keep the one that is meant".into()),
                    &mut self.passwords,
                ),
            };
            match stored {
                Ok(stored) => {
                    place.insert(index, stored);
                }
                Err(message) => faults.0.push(fault(file, attribute.line, secret, message)),
            }
        }
        if !self.passwords.contains_key(&index)
            && let Some(hash) = self.nt_hashes.remove(&index)
        {
            self.passwords.insert(index, hash);
        }
        if !attributes
            .iter()
            .any(|attribute| attribute.name.eq_ignore_ascii_case(ENTRY_UUID))
        {
            attributes.push(Attribute {
                name: ENTRY_UUID.into(),
                values: vec![name_uuid(&record.normalised_dn).into_bytes()],
                operational: true,
            });
        }
        self.by_dn.insert(record.normalised_dn.clone(), index);
        self.entries.push(Entry {
            dn: record.dn,
            normalised_dn: record.normalised_dn,
            attributes,
            parent: None,
            children: Vec::new(),
        });
    }

    fn link(&mut self, file: &Path, lines: &[usize], faults: &mut Faults) {
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index) else { continue };
            let mut above = parent_dn(&entry.normalised_dn);
            let direct = above.and_then(|dn| self.index(dn));
            if let Some(parent) = direct {
                if let Some(entry) = self.entries.get_mut(index) {
                    entry.parent = Some(parent);
                }
                if let Some(parent) = self.entries.get_mut(parent) {
                    parent.children.push(index);
                }
                continue;
            }
            let missing = above;
            while let Some(dn) = above.and_then(parent_dn) {
                if self.index(dn).is_some() {
                    let message = format!(
                        "there is no entry `{}` above it; add that entry, or correct the name",
                        missing.unwrap_or_default()
                    );
                    let line = lines.get(index).copied().unwrap_or_default();
                    faults.0.push(fault(file, line, "dn", message));
                    break;
                }
                above = Some(dn);
            }
            self.roots.push(index);
        }
    }

    fn compute_member_of(&mut self) {
        let mut groups_of: HashMap<usize, Vec<Vec<u8>>> = HashMap::new();
        for group in &self.entries {
            let members = if group.has_object_class("groupOfNames") {
                group.values("member")
            } else if group.has_object_class("groupOfUniqueNames") {
                group.values("uniqueMember")
            } else {
                continue;
            };
            for member in members.iter().filter_map(|member| std::str::from_utf8(member).ok()) {
                if let Some(index) = self.index(&normalise_dn(member)) {
                    let groups = groups_of.entry(index).or_default();
                    if groups.last().is_none_or(|last| last != group.dn.as_bytes()) {
                        groups.push(group.dn.clone().into_bytes());
                    }
                }
            }
        }
        for (index, groups) in groups_of {
            let Some(entry) = self.entries.get_mut(index) else {
                continue;
            };
            let known = |attribute: &&mut Attribute| attribute.name.eq_ignore_ascii_case(MEMBER_OF);
            match entry.attributes.iter_mut().find(known) {
                Some(attribute) => {
                    for group in groups {
                        if !attribute.values.contains(&group) {
                            attribute.values.push(group);
                        }
                    }
                }
                None => entry.attributes.push(Attribute {
                    name: MEMBER_OF.into(),
                    values: groups,
                    operational: true,
                }),
            }
        }
    }
}

impl Entry {
    /// The distinguished name as the file writes it.
    pub fn dn(&self) -> &str {
        &self.dn
    }

    /// The name in the form in which names are compared.
    pub fn normalised_dn(&self) -> &str {
        &self.normalised_dn
    }

    /// The attributes in the order of the file, then the computed ones. Never `userPassword` nor
    /// `sambaNTPassword`.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The attribute `name`, in any case.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name.eq_ignore_ascii_case(name))
    }

    /// The values of the attribute `name`, in any case; none when it is absent.
    pub fn values(&self, name: &str) -> &[Vec<u8>] {
        self.attribute(name).map_or(&[], |attribute| &attribute.values)
    }

    /// The values of `name` that are text.
    pub fn texts<'e>(&'e self, name: &str) -> impl Iterator<Item = &'e str> {
        self.values(name)
            .iter()
            .filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// Whether the entry is of the object class `name`, in any case.
    pub fn has_object_class(&self, name: &str) -> bool {
        self.texts("objectClass").any(|class| class.eq_ignore_ascii_case(name))
    }
}

/// What stands behind the first comma that is not escaped.
fn parent_dn(normalised_dn: &str) -> Option<&str> {
    let mut escaped = false;
    let comma = normalised_dn.bytes().position(|octet| {
        let cut = octet == b',' && !escaped;
        escaped = octet == b'\\' && !escaped;
        cut
    })?;
    normalised_dn.get(comma + 1..)
}

/// A UUID made of the name (version 8 of RFC 9562: the rest is SHA-256), so that an entry keeps its
/// records when the file is written anew.
fn name_uuid(normalised_dn: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, normalised_dn.as_bytes());
    let mut octets = [0u8; 16];
    octets
        .iter_mut()
        .zip(digest.as_ref())
        .for_each(|(to, from)| *to = *from);
    octets[6] = (octets[6] & 0x0f) | 0x80;
    octets[8] = (octets[8] & 0x3f) | 0x80;
    crate::directory::person::format_uuid(octets)
}

fn is_operational(name: &str) -> bool {
    [
        ENTRY_UUID,
        MEMBER_OF,
        "createTimestamp",
        "modifyTimestamp",
        "creatorsName",
        "modifiersName",
        "structuralObjectClass",
        "entryCSN",
        "entryDN",
        "subschemaSubentry",
        "hasSubordinates",
    ]
    .iter()
    .any(|known| known.eq_ignore_ascii_case(name))
}

const USER_PASSWORD: &str = "userPassword";
const NT_PASSWORD: &str = "sambaNTPassword";
const ENTRY_UUID: &str = "entryUUID";
const MEMBER_OF: &str = "memberOf";

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "\
dn: dc=x
objectClass: domain
dc: x

dn: ou=people,dc=x
objectClass: organizationalUnit
ou: people

dn: uid=ana,ou=people,dc=x
objectClass: inetOrgPerson
uid: ana
userPassword: {SSHA}yAwYFrxj1vEq0zs2SUnoTHuaCRFeLQaOYWJjZA==
memberOf: cn=elsewhere,dc=y

dn: cn=staff,dc=x
objectClass: groupOfNames
cn: staff
member: UID=ana, ou=people, dc=x
member: uid=gone,ou=people,dc=x

dn: cn=unique,dc=x
objectClass: groupOfUniqueNames
cn: unique
uniqueMember: uid=ana,ou=people,dc=x
";

    fn tree(text: &str) -> Result<Tree, String> {
        Tree::parse(Path::new("t.ldif"), text.as_bytes()).map_err(|faults| faults.to_string())
    }

    #[test]
    fn names_form_a_tree() {
        let tree = tree(SITE).unwrap();
        let root = tree.get("DC=X").unwrap();
        let below: Vec<&str> = tree.children(root).map(Entry::dn).collect();
        assert_eq!(below, ["ou=people,dc=x", "cn=staff,dc=x", "cn=unique,dc=x"]);
        assert_eq!(tree.roots().map(Entry::dn).collect::<Vec<_>>(), ["dc=x"]);
        let all: Vec<&str> = tree.subtree(root).map(Entry::dn).collect();
        assert_eq!(all[..3], ["dc=x", "ou=people,dc=x", "uid=ana,ou=people,dc=x"]);
        assert_eq!(all.len(), tree.entries().len());
        let ana = tree.get("uid=Ana , ou=People,dc=x").unwrap();
        assert_eq!(tree.parent(ana).unwrap().dn(), "ou=people,dc=x");
    }

    #[test]
    fn computed_attributes() {
        let tree = tree(SITE).unwrap();
        let ana = tree.get("uid=ana,ou=people,dc=x").unwrap();
        let groups: Vec<&str> = ana.texts("MEMBEROF").collect();
        assert_eq!(groups, ["cn=elsewhere,dc=y", "cn=staff,dc=x", "cn=unique,dc=x"]);
        let uuid = ana.texts("entryUUID").next().unwrap();
        assert_eq!(
            uuid,
            tree.get("UID=ANA,ou=people,dc=x")
                .unwrap()
                .texts("entryuuid")
                .next()
                .unwrap()
        );
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'8');
        assert_ne!(uuid, tree.get("dc=x").unwrap().texts("entryUUID").next().unwrap());
    }

    #[test]
    fn stored_passwords_are_no_attributes() {
        let tree = tree(SITE).unwrap();
        assert_eq!(tree.people().count(), 1);
        assert_eq!(tree.people().next().unwrap().0.dn(), "uid=ana,ou=people,dc=x");
        for entry in tree.entries() {
            assert!(entry.attribute("userPassword").is_none());
        }
        assert!(!format!("{tree:?}").contains("yAwYFrxj"), "the hash is printed");
    }

    #[test]
    fn nt_hashes_are_no_attributes_either() {
        let text = "dn: uid=b,dc=x\nobjectClass: person\nuid: b\n\
                    sambantpassword: 44EBBA8D5312B8D611474411F56989AE\n";
        let alone = tree(text).unwrap();
        let (entry, _, beside) = alone.people().next().unwrap();
        assert!(beside.is_none(), "it is the password");
        assert!(entry.attribute("sambaNTPassword").is_none());
        let both = tree(&format!("{text}userPassword: {{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")).unwrap();
        assert!(both.people().next().unwrap().2.is_some());
        assert!(!format!("{both:?}").contains("44EBBA"));
    }

    #[test]
    fn faults_of_content_have_lines() {
        let orphan = tree(&format!(
            "{SITE}\ndn: uid=b,ou=peeple,dc=x\nobjectClass: person\nuid: b\n"
        ))
        .unwrap_err();
        assert_eq!(
            orphan,
            "t.ldif:26:1: dn: there is no entry `ou=peeple,dc=x` above it; add that entry, or correct the name"
        );
        let clear = tree("dn: uid=b,dc=x\nobjectClass: person\nuid: b\nuserPassword: hunter2\n").unwrap_err();
        assert!(clear.starts_with("t.ldif:4:1: userPassword: "), "{clear}");
        assert!(
            clear.contains("portcullis password-hash") && !clear.contains("hunter2"),
            "{clear}"
        );
        let option = tree("dn: uid=b,dc=x\nobjectClass: person\nuid: b\nuserPassword;x-a: hunter2\n").unwrap_err();
        assert!(option.starts_with("t.ldif:4:1: userPassword: "), "{option}");
        let nt = tree("dn: uid=b,dc=x\nobjectClass: person\nuid: b\nsambaNTPassword: hunter2\n").unwrap_err();
        assert_eq!(nt, "t.ldif:4:1: sambaNTPassword: an NT hash has 32 hexadecimal digits");
        let two = "dn: uid=b,dc=x\nobjectClass: person\nuid: b\nuserPassword: {SHA}x\nuserPassword: {SHA}y\n";
        assert!(tree(two).unwrap_err().contains("more than one value"));
    }
}
