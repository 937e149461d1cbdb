//! A prompt on a terminal that does not show what is typed.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};

use rpassword::{ConfigBuilder, read_password_with_config};
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use rustix::termios::{tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// What Ctrl-C is while the terminal hands it over as any other key.
const CTRL_C: u8 = 3;

/// Ctrl-C as an error. `Interrupted` itself would be tried again.
const GIVEN_UP: ErrorKind = ErrorKind::ConnectionAborted;

/// Asks for a line on the terminal, whatever standard input is. Ctrl-D gives an empty one; Ctrl-C
/// ends the process, and leaves the terminal as it was.
pub(super) fn hidden_line(question: &str) -> io::Result<Zeroizing<String>> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    // Before the question: who answers quickly must not be shown either.
    let hidden = Hidden::new(terminal.try_clone()?)?;
    terminal.write_all(question.as_bytes())?;
    let config = ConfigBuilder::new()
        .input_reader(Keys(terminal.try_clone()?))
        .output_discard()
        .build();
    let typed = read_password_with_config(config).map(Zeroizing::new);
    drop(hidden);
    terminal.write_all(b"\n")?;
    match typed {
        Err(error) if error.kind() == GIVEN_UP => {
            kill_process(getpid(), Signal::INT)?;
            Err(error)
        }
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Zeroizing::default()),
        typed => typed,
    }
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn new(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Now, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that has gone away needs nothing any more.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// What is typed, up to Ctrl-C: the signal may only come when the terminal is as it was.
struct Keys(File);

impl Read for Keys {
    fn read(&mut self, keys: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(keys)?;
        if keys[..read].contains(&CTRL_C) {
            return Err(GIVEN_UP.into());
        }
        Ok(read)
    }
}
