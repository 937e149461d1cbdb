//! What differs between two declarations of a connection, field by field.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::connection::Declared;

/// The longest value that a line shows, in characters.
const LONGEST: usize = 60;

/// One field that is to be another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// As the file spells it.
    pub(super) field: String,
    /// Null: it follows the defaults.
    pub(super) from: Value,
    /// Null: it follows the defaults.
    pub(super) to: Value,
}

/// Every field that differs, in the order of their names.
pub(super) fn between(before: &Declared, after: &Declared) -> Vec<Difference> {
    compared(&fields(before), &fields(after))
}

/// Every field that a new connection says for itself.
pub(super) fn of_new(declared: &Declared) -> Vec<Difference> {
    compared(&Map::new(), &fields(declared))
}

impl Difference {
    /// Something that happens once.
    pub(super) fn begins(field: &str) -> Self {
        Self {
            field: field.to_owned(),
            from: Value::Null,
            to: Value::Bool(true),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.from, &self.to) {
            (Value::Null, to) => write!(f, "{} = {}", self.field, shown(to)),
            (from, Value::Null) => write!(f, "{} = {} -> default", self.field, shown(from)),
            (from, to) => write!(f, "{} = {} -> {}", self.field, shown(from), shown(to)),
        }
    }
}

fn shown(value: &Value) -> String {
    crate::text::harmless(&value.to_string(), LONGEST)
}

/// A declaration holds texts, numbers, lists and tables only, so it is an object of JSON.
fn fields(declared: &Declared) -> Map<String, Value> {
    match serde_json::to_value(declared) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn compared(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<Difference> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let value = |fields: &Map<String, Value>, name: &str| {
        let value = fields.get(name);
        value.cloned().unwrap_or_default()
    };
    names
        .into_iter()
        .map(|name| Difference {
            field: name.clone(),
            from: value(before, name),
            to: value(after, name),
        })
        .filter(|difference| difference.from != difference.to)
        .collect()
}
