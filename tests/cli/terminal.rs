//! What is asked, and what is not shown, where a person sits at a terminal.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use secrecy::ExposeSecret;

use crate::harness::Bench;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The binary on a terminal of its own, which is its standard input, output and error.
struct Terminal {
    /// The end that a person sits at.
    person: File,
    child: Child,
    printed: Receiver<Vec<u8>>,
    /// All that was on the screen so far.
    screen: String,
}

impl Terminal {
    fn new(bench: &Bench, line: &[&str]) -> Self {
        Self::of_width(bench, line, 0)
    }

    /// With so many columns; 0: it does not tell.
    fn of_width(bench: &Bench, line: &[&str], columns: u16) -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&person, size).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let program = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(name.to_str().unwrap())
            .unwrap();
        let end = || Stdio::from(program.try_clone().unwrap());
        // It makes the terminal the controlling one, as a login does.
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(env!("CARGO_BIN_EXE_keywheel"))
            .args(line)
            .current_dir(bench.folder.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm")
            .env("KEYWHEEL_CONFIG", bench.path("keywheel.toml"))
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let person = File::from(person);
        Self {
            printed: read_on(person.try_clone().unwrap()),
            person,
            child,
            screen: String::new(),
        }
    }

    /// Waits until this is on the screen.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        while !self.screen.contains(text) {
            match self.printed.recv_timeout(PATIENCE) {
                Ok(bytes) => self.screen += &String::from_utf8_lossy(&bytes),
                Err(error) => panic!("{error}, but not \"{text}\": {}", self.screen),
            }
        }
    }

    /// Waits until what is typed is not echoed any more.
    fn hides(&mut self) {
        for _ in 0..2_000 {
            if !self.echoes() {
                return;
            }
            if let Ok(bytes) = self.printed.recv_timeout(Duration::from_millis(10)) {
                self.screen += &String::from_utf8_lossy(&bytes);
            }
        }
        panic!("everything that is typed is shown: {}", self.screen);
    }

    fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.person).unwrap().local_modes;
        modes.contains(LocalModes::ECHO)
    }

    fn types(&mut self, text: &str) {
        self.person.write_all(text.as_bytes()).unwrap();
        self.person.write_all(b"\r").unwrap();
    }

    /// The exit code, and all that was on the screen.
    fn ends(mut self) -> (i32, String) {
        loop {
            match self.printed.recv_timeout(PATIENCE) {
                Ok(bytes) => self.screen += &String::from_utf8_lossy(&bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it waits: {}", self.screen),
            }
        }
        (
            self.child.wait().unwrap().code().unwrap(),
            std::mem::take(&mut self.screen),
        )
    }
}

/// Ends a program that a failed test has left waiting.
impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is printed, until nobody has the other end open any more.
fn read_on(mut terminal: File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = terminal.read(&mut bytes) {
            if sender.send(bytes[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

#[test]
fn p6_a_secret_that_is_typed_is_not_shown() {
    let bench = Bench::new();
    let application = bench.application("app");
    let value = application.keys[0].value.expose_secret();
    let ids = bench.ids(&application);
    let mut line = vec!["connection", "add", "app", "--pull"];
    line.extend(ids.iter().map(String::as_str));
    let mut terminal = Terminal::new(&bench, &line);
    terminal.shows("Secret of app (not shown): ");
    terminal.hides();
    terminal.types(value);
    terminal.shows("adopted app");
    let (code, screen) = terminal.ends();
    assert_eq!(code, 0, "{screen}");
    assert!(!screen.contains(value), "{screen}");
    assert!(!screen.contains(&value[4..]), "{screen}");
    assert_eq!(bench.run(["secret", "app"]).exits(0).stdout.trim(), value);
}

#[test]
fn what_is_typed_and_no_secret_is_refused() {
    let bench = Bench::new();
    let application = bench.application("app");
    let key_id = application.keys[0].key_id.to_string();
    let ids = bench.ids(&application);
    let mut line = vec!["connection", "add", "app", "--pull"];
    line.extend(ids.iter().map(String::as_str));
    for (typed, said) in [("", "the secret is empty"), (key_id.as_str(), "Key ID")] {
        let before = bench.files();
        let mut terminal = Terminal::new(&bench, &line);
        terminal.shows("Secret of app");
        terminal.hides();
        terminal.types(typed);
        terminal.shows(said);
        let (code, screen) = terminal.ends();
        assert_eq!(code, 2, "{screen}");
        assert!(bench.files() == before, "{screen}");
    }
}

#[test]
fn only_yes_removes_a_connection() {
    let bench = Bench::new();
    bench.adopted("app");
    let before = bench.files();
    let line = ["connection", "remove", "app"];
    for no in ["n", "", "no", "yess", "app"] {
        let mut terminal = Terminal::new(&bench, &line);
        terminal.shows("Remove connection app?");
        terminal.shows("[y/N]");
        terminal.types(no);
        terminal.shows("nothing was changed");
        let (code, screen) = terminal.ends();
        assert_eq!(code, 1, "{screen}");
        assert!(bench.files() == before, "{no}: {screen}");
    }
    let mut terminal = Terminal::new(&bench, &line);
    terminal.shows("[y/N]");
    terminal.types("y");
    terminal.shows("removed app");
    let (code, screen) = terminal.ends();
    assert_eq!(code, 0, "{screen}");
    bench.run(["connection", "show", "app"]).exits(2);
    assert!(bench.mutations().is_empty());
}

#[test]
fn p6_a_terminal_sees_a_secret_only_when_it_is_told_to() {
    let bench = Bench::new();
    let application = bench.adopted("app");
    let value = application.keys[0].value.expose_secret();
    let before = bench.files();
    for form in [&["secret", "app"][..], &["secret", "app", "-o", "json"]] {
        let mut terminal = Terminal::new(&bench, form);
        terminal.shows("--reveal");
        let (code, screen) = terminal.ends();
        assert_eq!(code, 2, "{screen}");
        assert!(!screen.contains(value), "{screen}");
        assert!(bench.files() == before, "{screen}");
    }
    let mut terminal = Terminal::new(&bench, &["secret", "app", "--reveal"]);
    terminal.shows(value);
    assert_eq!(terminal.ends().0, 0);
}

#[test]
fn whoever_gives_up_at_the_prompt_finds_the_terminal_as_it_was() {
    let bench = Bench::new();
    let application = bench.application("app");
    let ids = bench.ids(&application);
    let mut line = vec!["connection", "add", "app", "--pull"];
    line.extend(ids.iter().map(String::as_str));
    let before = bench.files();
    for (key, code) in [("\u{3}", None), ("\u{4}", Some(2))] {
        let mut terminal = Terminal::new(&bench, &line);
        terminal.shows("Secret of app");
        terminal.hides();
        terminal.person.write_all(b"abc").unwrap();
        terminal.person.write_all(b"\x15").unwrap();
        terminal.person.write_all(key.as_bytes()).unwrap();
        let status = terminal.child.wait().unwrap();
        assert_eq!(status.code(), code, "{key:?}");
        assert!(terminal.echoes(), "{key:?}");
        assert!(bench.files() == before);
    }
}

/// Every Key ID that the store has of a connection.
fn key_ids(bench: &Bench, name: &str) -> Vec<String> {
    let journal = bench.journal(name);
    let ids = journal.secrets.iter().map(|secret| secret.key_id);
    ids.map(|id| id.to_string()).collect()
}

#[test]
fn no_table_breaks_a_key_id_a_time_or_a_word() {
    let (bench, _) = Bench::with_app();
    let json = bench.line("rotate app -o json").exits(0).json();
    let revoke_at = json[0]["revoke_at"].as_str().unwrap();
    let status = bench.line("status app -o json").exits(0).json();
    let expires_at = status[0]["current"]["expires_at"].as_str().unwrap();
    let keys = key_ids(&bench, "app");
    assert_eq!(keys.len(), 2);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let revoke = [revoke_at];
    let expires_at = [expires_at];
    for (line, whole) in [
        ("history", &keys[..]),
        ("history app", &keys),
        ("status", &revoke),
        ("status app", &keys),
        ("verify app", &keys),
        ("connection list", &expires_at),
        ("connection show app", &keys),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let piped = bench.line(line).exits(0);
        let piped = piped.stdout + &piped.stderr;
        for columns in [40, 60, 80, 120] {
            let (code, screen) = Terminal::of_width(&bench, &words, columns).ends();
            assert_eq!(code, 0, "{screen}");
            for text in whole {
                assert!(screen.contains(text), "{text} at {columns}\n{screen}");
            }
            for word in screen.split_whitespace() {
                let word = plain(word).trim_end_matches(':').to_lowercase();
                let known = piped.to_lowercase();
                assert!(known.contains(&word), "{word} at {columns}\n{screen}");
            }
            for row in screen
                .lines()
                .filter(|_| columns >= 80 && line != "connection show app")
            {
                let row = plain(row.trim_end());
                let is_prose = row.starts_with("  ");
                assert!(
                    is_prose || row.len() <= usize::from(columns),
                    "{columns}: {row}"
                );
            }
        }
    }
}

/// Without colour.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| {
        all + part.split_once('m').map_or("", |(_, rest)| rest)
    })
}

#[test]
fn what_rotate_prints_can_be_copied_from_a_narrow_terminal() {
    for columns in [80, 120] {
        let (bench, _) = Bench::with_app();
        let (code, screen) = Terminal::of_width(&bench, &["rotate", "app"], columns).ends();
        assert_eq!(code, 0, "{screen}");
        for key_id in key_ids(&bench, "app") {
            assert!(screen.contains(&key_id), "{key_id} at {columns}\n{screen}");
        }
    }
}
