//! Imports run one way, as `docs/architecture.md` draws them. Reads the sources, so it cannot be fooled
//! by what happens to compile.
//!
//! Test modules (`mod tests { … }` at the end of a file, `tests.rs`) may import what they like.
#![allow(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected should end there"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What the files under a path may import. The longest matching path counts. An entry `a` covers `a`
/// and everything in it, `a::b` only that.
const RULES: &[(&str, &[&str])] = &[
    // The ground: no room of the house, only each other.
    ("accept", &[]),
    ("causes", &[]),
    ("proxy_protocol", &[]),
    ("quiet", &[]),
    ("secret", &[]),
    ("clock", &[]),
    ("ber", &[]),
    ("schema", &[]),
    ("dn", &["ber", "schema"]),
    ("metrics", &[]),
    ("document", &[]),
    ("dictionary", &["document"]),
    ("keyring", &["clock", "secret"]),
    ("tls", &["ber", "clock"]),
    // Of the engine the configuration sees only what a table of it says as well.
    ("config", &["dn", "document", "engine", "schema", "secret"]),
    // Decides, and does no I/O.
    ("engine", &["clock", "dictionary", "document", "keyring", "secret"]),
    // Computes what the engine wants hashed.
    ("hashing", &["clock", "engine"]),
    // Behind the engine.
    ("store", BEHIND),
    ("directory", BEHIND),
    // The client's side of RADIUS, put behind the engine.
    (
        "upstream",
        &[
            "clock",
            "config",
            "dictionary",
            "engine",
            "radius::attribute",
            "radius::crypto",
            "radius::exchange",
            "radius::packet",
            "radius::pairs",
            "tls",
        ],
    ),
    // Puts the engine's codes on their way.
    ("delivery", &["causes", "clock", "config", "engine", "secret", "tls"]),
    // What the verifier keeps in memory.
    ("reuse", &["clock", "engine"]),
    // Joins engine, store and directory for a login.
    (
        "verifier",
        &[
            "clock",
            "config",
            "delivery",
            "directory",
            "engine",
            "hashing",
            "keyring",
            "metrics",
            "reuse",
            "secret",
            "store",
            "upstream",
        ],
    ),
    // Sets of policy files, kept in the store.
    (
        "policies",
        &["accounts::view", "clock", "document", "engine", "keyring", "store"],
    ),
    // Joins them for accounting.
    (
        "sessions",
        &["clock", "directory", "engine", "metrics", "quiet", "store"],
    ),
    // Joins them for an operator.
    (
        "accounts",
        &["clock", "directory", "engine", "hashing", "keyring", "secret", "store"],
    ),
    ("audit", &["accounts::view", "clock", "engine", "keyring", "store"]),
    // Carries the audit to collectors.
    (
        "stream",
        &[
            "accounts::view",
            "audit",
            "causes",
            "clock",
            "config",
            "engine",
            "store",
            "tls",
        ],
    ),
    // Counts what the audit and people's records say.
    ("reports", &["accounts", "audit", "clock", "engine"]),
    // Front ends: never each other, never what is behind the engine.
    (
        "radius",
        &[
            "accept",
            "clock",
            "config",
            "dictionary",
            "engine",
            "keyring",
            "metrics",
            "quiet",
            "secret",
            "tls",
        ],
    ),
    (
        "ldap",
        &[
            "accept",
            "ber",
            "clock",
            "config",
            "dn",
            "engine",
            "metrics",
            "proxy_protocol",
            "quiet",
            "schema",
            "secret",
            "tls",
        ],
    ),
    // These three relay to a directory, and so see it.
    ("ldap::relay", RELAY),
    ("ldap::embedded", RELAY),
    ("ldap::listener", RELAY),
    (
        "admin",
        &[
            "accept", "accounts", "audit", "causes", "clock", "config", "document", "engine", "metrics", "policies",
            "reports", "secret", "stream", "tls",
        ],
    ),
    // Speaks to the admin socket; the walls of the house are none of its business.
    (
        "cli",
        &["admin::api", "admin::client", "causes", "clock", "document", "secret"],
    ),
    // Reads folders of policies, to send them.
    (
        "cli::policy",
        &[
            "admin::api",
            "admin::client",
            "clock",
            "document",
            "policies::files",
            "policies::diff",
        ],
    ),
    // What is done where no server runs: each its one thing.
    ("cli::key", &["keyring"]),
    (
        "cli::offline",
        &[
            "admin::api",
            "admin::client",
            "clock",
            "document",
            "engine::ocra",
            "engine::offline",
            "secret",
        ],
    ),
    ("cli::password_hash", &["directory::local::hash_password"]),
    ("cli::radius", &["dictionary", "document", "radius", "secret"]),
    ("cli::store", &["config", "keyring", "store"]),
    ("cli::backup", &["admin::api", "admin::client", "config", "store"]),
    ("cli::restore", &["clock", "engine::event", "store"]),
    ("cli::rekey", &["clock", "store"]),
    // The test clients speak the protocols.
    (
        "cli::login",
        &["ber", "clock", "dictionary", "ldap", "radius", "secret", "tls"],
    ),
];

const BEHIND: &[&str] = &[
    "ber", "causes", "clock", "config", "document", "engine", "hashing", "keyring", "quiet", "secret", "tls",
];
const RELAY: &[&str] = &[
    "accept",
    "ber",
    "causes",
    "clock",
    "config",
    "directory",
    "dn",
    "engine",
    "metrics",
    "quiet",
    "schema",
    "secret",
    "tls",
];

/// Rooms that wire everything, and so may import everything.
const FREE: &[&str] = &["", "demo", "lib", "main", "server"];

#[test]
fn imports_run_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut faults = Vec::new();
    let mut files = 0;
    for file in sources(&root).iter().filter(|file| !is_test(file)) {
        let module = module_of(file.strip_prefix(&root).unwrap());
        faults.extend(violations(&module, &fs::read_to_string(file).unwrap()));
        files += 1;
    }
    assert!(files > 10, "found the sources");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn violations_are_found() {
    let found = |module: &str, text: &str| violations(module, text);
    assert_eq!(
        found("radius::udp", "use crate::engine::Verify;\nuse crate::store::Store;\n"),
        ["src/radius/udp: imports store::Store"]
    );
    assert_eq!(
        found(
            "ldap::session",
            "use crate::{ber, engine::{Verdict, facts}, radius::packet::{self, Packet}};"
        ),
        [
            "src/ldap/session: imports radius::packet",
            "src/ldap/session: imports radius::packet::Packet"
        ]
    );
    assert_eq!(
        found("engine::login", "fn f() { let now = crate::directory::now(); }"),
        ["src/engine/login: imports directory::now"]
    );
    assert_eq!(
        found("admin::router", "use super::super::store::Store;"),
        ["src/admin/router: imports store::Store"]
    );
    assert_eq!(
        found("cli::user", "use portcullis::admin::router::Router;"),
        ["src/cli/user: imports admin::router::Router"]
    );
    assert_eq!(
        found("basement", ""),
        ["src/basement: is a new room: give it a line in tests/layering.rs"]
    );

    let allowed = [
        ("ldap::relay", "use crate::directory::Link;"),
        ("cli::user", "use crate::admin::client::Client;\nuse super::table;"),
        (
            "engine::login",
            "use super::facts::Facts; // not crate::store::Store\n/* crate::store */",
        ),
        ("engine::login", "pub(crate) fn f() {}\npub(in crate::engine) fn g() {}"),
        (
            "radius::udp",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::store::memory::Memory;\n}\n",
        ),
        (
            "radius::udp",
            "mod default {\n    use super::Profile;\n    use super::super::packet;\n}\n",
        ),
        ("server", "use crate::{store, directory, radius, ldap, admin};"),
    ];
    for (module, text) in allowed {
        assert_eq!(violations(module, text), Vec::<String>::new(), "{module}: {text}");
    }
}

/// Every `.rs` file below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// `radius/tests.rs`, or something below `radius/tests/`.
fn is_test(file: &Path) -> bool {
    file.with_extension("").iter().any(|step| step == "tests")
}

/// `radius/udp.rs` is `radius::udp`, `radius/mod.rs` is `radius`.
fn module_of(file: &Path) -> String {
    let name = file.with_extension("");
    let mut steps: Vec<&str> = name.iter().map(|step| step.to_str().unwrap()).collect();
    if steps.last() == Some(&"mod") {
        steps.pop();
    }
    steps.join("::")
}

/// What is wrong with a module's imports.
fn violations(module: &str, text: &str) -> Vec<String> {
    let place = format!("src/{}", module.replace("::", "/"));
    let room = module.split("::").next().unwrap_or_default();
    if FREE.contains(&room) {
        return Vec::new();
    }
    let covers =
        |wall: &str, path: &str| path == wall || path.strip_prefix(wall).is_some_and(|rest| rest.starts_with("::"));
    let rule = RULES
        .iter()
        .filter(|(path, _)| covers(path, module))
        .max_by_key(|(path, _)| path.len());
    let Some((_, allowed)) = rule else {
        return vec![format!("{place}: is a new room: give it a line in tests/layering.rs")];
    };
    imports(module, text)
        .into_iter()
        .filter(|path| !covers(room, path) && !allowed.iter().any(|wall| covers(wall, path)))
        .map(|path| format!("{place}: imports {path}"))
        .collect()
}

/// Every path into the crate that a module's text names, from the crate's root.
fn imports(module: &str, text: &str) -> BTreeSet<String> {
    let text = without_tests(&without_comments(text));
    let mut found = BTreeSet::new();
    for (root, depth) in [("crate::", None), ("portcullis::", None), ("super::", Some(()))] {
        for (at, _) in text.match_indices(root) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':') {
                continue;
            }
            // `pub(in crate::engine)` gives something away, and takes nothing.
            if text[..at].trim_end().ends_with("(in") {
                continue;
            }
            let mut rest = &text[at + root.len()..];
            let mut base: Vec<&str> = Vec::new();
            if depth.is_some() {
                base = module.split("::").collect();
                base.extend(vec!["inline"; inline_depth(&text[..at])]);
                base.pop();
                while let Some(further) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = further;
                }
            }
            let prefix: String = base.iter().map(|step| format!("{step}::")).collect();
            let mut paths = Vec::new();
            expand(&prefix, rest, &mut paths);
            found.extend(paths);
        }
    }
    found
}

/// Expands `a::{b, c::d} …` at the start of `text`; returns how many octets belonged to it.
fn expand(prefix: &str, text: &str, found: &mut Vec<String>) -> usize {
    let name = text
        .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .unwrap_or(text.len());
    let mut used = name;
    let rest = &text[name..];
    if name > 0 {
        if text[..name] == *"self" {
            found.push(prefix.trim_end_matches("::").to_owned());
        } else if let Some(further) = rest.strip_prefix("::") {
            used += 2 + expand(&format!("{prefix}{}::", &text[..name]), further, found);
        } else {
            found.push(format!("{prefix}{}", &text[..name]));
        }
        return used;
    }
    if !rest.starts_with('{') {
        found.push(prefix.trim_end_matches("::").to_owned());
        return used;
    }
    used += 1;
    loop {
        let rest = &text[used..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\n', '\t', ',']).len();
        used += blank;
        let rest = &text[used..];
        if rest.is_empty() {
            return used;
        }
        if rest.starts_with('}') {
            return used + 1;
        }
        used += expand(prefix, rest, found).max(1);
        // `as name` and `*` belong to the item.
        let rest = &text[used..];
        used += rest.find([',', '}']).unwrap_or(rest.len());
    }
}

/// How many inline modules are open at the end of `text`, going by rustfmt's indentation.
fn inline_depth(text: &str) -> usize {
    let mut open: Vec<usize> = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let words = line.trim_end().strip_suffix('{').map(str::split_whitespace);
        if words.is_some_and(|mut words| words.nth_back(1) == Some("mod")) {
            open.push(indent);
        } else if line.trim() == "}" {
            open.retain(|&outer| outer < indent);
        }
    }
    open.len()
}

fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("//").into_iter().chain(rest.find("/*")).min() {
        kept.push_str(&rest[..at]);
        let end = if rest[at..].starts_with("//") { "\n" } else { "*/" };
        rest = rest[at..]
            .find(end)
            .map_or("", |length| &rest[at + length + usize::from(end == "*/") * 2..]);
    }
    kept + rest
}

/// Cuts off the inline test module, which by the style of the house stands last.
fn without_tests(text: &str) -> String {
    let start = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..start].to_owned()
}
