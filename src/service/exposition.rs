//! Prometheus' text format (version 0.0.4), written piece by piece.

use std::fmt::{self, Display, Write};

/// What the numbers of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up, until the process starts anew.
    Counter,
}

/// A text that grows, family by family.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family: all its samples follow before the next one begins.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One number.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.line(format_args!("{name}"));
        for (n, (label, text)) in labels.iter().enumerate() {
            let before = if n == 0 { '{' } else { ',' };
            self.line(format_args!("{before}{label}=\""));
            self.escaped(text);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.line(format_args!(" {value}\n"));
    }

    /// What was written since it was last taken.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// How much waits to be taken, in bytes.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.text.write_fmt(text);
    }

    fn escaped(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                c if c.is_control() => self.text.push('\u{fffd}'),
                c => self.text.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i2_labels_are_escaped_and_families_are_whole() {
        let mut out = Exposition::default();
        out.family("up", Kind::Gauge, "Whether it is.");
        out.sample("up", &[], 1);
        out.sample("up", &[("a", "x\"y\\z\n\u{1b}[31m"), ("b", "é")], 0.5);
        assert_eq!(
            out.take(),
            "# HELP up Whether it is.\n# TYPE up gauge\nup 1\n\
             up{a=\"x\\\"y\\\\z\\n\u{fffd}[31m\",b=\"é\"} 0.5\n"
        );
        assert_eq!(out.len(), 0);
    }
}
