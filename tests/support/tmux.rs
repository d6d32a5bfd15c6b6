//! A real terminal: tmux with a server of its own.

use std::process::Command;

use tempfile::TempDir;

use super::process::{run, text, until};

pub(crate) struct Tmux {
    folder: TempDir,
}

impl Tmux {
    /// A terminal of so many columns and lines that runs `command` (for the shell) in a locale of UTF-8.
    pub(crate) fn start(columns: u16, lines: u16, command: &str) -> Self {
        let tmux = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        tmux.tell(&["new-session", "-d", "-x", &columns, "-y", &lines, command]);
        tmux
    }

    /// What is on the screen, without blanks at the ends.
    pub(crate) fn screen(&self) -> String {
        let output = self.tell(&["capture-pane", "-p"]);
        let lines: Vec<&str> = output.lines().map(str::trim_end).collect();
        lines.join("\n").trim_end().to_owned()
    }

    /// Types text, or presses keys by their names.
    pub(crate) fn press(&self, keys: &[&str]) {
        self.tell(&[&["send-keys"], keys].concat());
    }

    pub(crate) fn resize(&self, columns: u16, lines: u16) {
        self.tell(&["resize-window", "-x", &columns.to_string(), "-y", &lines.to_string()]);
    }

    /// Waits until the screen is as it should be.
    pub(crate) fn wait(&self, what: &str, mut wanted: impl FnMut(&str) -> bool) {
        let mut seen = String::new();
        until(&format!("{what} on the screen"), || {
            let screen = self.screen();
            if screen != seen {
                eprintln!("-- the screen:\n{screen}");
                seen.clone_from(&screen);
            }
            wanted(&screen)
        });
    }

    /// Whether the terminal shows what was there before a program took the whole screen, and takes typing as lines.
    pub(crate) fn is_given_back(&self) -> bool {
        self.tell(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"])
            .trim()
            == "0 1"
    }

    fn tell(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command
            .arg("-S")
            .arg(self.folder.path().join("tmux"))
            .args(["-f", "/dev/null", "-u"]);
        command
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8")
            .env("SHELL", "/bin/sh")
            .args(arguments);
        let output = run(&mut command, "");
        assert!(output.status.success(), "tmux {arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        command
            .arg("-S")
            .arg(self.folder.path().join("tmux"))
            .arg("kill-server");
        // It may be gone with the last program in it.
        let _ = run(&mut command, "");
    }
}
