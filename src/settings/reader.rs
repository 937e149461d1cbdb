//! Reads a TOML document key by key and gathers every fault on the way, where serde would stop at
//! the first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{SettingsFaults, Written};
use crate::text::harmless_chars;
use crate::wording::{hint, quoted};

/// Reads `text` with `read`, which returns `None` only where it has reported a fault.
///
/// Where the text is no TOML, the first fault of that kind alone is returned: what else is wrong
/// can't be told apart from it.
pub(super) fn document<T>(
    file: &Path,
    text: &str,
    read: impl FnOnce(Table<'_>) -> Option<T>,
) -> Result<T, SettingsFaults> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let faults = RefCell::new(Vec::new());
    // What follows a mistake in the syntax is mostly its echo.
    for error in errors.iter().take(1) {
        let place = error.span().unwrap_or(0..0);
        let message = harmless_chars(error.message()).map(|(_, c)| c).collect();
        faults.borrow_mut().push((place, message));
    }
    let value = errors.is_empty().then(|| {
        read(Table {
            span: 0..0,
            entries: Some(root.get_ref()),
            known: Vec::new(),
            faults: &faults,
        })
    });
    let faults = faults.into_inner();
    match value.flatten() {
        Some(value) if faults.is_empty() => Ok(value),
        _ if faults.is_empty() => Err(SettingsFaults::whole(file, "it can't be read".into())),
        _ => Err(SettingsFaults::at(file, text, faults)),
    }
}

/// One table of the document; one that is not there is empty.
pub(super) struct Table<'d> {
    span: Range<usize>,
    entries: Option<&'d DeTable<'d>>,
    known: Vec<&'static str>,
    faults: &'d RefCell<Vec<(Range<usize>, String)>>,
}

impl<'d> Table<'d> {
    /// The value of `key`, where it is there and `read` takes it.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.entry(key)?;
        read(value.get_ref())
            .map_err(|message| self.report(value.span(), message))
            .ok()
    }

    /// As [`Table::value`]; one that is not there is a fault.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.known.push(key);
            self.report(self.span.clone(), format!("`{key}` is missing here"));
            return None;
        }
        self.value(key, read)
    }

    /// The table `key`.
    pub(super) fn table(&mut self, key: &'static str) -> Table<'d> {
        let value = self.entry(key);
        let entries = value.and_then(|value| match value.get_ref() {
            DeValue::Table(entries) => Some(entries),
            other => {
                let message = format!("a table is expected here, not {}", a(other));
                self.report(value.span(), message);
                None
            }
        });
        self.inner(value.map_or(0..0, Spanned::span), entries)
    }

    /// The tables `[[key]]`.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Table<'d>> {
        let Some(value) = self.entry(key) else {
            return Vec::new();
        };
        let items = value.get_ref().as_array().map_or(&[][..], |items| items);
        let tables = items.iter().filter_map(|item| {
            let entries = item.get_ref().as_table()?;
            Some(self.inner(item.span(), Some(entries)))
        });
        let tables: Vec<_> = tables.collect();
        if tables.len() < items.len() || !value.get_ref().is_array() {
            let message = format!("tables are expected here: write [[{key}]]");
            self.report(value.span(), message);
        }
        tables
    }

    /// The table `key` whose keys the user chooses.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        read_key: fn(&str) -> Result<String, String>,
        read_value: fn(&str) -> Result<String, String>,
    ) -> BTreeMap<String, String> {
        let entries = self.table(key).entries.into_iter().flatten();
        let pairs = entries.filter_map(|(key, value)| {
            let name = read_key(key.get_ref()).map_err(|message| self.report(key.span(), message));
            let text = text(read_value)(value.get_ref())
                .map_err(|message| self.report(value.span(), message));
            Some((name.ok()?, text.ok()?))
        });
        pairs.collect()
    }

    /// Whether `key` is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries
            .is_some_and(|entries| entries.contains_key(key))
    }

    /// Where it stands, for what is found out later.
    pub(super) fn written(&self) -> Written {
        let entries = self.entries.into_iter().flatten();
        Written {
            table: self.span.clone(),
            values: entries
                .map(|(key, value)| (key.get_ref().to_string(), value.span()))
                .collect(),
        }
    }

    /// Something is wrong with the value of `key`, or with the table where it has no such key.
    pub(super) fn fault(&self, key: &str, message: impl Into<String>) {
        let value = self.entries.and_then(|entries| entries.get(key));
        self.report(
            value.map_or(self.span.clone(), Spanned::span),
            message.into(),
        );
    }

    /// As [`Table::fault`], at the first of `keys` that is written.
    pub(super) fn fault_at_first_of(&self, keys: &[&str], message: String) {
        let key = keys.iter().find(|key| self.has(key));
        self.fault(key.unwrap_or(&""), message);
    }

    /// How many faults the whole document has so far.
    pub(super) fn fault_count(&self) -> usize {
        self.faults.borrow().len()
    }

    /// Every key has been asked for: the rest is unknown.
    pub(super) fn end(self) {
        for (key, _) in self.entries.into_iter().flatten() {
            let name = key.get_ref();
            if !self.known.iter().any(|known| known == name) {
                let hint = hint(name, self.known.iter().copied());
                let message = format!("there is no key {} here{hint}", quoted(name));
                self.report(key.span(), message);
            }
        }
    }

    fn entry(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.known.push(key);
        self.entries.and_then(|entries| entries.get(key))
    }

    fn inner(&self, span: Range<usize>, entries: Option<&'d DeTable<'d>>) -> Table<'d> {
        Table {
            span,
            entries,
            known: Vec::new(),
            faults: self.faults,
        }
    }

    fn report(&self, span: Range<usize>, message: String) {
        self.faults.borrow_mut().push((span, message));
    }
}

/// A string that `read` takes.
pub(super) fn text<T, E: Display>(
    read: impl FnOnce(&str) -> Result<T, E>,
) -> impl FnOnce(&DeValue<'_>) -> Result<T, String> {
    move |value| match value {
        DeValue::String(text) => read(text).map_err(|fault| fault.to_string()),
        other => Err(format!(
            "a text in quotes is expected here, not {}",
            a(other)
        )),
    }
}

/// A string, or a date or time of TOML's own, that `read` takes.
pub(super) fn time<T>(
    read: impl FnOnce(&str) -> Result<T, String>,
) -> impl FnOnce(&DeValue<'_>) -> Result<T, String> {
    move |value| match value {
        DeValue::Datetime(at) => read(&at.to_string()),
        other => text(read)(other),
    }
}

/// A whole number in `range`.
pub(super) fn number(
    range: RangeInclusive<u32>,
) -> impl FnOnce(&DeValue<'_>) -> Result<u32, String> {
    move |value| {
        let DeValue::Integer(written) = value else {
            return Err(format!(
                "a whole number without quotes is expected here, not {}",
                a(value)
            ));
        };
        i64::from_str_radix(written.as_str(), written.radix())
            .ok()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                format!(
                    "a number from {} to {} is expected here",
                    range.start(),
                    range.end()
                )
            })
    }
}

/// `true` or `false`
pub(super) fn truth(value: &DeValue<'_>) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| format!("true or false is expected here, not {}", a(value)))
}

/// A list of strings that `read` takes.
pub(super) fn list<T>(
    read: impl FnOnce(Vec<String>) -> Result<T, String>,
) -> impl FnOnce(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let items = value.as_array().map(|items| {
            let texts = items.iter().map(|item| item.get_ref().as_str());
            texts.map(|text| text.map(str::to_owned)).collect()
        });
        match items {
            Some(Some(items)) => read(items),
            Some(None) => Err("every item of this list is a text in quotes".into()),
            None => Err(format!(
                "a list of texts is expected here, not {}",
                a(value)
            )),
        }
    }
}

fn a(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
