//! Codes as somebody else computes them: by oathtool.

use std::process::Command;

use portcullis::clock;

use super::process::{run, text};

/// The code of a base32 seed, `steps` time steps of 30 seconds from now.
///
/// A code for now, then one for the step after it, are both within a window of one step each way,
/// whatever happens between computing and using them.
pub(crate) fn code(seed: &str, steps: i64) -> String {
    code_at(
        seed,
        i64::try_from(clock::now().secs()).expect("the time fits") + 30 * steps,
    )
}

/// The code for now and the one for the step after it, of one and the same moment.
pub(crate) fn consecutive(seed: &str) -> (String, String) {
    let now = i64::try_from(clock::now().secs()).expect("the time fits");
    (code_at(seed, now), code_at(seed, now + 30))
}

fn code_at(seed: &str, moment: i64) -> String {
    let mut command = Command::new("oathtool");
    command.args(["--totp", "--base32", "--now", &format!("@{moment}"), seed]);
    let output = run(&mut command, "");
    assert!(output.status.success(), "oathtool: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A code that is not right for the seed now, a minute around.
pub(crate) fn wrong_code(seed: &str) -> String {
    let right: Vec<String> = (-4..=4).map(|steps| code(seed, steps)).collect();
    (0..)
        .map(|number: u32| format!("{number:06}"))
        .find(|candidate| !right.contains(candidate))
        .expect("most codes are wrong")
}

/// The code of a base32 seed at a counter.
pub(crate) fn counted(seed: &str, counter: u64) -> String {
    let mut command = Command::new("oathtool");
    command.args(["--hotp", "--base32", &format!("--counter={counter}"), seed]);
    let output = run(&mut command, "");
    assert!(output.status.success(), "oathtool: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
